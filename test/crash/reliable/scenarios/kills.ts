/** SIGKILL from outside at each numbered step of each process, while transfers flow; the next process takes up what the dead one left. */
import type { Child } from '../child-process.ts';
import type { Scenario } from '../scenario.ts';
import { type Role, stepsOf } from '../steps.ts';
import type { Stage } from '../stage.ts';

const ROUNDS = 2;

function killScenario(role: Role): Scenario {
  const steps = stepsOf(role);
  return {
    name: `kill-${role}`,
    sentence: `the ${role} is killed at each of its ${steps.length} steps, ${ROUNDS} times`,
    share: 2,
    faults: steps.map(({ name }) => `killed ${name}`),
    async run(stage) {
      const all = await stage.spawnAll();
      let victim: Child = all[role];
      const kills = steps.length * ROUNDS;
      for (let n = 0; n < kills; n++) {
        const step = steps[n % steps.length]!;
        // Not always the first time: other work is under way when it happens.
        victim.arm({ step: step.name, nth: n < steps.length ? 1 : 2 });
        stage.allow((n + 1) / (kills + 1));
        if ((await reachedBy(stage, victim, step.name)) === undefined) continue;
        await victim.kill();
        stage.fault(`killed ${step.name}`);
        victim = await stage.spawn(role);
      }
    },
  };
}

/** A retry happens only where a message failed: more transfers are let through until one does. */
async function reachedBy(stage: Stage, victim: Child, step: Parameters<Stage['arrived']>[1]): Promise<unknown> {
  return stage.arrived(victim, step);
}

export const killScenarios: readonly Scenario[] = (['app', 'relay', 'consumer'] as const).map(killScenario);
