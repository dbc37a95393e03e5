/** What a person has buried leaves in the end, head and body, the oldest first, a bounded number of rows at a time. */
import type { Clock } from '@tallystick/base';
import type { Dialect } from '../sql/dialect.ts';
import { run, type Steps } from '../sql/statement.ts';
import type { MessageTable } from '../sql/tables.ts';
import { asNumber } from '../sql/values.ts';
import { monitorStatementsOf } from './monitor-statements.ts';
import { withTime } from './with-time.ts';

export interface OldBuried {
  readonly table: MessageTable;
  /** Inbox: the consumer. */
  readonly channel: string;
  readonly olderThanMs: number;
  readonly rowsMax: number;
}

/** To be run in a transaction. Answers how many rows went; `rowsMax`: there may be more. Throws RangeError. */
export function forgetBuried(dialect: Dialect, clock: Clock, { table, channel, olderThanMs, rowsMax }: OldBuried): Steps<number> {
  if (!Number.isSafeInteger(rowsMax) || rowsMax < 1) throw new RangeError(`forget at most ${rowsMax} rows`);
  return withTime(monitorStatementsOf(dialect)(table), clock, function* (statements, nowMs): Steps<number> {
    const before = nowMs - olderThanMs;
    const last = (yield* run(statements.oldestBuried({ channel, before, limit: rowsMax }))).rows.at(-1);
    if (last === undefined) return 0;
    const old = { channel, before, dueAt: asNumber(last['due_at']), sequence: asNumber(last['sequence']) };
    yield statements.forgetBuriedBodies(old);
    return (yield* run(statements.forgetBuried(old))).changes;
  });
}
