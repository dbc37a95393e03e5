/**
 * Writing messages inside somebody's transaction, into the outbox or the table of calls: only where the database keeps what it commits, has the
 * tables, and is the one that was handed over. What a handle says by itself is looked at once per handle; a server is asked once, by
 * `ready()` or by the first message.
 */
import type { Clock, Timers } from '@tallystick/base';
import { fail } from '../errors.ts';
import { assertDurable, durably } from '../sql/durability.ts';
import type { Database, Handle, SyncHandle } from '../sql/handles.ts';
import { sessionOf, undivided, type Session } from '../sql/session.ts';
import { run, type Statement, type Steps } from '../sql/statement.ts';
import type { CheckedMessage } from './message.ts';
import { canWriteTogether, writeApart, writeTogether, type WrittenTable } from './outbox-statements.ts';
import { isMissing, Readiness } from './readiness.ts';
import { refuseElsewhere } from './refuse-elsewhere.ts';

export interface WritingOrder {
  readonly table: WrittenTable;
  readonly channel: string;
  /** `require`: a database that could lose what it commits is refused. */
  readonly durability: 'require' | 'trust';
}

export class Writing {
  readonly #db: Database;
  readonly #order: WritingOrder;
  readonly #durable: boolean;
  readonly #clock: Clock;
  readonly #readiness: Readiness;
  readonly #admitted = new WeakSet<object>();

  /** Throws NOT_DURABLE for a SQLite handle that cannot be made durable. */
  constructor(db: Database, order: WritingOrder, { clock, timers }: { readonly clock: Clock; readonly timers: Timers }) {
    this.#db = db;
    this.#order = order;
    this.#durable = order.durability === 'require';
    this.#clock = clock;
    if (this.#durable && sessionOf(db).kind === 'sync') assertDurable(db as SyncHandle);
    this.#readiness = new Readiness(db, this.#durable, timers);
  }

  /** Asks the database now what the first message would ask. Throws NOT_DURABLE, NOT_MIGRATED, and what the driver throws. */
  async ready(): Promise<void> {
    if (sessionOf(this.#db).kind === 'async') await this.#readiness.ask();
  }

  /** The session of a handle that messages may be written on. Throws WRONG_DATABASE, NOT_DURABLE, UNKNOWN_HANDLE, CLOSED. */
  admit(tx: Handle): Session {
    const session = sessionOf(tx);
    if (this.#admitted.has(tx)) return session;
    if ((tx as unknown) !== this.#db) refuseElsewhere(sessionOf(this.#db), session);
    if (session.kind === 'sync' && this.#durable) assertDurable(tx as SyncHandle);
    this.#admitted.add(tx);
    return session;
  }

  /** On a handle that was admitted, all or none. Throws DUPLICATE_ID, WRONG_DATABASE, NOT_MIGRATED, NOT_DURABLE, and what the database throws. */
  *write(tx: Handle, session: Session, rows: readonly CheckedMessage[]): Steps<void> {
    const { dialect } = session;
    const guarded = (tx as unknown) !== this.#db;
    const nowMs = this.#clock.now();
    if (session.kind === 'async' && !this.#readiness.known) {
      yield { call: () => this.#readiness.askBriefly() };
      // Where that got no connection of its own, the settings are looked at on this one.
      if (this.#durable) yield* durably(this.#db, dialect);
    }
    const identity = guarded ? this.#readiness.identity : undefined;
    if (guarded) yield* this.#readiness.guard(session, rows[0]!.message.id);
    const { table, channel } = this.#order;
    const place = { table, channel, nowMs, identity };
    try {
      if (!canWriteTogether(dialect)) {
        yield* undivided(dialect, all(rows.flatMap((row) => writeApart(dialect, row, place))));
        return;
      }
      const { rows: heads } = yield* run(writeTogether(dialect, rows, place));
      if (heads.length === rows.length) return;
    } catch (error) {
      const seen = rows.map(({ message }) => message.id).slice(0, NAMED_MAX);
      if (dialect.isTaken(error)) throw fail('DUPLICATE_ID', seen.join(', '), error);
      throw isMissing(error) ? fail('NOT_MIGRATED', (error as Error).message, error) : error;
    }
    throw fail('WRONG_DATABASE', `that one is ${identity}`);
  }
}

/** Ids that an error names. */
const NAMED_MAX = 5;

function* all(statements: Iterable<Statement>): Steps<void> {
  for (const statement of statements) yield statement;
}
