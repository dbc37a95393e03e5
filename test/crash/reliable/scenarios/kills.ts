/** SIGKILL from outside at each numbered step of each process, while transfers flow; the next process takes up what the dead one left. */
import type { Child } from '../child-process.ts';
import type { Scenario } from '../scenario.ts';
import { type SteppedRole, stepsOf } from '../steps.ts';

const ROUNDS = 2;

function killScenario(role: SteppedRole): Scenario {
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
        victim.arm({ step: step.name });
        stage.allow((n + 1) / (kills + 1));
        if ((await stage.arrived(victim, step.name)) === undefined) continue;
        await victim.kill();
        stage.fault(`killed ${step.name}`);
        victim = await stage.spawn(role);
      }
    },
  };
}

export const killScenarios: readonly Scenario[] = (['app', 'relay', 'consumer'] as const).map(killScenario);
