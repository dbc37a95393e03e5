import { expect, it } from 'vitest';
import { Counters } from '../src/counters.ts';
import { Rates } from '../src/rates.ts';

it('gives the rates of ten seconds, a minute and ten minutes, and keeps no more looks than these need', () => {
  const counters = new Counters();
  const rates = new Rates(counters);
  expect(rates.text('sends', 0)).toBe('0.0 0.0 0.0');
  // 100 a second for ten minutes, then 200 a second for half a minute.
  for (let seconds = 0; seconds <= 630; seconds += 10) {
    counters.sends = seconds <= 600 ? seconds * 100 : 60_000 + (seconds - 600) * 200;
    rates.look(seconds * 1000);
  }
  expect(rates.text('sends', 630_000)).toBe('200.0 150.0 105.0');
  expect(rates.text('pulledMessages', 630_000)).toBe('0.0 0.0 0.0');
});

it('goes by the life of a broker that is younger than the window, and by the present count between two looks', () => {
  const counters = new Counters();
  const rates = new Rates(counters);
  counters.pulledMessages = 5;
  rates.look(1000);
  expect(rates.text('pulledMessages', 1000)).toBe('0.0 0.0 0.0');
  counters.pulledMessages = 45;
  expect(rates.text('pulledMessages', 5000)).toBe('10.0 10.0 10.0');
});
