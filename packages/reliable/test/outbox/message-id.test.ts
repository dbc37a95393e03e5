import { ManualTime, seededRandom } from '@tallystick/base/testing';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ID_PATTERN, MessageIds, shardOf } from '../../src/index.ts';

test('ids are UUIDv7 in upper-case hex and begin with their time', () => {
  const id = new MessageIds(new ManualTime(0x0123456789ab), seededRandom(1)).next();
  expect(id).toMatch(ID_PATTERN);
  expect(id.slice(0, 13)).toBe('0123456789AB7');
  expect('89AB').toContain(id[16]);
});

test('ids of one source grow strictly, whatever the clock does', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -5, max: 5 }), { maxLength: 200 }), fc.integer(), (steps, seed) => {
      let nowMs = 1_700_000_000_000;
      const ids = new MessageIds({ now: () => nowMs, monotonic: () => 0 }, seededRandom(seed));
      let last = '';
      for (const step of steps) {
        nowMs += step;
        const id = ids.next();
        expect(id > last).toBe(true);
        last = id;
      }
    }),
  );
});

test('more ids in a ms than the counter holds borrow the next ms', () => {
  const ids = new MessageIds(new ManualTime(1000), seededRandom(3));
  const made = Array.from({ length: 10_000 }, () => ids.next());
  expect(new Set(made).size).toBe(10_000);
  expect([...made].sort()).toEqual(made);
});

test('the shard of a key is fixed for ever', () => {
  expect([shardOf('ann', 'X'), shardOf('bob', 'X'), shardOf('键', 'X'), shardOf(undefined, 'AB'.repeat(16))]).toEqual([
    shardOf('ann', 'Y'),
    shardOf('bob', 'Y'),
    shardOf('键', 'Y'),
    shardOf(null, 'AB'.repeat(16)),
  ]);
  // crc32('123456789') is 0xcbf43926 in every book.
  expect(shardOf('123456789', 'X')).toBe(0x26);
});
