import { RESPONSES } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { IndefiniteError, SendError, answerError, callError, fail, isRetriable } from '../src/errors.ts';

describe('errors', () => {
  it('never call an answer certain that may have left the message stored', () => {
    for (const { code, stored } of Object.values(RESPONSES)) {
      const error = answerError(code, undefined);
      expect([code, error.outcome === 'unknown', error instanceof IndefiniteError]).toEqual([
        code,
        stored !== 'no',
        stored !== 'no',
      ]);
      if (stored !== 'no') expect(isRetriable(error)).toBe(false);
    }
  });

  it('take a code that nobody knows for one that may have stored', () => {
    expect(answerError(4711, 'new in version 9')).toMatchObject({ code: 'UNKNOWN_CODE', outcome: 'unknown', responseCode: 4711 });
  });

  it.each([
    // code, outcome, retry
    [2, 'unavailable', 'elsewhere'],
    [13, 'rejected', 'never'],
    [14, 'unavailable', 'elsewhere'],
    [16, 'rejected', 'never'],
    [17, 'unroutable', 'elsewhere'],
    [26, 'rejected', 'never'],
    [29, 'rejected', 'never'],
    [1, 'unknown', 'later'],
    [10, 'unknown', 'later'],
    [1500, 'unavailable', 'elsewhere'],
  ])('answer %i: %s, retry %s', (code, outcome, retry) => {
    expect(answerError(code, 'why')).toMatchObject({ outcome, retry });
  });

  it.each([
    ['refused', 'unavailable', true],
    ['timeout', 'unknown', false],
    ['closed', 'unknown', false],
  ] as const)('a call that ended %s is %s', (kind, outcome, retriable) => {
    const error = callError(kind, 'text');
    expect([error.outcome, isRetriable(error)]).toEqual([outcome, retriable]);
  });

  it('name the thing, what was seen and the cause', () => {
    const cause = new Error('inner');
    const error = fail('TOO_MANY_WAITING', '10000 (maxPendingRecords)', cause);
    expect([error.message, error.cause, error.name, error instanceof SendError]).toEqual([
      'too many sends wait already: 10000 (maxPendingRecords)',
      cause,
      'SendError',
      true,
    ]);
  });
});
