import { expect, it } from 'vitest';
import { Checks, type Check } from './checks.ts';

const NONE = { count: 0, p99Ms: 0, maxMs: 0 };
const QUICK = { count: 1000, p99Ms: 4, maxMs: 60 };
const LATE = { count: 1, p99Ms: 51, maxMs: 51 };

function check(spans: readonly (typeof NONE)[], countMin: number): Check {
  const checks = new Checks();
  checks.allWithin(spans, 50, countMin, 'refusals are quick', true);
  return checks.list[0]!;
}

it('refusals that never came are no quick ones where some must come, on any machine', () => {
  expect(check([NONE, NONE], 1000)).toMatchObject({ holds: false, isTimed: false, seen: '0 came, at least 1000 have to' });
  expect(check([{ ...QUICK, count: 999 }, NONE], 1000)).toMatchObject({ holds: false, isTimed: false });
});

it('where none must come the report says that none came', () => {
  expect(check([NONE, NONE], 0)).toMatchObject({ holds: true, seen: 'none' });
});

it('one kind that is late fails all, by the clock', () => {
  expect(check([QUICK, NONE], 1000)).toMatchObject({ holds: true, isTimed: true, isFirm: true });
  expect(check([QUICK, LATE], 1000)).toMatchObject({ holds: false, isTimed: true, isFirm: true });
});
