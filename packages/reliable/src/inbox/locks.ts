/**
 * Business locks: a name that at most one holder works under, as a row of the lease table (scope `lock:<name>`). The first of the three
 * guards against a repeated effect, and the only one that may fail: a holder that is paused past its time loses the lock to the
 * next one, so whatever it decides must be fenced. `verify(tx)`, called last in the holder's transaction, does that: it locks the row
 * until the commit, and throws LOCK_LOST when the row has changed hands.
 *
 * ```
 * free   no row, or expired (or ending later than any present hold can: the clock was set back)
 *                             → acquire: owner = a new token, epoch = max(old + 1, the database's clock in ms)
 * held   owner is the token   → release: the row is deleted
 *                             → expired and taken by another: verify throws LOCK_LOST, release changes nothing
 * ```
 *
 * Epochs never fall, also over deleted rows: a system outside the database that remembers the greatest epoch it has seen can refuse a
 * holder that is late by more than a ms. Inside the database the token decides, and no two holders share one.
 */
import { randomBytes } from 'node:crypto';
import {
  backoffMs,
  resolveOptions,
  type Clock,
  type GivenOptions,
  type Options,
  type Random,
  type Timers,
} from '@tallystick/base';
import { systemClock, systemRandom, systemTimers } from '@tallystick/base/node';
import { sql, type SqlBool } from 'kysely';
import { fail } from '../errors.ts';
import { INBOX_OPTIONS, LOCK_OPTIONS } from '../options.ts';
import { nameFault } from '../outbox/message.ts';
import { aheadMaxMs } from '../relay/leases.ts';
import { pause } from '../waits.ts';
import { perDialect, type Dialect } from '../sql/dialect.ts';
import type { Answer, Database, Handle } from '../sql/handles.ts';
import { performInside, sessionOf } from '../sql/session.ts';
import { hole, prepared, run, type Steps } from '../sql/statement.ts';
import { asNumber } from '../sql/values.ts';
import { InboxDatabase } from './inbox-database.ts';

export interface LockPorts {
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly timers?: Timers | undefined;
}

export type LockSettings = GivenOptions<typeof LOCK_OPTIONS>;

/** A lock that is held. */
export interface HeldLock {
  readonly name: string;
  /** Never falls from one holder to the next. */
  readonly epoch: number;
  /** Call last in the transaction that the lock protects. Throws LOCK_LOST, NOT_IN_TRANSACTION. */
  verify<T extends Handle>(tx: T): Answer<T, void>;
}

export function createLocks(db: Database, ports: LockPorts = {}): Locks {
  const limit = { databaseAfterMs: INBOX_OPTIONS.databaseAfterMs.default, timers: ports.timers ?? systemTimers() };
  return new Locks(new InboxDatabase(db, limit), ports);
}

export class Locks {
  readonly #database: InboxDatabase<unknown>;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #timers: Timers;

  constructor(database: InboxDatabase<unknown>, ports: LockPorts) {
    this.#database = database;
    this.#clock = ports.clock ?? systemClock;
    this.#random = ports.random ?? systemRandom();
    this.#timers = ports.timers ?? systemTimers();
  }

  /**
   * Runs `fn` while holding the lock; gives it back whatever happens. Throws LOCK_BUSY when it does not become free within `lockWaitMs`.
   * The lock lasts `lockHoldMs` and no longer, so end each transaction of `fn` with `lock.verify(tx)`.
   */
  async with<T>(name: string, settings: LockSettings, fn: (lock: HeldLock) => T | Promise<T>): Promise<T> {
    const ticket = await this.acquire(name, resolveOptions('lock', LOCK_OPTIONS, settings));
    try {
      return await fn({ verify: (tx) => verifyInside(tx, ticket), ...ticket });
    } finally {
      await this.release(ticket);
    }
  }

  /** Waits at most `lockWaitMs`, with jitter: those who wait together do not ask together. */
  async acquire(name: string, { lockWaitMs, lockHoldMs }: Options<typeof LOCK_OPTIONS>): Promise<LockTicket> {
    const fault = nameFault('the name of the lock', name, NAME_MAX);
    if (fault !== undefined) throw fail('BAD_KEY', fault);
    const ticket = { name, scope: SCOPE + name, owner: randomBytes(12).toString('hex') };
    const untilMs = this.#clock.monotonic() + lockWaitMs;
    for (let asked = 1; ; asked++) {
      const epoch = await this.#take(ticket, lockHoldMs);
      if (epoch !== undefined) return { epoch, ...ticket };
      const leftMs = untilMs - this.#clock.monotonic();
      if (leftMs <= 0) throw fail('LOCK_BUSY', `${name} (waited ${lockWaitMs} ms: lockWaitMs)`);
      await pause(Math.min(leftMs, backoffMs(ASK_AGAIN, asked, this.#random.u32())), this.#timers);
    }
  }

  /** Undefined when another has it, or has the database. */
  async #take(ticket: Omit<LockTicket, 'epoch'>, lockHoldMs: number): Promise<number | undefined> {
    try {
      return await this.#database.alone(take(this.#database.dialect, ticket, this.#clock.now(), lockHoldMs));
    } catch (error) {
      if (this.#database.isConflict(error)) return undefined;
      throw error;
    }
  }

  /** Gives it back. If the database refuses, it expires by itself. */
  async release(ticket: LockTicket): Promise<void> {
    await this.#database.alone(releaseSteps(this.#database.dialect, ticket)).catch(() => undefined);
  }
}

/** What an acquisition got: its token is its own, so no other holder of the name is ever taken for it. */
export interface LockTicket {
  readonly name: string;
  readonly scope: string;
  readonly owner: string;
  readonly epoch: number;
}

const SCOPE = 'lock:';
const NAME_MAX = 255 - SCOPE.length;
const ASK_AGAIN = { firstMs: 5, maxMs: 250 };

function verifyInside<T extends Handle>(tx: T, ticket: LockTicket): Answer<T, void> {
  const session = sessionOf(tx);
  return performInside(session, () => verifySteps(session.dialect, ticket)) as Answer<T, void>;
}

function* take(
  dialect: Dialect,
  { scope, owner }: Readonly<{ scope: string; owner: string }>,
  now: number,
  holdMs: number,
): Steps<number | undefined> {
  const { rows } = yield* run(lockStatements(dialect).take({ scope, owner, now, holdMs, ahead: aheadMaxMs(holdMs) }));
  return rows[0] === undefined ? undefined : asNumber(rows[0]['epoch']);
}

/** Throws LOCK_LOST unless the lock is still the ticket's; the row stays locked until the transaction ends. */
function* verifySteps(dialect: Dialect, { name, scope, owner, epoch }: LockTicket): Steps<void> {
  const { changes } = yield* run(lockStatements(dialect).verify({ scope, owner, epoch }));
  if (changes === 0) throw lost(name);
}

/** The same, and gives the lock back with the commit: one statement less than verifying now and releasing later. */
export function* endLock(dialect: Dialect, { name, scope, owner, epoch }: LockTicket): Steps<void> {
  const { changes } = yield* run(lockStatements(dialect).release({ scope, owner, epoch }));
  if (changes === 0) throw lost(name);
}

function lost(name: string): Error {
  return fail('LOCK_LOST', name);
}

function* releaseSteps(dialect: Dialect, { scope, owner, epoch }: LockTicket): Steps<void> {
  yield lockStatements(dialect).release({ scope, owner, epoch });
}

/** Deletes the rows of locks whose holders died longer than `olderThanMs` ago. */
export function* forgetLocks(dialect: Dialect, now: number, olderThanMs: number): Steps<number> {
  const { changes } = yield* run(lockStatements(dialect).forget({ now, olderThanMs }));
  return changes;
}

export const lockStatements = perDialect((dialect) => {
  const { build } = dialect;
  const now = dialect.now ?? hole<number>('now');
  const until = sql<number>`${now} + ${hole<number>('holdMs')}`;
  return {
    take: prepared<'scope' | 'owner' | 'now' | 'holdMs' | 'ahead'>(
      build
        .insertInto('tallystick_lease')
        .values({
          scope: hole('scope'),
          first_shard: 0,
          last_shard: 0,
          owner: hole('owner'),
          epoch: now,
          expires_at: until,
        })
        .onConflict((conflict) =>
          conflict
            .columns(['scope', 'first_shard'])
            .doUpdateSet({
              owner: hole<string>('owner'),
              epoch: sql<number>`case when tallystick_lease.epoch < ${now} then ${now} else tallystick_lease.epoch + 1 end`,
              expires_at: until,
            })
            .where(
              sql<SqlBool>`(tallystick_lease.expires_at <= ${now} or tallystick_lease.expires_at > ${now} + ${hole<number>('ahead')})`,
            ),
        )
        .returning('epoch'),
    ),
    verify: prepared<'scope' | 'owner' | 'epoch'>(
      build
        .updateTable('tallystick_lease')
        .set({ last_shard: 0 })
        .where('scope', '=', hole<string>('scope'))
        .where('first_shard', '=', 0)
        .where('owner', '=', hole<string>('owner'))
        .where('epoch', '=', hole<number>('epoch')),
    ),
    release: prepared<'scope' | 'owner' | 'epoch'>(
      build
        .deleteFrom('tallystick_lease')
        .where('scope', '=', hole<string>('scope'))
        .where('first_shard', '=', 0)
        .where('owner', '=', hole<string>('owner'))
        .where('epoch', '=', hole<number>('epoch')),
    ),
    forget: prepared<'now' | 'olderThanMs'>(
      build
        .deleteFrom('tallystick_lease')
        .where('scope', '>=', SCOPE)
        .where('scope', '<', 'lock;')
        .where('expires_at', '<', sql<number>`${now} - ${hole<number>('olderThanMs')}`),
    ),
  };
});
