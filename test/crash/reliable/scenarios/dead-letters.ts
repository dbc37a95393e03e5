/** Messages that can never be handled: each gets the attempts it may have, over deaths of its process, and ends once. */
import { judgeDeadLetters, readDeadLetters } from '../dead-letters.ts';
import type { Scenario } from '../scenario.ts';
import { BRANCHES } from '../stage.ts';

const DOOMED_EVERY = 10;
const ATTEMPTS_MAX = 4;
const KILLS = 5;

const deadLetters: Scenario = {
  name: 'dead-letters',
  sentence:
    'one in ten messages fails each time it is handled; consumers are killed in their retries; each ends dead once, as it was sent, with its cause, and all others done',
  share: 1.5,
  faults: ['killed in a retry', 'died of its failures'],
  async run(stage) {
    const numbers = Array.from(
      { length: Math.max(1, Math.floor(stage.transfers / DOOMED_EVERY)) },
      (_, n) => 1 + n * DOOMED_EVERY,
    );
    stage.branches = BRANCHES;
    stage.doomed = { numbers, attemptsMax: ATTEMPTS_MAX };
    let kills = 0;
    let { consumer } = await stage.spawnAll();
    for (let n = 0; n < KILLS; n++) {
      consumer.arm({ step: 'in-retry' });
      stage.allow((n + 1) / KILLS);
      // With few transfers there may be no retry left.
      const retried = await stage.arrivedIfAny(consumer, 'in-retry');
      if (retried === undefined) {
        consumer.arm({ step: 'in-retry', nth: Number.MAX_SAFE_INTEGER });
        consumer.go();
        break;
      }
      await consumer.kill();
      stage.fault('killed in a retry');
      kills++;
      consumer = await stage.spawn('consumer');
    }
    await stage.rest();
    const letters = await readDeadLetters(stage);
    stage.fault('died of its failures', letters.filter(({ attempts }) => attempts === ATTEMPTS_MAX).length);
    stage.violations.push(...judgeDeadLetters(letters, stage.doomed, kills));
  },
};

export const deadLetterScenarios: readonly Scenario[] = [deadLetters];
