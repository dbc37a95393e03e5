import { expect, test } from 'vitest';
import { causeOf } from './bank.ts';
import { type DeadLetter, judgeDeadLetters } from './dead-letters.ts';

/** Failed as often as it may, killed once on the way, dead as it was sent. */
const SOUND: DeadLetter = {
  number: 11,
  state: 'dead',
  outcome: 'failed',
  cause: causeOf(11),
  attempts: 4,
  begun: 5,
  effects: 0,
  sent: '{"number":11}',
  kept: '{"number":11}',
};

function seen(letters: readonly DeadLetter[]): string[] {
  return judgeDeadLetters(letters, { numbers: [11], attemptsMax: 4 }, 1).map((violation) => violation.seen);
}

test('a message that died after its attempts, as it was sent and with its cause, violates nothing', () => {
  expect(seen([SOUND])).toEqual([]);
});

test.each<[string, Partial<DeadLetter>]>([
  ['transfer 11 is done', { state: 'done' }],
  ['transfer 11 is dead and has 1 effects', { effects: 1 }],
  ['transfer 11 has 3 failures of 4', { attempts: 3 }],
  ['transfer 11 was begun 6 times, at most 5 it may', { begun: 6 }],
  ['transfer 11 was begun 3 times, at most 5 it may', { begun: 3 }],
  ['transfer 11 died of poison: null', { outcome: 'poison', cause: null }],
  ['transfer 11 lies there as {}, sent was {"number":11}', { kept: '{}' }],
])('it is told when %s', (sentence, change) => {
  expect(seen([{ ...SOUND, ...change }])).toEqual([sentence]);
});

test('it is told when a message is nowhere', () => {
  expect(seen([])).toEqual(['transfer 11 was never made']);
});
