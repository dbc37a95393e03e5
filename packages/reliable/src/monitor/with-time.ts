import type { Clock } from '@tallystick/base';
import { run, type Steps } from '../sql/statement.ts';
import { asNumber } from '../sql/values.ts';
import type { MonitorStatements } from './monitor-statements.ts';

/** The database's time where it has one: rows are dated by it. */
export function* withTime<T>(
  statements: MonitorStatements,
  clock: Clock,
  steps: (statements: MonitorStatements, nowMs: number) => Steps<T>,
): Steps<T> {
  const nowMs = statements.now === undefined ? clock.now() : asNumber((yield* run(statements.now({}))).rows[0]?.['now']);
  return yield* steps(statements, nowMs);
}
