import { expect, test } from 'vitest';
import { afterLanding, batchRowsOf, released, type Brake, type Landing } from '../../src/relay/brake.ts';

const policy = {
  brakeFirstMs: 200,
  brakeMaxMs: 1000,
  batchRows: 64,
  batchesMax: 4,
  confirmTargetMs: 100,
  databaseTargetMs: 50,
};

/**
 * Landings one after the other → failures, wait, window, threshold. c: all confirmed; r: all rejected; v: all unavailable; k: all unknown;
 * b: one unavailable among confirmed; s: confirmed slowly; d: the database was slow; o: slow, but took off before the last cut. A number
 * before the letter: rows, else 64.
 */
const table = `
               → 0 0 256 256
c              → 0 0 256 256
r              → 0 0 256 256
v              → 1 200 1 128
v v            → 2 400 1 128
v v v          → 3 800 1 128
v v v v        → 4 1000 1 128
k              → 1 200 1 128
v 1c           → 0 0 2 128
v 1c 1c 1c     → 0 0 4 128
v 1c 2c 4c     → 0 0 8 128
v 1c 63c 63c   → 0 0 128 128
v 1c 127c      → 0 0 128 128
v 1c 127c 64c  → 0 0 160 128
b              → 0 200 128 128
b b            → 0 200 64 64
b c            → 0 0 160 128
s              → 0 0 170 170
s s            → 0 0 113 113
s o            → 0 0 170 170
d              → 0 0 170 170
s s s s s s s s s s s s s s s s s s → 0 0 1 1
`;

test.each(table.trim().split('\n'))('%s', (line) => {
  const [given, expected] = line.split('→').map((part) => part.trim()) as [string, string];
  let brake = released(policy);
  let now = 5000;
  for (const step of given.split(' ').filter((text) => text !== '')) {
    now += 1000;
    brake = afterLanding(brake, landing(step, now, brake), policy, now, 0xffffffff);
  }
  expect(`${brake.failures} ${Math.max(0, brake.untilMs - now)} ${brake.window} ${brake.threshold}`).toBe(expected);
});

function landing(step: string, now: number, brake: Brake): Landing {
  const kind = step.at(-1)!;
  const rows = step.length > 1 ? Number(step.slice(0, -1)) : 64;
  const dark = kind === 'v' || kind === 'k';
  return {
    rows,
    definite: dark ? 0 : kind === 'b' ? rows - 1 : rows,
    unavailable: kind === 'v' ? rows : kind === 'b' ? 1 : 0,
    tookOffMs: kind === 'o' ? brake.cutAtMs - 1 : now - 10,
    confirmMs: kind === 's' || kind === 'o' ? 101 : 10,
    databaseMs: kind === 'd' ? 51 : 5,
  };
}

test('a batch is never larger than what is left of the window', () => {
  const brake = { ...released(policy), window: 100 };
  expect([0, 40, 90, 100, 200].map((flying) => batchRowsOf(brake, policy, flying))).toEqual([64, 60, 10, 0, 0]);
});

test('whatever lands, the window stays between one row and all batches, and a broker that is back is given everything again', () => {
  let brake = released(policy);
  for (let at = 0; at < 50; at++) brake = afterLanding(brake, landing('v', at * 1000, brake), policy, at * 1000, 1);
  expect(brake.window).toBe(1);
  let rounds = 0;
  for (; brake.window < 256; rounds++)
    brake = afterLanding(brake, landing(`${Math.min(brake.window, 256)}c`, 100_000, brake), policy, 100_000, 1);
  expect(rounds).toBeLessThan(15);
});
