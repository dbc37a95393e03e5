import { resolveOptions } from '@tallystick/base';
import { expect, test } from 'vitest';
import { fail, HANDLER_OPTIONS } from '../../src/index.ts';
import { failureOf, quarantined } from '../../src/inbox/failure.ts';

const options = resolveOptions('handler', HANDLER_OPTIONS, { attemptsMax: 3, retryFirstMs: 1000, retryMaxMs: 8000 });
const HALF = 2 ** 31;

/** Past attempts and tries, error → what becomes of the message. */
const TABLE: readonly [number, number, unknown, string][] = [
  [0, 0, new Error('boom'), 'retrying 1/1 failed 750 boom'],
  [1, 1, new Error('boom'), 'retrying 2/2 failed 1500 boom'],
  [2, 2, new Error('boom'), 'dead 3/3 failed 0 boom'],
  [2, 9, fail('LOCK_BUSY', 'account'), 'retrying 2/10 busy 6000 *'],
  [2, 2, fail('HANDLER_TIMEOUT', '5 ms'), 'dead 3/3 timeout 0 *'],
  [0, 0, fail('LOCK_LOST', 'x'), 'retrying 1/1 conflict 750 *'],
  [0, 0, fail('VERSION_CONFLICT', 'x'), 'retrying 1/1 conflict 750 *'],
  [0, 0, fail('NO_HANDLER', 'x'), 'retrying 1/1 unhandled 750 *'],
  [0, 0, Object.assign(new Error('gone'), { code: '57P01' }), 'retrying 0/1 unavailable 750 gone'],
  [0, 0, new Error('Connection terminated unexpectedly'), 'retrying 0/1 unavailable 750 *'],
  [0, 0, new Error('Client has encountered a connection error and is not queryable'), 'retrying 0/1 unavailable 750 *'],
  [0, 0, Object.assign(new Error('write'), { code: 'CONNECTION_CLOSED' }), 'retrying 0/1 unavailable 750 *'],
  [0, 0, Object.assign(new Error('taken'), { code: '23505' }), 'retrying 1/1 failed 750 taken'],
  [0, 0, Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }), 'retrying 1/1 failed 750 refused'],
  [0, 0, 'a text', 'retrying 1/1 failed 750 a text'],
  [0, 0, undefined, 'retrying 1/1 failed 750 undefined'],
];

test.each(TABLE)('after %i attempts of %i tries, %s means %s', (attempts, tries, error, expected) => {
  const failure = failureOf({ attempts, tries }, error, options, HALF);
  const reason = expected.endsWith('*') ? '*' : failure.reason;
  expect(`${failure.state} ${failure.attempts}/${failure.tries} ${failure.outcome} ${failure.waitMs} ${reason}`).toBe(expected);
});

test('a reason fits its column, whatever was thrown', () => {
  const { reason } = failureOf({ attempts: 0, tries: 0 }, new Error(`\0${'x'.repeat(9999)}`), options, 0);
  expect([reason.length, reason.includes('\0')]).toEqual([500, false]);
});

test('what killed its process is dead, and its deaths count as attempts that ended', () => {
  expect(quarantined({ attempts: 1, tries: 2 }, 3)).toMatchObject({ state: 'dead', attempts: 4, tries: 5, outcome: 'poison' });
});
