import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { send, stageWith, warmUp } from './sent.ts';

const anything = fc.oneof(
  fc.anything({ withBigInt: true, withDate: true, withMap: true, withTypedArray: true, withNullPrototype: true }),
  fc.constantFrom(undefined, null, NaN, -1, '', '\u0001', Symbol('s'), () => 1, [1, 2]),
);
const valid = { key: 'k', value: 'v', tag: 'a', queueId: 0, timestamp: 5, headers: { h: 'x' }, delayLevel: 1 };

describe('a record from a program without types', () => {
  it('of whatever content never throws, and is told about once', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ maxBlockMs: 100 });
    warmUp(stage, producer);
    const field = fc.constantFrom('topic', 'id', ...Object.keys(valid));
    fc.assert(
      fc.property(fc.array(fc.tuple(field, anything), { minLength: 1, maxLength: 3 }), (changes) => {
        const told = send(producer, { topic: 't', ...valid, ...Object.fromEntries(changes) } as never);
        stage.time.advance(200);
        expect(told.times).toBe(1);
      }),
      { numRuns: 400 },
    );
  });
});
