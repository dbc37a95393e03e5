import { sql, type RawBuilder } from 'kysely';
import { RANGE_SHARDS } from './leases.ts';
import type { Dialect } from '../sql/dialect.ts';
import { hole, prepared, preparedList, type Prepared, type SqlValue, type Statement, type Often } from '../sql/statement.ts';
import { bodyOf, headWith, type MessageTable, type RowState } from '../sql/tables.ts';

/**
 * Every statement of a relay, built in one place. All that change or claim rows carry the fence: the lease rows of the ranges must still
 * name this owner and these epochs, so a relay that was paused and replaced changes nothing.
 *
 * What holds on every database stands here; what PostgreSQL does in one statement is in `postgres-statements.ts`.
 */
export interface RelayStatements {
  /** One page of due rows of a state, in the order (due_at, sequence), after a position. Heads only. */
  readonly page: Prepared<PageNames>;
  /** The same, and of each row whether an earlier failed message holds its key: for when those are too many to be read first. */
  readonly pageOfMany: Prepared<PageNames>;
  /** Messages that hold their keys up, at most `limit`. */
  readonly holding: Prepared<'channel' | 'limit'>;
  readonly bodies: (values: Readonly<Record<'channel', SqlValue>>, ids: readonly string[]) => Statement;
  readonly deleteHeads: (values: Fenced, ids: readonly string[]) => Statement;
  readonly deleteBodies: (values: Fenced, ids: readonly string[]) => Statement;
  /** What the row must be yet, or null: its tries (`before`) and its state (`from`). `counted`: its `started` beyond which this is not counted again. */
  readonly changed: Prepared<FencedNames | 'id' | Found | 'state' | 'attempts' | 'tries' | 'wait' | 'outcome' | 'reason' | 'now'>;
  readonly dead: Prepared<'channel' | 'id'>;
  readonly fenceHolds: Prepared<FencedNames>;
  /** Settled rows that were kept for those who ask for their status, and are kept no longer: at most `limit`. */
  readonly forgetBodies: Prepared<ForgetNames>;
  readonly forgetHeads: Prepared<ForgetNames>;
}

export type PageNames =
  'channel' | 'state' | 'scope' | 'owner' | 'held' | 'epochs' | 'now' | 'afterDue' | 'afterSequence' | 'limit';
export type FencedNames = 'channel' | 'scope' | 'range' | 'owner' | 'epoch';
type Found = 'before' | 'from' | 'counted';
type Fenced = Readonly<Record<FencedNames, SqlValue>>;
type ForgetNames = 'channel' | 'now' | 'limit';

/** What a claim reads of a head, in this order. */
export const CLAIMED_COLUMNS = [
  'sequence',
  'id',
  'shard',
  'message_key',
  'topic',
  'tag',
  'attempts',
  'tries',
  'due_at',
  'body_bytes',
  'created_at',
  'message_type',
  'exchange',
  'exchange_type',
  'routing_key',
  'confirm_within',
  'keep_for',
  'started',
] as const;

/** States in which a relay may still change a row: what a person or a consumer's confirmation has decided meanwhile stays decided. */
export const OPEN_STATES = sql.raw("('waiting', 'delayed', 'retrying', 'sent')");

/** Whether a row holds its key up. One that the broker has, and only its consumer never confirmed, holds nobody: as before, as `sent`. */
function holds(of: string, deadKeys: 'hold' | 'pass'): RawBuilder<unknown> {
  if (deadKeys === 'pass') return sql.raw(`${of}.state = 'retrying'`);
  return sql.raw(
    `${of}.state in ('retrying', 'dead') and (${of}.state = 'retrying' or coalesce(${of}.last_outcome, '') <> 'unconfirmed')`,
  );
}

/** Whether an earlier failed message holds the row's key. */
export function isHeld(dialect: Dialect, table: MessageTable, deadKeys: 'hold' | 'pass'): RawBuilder<unknown> {
  if (dialect.name !== 'postgres')
    return sql`exists (select 1 from ${sql.table(table)} as e where e.message_key = h.message_key and e.channel = h.channel
      and ${holds('e', deadKeys)} and e.sequence < h.sequence)`;
  const among = (state: RowState): RawBuilder<unknown> => earlierOfKey(dialect, table, state, holds('e', deadKeys));
  return deadKeys === 'pass' ? among('retrying') : sql`(${among('retrying')} or ${among('dead')})`;
}

/**
 * Whether there is an earlier message of the key of row `h` in a state; `also`: what else has to be true of it. On PostgreSQL the first by places
 * in the order of the one index that has them: what the planner believes about the table cannot lead it to another, nor to the table itself.
 */
export function earlierOfKey(
  dialect: Dialect,
  table: MessageTable,
  state: RowState,
  also: RawBuilder<unknown> = sql`1 = 1`,
): RawBuilder<unknown> {
  const head = sql.table(table);
  if (dialect.name !== 'postgres')
    return sql`exists (select 1 from ${head} as e where e.message_key = h.message_key and e.channel = h.channel
      and e.state = ${sql.lit(state)} and e.sequence < h.sequence and ${also})`;
  const place = sql.raw('(e.message_key, e.channel, e.state, e.sequence)');
  return sql`(select e.sequence from ${head} as e where ${place} >= (h.message_key, h.channel, ${sql.lit(state)}, 0)
    and ${place} < (h.message_key, h.channel, ${sql.lit(state)}, h.sequence) and ${also}
    order by e.message_key, e.channel, e.state, e.sequence limit 1) is not null`;
}

/** The present by the clock that decides, read once per statement: a volatile function would be asked for each row, and no index could use it. */
export function nowOnce(dialect: Dialect): RawBuilder<number> {
  return dialect.now === undefined ? sql`${hole<number>('now')}` : sql`(select ${dialect.now})`;
}

export function claimedColumns(of: string): RawBuilder<unknown> {
  return sql.join(CLAIMED_COLUMNS.map((column) => sql.ref(`${of}.${column}`)));
}

/** The rows of a page, without their order and limit. */
export function pageRows(dialect: Dialect, head: string, columns = claimedColumns('h')): RawBuilder<unknown> {
  const now = nowOnce(dialect);
  return sql`select ${columns} from ${sql.table(head)} as h
    where h.channel = ${hole('channel')} and h.state = ${hole('state')} and h.due_at <= ${now}
      and (h.due_at, h.sequence) > (${hole('afterDue')}, ${hole('afterSequence')})
      and (select count(*) = ${hole('held')} and coalesce(sum(l.epoch), 0) = ${hole('epochs')} from ${sql.table('tallystick_lease')} as l
           where l.scope = ${hole('scope')} and l.owner = ${hole('owner')} and l.expires_at > ${now})`;
}

/** Order and limit of a page: the order of the index `…_due`, so nothing is sorted and nothing read that is not returned. */
export const IN_ORDER = sql`order by h.due_at, h.sequence limit ${hole('limit')}`;

export function relayStatements(dialect: Dialect, table: MessageTable, deadKeys: 'hold' | 'pass'): RelayStatements {
  const { build } = dialect;
  const now = nowOnce(dialect);
  const head = sql.table(table);
  const body = sql.table(bodyOf(table));
  const lease = sql.table('tallystick_lease');
  const held = sql`${claimedColumns('h')}, ${isHeld(dialect, table, deadKeys)} as held`;
  /** The range's lease still names this owner and this epoch. */
  const fence = sql`select l.epoch from ${lease} as l where l.scope = ${hole('scope')} and l.first_shard = ${hole('range')}
    and l.owner = ${hole('owner')} and l.epoch = ${hole('epoch')}`;
  const list = (ids: readonly string[]): RawBuilder<unknown> => sql.join(ids.map((id) => sql`${id}`));
  const compiled = <Name extends string>(text: RawBuilder<unknown>, often?: Often): Prepared<Name> =>
    prepared<Name>({ compile: () => text.compile(build) }, often);
  const compiledList = <Name extends string>(text: (ids: readonly string[]) => RawBuilder<unknown>) =>
    preparedList<Name>((ids) => ({ compile: () => text(ids).compile(build) }));
  const old = sql`select f.sequence from ${head} as f where f.channel = ${hole('channel')} and f.state = 'confirmed'
    and f.due_at <= ${now} order by f.due_at, f.sequence limit ${hole('limit')}`;
  // PostgreSQL makes it a list first and looks each up: as a join it compares each with each when it takes the table for empty (200,000 rows:
  // 34 minutes).
  const among = (rows: RawBuilder<unknown>): RawBuilder<unknown> =>
    dialect.name === 'postgres' ? sql`= any(array(${rows}))` : sql`in (${rows})`;
  return {
    page: compiled(sql`${pageRows(dialect, table)} ${IN_ORDER}`, 'read'),
    pageOfMany: compiled(sql`${pageRows(dialect, table, held)} ${IN_ORDER}`),
    holding: compiled(
      sql`select f.message_key, f.sequence from ${head} as f where f.channel = ${hole('channel')} and ${holds('f', deadKeys)}
        limit ${hole('limit')}`,
    ),
    bodies: compiledList(
      (ids) => sql`select id, headers, body from ${body} where channel = ${hole('channel')} and id in (${list(ids)})`,
    ),
    deleteHeads: compiledList(
      (ids) => sql`delete from ${head} where channel = ${hole('channel')} and id in (${list(ids)}) and exists (${fence})`,
    ),
    // A body goes only when its head is gone: a fenced or failed delete of heads leaves both.
    deleteBodies: compiledList(
      (ids) => sql`delete from ${body} where channel = ${hole('channel')} and id in (${list(ids)}) and exists (${fence})
        and not exists (select 1 from ${head} as h where h.id = ${body}.id and h.channel = ${body}.channel
          and h.state <> 'confirmed')`,
    ),
    changed: compiled(
      sql`update ${head} set state = ${hole('state')}, attempts = coalesce(${hole('attempts')}, attempts),
        tries = coalesce(${hole('tries')}, tries),
        due_at = ${hole('wait')} + ${now}, last_outcome = ${hole('outcome')}, last_error = ${hole('reason')}, changed_at = ${now},
        started = started + case when ${hole('state')} = 'sent' and started = coalesce(${hole('counted')}, started) then 1 else 0 end
        where channel = ${hole('channel')} and id = ${hole('id')} and state in ${OPEN_STATES}
          and state = coalesce(${hole('from')}, state) and tries = coalesce(${hole('before')}, tries) and exists (${fence})`,
    ),
    dead: compiled(sql`select id from ${head} where ${headWith('id', 'channel', ['dead'])}`),
    fenceHolds: compiled(fence),
    forgetBodies: compiled(
      sql`delete from ${body} where channel = ${hole('channel')}
        and id ${among(sql`select g.id from ${head} as g where g.sequence ${among(sql`select o.sequence from (${old}) as o`)}`)}`,
    ),
    forgetHeads: compiled(sql`delete from ${head} where sequence ${among(sql`select o.sequence from (${old}) as o`)}`),
  };
}

/** First shard of the range a shard belongs to. */
export function rangeOf(shard: number): number {
  return shard - (shard % RANGE_SHARDS);
}
