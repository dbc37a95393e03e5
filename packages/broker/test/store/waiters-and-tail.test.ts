import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Segment } from '../../src/store/segment.ts';
import { Tail } from '../../src/store/tail.ts';
import { Waiters } from '../../src/store/waiters.ts';

describe('waiting appends', () => {
  it('are told once, in order, as a list would tell them, however many wait', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ add: fc.integer({ min: 1, max: 900 }) }) },
      { weight: 2, arbitrary: fc.record({ release: fc.integer({ min: 0, max: 900 }) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const waiters = new Waiters();
        const told: number[] = [];
        const expected: number[] = [];
        const list: { token: number; end: number }[] = [];
        const sink = {
          appended: (token: number, outcome: string, position: number, queueOffset: number) =>
            void told.push(outcome === 'ok' && position === token * 2 && queueOffset === token * 3 ? token : -1),
        };
        let next = 0;
        for (const one of steps) {
          if ('add' in one) {
            for (let n = 0; n < one.add; n++, next++) {
              waiters.add(sink, next, next * 10, next * 2, next * 3, next);
              list.push({ token: next, end: next * 10 });
            }
          } else {
            const end = (list[0]?.end ?? 0) + one.release * 10 - 5;
            while (list.length > 0 && list[0]!.end <= end) expected.push(list.shift()!.token);
            waiters.releaseTo(end, 'ok');
          }
          expect(waiters.count).toBe(list.length);
          expect(waiters.firstEnd).toBe(list[0]?.end ?? Number.POSITIVE_INFINITY);
        }
        expect(told).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('may be followed by new ones out of the very call that tells them', () => {
    const waiters = new Waiters();
    const told: number[] = [];
    const sink = {
      appended(token: number): void {
        told.push(token);
        if (token < 3000) waiters.add(sink, token + 2000, 100 + token, 0, 0, 0);
      },
    };
    for (let token = 0; token < 2000; token++) waiters.add(sink, token, 10, 0, 0, 0);
    waiters.releaseTo(99, 'ok');
    expect(told).toHaveLength(2000);
    waiters.releaseTo(Number.POSITIVE_INFINITY, 'failed');
    expect(told).toEqual([...Array(5000).keys()]);
  });
});

describe('the tail', () => {
  const segment = new Segment(0, 1 << 20, undefined);

  it('finds closed bytes by address and lets go of the oldest written blocks', () => {
    const tail = new Tail(1024, 2048);
    const blocks = [0, 1, 2, 3].map((n) => {
      const block = tail.open(4096 + n * 1000, segment, 100);
      block.closed = 1000;
      block.isOpen = n === 3;
      return block;
    });
    expect(tail.find(4095)).toBeUndefined();
    expect(tail.find(4096)).toBe(blocks[0]);
    expect(tail.find(6095)).toBe(blocks[1]);
    expect(tail.find(8096)).toBeUndefined();
    tail.trim(5096);
    expect([tail.find(4096), tail.find(5096)]).toEqual([undefined, blocks[1]]);
    tail.trim(1e9);
    expect(tail.start).toBe(6096);
  });

  it('uses a buffer again only after the turn in which it was let go', () => {
    const tail = new Tail(1024, 1024);
    const first = tail.open(0, segment, 100);
    first.closed = 1000;
    first.isOpen = false;
    tail.open(1000, segment, 100);
    tail.trim(1e9);
    expect(tail.open(2000, segment, 100).bytes).not.toBe(first.bytes);
    tail.trim(0);
    expect(tail.open(3000, segment, 100).bytes).toBe(first.bytes);
  });

  it('makes a buffer of its own for what is larger than a block', () => {
    const tail = new Tail(1024, 1024);
    expect(tail.open(0, segment, 5000).bytes.length).toBe(5000);
  });
});
