import { describe, expect, test } from 'vitest';
import { closedLoop } from './measure.ts';

describe('a closed loop', () => {
  test('counts what was completed in its window, by the length of the window', async () => {
    const { perSecond, completed } = await closedLoop({ inFlight: 4, warmUpMs: 0, windowMs: 50 }, (_, done) =>
      setImmediate(done),
    );
    expect(completed).toBeGreaterThan(0);
    expect(perSecond).toBe(Math.round(completed * 20));
  });

  test('refuses to give a rate of nothing', async () => {
    const slow = closedLoop({ inFlight: 1, warmUpMs: 0, windowMs: 1 }, (_, done) => setTimeout(done, 30));
    await expect(slow).rejects.toThrow('nothing was completed in 1 ms');
  });

  test('tells the first failure', async () => {
    const failing = closedLoop({ inFlight: 2, warmUpMs: 0, windowMs: 1000 }, (n, done) =>
      setImmediate(() => done(n === 3 ? new Error('the fourth') : undefined)),
    );
    await expect(failing).rejects.toThrow('the fourth');
  });
});
