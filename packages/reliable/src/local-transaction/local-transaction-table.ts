/**
 * The table a check-back asks. A business transaction records itself here in its own commit; whoever is asked later "did it commit?"
 * looks for the row. Absence proves nothing by itself (the commit may still be on its way), so absences are counted in the table, and
 * the last one does not answer before it has put a row with outcome `rollback` under the same key: a local commit that comes later
 * fails on that key, and the answer stays true for ever.
 *
 * ```
 * row `commit`                       → commit
 * row `rollback` (the fence)         → rollback
 * no row, fewer than absentMax times → unknown, counted
 * no row, absentMax times            → insert the fence: it wins → rollback; it loses → what the winner says
 * locked                             → unknown, not counted
 * ```
 *
 * The count lies under a key of its own (`absent:` before the type), so that the real key is free until the fence: any insert of it that
 * commits before, also one not made by this code, wins.
 */
import { resolveOptions, type Clock, type GivenOptions, type Options, type Timers } from '@tallystick/base';
import { systemClock, systemTimers } from '@tallystick/base/node';
import { sql } from 'kysely';
import { fail } from '../errors.ts';
import { LOCAL_TRANSACTION_OPTIONS } from '../options.ts';
import { nameFault } from '../outbox/message.ts';
import { perDialect, type Dialect } from '../sql/dialect.ts';
import { assertDurable, durably } from '../sql/durability.ts';
import { isSyncHandle, type Answer, type Handle } from '../sql/handles.ts';
import { atomically, perform, performInside, sessionOf, undivided, type Session } from '../sql/session.ts';
import { hole, plain, prepared, run, type Steps } from '../sql/statement.ts';
import { asNumber } from '../sql/values.ts';
import { Upkeep } from '../upkeep.ts';

export type Verdict = 'commit' | 'rollback' | 'unknown';

/** A half message as a check-back shows it. */
export interface CheckedMessage {
  readonly id: string;
  readonly key?: string | undefined;
  readonly headers: ReadonlyMap<string, string>;
}

export interface LocalTransactionSettings extends GivenOptions<typeof LOCAL_TRANSACTION_OPTIONS> {
  readonly clock?: Clock | undefined;
  readonly timers?: Timers | undefined;
  /** A check that failed for another reason than a lock; it was answered `unknown`. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/**
 * Makes the table's user. `db` is asked by check-backs and needs to be a handle without open transactions of others; give it a short
 * busy time-out, since a synchronous handle that waits for a lock stops the process. Throws NOT_DURABLE as the outbox does.
 */
export function createLocalTransactionTable<H extends Handle>(
  db: H,
  settings: LocalTransactionSettings = {},
): LocalTransactionTable<H> {
  return new LocalTransactionTable(db, settings);
}

export class LocalTransactionTable<H extends Handle> {
  readonly #db: H;
  readonly #session: Session;
  readonly #options: Options<typeof LOCAL_TRANSACTION_OPTIONS>;
  readonly #clock: Clock;
  readonly #onError: ((error: unknown) => void) | undefined;
  readonly #upkeep: Upkeep;

  constructor(db: H, settings: LocalTransactionSettings) {
    const { clock, timers, onError, ...given } = settings;
    this.#db = db;
    this.#session = sessionOf(db);
    this.#options = resolveOptions('local-transaction table', LOCAL_TRANSACTION_OPTIONS, given);
    this.#clock = clock ?? systemClock;
    this.#onError = onError;
    this.#upkeep = new Upkeep({
      clock: this.#clock,
      timers: timers ?? systemTimers({ unref: true }),
      everyMs: FORGET_EVERY_MS,
      step: () => this.#forgetSome(),
    });
    if (this.#options.durability === 'require' && isSyncHandle(db)) assertDurable(db);
  }

  /**
   * Records the business transaction that is open on `tx`: it is what makes a check-back answer commit. Throws NOT_IN_TRANSACTION, FENCED (a
   * check-back has answered rollback: the transaction must be rolled back), ALREADY_RECORDED, BAD_KEY.
   */
  record<T extends Handle>(tx: T, bizType: string, bizNo: string): Answer<T, void> {
    const session = sessionOf(tx);
    if (this.#options.keepMs > 0) this.#upkeep.touched();
    const recording = performInside(session, () => {
      const key = keyOf(bizType, bizNo);
      return undivided(session.dialect, this.#recordSteps(session.dialect, key));
    });
    return recording as Answer<T, void>;
  }

  *#recordSteps(dialect: Dialect, key: Key): Steps<void> {
    if (this.#options.durability === 'require') yield* durably(this.#db, dialect);
    yield* recordSteps(dialect, key, this.#clock.now());
  }

  /** What became of a local transaction. Counts absences, and fences at the last; `unknown` means: ask again later. */
  check(bizType: string, bizNo: string): Answer<H, Verdict> {
    const session = this.#session;
    const key = keyOf(bizType, bizNo);
    const verdict = session.kind === 'sync' ? this.#checkNow(key) : this.#checkLater(key);
    return verdict as Answer<H, Verdict>;
  }

  /**
   * A listener for a transactional producer: `bizOf` says which local transaction a half message belongs to. Errors are answered
   * `unknown`, and told to `onError`.
   */
  listener<M extends CheckedMessage = CheckedMessage>(
    bizOf: (message: M) => { readonly bizType: string; readonly bizNo: string },
  ): { check(message: M): Promise<Verdict> } {
    return {
      check: async (message) => {
        try {
          const { bizType, bizNo } = bizOf(message);
          return await (this.check(bizType, bizNo) as Verdict | Promise<Verdict>);
        } catch (error) {
          this.#onError?.(error);
          return 'unknown';
        }
      },
    };
  }

  #checkNow(key: Key): Verdict {
    const { dialect } = this.#session;
    // Inside somebody's open transaction neither count nor fence would be committed.
    if (this.#session.inTransaction() === true) return 'unknown';
    try {
      return perform(this.#session, this.#checkSteps(key)) as Verdict;
    } catch (error) {
      if (dialect.isLocked(error)) return 'unknown';
      throw error;
    }
  }

  async #checkLater(key: Key): Promise<Verdict> {
    if (await this.#session.inTransaction()) return 'unknown';
    try {
      return await perform(this.#session, this.#checkSteps(key));
    } catch (error) {
      if (this.#session.dialect.isLocked(error)) return 'unknown';
      throw error;
    }
  }

  *#checkSteps(key: Key): Steps<Verdict> {
    const { dialect } = this.#session;
    // The usual answer takes no lock.
    const found = yield* outcomeOf(dialect, key);
    return found ?? (yield* atomically(dialect, absentSteps(dialect, key, this.#options.absentMax, this.#clock.now())));
  }

  /**
   * Forgets what was recorded or answered longer than `olderThanMs` ago, about `rowsMax` rows at most (those of one millisecond go together),
   * the oldest first. Half messages that old must be settled, parked ones, too: committed work that was forgotten is answered rollback. Returns
   * how many rows. Done by itself while transactions are recorded, where `keepMs` is given. Throws RangeError.
   */
  forget(olderThanMs: number, rowsMax = FORGET_ROWS): Answer<H, number> {
    if (!Number.isSafeInteger(rowsMax) || rowsMax < 1) throw new RangeError(`forget at most ${rowsMax} rows`);
    const { dialect } = this.#session;
    const before = this.#clock.now() - olderThanMs;
    const steps = function* (): Steps<number> {
      return (yield* run(localTransactionStatements(dialect).forget({ before, skip: rowsMax - 1 }))).changes;
    };
    return perform(this.#session, steps()) as Answer<H, number>;
  }

  async #forgetSome(): Promise<boolean> {
    // In somebody's open transaction it would wait, and be undone, with that.
    if ((await this.#session.inTransaction()) === true) throw fail('ALREADY_IN_TRANSACTION');
    return (await this.forget(this.#options.keepMs)) >= FORGET_ROWS;
  }
}

const FORGET_ROWS = 1_000;
const FORGET_EVERY_MS = 600_000;

interface Key {
  readonly bizType: string;
  readonly bizNo: string;
}

const ABSENT = 'absent:';
const BIZ_TYPE_MAX = 64 - ABSENT.length;
const BIZ_NO_MAX = 128;

function keyOf(bizType: string, bizNo: string): Key {
  const fault = nameFault('the business type', bizType, BIZ_TYPE_MAX) ?? nameFault('the business number', bizNo, BIZ_NO_MAX);
  if (fault !== undefined) throw fail('BAD_KEY', fault);
  if (bizType.startsWith(ABSENT)) throw fail('BAD_KEY', `the business type begins with ${ABSENT}, which is this table's own`);
  return { bizType, bizNo };
}

function absentKey({ bizType, bizNo }: Key): Key {
  return { bizType: ABSENT + bizType, bizNo };
}

/** In the user's transaction. */
function* recordSteps(dialect: Dialect, key: Key, nowMs: number): Steps<void> {
  const { changes } = yield* run(localTransactionStatements(dialect).record({ outcome: 'commit', checks: 0, at: nowMs, ...key }));
  if (changes > 0) return;
  const found = yield* outcomeOf(dialect, key);
  throw fail(found === 'commit' ? 'ALREADY_RECORDED' : 'FENCED', `${key.bizType} ${key.bizNo}`);
}

/** In a transaction of the check's own: count, and at the last count fence. */
function* absentSteps(dialect: Dialect, key: Key, absentMax: number, nowMs: number): Steps<Verdict> {
  const statements = localTransactionStatements(dialect);
  const counter = absentKey(key);
  // A transaction that records and stays open holds the key: then the answer is "ask again", not a wait as long as it.
  if (dialect.waitBriefly !== undefined) yield plain(dialect.waitBriefly);
  yield statements.startCounting({ at: nowMs, ...counter });
  yield statements.count({ at: nowMs, ...counter });
  const checks = asNumber((yield* run(statements.find({ ...counter }))).rows[0]?.['checks']);
  if (checks < absentMax) return (yield* outcomeOf(dialect, key)) ?? 'unknown';
  const { changes } = yield* run(statements.fence({ checks, at: nowMs, ...key }));
  yield statements.stopCounting({ ...counter });
  // Whoever inserted first is right: a local commit that was on its way, or another check.
  return changes > 0 ? 'rollback' : ((yield* outcomeOf(dialect, key)) ?? 'unknown');
}

function* outcomeOf(dialect: Dialect, key: Key): Steps<'commit' | 'rollback' | undefined> {
  const { rows } = yield* run(localTransactionStatements(dialect).find({ ...key }));
  const outcome = rows[0]?.['outcome'];
  if (outcome === undefined) return undefined;
  return outcome === 'rollback' ? 'rollback' : 'commit';
}

type RecordNames = 'bizType' | 'bizNo' | 'outcome' | 'checks' | 'at';

export const localTransactionStatements = perDialect((dialect) => {
  const { build } = dialect;
  const row = {
    biz_type: hole<string>('bizType'),
    biz_no: hole<string>('bizNo'),
    at: hole<number>('at'),
  };
  return {
    record: prepared<RecordNames>(
      dialect.ignoreTaken(
        build.insertInto('tallystick_local_transaction').values({ ...row, outcome: hole('outcome'), checks: hole('checks') }),
      ),
      'insert',
    ),
    fence: prepared<'bizType' | 'bizNo' | 'checks' | 'at'>(
      dialect.ignoreTaken(
        build.insertInto('tallystick_local_transaction').values({ ...row, outcome: 'rollback', checks: hole('checks') }),
      ),
    ),
    startCounting: prepared<'bizType' | 'bizNo' | 'at'>(
      dialect.ignoreTaken(build.insertInto('tallystick_local_transaction').values({ ...row, outcome: 'absent', checks: 0 })),
    ),
    count: prepared<'bizType' | 'bizNo' | 'at'>(
      build
        .updateTable('tallystick_local_transaction')
        .set((of) => ({ checks: of('checks', '+', 1), at: hole<number>('at') }))
        .where('biz_type', '=', hole<string>('bizType'))
        .where('biz_no', '=', hole<string>('bizNo')),
    ),
    stopCounting: prepared<'bizType' | 'bizNo'>(
      build
        .deleteFrom('tallystick_local_transaction')
        .where('biz_type', '=', hole<string>('bizType'))
        .where('biz_no', '=', hole<string>('bizNo')),
    ),
    find: prepared<'bizType' | 'bizNo'>(
      build
        .selectFrom('tallystick_local_transaction')
        .select(['outcome', 'checks'])
        .where('biz_type', '=', hole<string>('bizType'))
        .where('biz_no', '=', hole<string>('bizNo')),
    ),
    /** To the time of the last of the rows that are to go, or to all that are old when there are fewer. */
    forget: prepared<'before' | 'skip'>(
      build
        .deleteFrom('tallystick_local_transaction')
        // A range with two ends: one with a single end is taken for a third of the table that nobody has analysed, and all of it is read.
        .where('at', '>=', 0)
        .where('at', '<', hole<number>('before'))
        .where(
          'at',
          '<=',
          sql<number>`coalesce(${build
            .selectFrom(
              build
                .selectFrom('tallystick_local_transaction')
                .select('at')
                .where('at', '>=', 0)
                .where('at', '<', hole<number>('before'))
                .orderBy('at')
                .limit(1)
                .offset(hole<number>('skip'))
                .as('old'),
            )
            .select('at')}, ${hole('before')})`,
        ),
    ),
  };
});
