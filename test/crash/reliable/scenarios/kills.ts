/** SIGKILL from outside at each numbered step of each process, while transfers flow; the next process takes up what the dead one left. */
import type { Child } from '../child-process.ts';
import type { Scenario } from '../scenario.ts';
import { BRANCHES } from '../stage.ts';
import type { DefectName } from '../defects.ts';
import { type StepName, type SteppedRole, stepsOf } from '../steps.ts';

interface Kill {
  readonly step: StepName;
  /** The victim has all three guards. */
  readonly guarded: boolean;
}

/** Twice through all steps; a consumer the first time under all three guards, then with the unique key alone, which alone must do, too. */
function killsOf(role: SteppedRole): readonly Kill[] {
  return [role === 'consumer', false].flatMap((guarded) =>
    stepsOf(role, guarded).map(({ name }): Kill => ({ step: name, guarded })),
  );
}

function branchesFor(kill: Kill | undefined): number {
  return kill?.guarded === true ? BRANCHES : 0;
}

/** What exposes a defect; all others need every step. */
const EXPOSING: Partial<Record<DefectName, readonly StepName[]>> = {
  'no-inbox': ['before-ack'],
  'ack-before-commit': ['after-effect', 'before-effect-commit'],
  'done-before-commit': ['before-fence', 'before-effect-commit'],
};

function killScenario(role: SteppedRole): Scenario {
  const all = killsOf(role);
  const steps = new Set(all.map(({ step }) => step));
  return {
    name: `kill-${role}`,
    sentence: `the ${role} is killed at each of its ${steps.size} steps, ${all.length} times in all`,
    share: 2,
    faults: [...steps].map((step) => `killed ${step}`),
    async run(stage) {
      const { defect } = stage.options;
      const exposing = defect === undefined ? undefined : EXPOSING[defect];
      const kills = all.filter(({ step }) => exposing?.includes(step) ?? true);
      stage.branches = branchesFor(kills[0]);
      let victim: Child = (await stage.spawnAll())[role];
      for (const [n, { step }] of kills.entries()) {
        victim.arm({ step });
        stage.allow((n + 1) / (kills.length + 1));
        if ((await stage.arrived(victim, step)) === undefined) continue;
        await victim.kill();
        stage.fault(`killed ${step}`);
        stage.branches = branchesFor(kills[n + 1]);
        victim = await stage.spawn(role);
      }
    },
  };
}

export const killScenarios: readonly Scenario[] = (['app', 'relay', 'consumer'] as const).map(killScenario);
