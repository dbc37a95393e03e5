import { expect, it } from 'vitest';
import { yardstick } from './saturation.ts';

const SLOW = { goodput: 250_000 };
const FAST = { goodput: 400_000 };

it('a broker that stays slow after the load is measured by what it could before', () => {
  expect(yardstick(FAST, SLOW)).toBe(FAST);
});

it('a broker that was not warm before the load is measured by what it can after it', () => {
  expect(yardstick(SLOW, FAST)).toBe(FAST);
});

it('where the peak is a setting, it is measured once', () => {
  expect(yardstick(SLOW, undefined)).toBe(SLOW);
});
