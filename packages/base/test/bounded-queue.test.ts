import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BoundedQueue } from '../src/index.ts';

describe('a bounded queue', () => {
  it('behaves as an array with two limits, over random steps', () => {
    const step = fc.oneof(
      fc.record({ act: fc.constant('offer' as const), weight: fc.nat(30) }),
      fc.record({ act: fc.constantFrom('take' as const, 'peek' as const, 'drain' as const), weight: fc.constant(0) }),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.nat(200),
        fc.array(step, { maxLength: 300 }),
        (countMax, weightMax, steps) => {
          const queue = new BoundedQueue<number>(countMax, weightMax);
          let model: { item: number; weight: number }[] = [];
          let next = 0;
          for (const { act, weight } of steps) {
            const total = model.reduce((sum, entry) => sum + entry.weight, 0);
            if (act === 'offer') {
              const fits = model.length < countMax && (model.length === 0 || total + weight <= weightMax);
              expect(queue.offer(next, weight)).toBe(fits);
              if (fits) model.push({ item: next, weight });
              next++;
            } else if (act === 'take') {
              expect(queue.take()).toBe(model.shift()?.item);
            } else if (act === 'peek') {
              expect(queue.peek()).toBe(model[0]?.item);
            } else {
              expect(queue.drain()).toEqual(model.map((entry) => entry.item));
              model = [];
            }
            expect(queue.length).toBe(model.length);
            expect(queue.weight).toBe(model.reduce((sum, entry) => sum + entry.weight, 0));
          }
        },
      ),
    );
  });

  it('takes one item over the weight limit when it is empty, so that it cannot wait for ever', () => {
    const queue = new BoundedQueue<string>(10, 100);
    expect(queue.offer('huge', 1000)).toBe(true);
    expect(queue.offer('small', 1)).toBe(false);
  });
});
