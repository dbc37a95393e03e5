import { describe, expect, it } from 'vitest';
import { ManualTime, seededRandom } from '../src/testing/manual-time.ts';

describe('manual time', () => {
  it('fires timers in order of time, each at its own time, with turns between', () => {
    const time = new ManualTime(1000);
    const log: string[] = [];
    const note = (text: string) => () => log.push(`${time.now()} ${text}`);
    time.after(20, note('late'));
    time.after(5, () => {
      note('early')();
      time.atEnd(note('turn'));
      time.after(5, note('from early'));
    });
    time.cancel(time.after(7, note('cancelled')));
    time.advance(15);
    expect(log).toEqual(['1005 early', '1005 turn', '1010 from early']);
    time.advance(5);
    expect(log.at(-1)).toBe('1020 late');
    expect(time.timersWaiting).toBe(0);
  });

  it('gives up when two parts keep waking each other', () => {
    const time = new ManualTime();
    const again = (): void => time.atEnd(again);
    again();
    expect(() => time.settle(50)).toThrow('not settled after 50 turns');
  });

  it('repeats its random numbers for a seed', () => {
    const [a, b] = [seededRandom(7), seededRandom(7)];
    expect([a.u32(), a.u32(), a.u32()]).toEqual([b.u32(), b.u32(), b.u32()]);
  });
});
