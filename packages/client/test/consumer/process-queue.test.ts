import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Held, ProcessQueue } from '../../src/consumer/process-queue.ts';

const KEY = { topic: 't', brokerName: 'b', queueId: 0 };
const SOURCE = { messageAt: (at: number) => `m${at}` };
const LIMITS = { cachedMessagesMax: 3, cachedBytesMax: 100 };

function filled(offsets: number[], bytes = 10): ProcessQueue<string> {
  const queue = new ProcessQueue<string>(KEY, offsets[0] ?? 0, LIMITS);
  for (const offset of offsets) queue.put(SOURCE, offset, offset, bytes);
  queue.nextOffset = (offsets.at(-1) ?? -1) + 1;
  return queue;
}

describe('process queue', () => {
  it('commits the lowest unfinished offset, whatever finished above it', () => {
    const queue = filled([5, 6, 7]);
    const [five, six, seven] = [queue.take(0)!, queue.take(0)!, queue.take(0)!];
    queue.finish(six);
    expect(queue.commitOffset).toBe(5);
    queue.finish(five);
    expect(queue.commitOffset).toBe(7);
    queue.finish(seven);
    expect(queue.commitOffset).toBe(8);
  });

  it('commits the next pull offset when everything pulled is finished, over offsets that were filtered out', () => {
    const queue = filled([2, 9]);
    queue.nextOffset = 20;
    for (const held of [queue.take(0)!, queue.take(0)!]) queue.finish(held);
    expect(queue.commitOffset).toBe(20);
  });

  it('is full by messages or by bytes and has room again when one is finished', () => {
    const byCount = filled([0, 1, 2]);
    expect(byCount.isFull).toBe(true);
    byCount.finish(byCount.take(0)!);
    expect(byCount.isFull).toBe(false);
    expect(filled([0, 1], 50).isFull).toBe(true);
  });

  it('finishes an entry once', () => {
    const queue = filled([0]);
    const held = queue.take(0)!;
    expect([queue.finish(held), queue.finish(held)]).toEqual([true, false]);
    expect(queue.count).toBe(0);
  });

  it('hands the same message out again after untake', () => {
    const queue = filled([0, 1]);
    const first = queue.take(0)!;
    queue.untake(first);
    expect(queue.take(0)).toBe(first);
  });

  it('pulls forgotten messages again', () => {
    const queue = filled([4, 5, 6]);
    queue.take(0);
    queue.forgetWaiting();
    expect([queue.count, queue.waiting, queue.nextOffset, queue.commitOffset]).toEqual([1, 0, 5, 4]);
  });

  it('agrees with a naive model over random steps', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('put' as const), gap: fc.integer({ min: 0, max: 3 }) }),
      fc.record({ kind: fc.constant('take' as const) }),
      fc.record({ kind: fc.constant('finish' as const), which: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const queue = new ProcessQueue<number>(KEY, 0, { cachedMessagesMax: 1000, cachedBytesMax: 1e9 });
        const waiting: number[] = [];
        const started: Held<number>[] = [];
        let next = 0;
        for (const { kind, ...rest } of steps) {
          if (kind === 'put') {
            const offset = next + (rest as { gap: number }).gap;
            queue.put({ messageAt: (at) => at }, offset, offset, 1);
            waiting.push(offset);
            next = queue.nextOffset = offset + 1;
          } else if (kind === 'take') {
            const held = queue.take(0);
            expect(held?.offset).toBe(waiting.shift());
            if (held !== undefined) started.push(held);
          } else if (started.length > 0) {
            const [held] = started.splice((rest as { which: number }).which % started.length, 1);
            queue.finish(held!);
          }
          const unfinished = [...started.map((held) => held.offset), ...waiting];
          expect(queue.commitOffset).toBe(unfinished.length === 0 ? next : Math.min(...unfinished));
          expect(queue.count).toBe(unfinished.length);
        }
      }),
    );
  });
});
