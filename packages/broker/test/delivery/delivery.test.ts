import { ManualTime } from '@tallystick/base/testing';
import { describe, expect, it } from 'vitest';
import { PullHold, type HeldPull } from '../../src/delivery/pull-hold.ts';
import { planRetry } from '../../src/delivery/retry.ts';
import type { QueueRef } from '../../src/store/queue-ref.ts';

describe('held pulls', () => {
  function stage(max = 10) {
    const time = new ManualTime();
    const hold = new PullHold(time, max);
    const woken: string[] = [];
    const queue = (): QueueRef => ({ holder: undefined }) as QueueRef;
    const pull = (name: string, at: QueueRef, offset: number): HeldPull => ({ queue: at, offset, wake: () => woken.push(name) });
    return { time, hold, woken, queue, pull };
  }

  it('wake when their queue grows beyond their offset, and only then', () => {
    const { hold, woken, queue, pull } = stage();
    const [one, two] = [queue(), queue()];
    hold.hold(pull('a', one, 5), 1000);
    hold.hold(pull('b', one, 6), 1000);
    hold.hold(pull('c', two, 0), 1000);
    hold.arrived(one, 6);
    expect(woken).toEqual(['a']);
    expect(hold.size).toBe(2);
  });

  it('wake when their time is up, once', () => {
    const { time, hold, woken, queue, pull } = stage();
    const one = queue();
    hold.hold(pull('a', one, 0), 1000);
    time.advance(999);
    expect(woken).toEqual([]);
    time.advance(1);
    hold.arrived(one, 9);
    expect(woken).toEqual(['a']);
    expect(one.holder).toBeUndefined();
  });

  it('leave no timer behind when they wake or are dropped', () => {
    const { time, hold, queue, pull } = stage();
    const one = queue();
    const dropped = pull('a', one, 0);
    hold.hold(dropped, 1000);
    hold.hold(pull('b', one, 0), 1000);
    expect(hold.drop(dropped)).toBe(true);
    expect(hold.drop(dropped)).toBe(false);
    hold.arrived(one, 1);
    expect(time.timersWaiting).toBe(0);
  });

  it('are limited', () => {
    const { hold, queue, pull } = stage(1);
    expect(hold.hold(pull('a', queue(), 0), 10)).toBe(true);
    expect(hold.hold(pull('b', queue(), 0), 10)).toBe(false);
  });
});

describe('the plan for a message that was given back', () => {
  /** times before | level asked | retries allowed | plan */
  const rows = `
    0  | 0  | 16 | level 3
    1  | 0  | 16 | level 4
    15 | 0  | 16 | level 18
    16 | 0  | 16 | dead
    0  | 5  | 16 | level 5
    0  | -1 | 16 | dead
    3  | 0  | 3  | dead
    0  | 0  | 0  | dead
  `
    .trim()
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()) as [string, string, string, string]);

  it.each(rows)('sent back %s times, level %s asked, %s retries: %s', (times, level, max, expected) => {
    const plan = planRetry(Number(times), Number(level), Number(max));
    expect(plan.to === 'dead-letters' ? 'dead' : `level ${plan.level}`).toBe(expected);
  });
});
