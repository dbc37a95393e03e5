import fc from 'fast-check';
import { expect, test } from 'vitest';
import { afterOutcomes, released } from '../../src/relay/brake.ts';
import { decide, outcomeOfError, outcomesOf } from '../../src/relay/decide.ts';
import type { PublishResult } from '../../src/index.ts';

const policy = { attemptsMax: 3, retryFirstMs: 1000, retryMaxMs: 8000 };

/** attempts/tries before | outcome → what follows, attempts/tries after, wait in ms with the largest and the smallest random number. */
const table = `
0/0 | confirmed   → confirmed
2/9 | confirmed   → confirmed
0/0 | unavailable → left
2/7 | unavailable → left
0/0 | rejected    → retrying 1/1 500..1000
0/0 | unroutable  → retrying 1/1 500..1000
1/1 | rejected    → retrying 2/2 1000..2000
2/2 | rejected    → dead     3/3 0..0
2/6 | unroutable  → dead     3/7 0..0
0/0 | unknown     → retrying 0/1 500..1000
2/2 | unknown     → retrying 2/3 2000..4000
2/50 | unknown    → retrying 2/51 4000..8000
`;

test.each(table.trim().split('\n'))('%s', (line) => {
  const [given, expected] = line.split('→').map((part) => part.trim()) as [string, string];
  const [counts, outcome] = given.split('|').map((part) => part.trim()) as [string, PublishResult];
  const [attempts, tries] = counts.split('/').map(Number) as [number, number];
  const waits = [0, 0xffffffff].map((random) => {
    const settlement = decide({ attempts, tries }, { outcome, reason: 'why' }, policy, 1_000_000, random);
    return 'dueAt' in settlement
      ? `${settlement.kind} ${settlement.attempts}/${settlement.tries} ${settlement.dueAt - 1_000_000}`
      : settlement.kind;
  });
  const seen = waits[0] === waits[1] && !waits[0]!.includes(' ') ? waits[0]! : `${waits[0]!}..${waits[1]!.split(' ')[2]!}`;
  expect(seen).toBe(expected.replace(/ +/g, ' '));
});

test('a reason that is too long for its column is shortened', () => {
  const settlement = decide({ attempts: 0, tries: 0 }, { outcome: 'rejected', reason: 'x'.repeat(600) }, policy, 0, 0);
  expect('reason' in settlement && [settlement.reason.length, settlement.reason.at(-1)]).toEqual([500, '…']);
});

test('whatever a transport answers, there is one outcome per message, and what is none of the five is unknown', () => {
  fc.assert(
    fc.property(fc.anything(), fc.integer({ min: 0, max: 5 }), (answer, count) => {
      const outcomes = outcomesOf(answer, count);
      expect(outcomes).toHaveLength(count);
      for (const { outcome } of outcomes)
        expect(['confirmed', 'rejected', 'unroutable', 'unavailable', 'unknown']).toContain(outcome);
    }),
  );
  expect(outcomesOf([{ outcome: 'confirmed' }], 2).map(({ outcome }) => outcome)).toEqual(['confirmed', 'unknown']);
  expect(outcomesOf(undefined, 1)[0]).toMatchObject({ outcome: 'unknown' });
});

test('an error is known by its outcome field, and is never a confirmation', () => {
  expect(outcomeOfError({ outcome: 'unavailable', message: 'no connection' })).toEqual({
    outcome: 'unavailable',
    reason: 'no connection',
  });
  expect(outcomeOfError({ outcome: 'confirmed', message: 'odd' })).toEqual({ outcome: 'unknown', reason: 'odd' });
  expect(outcomeOfError(new Error('boom'))).toEqual({ outcome: 'unknown', reason: 'boom' });
  expect(outcomeOfError('plain')).toEqual({ outcome: 'unknown', reason: 'plain' });
});

const brakes = { brakeFirstMs: 200, brakeMaxMs: 1000, batchRows: 64 };

/** Outcomes of one batch after the other (c confirmed, r rejected, v unavailable, k unknown) → failures, wait, next batch. */
const brakeTable = `
c          → 0 0 64
v          → 1 200 1
v v        → 2 400 1
v v v      → 3 800 1
v v v v    → 4 1000 1
k          → 1 200 1
vk         → 1 200 1
v c        → 0 0 2
v c c      → 0 0 4
v c c c    → 0 0 8
cv         → 0 200 32
cv cv      → 0 200 16
cv c       → 0 0 64
r          → 0 0 64
rv         → 0 200 32
ck         → 0 0 64
`;

test.each(brakeTable.trim().split('\n'))('brake: %s', (line) => {
  const [given, expected] = line.split('→').map((part) => part.trim()) as [string, string];
  const names: Record<string, PublishResult> = { c: 'confirmed', r: 'rejected', v: 'unavailable', k: 'unknown' };
  let brake = released(brakes);
  for (const batch of given.split(' ')) {
    const outcomes = batch.split('').map((letter) => ({ outcome: names[letter]! }));
    brake = afterOutcomes(brake, outcomes, brakes, 5000, 0xffffffff);
  }
  expect(`${brake.failures} ${Math.max(0, brake.untilMs - 5000)} ${brake.batchRows}`).toBe(expected);
});
