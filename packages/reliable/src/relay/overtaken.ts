/**
 * Below a low-water mark rows are out of sight, and a transaction that commits late puts its rows there. If a key goes on above the mark, its
 * earlier message must not be overtaken: so before a batch takes off, its keys are looked up below the mark. A row that could be overtaken is
 * visible by then, because whoever keeps the order of a key commits the earlier message before the later one.
 */
import { sql } from 'kysely';
import type { Dialect } from '../sql/dialect.ts';
import { hole, pieces, preparedAmong, run, type SqlValue, type Statement, type Steps } from '../sql/statement.ts';
import type { MessageTable } from '../sql/tables.ts';
import { asNumber, asText } from '../sql/values.ts';
import type { ClaimedRow } from './batch.ts';

export type EarliestOfKeys = (values: Readonly<Record<'channel' | 'upTo', SqlValue>>, keys: readonly string[]) => Statement;

/** The earliest fresh message of each of these keys, up to a number; only of keys that have one. */
export function earliestOfKeys(dialect: Dialect, table: MessageTable): EarliestOfKeys {
  const { build } = dialect;
  return preparedAmong<'channel' | 'upTo'>(dialect, (among) => ({
    compile: () =>
      sql`select message_key, min(sequence) as sequence from ${sql.table(table)} where ${among('message_key')}
        and channel = ${hole('channel')} and state = 'waiting' and sequence <= ${hole('upTo')} group by message_key`.compile(
        build,
      ),
  }));
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
