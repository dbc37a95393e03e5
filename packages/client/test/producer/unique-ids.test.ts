import { describe, expect, it } from 'vitest';
import { UniqueIds, idText, isMessageId } from '../../src/producer/unique-ids.ts';
import { ManualTime, seededRandom } from '@tallystick/base/testing';

describe('unique ids', () => {
  it('are version 7 UUIDs in upper-case hex that begin with the time', () => {
    const time = new ManualTime(0x0123456789ab);
    const id = new UniqueIds(time, seededRandom(1)).next();
    expect(id).toMatch(/^0123456789AB7[0-9A-F]{3}[89AB][0-9A-F]{15}$/);
    expect(isMessageId(id)).toBe(true);
  });

  it('ascend and differ, also when the clock steps back', () => {
    const time = new ManualTime();
    const ids = new UniqueIds(time, seededRandom(2));
    const seen: string[] = [];
    for (const nowMs of [1000, 1000, 1001, 1001, 900, 900, 1002]) {
      ids.advance(nowMs);
      seen.push(idText(ids.prefix, ids.low));
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect([...seen].sort()).toEqual(seen);
  });

  it('go on when the counter is used up within a millisecond', () => {
    const ids = new UniqueIds(new ManualTime(), seededRandom(3));
    ids.advance(5);
    const before = ids.prefix;
    ids.low = 0xffffffff;
    ids.advance(5);
    expect(ids.prefix > before).toBe(true);
  });

  it.each([
    ['0123456789ABCDEF0123456789ABCDEF', true],
    ['0123456789abcdef0123456789abcdef', false],
    ['0123456789ABCDEF', false],
    ['0123456789ABCDEF0123456789ABCDEG', false],
  ])("%s as a caller's own id: %s", (id, fits) => {
    expect(isMessageId(id)).toBe(fits);
  });
});
