/**
 * What a relay says to PostgreSQL alone: head and body read by one statement, a batch settled by one statement. Lists travel as one text
 * each (`{…}`, cast on the server), which every driver sends as it is; the text of a statement never varies, and none leaves anything in the
 * session that another needs, so they work behind a pooler that lends a connection per transaction.
 */
import { sql, type RawBuilder } from 'kysely';
import type { Dialect } from '../sql/dialect.ts';
import { hole, prepared, type Prepared, type Often } from '../sql/statement.ts';
import { bodyOf, type MessageTable } from '../sql/tables.ts';
import { claimedColumns, IN_ORDER, isHeld, nowOnce, OPEN_STATES, pageRows, type PageNames } from './relay-statements.ts';

export interface PostgresStatements {
  /** Heads, with their bodies as long as those have no more than `bytes` together. */
  readonly pageWithBodies: Prepared<PageNames | 'bytes'>;
  /** Heads, with each body of at most `share` bytes. */
  readonly pageWithSmallBodies: Prepared<PageNames | 'share'>;
  /** Heads and bodies of confirmed messages go; answers how many of the leases named still hold. Unless all do, nothing is changed. */
  readonly settle: Prepared<LeaseNames | 'ids'>;
  /** Rows get a new state, each its own, unless a person has decided meanwhile; the bodies of those that are `confirmed` go. Answers as `settle`, and
   * which were `written`. */
  readonly changed: Prepared<LeaseNames | 'sequences' | 'changes'>;
  readonly bodies: Prepared<'channel' | 'ids'>;
  /**
   * Of a window of due rows that all have `due_at` 0, those that no failed message holds, and in every row (at least one comes, then without a
   * head) how many were `looked` at and the number `reached`. `holding`: JSON, key → number of its earliest message that holds it.
   */
  readonly free: Prepared<FreeNames | 'holding'>;
  /** The same when those are too many to be told: each row's key is looked up. */
  readonly freeOfMany: Prepared<FreeNames>;
  /** Which transactions are open: `oldest_open` and `next`. */
  readonly snapshot: Prepared<never>;
}

/** `window`: rows that are looked at; `limit`: free ones that are given, at most. */
type FreeNames = PageNames | 'window';

/** `ranges`, `epochs`: the leases under which the rows were claimed; `leases`: how many they are. */
export type LeaseNames = 'channel' | 'scope' | 'owner' | 'ranges' | 'epochs' | 'leases';

export function postgresStatements(dialect: Dialect, table: MessageTable, deadKeys: 'hold' | 'pass'): PostgresStatements {
  const head = sql.table(table);
  const body = sql.table(bodyOf(table));
  const now = nowOnce(dialect);
  const compiled = <Name extends string>(text: RawBuilder<unknown>, often?: Often): Prepared<Name> =>
    prepared<Name>({ compile: () => text.compile(dialect.build) }, often);
  const list = (name: string, type: string): RawBuilder<unknown> => sql`cast(cast(${hole(name)} as text) as ${sql.raw(type)}[])`;
  /** A list whose length the planner does not see: it reckons with few. */
  const hidden = (name: string, type: string): RawBuilder<unknown> =>
    sql`cast((select cast(${hole(name)} as text)) as ${sql.raw(type)}[])`;
  const held = sql`held as materialized (
      select count(*) as leases from ${sql.table('tallystick_lease')} as l
      join unnest(${list('ranges', 'smallint')}, ${list('epochs', 'bigint')}) as f(first_shard, epoch)
        on l.first_shard = f.first_shard and l.epoch = f.epoch
      where l.scope = ${hole('scope')} and l.owner = ${hole('owner')})`;
  /** Decided once per statement, before any row is looked at. */
  const fence = sql`(select leases = cast(${hole('leases')} as bigint) from held)`;
  // A text first: a driver that is asked for JSON itself would make JSON of the text (postgres.js).
  const given = sql`given as materialized (select cast(cast(${hole('changes')} as text) as jsonb) as changes)`;
  /**
   * A value of the row's change, from one JSON object of all by `sequence`: no join, so none that compares each with each because the planner
   * takes the table for empty (2,000 rows: 1.5 s).
   */
  const of = (place: number): RawBuilder<unknown> =>
    sql`((select changes from given) -> cast(h.sequence as text) ->> ${sql.raw(String(place))})`;
  // Heads are fetched for those that are free, by primary key; what the planner believes about the table changes nothing.
  const freeRows = (free: RawBuilder<unknown>): RawBuilder<unknown> => sql`with seen as materialized (
      ${pageRows(dialect, table, sql`h.sequence, ${free} as free`)} order by h.due_at, h.sequence limit ${hole('window')})
    select r.looked, r.reached, ${claimedColumns('p')} from (select count(*) as looked, max(s.sequence) as reached from seen as s) as r
    left join ${head} as p on p.sequence = any(array(
      select s.sequence from seen as s where s.free order by s.sequence limit ${hole('limit')}))
    order by p.sequence`;
  // Bodies are looked up row by row, in the order of the heads, whatever the planner believes about the tables. What asks for its own process
  // (once) is not given to several, which would read and sort the whole table, where one reads along the index.
  const withBodies = (more: RawBuilder<unknown>, wanted: RawBuilder<unknown>): RawBuilder<unknown> => sql`select
      ${claimedColumns('p')}, b.headers, b.body from (
        ${pageRows(dialect, table, sql`${claimedColumns('h')}${more}`)} and pg_backend_pid() <> 0 ${IN_ORDER}) as p
      left join lateral (select c.headers, c.body from ${body} as c where c.id = p.id and c.channel = ${hole('channel')}
        and ${wanted} limit 1) as b on true
      order by p.due_at, p.sequence`;
  // A text first: a driver that is asked for JSON itself would make JSON of the text (postgres.js).
  const holder = sql`((select cast(cast(${hole('holding')} as text) as jsonb)) ->> h.message_key)`;
  return {
    free: compiled(freeRows(sql`coalesce(cast(${holder} as bigint) >= h.sequence, true)`), 'read'),
    freeOfMany: compiled(freeRows(sql`not ${isHeld(dialect, table, deadKeys)}`)),
    snapshot: compiled(
      sql`select txid_snapshot_xmin(s.now) as oldest_open, txid_snapshot_xmax(s.now) as next
        from (select txid_current_snapshot() as now) as s`,
      'read',
    ),
    // The sum stops the bodies, not the heads: a page always says how far it has looked.
    pageWithBodies: compiled(
      withBodies(
        sql`, sum(h.body_bytes) over (order by h.due_at, h.sequence rows unbounded preceding) as bytes`,
        sql`(p.bytes <= cast(${hole('bytes')} as bigint) or p.bytes = p.body_bytes)`,
      ),
      'read',
    ),
    pageWithSmallBodies: compiled(withBodies(sql``, sql`p.body_bytes <= cast(${hole('share')} as bigint)`), 'read'),
    // Until somebody analyses it again, the planner takes a table with a sudden backlog for almost empty. So a row is named by its id, its
    // body by the same, beside no condition that has an index of its own, and by a list of hidden length: else each batch walks all rows,
    // comparing each with the whole list. 60,000 rows: 4 s instead of 10 ms; 1 M rows: 34 s. Never by its number: a standby that was
    // promoted without the last commits gives their numbers again. An id is one message for ever, so one that was confirmed may go whenever it is there.
    settle: compiled(
      sql`with ${held},
        heads as (
          delete from ${head} as h where h.id = any(${hidden('ids', 'text')}) and coalesce(h.channel, '') = ${hole('channel')}
            and ${fence} returning h.id),
        bodies as (delete from ${body} where id = any(array(select id from heads)) and channel = ${hole('channel')})
        select leases from held`,
      'read',
    ),
    changed: compiled(
      sql`with ${held}, ${given},
        heads as (
          update ${head} as h set state = ${of(0)}, attempts = coalesce(cast(${of(1)} as integer), h.attempts),
            tries = coalesce(cast(${of(2)} as integer), h.tries),
            due_at = cast(${of(3)} as bigint) + ${now}, last_outcome = ${of(4)}, last_error = ${of(5)}, changed_at = ${now},
            started = h.started
              + case when ${of(0)} = 'sent' and h.started = coalesce(cast(${of(9)} as integer), h.started) then 1 else 0 end
          where h.sequence = any(${hidden('sequences', 'bigint')}) and coalesce(h.state, '') in ${OPEN_STATES}
            and h.state = coalesce(${of(8)}, h.state) and h.tries = coalesce(cast(${of(6)} as integer), h.tries) and coalesce(h.id, '') = ${of(7)} and ${fence}
          returning h.sequence, h.id, h.state),
        bodies as (delete from ${body} where id = any(array(select id from heads where state = 'confirmed'))
          and channel = ${hole('channel')})
        select leases, (select string_agg(cast(sequence as text), ',') from heads) as written from held`,
    ),
    bodies: compiled(
      sql`select id, headers, body from ${body} where channel = ${hole('channel')} and id = any(${hidden('ids', 'text')})`,
      'read',
    ),
  };
}

/** A list as PostgreSQL reads it from text. */
export function listText(values: readonly (string | number)[]): string {
  return `{${values.map(element).join(',')}}`;
}

function element(value: string | number): string | number {
  return typeof value === 'number' || PLAIN.test(value) ? value : `"${value.replaceAll(/["\\]/g, '\\$&')}"`;
}

/** Needs no quotes, and is not the word NULL. */
const PLAIN = /^(?!null$)[\w.:-]+$/i;
