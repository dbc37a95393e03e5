/**
 * The inbox makes repeats harmless: the sender's message id is written in the same transaction as the business effect, so the effect is
 * there exactly when the id is. A repeat finds the id and does nothing, and the caller confirms it again (the confirmation may be what
 * was lost). Leaves to others: the transaction, and when to forget keys (`forget`, later than the longest possible repeat).
 */
import { resolveOptions, type Clock, type GivenOptions, type Options } from '@tallystick/base';
import { systemClock } from '@tallystick/base/node';
import { fail } from '../errors.ts';
import { INBOX_OPTIONS } from '../options.ts';
import { nameFault } from '../outbox/message.ts';
import { shardOf } from '../outbox/message-id.ts';
import { perDialect, type Dialect } from '../sql/dialect.ts';
import { assertDurable } from '../sql/durability.ts';
import type { Answer, Handle } from '../sql/handles.ts';
import { perform, performInside, sessionOf, undivided } from '../sql/session.ts';
import { hole, prepared, run, type Steps } from '../sql/statement.ts';
import { refuseAsyncFunction } from '../sql/synchronous.ts';
import { headAs, type RowState } from '../sql/tables.ts';
import { asNumber } from '../sql/values.ts';

export interface InboxSettings extends GivenOptions<typeof INBOX_OPTIONS> {
  readonly clock?: Clock | undefined;
}

/** `done`: the work ran now. `duplicate`: it ran in an earlier, committed transaction; confirm again. */
export type OnceResult<T> = { readonly outcome: 'done'; readonly value: T } | { readonly outcome: 'duplicate' };

/** Makes the inbox of a consumer. Throws NOT_DURABLE unless the handle is made durable or `durability` is `trust`. */
export function createInbox<H extends Handle>(db: H, settings: InboxSettings = {}): Inbox<H> {
  return new Inbox(db, settings);
}

export class Inbox<H extends Handle> {
  readonly #db: H;
  readonly #options: Options<typeof INBOX_OPTIONS>;
  readonly #clock: Clock;

  constructor(db: H, settings: InboxSettings) {
    const { clock, ...given } = settings;
    this.#db = db;
    this.#options = resolveOptions('inbox', INBOX_OPTIONS, given);
    this.#clock = clock ?? systemClock;
    if (this.#options.durability === 'require') assertDurable(db);
  }

  /**
   * Runs `work` once per key, inside the transaction that is open on `tx`; `key` is the sender's id of the message. If `work` throws, key and
   * effects are undone even when the caller catches the error and commits. Throws NOT_IN_TRANSACTION, BAD_KEY, ASYNC_IN_SYNC.
   */
  once<T extends Handle, V>(tx: T, key: string, work: (tx: T) => V): Answer<T, OnceResult<Awaited<V>>> {
    const session = sessionOf(tx);
    if (session.kind === 'sync') refuseAsyncFunction(work);
    const { dialect } = session;
    const once = performInside(session, () =>
      undivided(
        dialect,
        onceSteps(dialect, this.#seen(key), () => work(tx)),
      ),
    );
    return once as Answer<T, OnceResult<Awaited<V>>>;
  }

  #seen(key: string): Seen {
    const fault = nameFault('key', key, KEY_MAX);
    if (fault !== undefined) throw fail('BAD_KEY', fault);
    return { id: key, consumer: this.#options.consumer, shard: shardOf(undefined, key), now: this.#clock.now() };
  }

  /** Forgets keys older than `olderThanMs`, at most `rowsMax` at a time; returns how many. Repeats of these would run again. */
  forget(olderThanMs: number, rowsMax = 10_000): Answer<H, number> {
    const session = sessionOf(this.#db);
    const before = this.#clock.now() - olderThanMs;
    return perform(session, forgetSteps(session.dialect, this.#options.consumer, before, rowsMax)) as Answer<H, number>;
  }
}

/** Longest key, in characters: what every dialect can index. */
const KEY_MAX = 128;

type Seen = Readonly<Record<'id' | 'consumer' | 'shard' | 'now', string | number>>;

function* onceSteps<V>(dialect: Dialect, seen: Seen, work: () => V): Steps<OnceResult<Awaited<V>>> {
  const { changes } = yield* run(statementsOf(dialect).see(seen));
  if (changes === 0) return { outcome: 'duplicate' };
  const { value } = yield* run({ call: work });
  return { outcome: 'done', value: value as Awaited<V> };
}

function* forgetSteps(dialect: Dialect, consumer: string, before: number, rowsMax: number): Steps<number> {
  const { rows } = yield* run(statementsOf(dialect).oldest({ consumer, before, limit: rowsMax }));
  const last = rows.at(-1)?.['sequence'];
  if (last === undefined) return 0;
  const { changes } = yield* run(statementsOf(dialect).forget({ consumer, before, last: asNumber(last) }));
  return changes;
}

const DONE: RowState = 'done';

const statementsOf = perDialect((dialect) => {
  const { build } = dialect;
  const table = headAs('tallystick_inbox');
  return {
    see: prepared<'id' | 'consumer' | 'shard' | 'now'>(
      dialect.ignoreTaken(
        build.insertInto(table).values({
          id: hole('id'),
          channel: hole('consumer'),
          shard: hole('shard'),
          topic: '',
          mode: 'immediate',
          state: DONE,
          attempts: 0,
          tries: 0,
          due_at: 0,
          created_at: hole('now'),
          changed_at: hole('now'),
          body_bytes: 0,
        }),
      ),
    ),
    // Two statements instead of a delete with a limit, which two of three databases do not have; both walk the index of due rows.
    oldest: prepared<'consumer' | 'before' | 'limit'>(
      build
        .selectFrom(table)
        .select('sequence')
        .where('channel', '=', hole<string>('consumer'))
        .where('state', '=', DONE)
        .where('due_at', '=', 0)
        .where('created_at', '<', hole<number>('before'))
        .orderBy('sequence')
        .limit(hole<number>('limit')),
    ),
    forget: prepared<'consumer' | 'before' | 'last'>(
      build
        .deleteFrom(table)
        .where('channel', '=', hole<string>('consumer'))
        .where('state', '=', DONE)
        .where('due_at', '=', 0)
        .where('created_at', '<', hole<number>('before'))
        .where('sequence', '<=', hole<number>('last')),
    ),
  };
});
