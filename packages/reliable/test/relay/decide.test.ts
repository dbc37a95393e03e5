import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decide, isSpent, outcomeOfError, outcomesOf } from '../../src/relay/decide.ts';
import type { PublishResult } from '../../src/index.ts';

const policy = { attemptsMax: 3, retryFirstMs: 1000, retryMaxMs: 8000 };

/** attempts/tries before | outcome → what follows, attempts/tries after, wait in ms with the largest and the smallest random number. */
const table = `
0/0 | confirmed   → deleted
2/9 | confirmed   → deleted
0/0 | unavailable → left
2/7 | unavailable → left
0/0 | rejected    → retrying 1/1 500..1000
0/0 | unroutable  → retrying 0/1 500..1000
1/1 | rejected    → retrying 2/2 1000..2000
2/2 | rejected    → dead     3/3 0..0
2/6 | unroutable  → retrying 2/7 4000..8000
0/0 | unknown     → retrying 0/1 500..1000
2/2 | unknown     → retrying 2/3 2000..4000
2/50 | unknown    → retrying 2/51 4000..8000
`;

test.each(table.trim().split('\n'))('%s', (line) => {
  const [given, expected] = line.split('→').map((part) => part.trim()) as [string, string];
  const [counts, outcome] = given.split('|').map((part) => part.trim()) as [string, PublishResult];
  const [attempts, tries] = counts.split('/').map(Number) as [number, number];
  const waits = [0, 0xffffffff].map((random) => {
    const settlement = decide({ attempts, tries, confirmWithin: 0, keepFor: 0 }, { outcome, reason: 'why' }, policy, random);
    return 'waitMs' in settlement
      ? `${settlement.kind} ${settlement.attempts}/${settlement.tries} ${settlement.waitMs}`
      : settlement.kind;
  });
  const seen = waits[0] === waits[1] && !waits[0]!.includes(' ') ? waits[0]! : `${waits[0]!}..${waits[1]!.split(' ')[2]!}`;
  expect(seen).toBe(expected.replace(/ +/g, ' '));
});

const FRESH = { attempts: 0, tries: 0, confirmWithin: 0, keepFor: 0 };

test.each([
  [{ confirmWithin: 0, keepFor: 0 }, 'deleted', undefined],
  [{ confirmWithin: 0, keepFor: 700 }, 'confirmed', 700],
  [{ confirmWithin: 50, keepFor: 0 }, 'sent', 50],
  [{ confirmWithin: 50, keepFor: 700 }, 'sent', 50],
])('what a confirmation does to %j: %s, and its account of tries stays as it is', (end, kind, waitMs) => {
  const settlement = decide({ ...FRESH, tries: 4, ...end }, { outcome: 'confirmed' }, policy, 0);
  expect([settlement.kind, 'waitMs' in settlement ? [settlement.waitMs, settlement.tries] : undefined]).toEqual([
    kind,
    waitMs === undefined ? undefined : [waitMs, null],
  ]);
});

/** state, sent so often, at most | whether it is given up */
test.each([
  ['sent', 2, 3, false],
  ['sent', 3, 3, true],
  ['sent', 4, 3, true],
  ['sent', 1_000_000, 0, false],
  ['retrying', 3, 3, false],
])('a message that is %s and was sent %i times of %i: given up %s', (state, started, confirmAttemptsMax, spent) => {
  expect(isSpent({ state, started }, { confirmAttemptsMax })).toBe(spent);
});

test('a reason that is too long for its column is shortened', () => {
  const settlement = decide(FRESH, { outcome: 'rejected', reason: 'x'.repeat(600) }, policy, 0);
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
