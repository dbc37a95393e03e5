import { expect, test } from 'vitest';
import { Elsewhere } from '../../src/inbox/elsewhere.ts';

const FIRST = { id: 'a', started: 1, tries: 0 };

test('what is at work elsewhere is left alone for a while, told of once when it is so for too long, and then forgotten', () => {
  const elsewhere = new Elsewhere(1000);
  expect(elsewhere.leave(FIRST, 0, 5000)).toBe(false);
  expect([999, 1000].map((nowMs) => elsewhere.has(FIRST, nowMs))).toEqual([true, false]);
  expect(elsewhere.leave(FIRST, 1000, 5000)).toBe(false);
  expect(elsewhere.leave(FIRST, 5000, 5000)).toBe(true);
  expect(elsewhere.leave(FIRST, 6000, 5000)).toBe(false);
  elsewhere.forget(6500);
  expect(elsewhere.has(FIRST, 6500)).toBe(true);
  elsewhere.forget(100_000);
  expect(elsewhere.leave(FIRST, 100_000, 5000)).toBe(false);
});

test.each([
  ['the next attempt at it', { ...FIRST, started: 2 }],
  ['its row after that attempt has ended', { ...FIRST, tries: 1 }],
])('%s is neither left alone nor told of for what was found before', (_, next) => {
  const elsewhere = new Elsewhere(1000);
  elsewhere.leave(FIRST, 0, 5000);
  expect(elsewhere.has(next, 500)).toBe(false);
  expect(elsewhere.leave(next, 5000, 5000)).toBe(false);
});
