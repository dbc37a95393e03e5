/**
 * THE tables. Columns, keys and indexes stand here once; row types, the statements' types and the DDL of every dialect derive from
 * them, and so do the migrations: a table or column says in which schema version it appeared.
 *
 * Head and body lie apart: a head is small, read often and rewritten when a push fails; a body is written once, read once and
 * deleted with its head. All times are ms since 1970.
 */
import { sql, type Generated, type RawBuilder, type SqlBool } from 'kysely';
import { hole } from './statement.ts';

/** What a column holds, in words every dialect can map to a type. */
export type ColumnKind = 'identity' | 'id' | 'name' | 'word' | 'sentence' | 'text' | 'small' | 'count' | 'big' | 'bytes';

export interface Column<Value = unknown> {
  readonly kind: ColumnKind;
  readonly nullable: boolean;
  /** What rows that exist already get when the column is added later. */
  readonly default: string | number | undefined;
  /** Schema version in which the column appeared; absent: with its table. */
  readonly since: number | undefined;
  /** Carries the type only. */
  readonly value?: Value;
}

export interface Table<Columns extends Readonly<Record<string, Column>> = Readonly<Record<string, Column>>> {
  readonly name: string;
  /** Schema version in which the table appeared. */
  readonly since: number;
  readonly columns: Columns;
  readonly primaryKey: readonly string[];
  readonly indexes: readonly Index[];
}

export interface Index {
  readonly name: string;
  readonly columns: readonly string[];
  readonly unique: boolean;
  readonly since: number;
  /** Only rows of which this is true are in the index, where the database can do that. */
  readonly where?: string | undefined;
}

/** A row as it is read. */
export type Row<T extends Table> = { [K in keyof T['columns']]: T['columns'][K] extends Column<infer V> ? V : never };

/**
 * States of a message row, of the outbox, the call table and the inbox's retries alike.
 *
 * - `waiting`: never failed; due at once, in the order of `sequence`
 * - `delayed`: due at `due_at`; holds nobody up before that
 * - `retrying`: pushed at least once without being confirmed; due at `due_at`; later messages of its key wait for it
 * - `dead`: given up; a person decides; later messages of its key wait for it (unless the relay's `deadKeys` is `pass`)
 * - `buried`: a person decided that it shall not leave; holds nobody up
 * - `sent`: outbox only: the broker has it, the consumer's confirmation is missing; sent again, under the same id, at `due_at`
 * - `confirmed`: outbox only: settled, and kept for a while so that its status can be asked for
 * - `done`: inbox only: the effect is committed
 *
 * A settled row of the outbox that nobody wants to ask about has no state: it is deleted.
 */
export type RowState = 'waiting' | 'delayed' | 'retrying' | 'dead' | 'buried' | 'sent' | 'confirmed' | 'done';

function column<Value>(kind: ColumnKind, nullable = false, fallback?: string | number, since?: number): Column<Value> {
  return { kind, nullable, default: fallback, since };
}

const headColumns = {
  /** Order of insertion: the order in which the messages of one key leave. Never a cursor on its own. */
  sequence: column<number>('identity'),
  /** Outbox: UUIDv7, 32 upper-case hex. Inbox: the sender's id. */
  id: column<string>('id'),
  /** Outbox: which transport ('' is the only one in most programs). Inbox: the consumer. Call table: the service called. */
  channel: column<string>('word'),
  /** crc32(key ?? id) mod 256: leases cover ranges of it. Fixed for ever. */
  shard: column<number>('small'),
  message_key: column<string | null>('name', true),
  topic: column<string>('name'),
  tag: column<string | null>('name', true),
  mode: column<'deferred' | 'immediate'>('word'),
  state: column<RowState>('word'),
  /** Failures of the message itself: what the retry cap counts. */
  attempts: column<number>('count'),
  /** Pushes that came back without a confirmation, whoever's fault: what the wait grows with. */
  tries: column<number>('count'),
  last_outcome: column<string | null>('word', true),
  last_error: column<string | null>('sentence', true),
  /**
   * Outbox: 0 for `waiting`. Inbox: what stands behind an earlier message of its key is put off by it (standing-behind.ts). Of a `done` or `buried` row:
   * since when it is so, or when its message came again long after.
   */
  due_at: column<number>('big'),
  created_at: column<number>('big'),
  changed_at: column<number>('big'),
  body_bytes: column<number>('count'),
  /** Name of the message's type; '' when it has none. */
  message_type: column<string>('word', false, '', 2),
  /** Which part of the program it comes from; '' when it does not say. */
  module: column<string>('word', false, '', 2),
  /** What the message is about in the business's own numbering, such as the order; not unique. */
  business_key: column<string | null>('name', true, undefined, 2),
  exchange: column<string | null>('name', true, undefined, 2),
  exchange_type: column<string | null>('word', true, undefined, 2),
  routing_key: column<string | null>('name', true, undefined, 2),
  /** What settles it: 0 the broker's confirmation, else the consumer's, and it is sent again after so many ms without one. */
  confirm_within: column<number>('big', false, 0, 2),
  /** How long a settled row is kept for those who ask for its status, in ms; 0: not at all. */
  keep_for: column<number>('big', false, 0, 2),
  /**
   * Inbox: attempts begun. One more than the finished ones and nobody at it: the attempt killed its process. Outbox: how often the broker
   * took a message that waits for its consumer's confirmation.
   */
  started: column<number>('count', false, 0, 2),
} as const;

const bodyColumns = {
  id: column<string>('id'),
  channel: column<string>('word'),
  /** JSON list of [name, value] pairs; null when there are none. */
  headers: column<string | null>('text', true),
  body: column<Uint8Array>('bytes'),
} as const;

export type HeadTable = Table<typeof headColumns>;
export type BodyTable = Table<typeof bodyColumns>;
export type HeadRow = Row<HeadTable>;
export type BodyRow = Row<BodyTable>;

/** The one layout of message tables. */
function headTable(name: string): HeadTable {
  return {
    name,
    since: 1,
    columns: headColumns,
    primaryKey: ['sequence'],
    indexes: [
      index(`${name}_id`, ['id', 'channel'], true),
      // Claim order is index order: (channel, state) equal, then due_at and sequence ascending.
      index(`${name}_due`, ['channel', 'state', 'due_at', 'sequence']),
      // "Is there an earlier, failing message of this key?"
      index(`${name}_key`, ['message_key', 'channel', 'state', 'sequence']),
      index(`${name}_business_key`, ['business_key'], false, 2, 'business_key is not null'),
    ],
  };
}

function bodyTable(head: string): BodyTable {
  return { name: bodyOf(head), since: 1, columns: bodyColumns, primaryKey: ['id', 'channel'], indexes: [] };
}

function index(name: string, columns: readonly string[], unique = false, since = 1, where?: string): Index {
  return { name, columns, unique, since, where };
}

/** Name of the table that holds the bodies of a message table. */
export function bodyOf(head: string): string {
  return `${head}_body`;
}

/** One row per range of shards and relay scope: who may push them, until when, and the fencing epoch. */
const leaseColumns = {
  scope: column<string>('name'),
  first_shard: column<number>('small'),
  last_shard: column<number>('small'),
  /** '' when nobody holds it. */
  owner: column<string>('word'),
  /** Grows by one with every change of hands; every statement of a holder names the epoch it got. */
  epoch: column<number>('big'),
  expires_at: column<number>('big'),
} as const;

const schemaColumns = {
  version: column<number>('count'),
  applied_at: column<number>('big'),
  /** Made once per database: tells it from every other one. Null in the rows of older versions. */
  database_id: column<string | null>('word', true, undefined, 2),
} as const;

/** What a check-back asks: was the local transaction committed? */
const localTransactionColumns = {
  biz_type: column<string>('word'),
  biz_no: column<string>('id'),
  outcome: column<'commit' | 'rollback' | 'absent'>('word'),
  /** How often a check-back found nothing. */
  checks: column<number>('count'),
  at: column<number>('big'),
} as const;

export type LeaseTable = Table<typeof leaseColumns>;
export type LeaseRow = Row<LeaseTable>;
export type SchemaTable = Table<typeof schemaColumns>;
export type LocalTransactionTableDefinition = Table<typeof localTransactionColumns>;

export const OUTBOX = headTable('tallystick_outbox');
export const INBOX = headTable('tallystick_inbox');
export const CALL = headTable('tallystick_call');

export const LEASE: LeaseTable = {
  name: 'tallystick_lease',
  since: 1,
  columns: leaseColumns,
  primaryKey: ['scope', 'first_shard'],
  indexes: [],
};

export const SCHEMA: SchemaTable = {
  name: 'tallystick_schema',
  since: 1,
  columns: schemaColumns,
  primaryKey: ['version'],
  indexes: [],
};

export const LOCAL_TRANSACTION: LocalTransactionTableDefinition = {
  name: 'tallystick_local_transaction',
  since: 1,
  columns: localTransactionColumns,
  primaryKey: ['biz_type', 'biz_no'],
  indexes: [index('tallystick_local_transaction_at', ['at'])],
};

/** All tables, in the order of their creation. */
export const TABLES: readonly Table[] = [
  SCHEMA,
  OUTBOX,
  bodyTable(OUTBOX.name),
  INBOX,
  bodyTable(INBOX.name),
  CALL,
  bodyTable(CALL.name),
  LEASE,
  LOCAL_TRANSACTION,
];

/** Columns that an insert may leave out. */
type Defaulted =
  | 'sequence'
  | 'message_type'
  | 'module'
  | 'business_key'
  | 'exchange'
  | 'exchange_type'
  | 'routing_key'
  | 'confirm_within'
  | 'keep_for'
  | 'started';

/** The tables as the statement compiler sees them. The three message tables have one layout; statements are told which. */
export interface Tables {
  tallystick_outbox: Omit<HeadRow, Defaulted> & { readonly [C in Defaulted]: Generated<HeadRow[C]> };
  tallystick_outbox_body: BodyRow;
  tallystick_lease: LeaseRow;
  tallystick_schema: Omit<Row<SchemaTable>, 'database_id'> & { readonly database_id: Generated<string | null> };
  tallystick_local_transaction: Row<LocalTransactionTableDefinition>;
}

export type MessageTable = 'tallystick_outbox' | 'tallystick_inbox' | 'tallystick_call';

/** A message table's head under the one name that {@link Tables} types it by. */
export function headAs(table: MessageTable): 'tallystick_outbox' {
  return table as 'tallystick_outbox';
}

/**
 * Which head: by its id, and by nothing else that an index begins with. PostgreSQL, where it still takes a full table for an empty one, would
 * otherwise walk along all rows of the channel, or of the state.
 */
export function headWith(id: string, channel: string, states: readonly RowState[] = []): RawBuilder<SqlBool> {
  const one = sql<SqlBool>`id = ${hole(id)} and coalesce(channel, '') = ${hole(channel)}`;
  return states.length === 0
    ? one
    : sql<SqlBool>`${one} and coalesce(state, '') in (${sql.join(states.map((state) => sql.lit(state)))})`;
}

/** The same for its body. */
export function bodyAs(table: MessageTable): 'tallystick_outbox_body' {
  return bodyOf(table) as 'tallystick_outbox_body';
}
