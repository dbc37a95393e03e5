/**
 * A short simulation in every test run. How much of the store and of the transactions it reaches:
 *
 *     npx vitest run test/sim/schedule.test.ts --coverage --coverage.include='packages/broker/src/{store,transaction}/**'
 */
import { describe, expect, it } from 'vitest';
import { withoutTheRealWorld } from './forbid.ts';
import { runSchedule } from './schedule.ts';

/** One sentence per broken seed, with the command that repeats it. */
function failuresOf(firstSeed: number, count: number): string[] {
  const failures: string[] = [];
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    for (const { invariant, detail } of runSchedule(seed).violations)
      failures.push(`${invariant}: ${detail} (repeat: npm run sim -- --seed ${seed})`);
  }
  return failures;
}

describe('simulated schedules', () => {
  it('break no rule over 100 seeds of crashes, cuts and torn writes', () => {
    expect(failuresOf(1, 100)).toEqual([]);
  });

  it('do the same for the same seed', () => {
    for (const seed of [3, 14, 159]) expect(runSchedule(seed).traceHash).toBe(runSchedule(seed).traceHash);
  });

  it('differ between seeds', () => {
    expect(runSchedule(3).traceHash).not.toBe(runSchedule(4).traceHash);
  });

  it('let no code reach the real clock, chance or event loop', () => {
    expect(() => withoutTheRealWorld(() => Date.now())).toThrow('Date.now called inside a simulated schedule');
    expect(() => withoutTheRealWorld(() => setTimeout(() => {}, 1))).toThrow('setTimeout called inside');
    expect(Date.now()).toBeGreaterThan(0);
  });
});
