/**
 * Below a low-water mark rows are out of sight, and a transaction that commits late puts its rows there. If a key goes on above the mark, its
 * earlier message must not be overtaken: so before a batch takes off, its keys are looked up below the mark. A row that could be overtaken is
 * visible by then, because whoever keeps the order of a key commits the earlier message before the later one.
 */
import { sql } from 'kysely';
import type { Dialect } from '../sql/dialect.ts';
import { hole, pieces, prepared, preparedList, run, type SqlValue, type Statement, type Steps } from '../sql/statement.ts';
import type { MessageTable } from '../sql/tables.ts';
import { asNumber, asText } from '../sql/values.ts';
import type { ClaimedRow } from './batch.ts';
import { listText } from './postgres-statements.ts';

export type EarliestOfKeys = (values: Readonly<Record<'channel' | 'upTo', SqlValue>>, keys: readonly string[]) => Statement;

/** The earliest fresh message of each of these keys, up to a number; only of keys that have one. */
export function earliestOfKeys(dialect: Dialect, table: MessageTable): EarliestOfKeys {
  const { build } = dialect;
  if (dialect.name === 'postgres') return earliestOnPostgres(dialect, table);
  return preparedList<'channel' | 'upTo'>((keys) => ({
    compile: () =>
      sql`select message_key, min(sequence) as sequence from ${sql.table(table)} where message_key in (${sql.join(keys)})
        and channel = ${hole('channel')} and state = 'waiting' and sequence <= ${hole('upTo')} group by message_key`.compile(
        build,
      ),
  }));
}

/**
 * Key by key, in the order of the one index that has it: what the planner believes about the table cannot lead it to another. The keys are one
 * text, so that neither their number nor what they are is seen.
 */
function earliestOnPostgres({ build }: Dialect, table: MessageTable): EarliestOfKeys {
  const place = sql.raw('(h.message_key, h.channel, h.state, h.sequence)');
  const compiled = prepared<'channel' | 'upTo' | 'keys'>({
    compile: () =>
      sql`select k.key as message_key, f.sequence
        from unnest(cast((select cast(${hole('keys')} as text)) as text[])) as k(key)
        cross join lateral (
          select h.sequence from ${sql.table(table)} as h
          where ${place} >= (k.key, ${hole('channel')}, 'waiting', 0) and ${place} <= (k.key, ${hole('channel')}, 'waiting', ${hole('upTo')})
          order by h.message_key, h.channel, h.state, h.sequence limit 1) as f`.compile(build),
  });
  return (values, keys) => compiled({ keys: listText(keys), ...values });
}

/** Keys of the batch that have an earlier message, not in the batch, at or below `upTo`; with its number. */
export function* overtaken(
  earliest: EarliestOfKeys,
  channel: string,
  rows: readonly ClaimedRow[],
  upTo: number,
): Steps<ReadonlyMap<string, number>> {
  const first = new Map<string, number>();
  for (const { key, sequence, state } of rows)
    if (key !== null && state === 'waiting' && sequence < (first.get(key) ?? Number.POSITIVE_INFINITY)) first.set(key, sequence);
  const found = new Map<string, number>();
  for (const keys of pieces([...first.keys()])) {
    const { rows: seen } = yield* run(earliest({ channel, upTo }, keys));
    for (const row of seen) {
      const key = asText(row['message_key']);
      const sequence = asNumber(row['sequence']);
      if (sequence < (first.get(key) ?? 0)) found.set(key, sequence);
    }
  }
  return found;
}
