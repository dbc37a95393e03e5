import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Gaps } from '../../src/relay/gaps.ts';

test('a look begins below what was missing at the end, until it has come or has been waited for long enough', () => {
  const gaps = new Gaps();
  gaps.seen([10, 11, 14, 15], true, 0);
  expect(gaps.below(15, 0)).toBe(11);
  gaps.seen([13, 14], true, 1);
  expect(gaps.below(15, 1)).toBe(11);
  gaps.seen([12, 14], true, 2);
  expect(gaps.below(15, 2)).toBe(15);
  gaps.seen([17], true, 100);
  gaps.seen([19], true, 250);
  expect(gaps.below(19, 399)).toBe(15);
  expect(gaps.below(19, 400)).toBe(17);
  expect(gaps.below(19, 550)).toBe(19);
});

test('numbers that were there before it began, that a backlog lacks, or that are too many, are not waited for', () => {
  const gaps = new Gaps();
  gaps.seen([7], true, 0);
  expect(gaps.below(7, 0)).toBe(7);
  gaps.seen([20, 30], false, 0);
  expect(gaps.below(30, 0)).toBe(30);
  gaps.seen([1_000_000], true, 0);
  expect(gaps.below(1_000_000, 0)).toBe(1_000_000);
  gaps.seen([1_000_002], true, 0);
  gaps.forget();
  expect(gaps.below(1_000_002, 0)).toBe(1_000_002);
});

test('what has been seen is never taken for missing, and what is missing always is for its time', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { minLength: 1 }),
      fc.integer({ min: 1, max: 5 }),
      (order, size) => {
        const gaps = new Gaps();
        gaps.seen([0], true, 0);
        const there = new Set([0]);
        let mark = 0;
        for (let at = 0; at < order.length; at += size) {
          for (const number of order.slice(at, at + size)) there.add(number);
          const from = gaps.below(mark, 0);
          const shown = [...there].filter((number) => number > from).sort((a, b) => a - b);
          gaps.seen(shown, true, 0);
          mark = Math.max(mark, ...shown);
          const missing = Array.from({ length: Math.max(...there) }, (_, n) => n).filter((n) => !there.has(n));
          expect(gaps.below(1000, 0)).toBe(missing.length === 0 ? 1000 : missing[0]! - 1);
        }
      },
    ),
  );
});
