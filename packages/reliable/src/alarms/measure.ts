/** The figures that alarms are raised on, each by statements that read a bounded number of rows along an index. */
import type { Dialect } from '../sql/dialect.ts';
import { run, type Steps } from '../sql/statement.ts';
import { asNumber } from '../sql/values.ts';
import { listedRow, type ListedRow } from '../monitor/listed-row.ts';
import { BLOCKED_AMONG, COUNT_MAX, OLDEST_AMONG, oldestUnsentMs } from '../monitor/monitor.ts';
import { monitorStatementsOf, type MonitorStatements } from '../monitor/monitor-statements.ts';
import type { AlarmExample } from './notice.ts';
import type { WatchedKind } from './rules.ts';

export interface Measured {
  readonly value: number;
  readonly examples: readonly AlarmExample[];
}

export const EXAMPLES_MAX = 5;

/** One figure. `consumers`: whose inboxes are looked at. */
export function* measure(
  dialect: Dialect,
  kind: WatchedKind,
  channel: string,
  consumers: readonly string[],
  nowMs: number,
): Steps<Measured> {
  const outbox = monitorStatementsOf(dialect)('tallystick_outbox');
  const inbox = monitorStatementsOf(dialect)('tallystick_inbox');
  const calls = monitorStatementsOf(dialect)('tallystick_call');
  switch (kind) {
    case 'oldest-unsent':
      return { value: yield* oldestUnsentMs(outbox, channel, nowMs), examples: [] };
    case 'dead':
      return yield* counted(outbox, channel, 'dead');
    case 'blocked-keys': {
      const { rows } = yield* run(outbox.blocking({ channel, state: 'dead', limit: BLOCKED_AMONG }));
      const byKey = new Map(rows.map(listedRow).map((row) => [row.key, row]));
      return { value: byKey.size, examples: examplesOf([...byKey.values()]) };
    }
    case 'unroutable': {
      const { rows } = yield* run(outbox.oldest({ channel, state: 'retrying', limit: OLDEST_AMONG }));
      const value = asNumber(rows[0]?.['unroutable']);
      const tried = value === 0 ? [] : yield* first(outbox, channel, 'retrying', BLOCKED_AMONG);
      return { value, examples: examplesOf(tried.filter(({ lastOutcome }) => lastOutcome === 'unroutable')) };
    }
    case 'unconfirmed': {
      const { rows } = yield* run(outbox.unconfirmed({ channel, limit: OLDEST_AMONG }));
      const since = rows[0]?.['since'];
      if (since === undefined || since === null) return { value: 0, examples: [] };
      const again = (yield* first(outbox, channel, 'sent', BLOCKED_AMONG)).filter(({ started }) => started > 1);
      return { value: Math.max(0, nowMs - asNumber(since)), examples: examplesOf(again) };
    }
    case 'oldest-call':
      return { value: yield* oldestUnsentMs(calls, channel, nowMs), examples: [] };
    case 'calls-dead':
      return yield* counted(calls, channel, 'dead');
    case 'inbox-dead':
      return yield* countedAll(inbox, consumers, 'dead');
    case 'inbox-retrying':
      return yield* countedAll(inbox, consumers, 'retrying');
    case 'inbox-oldest':
      return yield* oldestFailing(inbox, consumers, nowMs);
  }
}

function* countedAll(statements: MonitorStatements, channels: readonly string[], state: 'dead' | 'retrying'): Steps<Measured> {
  let value = 0;
  const examples: AlarmExample[] = [];
  for (const channel of channels) {
    const one = yield* counted(statements, channel, state);
    value += one.value;
    examples.push(...one.examples);
  }
  return { value, examples: examples.slice(0, EXAMPLES_MAX) };
}

/** How long the message has not been handled that fails longest, among the first to be tried again. */
function* oldestFailing(statements: MonitorStatements, channels: readonly string[], nowMs: number): Steps<Measured> {
  let oldest = nowMs;
  const failing: ListedRow[] = [];
  for (const channel of channels) {
    const { rows } = yield* run(statements.oldest({ channel, state: 'retrying', limit: OLDEST_AMONG }));
    const since = rows[0]?.['since'];
    if (since === undefined || since === null) continue;
    oldest = Math.min(oldest, asNumber(since));
    failing.push(...(yield* first(statements, channel, 'retrying', BLOCKED_AMONG)));
  }
  failing.sort((one, other) => one.createdAt - other.createdAt);
  return { value: nowMs - oldest, examples: examplesOf(failing) };
}

function* counted(statements: MonitorStatements, channel: string, state: 'dead' | 'retrying'): Steps<Measured> {
  const { rows } = yield* run(statements.count({ channel, state, limit: COUNT_MAX }));
  const value = asNumber(rows[0]?.['rows']);
  return { value, examples: value === 0 ? [] : examplesOf(yield* first(statements, channel, state, EXAMPLES_MAX)) };
}

function* first(
  statements: MonitorStatements,
  channel: string,
  state: 'dead' | 'retrying' | 'sent',
  limit: number,
): Steps<ListedRow[]> {
  const { rows } = yield* run(statements.page({ channel, state, due: 0, after: -1, limit }));
  return rows.map(listedRow);
}

function examplesOf(rows: readonly ListedRow[]): AlarmExample[] {
  return rows
    .slice(0, EXAMPLES_MAX)
    .map(({ id, topic, key, lastError }) => ({ id, topic, key, error: lastError?.slice(0, 200) ?? null }));
}
