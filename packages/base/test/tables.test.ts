import { describe, expect, it } from 'vitest';
import {
  backoffMs,
  booleanOption,
  choiceOption,
  errorTable,
  integerOption,
  integersOption,
  OptionsError,
  resolveOptions,
  TableError,
  textOption,
} from '../src/index.ts';

const table = {
  lingerMs: integerOption(5, 0, 1000, 'Wait for more.'),
  flush: choiceOption('sync', ['sync', 'async'], 'When to answer.'),
  name: textOption('broker-a', 'Name.', /^[a-z-]+$/),
  dedup: booleanOption(false, 'Recognise repeats.'),
  delayLevelsMs: integersOption([1000, 5000], 1, 10_000, 'Delays.'),
} as const;

describe('an option table', () => {
  it('fills in defaults, also for undefined', () => {
    expect(resolveOptions('Test', table, { lingerMs: undefined, flush: 'async' })).toEqual({
      lingerMs: 5,
      flush: 'async',
      name: 'broker-a',
      dedup: false,
      delayLevelsMs: [1000, 5000],
    });
  });

  it('names every fault at once, with what was given', () => {
    const given = { lingerMs: 1.5, flush: 'never', name: 'Ä', dedup: 1, delayLevelsMs: [0], linger: 3 } as never;
    expect(() => resolveOptions('Test', table, given)).toThrow(OptionsError);
    try {
      resolveOptions('Test', table, given);
    } catch (error) {
      expect((error as OptionsError).faults).toEqual([
        'linger is not an option',
        'lingerMs must be a whole number from 0 to 1000, not 1.5',
        'flush must be one of sync, async, not "never"',
        'name must match ^[a-z-]+$, not "Ä"',
        'dedup must be true or false, not 1',
        'delayLevelsMs must be a list of whole numbers from 1 to 10000, not [0]',
      ]);
    }
  });

  it.each(['__proto__', 'constructor', 'toString'])('does not know an option called %s', (name) => {
    const given = JSON.parse(`{${JSON.stringify(name)}: 1}`) as never;
    expect(() => resolveOptions('Test', table, given)).toThrow(`${name} is not an option`);
  });
});

describe('an error table', () => {
  const fail = errorTable({ QUEUE_FULL: { sentence: 'The queue is full', retry: 'elsewhere' } });

  it('makes errors with the code, the advice, the sentence and what was seen', () => {
    const cause = new Error('below');
    const error = fail('QUEUE_FULL', '10000 waiting', cause);
    expect(error).toBeInstanceOf(TableError);
    expect(error).toMatchObject({ code: 'QUEUE_FULL', retry: 'elsewhere', message: 'The queue is full: 10000 waiting', cause });
    expect(fail('QUEUE_FULL').message).toBe('The queue is full');
  });
});

describe('backoff', () => {
  const options = { firstMs: 100, maxMs: 1000 };

  it.each([
    [1, 50, 100],
    [2, 100, 200],
    [4, 400, 800],
    [5, 500, 1000],
    [5000, 500, 1000],
  ])('after %i failures waits from %i to %i ms, as chance has it', (failures, least, most) => {
    expect(backoffMs(options, failures, 0)).toBe(least);
    expect(backoffMs(options, failures, 0xffffffff)).toBe(most);
  });
});
