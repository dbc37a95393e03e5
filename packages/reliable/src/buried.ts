/**
 * What a person has buried leaves in the end, head and body, the oldest first, a bounded number of rows at a time. A buried row is due for
 * forgetting by the time it was buried (in an inbox, by the time its message came again long after), so that the index of due rows finds
 * it. When that is, the owner of the table says.
 */
import type { Clock } from '@tallystick/base';
import { sql, type SqlBool } from 'kysely';
import { perDialect, type Dialect } from './sql/dialect.ts';
import { hole, prepared, run, type Steps } from './sql/statement.ts';
import { bodyAs, headAs, type MessageTable } from './sql/tables.ts';
import { asNumber } from './sql/values.ts';

export interface OldBuried {
  readonly table: MessageTable;
  /** Inbox: the consumer. */
  readonly channel: string;
  readonly olderThanMs: number;
  /**
   * Also those that older versions of this package buried. They are in no order of time: all of them are looked at, so a person may ask for
   * it, and nothing that goes by itself. They were promised to stay.
   */
  readonly evenUndated?: boolean | undefined;
  readonly rowsMax: number;
}

/** To be run in a transaction. Answers how many rows went; `rowsMax`: there may be more. Throws RangeError. */
export function* forgetBuried(dialect: Dialect, clock: Clock, old: OldBuried): Steps<number> {
  const { table, channel, olderThanMs, rowsMax } = old;
  const from = old.evenUndated === true ? 0 : 1;
  if (!Number.isSafeInteger(rowsMax) || rowsMax < 1) throw new RangeError(`forget at most ${rowsMax} rows`);
  const { now, oldest, bodies, heads } = buriedStatements(dialect)[table];
  const nowMs = now === undefined ? clock.now() : asNumber((yield* run(now({}))).rows[0]?.['now']);
  const before = nowMs - olderThanMs;
  const last = (yield* run(oldest({ channel, before, from, limit: rowsMax }))).rows.at(-1);
  if (last === undefined) return 0;
  const upTo = { channel, before, from, dueAt: asNumber(last['due_at']), sequence: asNumber(last['sequence']) };
  yield bodies(upTo);
  return (yield* run(heads(upTo))).changes;
}

export const buriedStatements = perDialect((dialect) => ({
  tallystick_outbox: statementsOf(dialect, 'tallystick_outbox'),
  tallystick_inbox: statementsOf(dialect, 'tallystick_inbox'),
  tallystick_call: statementsOf(dialect, 'tallystick_call'),
}));

type UpTo = 'channel' | 'before' | 'from' | 'dueAt' | 'sequence';

function statementsOf(dialect: Dialect, table: MessageTable) {
  const { build } = dialect;
  // `changed_at`: older versions of this package wrote 0 as the due time of what was buried.
  const old = sql<SqlBool>`channel = ${hole('channel')} and state = 'buried' and due_at >= ${hole('from')}
    and due_at < ${hole('before')} and changed_at < ${hole('before')}`;
  const upTo = sql<SqlBool>`due_at <= ${hole('dueAt')} and (due_at, sequence) <= (${hole('dueAt')}, ${hole('sequence')})`;
  const rows = build.selectFrom(headAs(table)).where(old);
  const inOrder = rows.select(['due_at', 'sequence']).orderBy('due_at').orderBy('sequence');
  const ids = rows.where(upTo).select('id');
  const held = dialect.name === 'sqlite' ? inOrder : inOrder.forUpdate();
  return {
    now: dialect.now === undefined ? undefined : prepared<never>(build.selectNoFrom(dialect.now.as('now'))),
    // Statements of their own instead of a delete with a limit, which two of three databases do not have.
    // Held until they are gone: a person who takes one back meanwhile waits, and then finds that it is gone, head and body.
    oldest: prepared<'channel' | 'before' | 'from' | 'limit'>(held.limit(hole<number>('limit'))),
    bodies: prepared<UpTo>(
      build
        .deleteFrom(bodyAs(table))
        .where('channel', '=', hole<string>('channel'))
        // PostgreSQL makes it a list first: as a join it compares each with each when it takes the tables for empty.
        .where(dialect.name === 'postgres' ? sql<SqlBool>`id = any(array${ids})` : sql<SqlBool>`id in ${ids}`),
    ),
    heads: prepared<UpTo>(build.deleteFrom(headAs(table)).where(old).where(upTo)),
  };
}
