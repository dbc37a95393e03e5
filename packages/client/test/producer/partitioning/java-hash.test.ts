import { describe, expect, it } from 'vitest';
import { javaHash, javaHashToQueue } from '../../../src/producer/partitioning/java-hash.ts';

describe("Java's hash", () => {
  it.each([
    ['', 0],
    ['a', 97],
    ['abc', 96_354],
    ['polygenelubricants', -2_147_483_648],
    ['订单', 1_129_459],
  ])('of the text %j is %i', (text, hash) => {
    expect(javaHash(text)).toBe(hash);
  });

  it.each([
    [[], 1],
    [[1, 2, 3], 30_817],
    [[-1], 30],
  ])('of the bytes %j is %i', (bytes, hash) => {
    expect(javaHash(Uint8Array.from(bytes))).toBe(hash);
  });

  it('chooses by the absolute remainder, so that the smallest number is no trap', () => {
    expect([javaHashToQueue(-2_147_483_648, 3), javaHashToQueue(-7, 4), javaHashToQueue(7, 4)]).toEqual([2, 3, 3]);
  });
});
