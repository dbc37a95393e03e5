/**
 * How messages are written into the outbox, and calls into their table of the same layout. On PostgreSQL one statement writes head and body, any number of them, in one round trip, and only into the
 * database that the outbox was made for; due times are its own clock's. Elsewhere a head and a body are two statements between
 * savepoints, in a process that has the database in its hands (SQLite) or a server that cannot write two tables at once (MySQL).
 */
import { sql, type RawBuilder } from 'kysely';
import type { Dialect } from '../sql/dialect.ts';
import { perDialect } from '../sql/dialect.ts';
import { hole, prepared, type Statement, type Often } from '../sql/statement.ts';
import { bodyAs, headAs } from '../sql/tables.ts';
import { headersText, type CheckedMessage } from './message.ts';
import { shardOf } from './message-id.ts';

export type WrittenTable = 'tallystick_outbox' | 'tallystick_call';

/** Where a message goes, beside what it says. */
export interface Place {
  readonly table: WrittenTable;
  readonly channel: string;
  /** Of the database that it is for; undefined: not known. */
  readonly identity: string | undefined;
  /** The process's clock, which is the database's where it has none of its own. */
  readonly nowMs: number;
}

interface HeadValues {
  readonly id: string;
  readonly channel: string;
  readonly shard: number;
  readonly key: string | null;
  readonly topic: string;
  readonly tag: string | null;
  readonly mode: string;
  readonly bytes: number;
  readonly type: string;
  readonly module: string;
  readonly businessKey: string | null;
  readonly exchange: string | null;
  readonly exchangeType: string | null;
  readonly routingKey: string | null;
  readonly confirmWithin: number;
  readonly keepFor: number;
}

/** A head with its body and what decides about it as it is written. */
interface RowValues<Body> extends HeadValues {
  readonly notBefore: number;
  readonly delay: number;
  readonly headers: string | null;
  readonly body: Body;
  /** Of the database that it is for; null: not known. */
  readonly identity: string | null;
}

/** Of a message as one row, head and body: all members in one literal, because this is made for each message. */
function valuesOf<Body>(row: CheckedMessage, channel: string, body: Body, identity: string | null): RowValues<Body> {
  const { message } = row;
  return {
    id: message.id,
    channel,
    shard: shardOf(message.key, message.id),
    key: message.key ?? null,
    topic: message.topic,
    tag: message.tag ?? null,
    mode: row.mode,
    bytes: message.body.length,
    type: message.type ?? '',
    module: row.module,
    businessKey: row.businessKey ?? null,
    exchange: message.exchange ?? null,
    exchangeType: message.exchangeType ?? null,
    routingKey: message.routingKey ?? null,
    confirmWithin: row.confirmWithinMs,
    keepFor: row.keepMs,
    notBefore: row.notBefore,
    delay: row.delayMs,
    headers: headersText(message.headers),
    body,
    identity,
  };
}

/** Head and body of a message as two statements, in this order. */
export function writeApart(dialect: Dialect, row: CheckedMessage, { table, channel, nowMs }: Place): readonly Statement[] {
  const dueAt = row.delayMs > 0 ? nowMs + row.delayMs : row.notBefore;
  const delayed = dueAt > nowMs;
  const { head, body } = apart(dialect)[table];
  const values = valuesOf(row, channel, row.message.body, null);
  return [head({ state: delayed ? 'delayed' : 'waiting', due: delayed ? dueAt : 0, now: nowMs, ...values }), body(values)];
}

const apart = perDialect((dialect) => ({
  tallystick_outbox: apartIn(dialect, 'tallystick_outbox'),
  tallystick_call: apartIn(dialect, 'tallystick_call'),
}));

const apartIn = ({ build }: Dialect, table: WrittenTable) => ({
  head: prepared<keyof HeadValues | 'state' | 'due' | 'now'>(
    build.insertInto(headAs(table)).values({
      id: hole('id'),
      channel: hole('channel'),
      shard: hole('shard'),
      message_key: hole('key'),
      topic: hole('topic'),
      tag: hole('tag'),
      mode: hole('mode'),
      state: hole('state'),
      attempts: 0,
      tries: 0,
      due_at: hole('due'),
      created_at: hole('now'),
      changed_at: hole('now'),
      body_bytes: hole('bytes'),
      message_type: hole('type'),
      module: hole('module'),
      business_key: hole('businessKey'),
      exchange: hole('exchange'),
      exchange_type: hole('exchangeType'),
      routing_key: hole('routingKey'),
      confirm_within: hole('confirmWithin'),
      keep_for: hole('keepFor'),
    }),
  ),
  body: prepared<'id' | 'channel' | 'headers' | 'body'>(
    build
      .insertInto(bodyAs(table))
      .values({ id: hole('id'), channel: hole('channel'), headers: hole('headers'), body: hole('body') }),
  ),
});

/**
 * Heads and bodies in one statement (PostgreSQL); answers one row per message written. None are written unless the database's id is
 * `identity`, where that is known. One message goes as parameters; many as one JSON text, which every driver can send as it is, with
 * bodies in base64 (a third larger; a driver's array of bytes is hexadecimal, twice as large).
 */
export function writeTogether(dialect: Dialect, rows: readonly CheckedMessage[], { table, channel, identity }: Place): Statement {
  const { one, many } = together(dialect)[table];
  if (rows.length > 1) return many({ items: itemsText(rows, channel), identity: identity ?? null });
  const first = rows[0]!;
  return one(valuesOf(first, channel, first.message.body, identity ?? null));
}

function itemsText(rows: readonly CheckedMessage[], channel: string): string {
  return JSON.stringify(rows.map((row) => valuesOf(row, channel, base64(row.message.body), null)));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

const TEXTS = [
  'id',
  'channel',
  'key',
  'topic',
  'tag',
  'mode',
  'type',
  'module',
  'businessKey',
  'exchange',
  'exchangeType',
  'routingKey',
  'headers',
] as const;
const NUMBERS = ['shard', 'bytes', 'confirmWithin', 'keepFor', 'notBefore', 'delay'] as const;
const HEAD_COLUMNS = [
  'id',
  'channel',
  'shard',
  'message_key',
  'topic',
  'tag',
  'mode',
  'body_bytes',
  'message_type',
  'module',
  'business_key',
  'exchange',
  'exchange_type',
  'routing_key',
  'confirm_within',
  'keep_for',
  'state',
  'attempts',
  'tries',
  'due_at',
  'created_at',
  'changed_at',
] as const;

const together = perDialect((dialect) => ({
  tallystick_outbox: togetherIn(dialect, 'tallystick_outbox'),
  tallystick_call: togetherIn(dialect, 'tallystick_call'),
}));

function togetherIn({ build, now }: Dialect, table: WrittenTable) {
  /** Parameters say what they are: some drivers ask the server for a parameter's type and encode by it. */
  const text = (name: string): RawBuilder<string> => sql`cast(${hole(name)} as text)`;
  const number = (name: string): RawBuilder<number> => sql`cast(${hole(name)} as bigint)`;
  const here = sql`(${text('identity')} is null
    or exists (select from ${sql.table('tallystick_schema')} where database_id = ${text('identity')}))`;
  const clock = sql`(select ${now ?? sql.lit(0)} as ms) as clock`;
  /** The columns of a head, in their order, from a row whose members are told. */
  const head = (word: typeof text, amount: typeof number): RawBuilder<unknown> => {
    const [notBefore, delay] = [amount('notBefore'), amount('delay')];
    return sql.join([
      ...(['id', 'channel'] as const).map(word),
      amount('shard'),
      ...(['key', 'topic', 'tag', 'mode'] as const).map(word),
      amount('bytes'),
      ...(['type', 'module', 'businessKey', 'exchange', 'exchangeType', 'routingKey'] as const).map(word),
      ...(['confirmWithin', 'keepFor'] as const).map(amount),
      sql`case when ${delay} > 0 or ${notBefore} > ms then 'delayed' else 'waiting' end, 0, 0,
        case when ${delay} > 0 then ms + ${delay} when ${notBefore} > ms then ${notBefore} else 0 end, ms, ms`,
    ]);
  };
  const insertHeads = sql`insert into ${sql.table(table)} (${sql.join(HEAD_COLUMNS.map((name) => sql.id(name)))})`;
  const insertBodies = sql`insert into ${sql.table(bodyAs(table))} (id, channel, headers, body)`;
  const compiled = <Name extends string>(statement: RawBuilder<unknown>, often?: Often) =>
    prepared<Name>({ compile: () => statement.compile(build) }, often);
  const given = (name: string): RawBuilder<never> => sql`${sql.ref(`given.${name}`)}`;
  const fields = [
    ...TEXTS.map((name) => sql`item ->> ${sql.lit(name)} as ${sql.id(name)}`),
    ...NUMBERS.map((name) => sql`cast(item ->> ${sql.lit(name)} as bigint) as ${sql.id(name)}`),
    sql`decode(item ->> 'body', 'base64') as body, n`,
  ];
  return {
    one: compiled<(typeof TEXTS)[number] | (typeof NUMBERS)[number] | 'body' | 'identity'>(
      sql`
      with head as (${insertHeads} select ${head(text, number)} from ${clock} where ${here} returning id, channel),
      body as (${insertBodies} select id, channel, ${text('headers')}, cast(${hole('body')} as bytea) from head)
      select id from head`,
      'insert',
    ),
    many: compiled<'items' | 'identity'>(
      sql`
      with given as (select ${sql.join(fields)}
        from json_array_elements(cast(${text('items')} as json)) with ordinality as list(item, n)),
      head as (${insertHeads} select ${head(given, given)} from given, ${clock} where ${here} order by given.n returning id),
      body as (${insertBodies} select given.id, given.channel, given.headers, given.body from given join head on head.id = given.id)
      select id from head`,
    ),
  };
}

/** Whether one statement may write to several tables. */
export function canWriteTogether({ name }: Dialect): boolean {
  return name === 'postgres';
}
