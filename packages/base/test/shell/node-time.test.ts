import { describe, expect, it } from 'vitest';
import { systemTimers } from '../../src/shell/node-time.ts';

describe('real timers', () => {
  it('wait for ever when they are asked to, instead of not at all', async () => {
    const timers = systemTimers();
    const fired: number[] = [];
    const waiting = [Infinity, 2 ** 31, Number.MAX_SAFE_INTEGER].map((ms) => timers.after(ms, () => fired.push(ms)));
    await new Promise<void>((resolve) => void timers.after(20, resolve));
    for (const timer of waiting) timers.cancel(timer);
    expect(fired).toEqual([]);
  });
});
