/** The inbox's own table, as the acts that are done on it: keeping a message, beginning and ending attempts at it, forgetting keys. */
import type { Clock } from '@tallystick/base';
import { fail } from '../errors.ts';
import { shardOf } from '../outbox/message-id.ts';
import type { Position } from '../relay/low-water.ts';
import { sqlStateOf } from '../sql/sql-state.ts';
import { run, type Statement, type StatementResult, type Steps } from '../sql/statement.ts';
import type { RowState } from '../sql/tables.ts';
import { asNumber } from '../sql/values.ts';
import type { Delivery } from '../transports/transport.ts';
import type { Failure } from './failure.ts';
import type { InboxDatabase } from './inbox-database.ts';
import { inboxStatements, type InboxStatements } from './inbox-statements.ts';
import {
  besideText,
  deliveryOf,
  headOf,
  keptRow,
  keyText,
  topicText,
  typeText,
  type KeptRow,
  type KnownDelivery,
} from './kept.ts';
import { letNextGo, putOff } from './standing-behind.ts';

/** What a message's row begins with. */
export interface Beginning {
  readonly state: 'waiting' | 'retrying' | 'dead';
  readonly attempts: number;
  readonly tries: number;
  readonly started: number;
  readonly waitMs: number;
  readonly outcome: string | null;
  readonly reason: string | null;
}

export const UNTRIED: Beginning = {
  state: 'waiting',
  attempts: 0,
  tries: 0,
  started: 0,
  waitMs: 0,
  outcome: null,
  reason: null,
};

/** Where a look reads on. */
export interface DuePage {
  readonly scope: string;
  readonly owner: string;
  /** Range → epoch. */
  readonly held: ReadonlyMap<number, number>;
  readonly state: RowState;
  readonly from: Position;
  readonly limit: number;
}

export interface DueRow {
  readonly row: KeptRow;
  /** An earlier message of its key is not settled. */
  readonly behind: boolean;
}

/** A transaction that has not ended has written the key: another delivery of the message is at work elsewhere. */
export class AtWorkElsewhere extends Error {}

export class InboxTable<Tx> {
  readonly #database: InboxDatabase<Tx>;
  readonly #statements: InboxStatements;
  readonly #consumer: string;
  readonly #deadKeys: 'hold' | 'pass';
  readonly #clock: Clock;

  constructor(database: InboxDatabase<Tx>, consumer: string, deadKeys: 'hold' | 'pass', clock: Clock) {
    this.#database = database;
    this.#statements = inboxStatements(database.dialect, deadKeys);
    this.#consumer = consumer;
    this.#deadKeys = deadKeys;
    this.#clock = clock;
  }

  get #now(): number {
    return this.#clock.now();
  }

  /** Well before the database's silence would be one. */
  get #lockMs(): string {
    return String(Math.ceil(this.#database.databaseAfterMs / 2));
  }

  /**
   * As {@link once}, for a message that comes again if need be, unless an earlier message of `orderedKey` is not settled. Throws
   * AtWorkElsewhere.
   */
  *mark(delivery: Delivery, orderedKey: string | undefined): Steps<'marked' | 'duplicate' | 'behind'> {
    const consumer = this.#consumer;
    if (orderedKey !== undefined) {
      const { rows } = yield* run(this.#statements.keyHeld({ consumer, key: keyText(orderedKey) }));
      if (rows.length > 0) return 'behind';
    }
    const seen = this.#statements.seeBriefly({ lockMs: this.#lockMs, ...this.#seen(delivery) });
    return (yield* keyOf(seen)).changes === 0 ? 'duplicate' : 'marked';
  }

  /** Writes a key into the open transaction. */
  *once(delivery: Delivery): Steps<'marked' | 'duplicate'> {
    const { changes } = yield* run(this.#statements.see(this.#seen(delivery)));
    return changes === 0 ? 'duplicate' : 'marked';
  }

  #seen({ id, topic, type }: Delivery) {
    const shard = shardOf(undefined, id);
    return { id, consumer: this.#consumer, shard, topic: topicText(topic), type: typeText(type), now: this.#now };
  }

  /** The row becomes the key of its message, unless somebody else has begun, or a person has decided. */
  *settle({ id }: KeptRow, started: number): Steps<'marked' | 'duplicate'> {
    const place = { id, consumer: this.#consumer };
    const { changes } = yield* run(this.#statements.done({ started, now: this.#now, ...place }));
    if (changes === 0) return 'duplicate';
    yield this.#statements.dropBody(place);
    return 'marked';
  }

  /** Its effect is about to be committed: the next message of its key is due by then. */
  *letNextGo({ orderKey, sequence }: KeptRow): Steps<void> {
    if (orderKey === undefined) return;
    yield* letNextGo(this.#database.dialect, { channel: this.#consumer, key: orderKey, sequence }, this.#now);
  }

  /** Takes a message in; the row that is there afterwards, and whether it is new. Throws AtWorkElsewhere. */
  keep(
    delivery: KnownDelivery,
    ordered: boolean,
    beginning: Beginning,
  ): Promise<{ readonly row: KeptRow; readonly isNew: boolean }> {
    return this.#database.atomically(this.#keep(delivery, ordered, beginning));
  }

  *#keep(
    delivery: KnownDelivery,
    ordered: boolean,
    beginning: Beginning,
  ): Steps<{ readonly row: KeptRow; readonly isNew: boolean }> {
    const place = { id: delivery.id, consumer: this.#consumer };
    const head = headOf(delivery, { consumer: this.#consumer, now: this.#now }, ordered, beginning);
    const { waitBriefly } = this.#statements;
    if (waitBriefly !== undefined) yield waitBriefly({ lockMs: this.#lockMs });
    const { changes } = yield* keyOf(this.#statements.keep({ ...head }));
    if (changes > 0) yield this.#statements.keepBody({ headers: besideText(delivery), body: delivery.body, ...place });
    const { rows } = yield* run(this.#statements.row(place));
    if (rows[0] === undefined) throw new Error(`inbox: the row of ${delivery.id} was there and is gone`);
    return { row: keptRow(rows[0]), isNew: changes > 0 };
  }

  /** Whether an earlier message of its key is not settled. */
  async isBehind({ sequence, orderKey: key }: KeptRow): Promise<boolean> {
    if (key === undefined) return false;
    const { rows } = await this.#database.run(run(this.#statements.heldBefore({ consumer: this.#consumer, key, sequence })));
    return rows.length > 0;
  }

  row(id: string): Promise<KeptRow | undefined> {
    return this.#database.run(this.find(id));
  }

  *find(id: string): Steps<KeptRow | undefined> {
    const { rows } = yield* run(this.#statements.row({ id, consumer: this.#consumer }));
    return rows[0] === undefined ? undefined : keptRow(rows[0]);
  }

  /** Undefined when the body is not there. */
  async delivery(row: KeptRow): Promise<KnownDelivery | undefined> {
    const { id } = row;
    const statement = this.#statements.bodyOf({ id, consumer: this.#consumer });
    const { rows } = await this.#database.run(run(statement));
    return rows[0] === undefined ? undefined : deliveryOf(row, rows[0]);
  }

  /** Committed before the attempt begins. False: somebody else has begun, or is at work, or a person has decided. */
  async begin(row: KeptRow, visibleAfterMs: number): Promise<boolean> {
    return (await this.#database.alone(run(this.#statements.begin(this.#found(row, visibleAfterMs))))).changes > 0;
  }

  /** Whether the row is as it was read, and nobody's transaction holds it; if so it is not due for `waitMs`. */
  async suspect(row: KeptRow, waitMs: number): Promise<boolean> {
    return (await this.#database.alone(run(this.#statements.suspect(this.#found(row, waitMs))))).changes > 0;
  }

  #found({ id, started, tries }: KeptRow, waitMs: number) {
    return { id, consumer: this.#consumer, started, tries, now: this.#now, waitMs };
  }

  /** The attempt that began as `started` has ended, but others have begun since: it was no death. */
  async endedLate(id: string, started: number): Promise<void> {
    await this.#database.alone(run(this.#statements.endedLate({ id, consumer: this.#consumer, started })));
  }

  /** Writes a failure down, unless somebody else has begun since. */
  failed(row: KeptRow, started: number, failure: Failure): Promise<boolean> {
    const letsGo = failure.state === 'dead' && this.#deadKeys === 'pass';
    const written = this.#failed(row, started, failure, letsGo);
    return letsGo ? this.#database.atomically(written) : this.#database.alone(written);
  }

  *#failed(row: KeptRow, started: number, failure: Failure, letsGo: boolean): Steps<boolean> {
    const { state, attempts, tries, waitMs, outcome, reason } = failure;
    const place = { id: row.id, consumer: this.#consumer, started };
    const statement = this.#statements.failed({ state, attempts, tries, waitMs, outcome, reason, now: this.#now, ...place });
    if ((yield* run(statement)).changes === 0) return false;
    if (letsGo) yield* this.letNextGo(row);
    return true;
  }

  /** Due rows of a state in the order in which they fall due, while the leases named are `owner`'s; of each whether it stands behind another. */
  async due({ scope, owner, held, state, from, limit }: DuePage): Promise<DueRow[]> {
    let epochs = 0;
    for (const epoch of held.values()) epochs += epoch;
    const statement = this.#statements.due({
      channel: this.#consumer,
      state,
      scope,
      owner,
      held: held.size,
      epochs,
      now: this.#now,
      afterDue: from.dueAt,
      afterSequence: from.sequence,
      limit,
    });
    const { rows } = await this.#database.run(run(statement));
    return rows.map((row) => ({ row: keptRow(row), behind: asNumber(row['behind']) !== 0 }));
  }

  /** These stand behind others of their keys. */
  async putOff(rows: readonly KeptRow[]): Promise<void> {
    const { dialect } = this.#database;
    await this.#database.alone(putOff(dialect, rows, this.#now));
  }

  /** A person wants it tried again now. */
  async retry(id: string): Promise<boolean> {
    const statement = this.#statements.retry({ id, consumer: this.#consumer, now: this.#now });
    return (await this.#database.alone(run(statement))).changes > 0;
  }

  /** A handled or buried message has come again: a key older than `olderThanMs` becomes young, any other stays as it is. */
  *renew(id: string, olderThanMs: number): Steps<void> {
    yield* run(this.#statements.renew({ id, consumer: this.#consumer, now: this.#now, olderThanMs }));
  }

  /** Forgets at most `rowsMax` keys that are older than `olderThanMs`, the oldest first; one transaction. */
  *forget(olderThanMs: number, rowsMax: number): Steps<number> {
    if (!Number.isSafeInteger(rowsMax) || rowsMax < 1) throw fail('INBOX_STATE', `forget at most ${rowsMax} keys`);
    const consumer = this.#consumer;
    const { rows } = yield* run(this.#statements.oldest({ consumer, now: this.#now, olderThanMs, limit: rowsMax }));
    const last = rows.at(-1);
    if (last === undefined) return 0;
    const statement = this.#statements.forgetTo({
      consumer,
      dueAt: asNumber(last['due_at']),
      sequence: asNumber(last['sequence']),
    });
    return (yield* run(statement)).changes;
  }
}

/** Writes a key; only another transaction's is waited for. */
function* keyOf(statement: Statement): Steps<StatementResult> {
  try {
    return yield* run(statement);
  } catch (error) {
    if (sqlStateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
    throw new AtWorkElsewhere('another delivery of the message is at work', { cause: error });
  }
}

const LOCK_NOT_AVAILABLE = '55P03';
