import { expect, test } from 'vitest';
import { Elsewhere } from '../../src/inbox/elsewhere.ts';

test('what is at work elsewhere is left alone for a while, told of once when it is so for too long, and then forgotten', () => {
  const elsewhere = new Elsewhere(1000);
  expect(elsewhere.leave('a', 0, 5000)).toBe(false);
  expect([...elsewhere.present(999)]).toEqual(['a']);
  expect([...elsewhere.present(1000)]).toEqual([]);
  expect(elsewhere.leave('a', 1000, 5000)).toBe(false);
  expect(elsewhere.leave('a', 5000, 5000)).toBe(true);
  expect(elsewhere.leave('a', 6000, 5000)).toBe(false);
  expect([...elsewhere.present(6500)]).toEqual(['a']);
  // Not found at work for long: what is found then is another attempt.
  elsewhere.present(100_000);
  expect(elsewhere.leave('a', 100_000, 5000)).toBe(false);
});
