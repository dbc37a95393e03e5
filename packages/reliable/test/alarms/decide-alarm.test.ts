import { describe, expect, it } from 'vitest';
import { decideAlarm } from '../../src/alarms/decide-alarm.ts';

const NOW = 100_000;
const SILENCE = 10_000;

/** too much | raised at | quiet until | silenced until → told | raised at afterwards | quiet until afterwards */
const table = `
  yes | 0     | 0      | 0      → raised   | 100000 | 110000
  yes | 0     | 0      | 99999  → raised   | 100000 | 110000
  yes | 0     | 0      | 100001 → -        | 0      | 0
  yes | 50000 | 100001 | 0      → -        | 50000  | 100001
  yes | 50000 | 100000 | 0      → repeated | 50000  | 110000
  yes | 50000 | 90000  | 100001 → -        | 50000  | 90000
  no  | 0     | 0      | 0      → -        | 0      | 0
  no  | 50000 | 100001 | 0      → cleared  | 0      | 0
  no  | 50000 | 0      | 100001 → cleared  | 0      | 0
  no  | 0     | 0      | 100001 → -        | 0      | 0
`;

describe('whether a person is told', () => {
  it.each(
    table
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s*[|→]\s*/)),
  )(
    'too much: %s, raised at %s, quiet until %s, silenced until %s: %s',
    (tooMuch, raisedAt, quietUntil, silencedUntil, told, raisedAfter, quietAfter) => {
      const memory = { raisedAt: Number(raisedAt), quietUntil: Number(quietUntil) };
      expect(decideAlarm(tooMuch === 'yes', memory, Number(silencedUntil), SILENCE, NOW)).toEqual({
        tell: told === '-' ? undefined : told,
        memory: { raisedAt: Number(raisedAfter), quietUntil: Number(quietAfter) },
      });
    },
  );
});
