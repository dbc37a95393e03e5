import { describe, expect, it } from 'vitest';
import { LoadTable } from '../../../src/producer/partitioning/load-table.ts';

/** How often each queue is chosen in one cycle of consecutive random numbers. */
function frequencies(lengths: readonly number[], cycle: number): number[] {
  const table = new LoadTable();
  table.fill(lengths);
  const counts = lengths.map(() => 0);
  for (let random = 0; random < cycle; random++) counts[table.choose(random)]!++;
  return counts;
}

describe('load table', () => {
  it.each([
    [
      [0, 3, 1],
      [4, 1, 3],
    ],
    [
      [5, 0, 3, 0, 1],
      [1, 6, 3, 6, 5],
    ],
    [
      [0, -1, 0, 0],
      [1, 0, 1, 1],
    ],
    [
      [-1, 2, 0],
      [0, 1, 3],
    ],
    [
      [-1, -1, 4],
      [0, 0, 1],
    ],
  ])('chooses queues with %j batches waiting %j times a cycle', (lengths, wanted) => {
    const cycle = wanted.reduce((sum, count) => sum + count, 0);
    expect(frequencies(lengths, cycle)).toEqual(wanted);
    expect(frequencies(lengths, 3 * cycle)).toEqual(wanted.map((count) => 3 * count));
  });

  it.each([[[0, 0, 0]], [[7, 7]], [[4]], [[-1, -1]], [[]]])('has no opinion on %j', (lengths) => {
    const table = new LoadTable();
    table.fill(lengths);
    expect(table.isEven).toBe(true);
  });
});
