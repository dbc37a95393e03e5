import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Horizon } from '../../src/relay/horizon.ts';

test('numbers are final when all that was open at a snapshot has ended, and they have been swept since', () => {
  const horizon = new Horizon();
  // Transaction 7 is open, and 10 will be the next to begin.
  expect(horizon.begin({ oldestOpen: 7, next: 10 }, 500)).toBe(-1);
  horizon.swept(-1);
  expect(horizon.begin({ oldestOpen: 9, next: 12 }, 600)).toBe(-1);
  const final = horizon.begin({ oldestOpen: 11, next: 14 }, 700);
  expect([final, horizon.floor]).toEqual([500, -1]);
  // That sweep was given up: the next makes as much final, or more.
  expect(horizon.begin({ oldestOpen: 12, next: 15 }, 800)).toBe(600);
  horizon.swept(600);
  expect(horizon.floor).toBe(600);
  horizon.swept(500);
  expect(horizon.floor).toBe(600);
  horizon.forget();
  expect([horizon.floor, horizon.begin({ oldestOpen: 20, next: 20 }, 900)]).toEqual([-1, -1]);
});

test('while one transaction stays open for long, no more than a handful of snapshots is kept, and all is final soon after its end', () => {
  const horizon = new Horizon();
  for (let n = 0; n < 10_000; n++) expect(horizon.begin({ oldestOpen: 5, next: 10 + n }, n)).toBe(-1);
  const final = horizon.begin({ oldestOpen: 20_000, next: 20_001 }, 30_000);
  expect(final).toBe(63);
  horizon.swept(final);
  expect(horizon.begin({ oldestOpen: 20_000, next: 20_002 }, 30_001)).toBe(63);
  expect(horizon.begin({ oldestOpen: 20_002, next: 20_003 }, 30_002)).toBe(30_001);
});

/** A server: transactions begin, take numbers, and show them when they commit. A sweeper looks above the floor only. */
test('whatever commits when, nothing ever appears at or below the floor', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          do: fc.oneof(
            { weight: 2, arbitrary: fc.constantFrom('begin', 'commit', 'arrive') },
            { weight: 3, arbitrary: fc.constantFrom('take', 'sweep') },
          ),
          which: fc.nat(2),
        }),
        { minLength: 20, maxLength: 80 },
      ),
      (steps) => {
        const horizon = new Horizon();
        const open = new Map<number, number[]>();
        let next = 100;
        let number = 0;
        let highestVisible = -1;
        let arriving: number | undefined;
        for (const { do: what, which } of steps) {
          const chosen = [...open.keys()][which % Math.max(1, open.size)];
          if (what === 'begin') open.set(next++, []);
          else if (what === 'take' && chosen !== undefined) open.get(chosen)!.push(number++);
          else if (what === 'commit' && chosen !== undefined) {
            for (const shown of open.get(chosen)!) {
              expect(shown).toBeGreaterThan(horizon.floor);
              if (arriving !== undefined) expect(shown).toBeGreaterThan(arriving);
              highestVisible = Math.max(highestVisible, shown);
            }
            open.delete(chosen);
          } else if (what === 'sweep' && arriving === undefined)
            arriving = horizon.begin({ oldestOpen: Math.min(next, ...open.keys()), next }, highestVisible);
          else if (what === 'arrive' && arriving !== undefined) {
            horizon.swept(arriving);
            arriving = undefined;
          }
        }
      },
    ),
    { numRuns: 2_000 },
  );
});
