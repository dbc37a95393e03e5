import { expect, it } from 'vitest';
import { Checks, toldLines, type Check } from './checks.ts';

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

it('where none must come and none came, the report does not say ok: nothing was judged', () => {
  const empty = check([NONE, NONE], 0);
  expect(empty).toMatchObject({ holds: true, isEmpty: true, seen: 'none came, nothing was judged' });
  const lines = toldLines({ name: 'calm', checks: [empty], figures: {} }, () => true);
  expect(lines).toEqual([
    'calm: holds, as far as there was anything to judge (1 not)',
    '  --   refusals are quick: none came, nothing was judged',
  ]);
});

it('what was judged is told as ok or as failed', () => {
  const checks = [check([QUICK], 0), check([LATE], 0)];
  const lines = toldLines({ name: 'loaded', checks, figures: {} }, ({ isTimed }) => !isTimed);
  expect(lines.map((line) => line.slice(0, 6))).toEqual(['loaded', '  ok  ', '  FAIL']);
  expect(lines[0]).toBe('loaded: too slow here');
});

it('a sentence about each of none is empty, about each of some it is not', () => {
  const checks = new Checks();
  checks.ofEach(0, true, 'every commit can be read', '0 of 0');
  checks.ofEach(2, false, 'every commit can be read', '1 of 2');
  expect(checks.list).toMatchObject([
    { holds: true, isEmpty: true },
    { holds: false, isEmpty: false, seen: '1 of 2' },
  ]);
});

it('one kind that is late fails all, by the clock', () => {
  expect(check([QUICK, NONE], 1000)).toMatchObject({ holds: true, isTimed: true, isFirm: true });
  expect(check([QUICK, LATE], 1000)).toMatchObject({ holds: false, isTimed: true, isFirm: true });
});
