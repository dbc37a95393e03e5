/** The holder of a business lock is stopped past its time, and goes on when another has worked under the lock. */
import { setTimeout as sleep } from 'node:timers/promises';
import { accountOf, branchOf, failsAtFirst } from '../bank.ts';
import type { Child, Reached } from '../child-process.ts';
import type { Scenario } from '../scenario.ts';
import { KEYS, LEASE_MS, type Stage } from '../stage.ts';
import type { StepName } from '../steps.ts';

/** Before the fence: it has lost the lock and must not commit. */
const STOPS: readonly StepName[] = ['key-written', 'looked', 'decided', 'after-effect', 'before-fence'];
/** After it: nobody gets the lock before it has committed. */
const FENCED: StepName = 'before-effect-commit';
/** Where every defect of the lock does harm: the total is read, and another changes it. */
const EXPOSING: readonly StepName[] = ['decided'];
/** So few that the other has messages of the same one. */
const SHARED = 3;
/** Transfers that are made before a stop, so that the holder has some of them. */
const MORE = 6;
const LEASES_STOPPED = 2;
const WITHIN_MS = { sound: 30_000, defect: 4000 };

const holderStopped: Scenario = {
  name: 'holder-stopped',
  sentence: `a consumer is stopped for longer than its lock lasts, at ${STOPS.length} steps between taking and fencing it and once after that; another works under the lock, then the first goes on`,
  share: 2,
  // RabbitMQ's queue has one active consumer, so that nobody is there to take the lock.
  brokers: ['ours'],
  faults: [...STOPS, FENCED].map((step) => `stopped at ${step}`).concat('fenced'),
  async run(stage) {
    const { defect } = stage.options;
    stage.branches = SHARED;
    const holder = await stage.spawn('consumer');
    const other = await stage.spawn('consumer');
    await Promise.all([stage.spawn('relay'), stage.spawn('app')]);
    if (!(await bothHaveWork(stage, holder, other))) return;
    const stops = defect === undefined ? STOPS : EXPOSING;
    const seen = defect === undefined ? 'lock or total' : 'total';
    for (const [n, step] of stops.entries()) {
      const untilShare = 0.3 + (0.5 * (n + 1)) / stops.length;
      const reached = await stoppedAt(stage, holder, step);
      if (reached === undefined) return;
      const before = await branchAt(stage, reached, seen);
      await stage.comesTrue(
        'another has worked under its lock',
        async () => {
          stage.allow(Math.min(untilShare, (stage.allowed + 1) / stage.transfers));
          return (await branchAt(stage, reached, seen)) !== before;
        },
        defect === undefined ? WITHIN_MS.sound : WITHIN_MS.defect,
      );
      const fenced = fencedSoFar(stage);
      goesOn(holder);
      if (defect === undefined) await stage.comesTrue('it is fenced', () => fencedSoFar(stage) > fenced);
    }
    stage.fault('fenced', fencedSoFar(stage));
    if (defect !== undefined || (await stoppedAt(stage, holder, FENCED)) === undefined) return;
    await sleep(LEASES_STOPPED * LEASE_MS);
    goesOn(holder);
  },
};

/** The queues are shared out: each of them has had a message. */
async function bothHaveWork(stage: Stage, ...consumers: readonly Child[]): Promise<boolean> {
  for (const consumer of consumers) consumer.arm({ step: 'after-delivery' });
  stage.allow(0.3);
  const arrived = await Promise.all(consumers.map((consumer) => stage.arrived(consumer, 'after-delivery')));
  for (const consumer of consumers) consumer.go();
  return arrived.every((reached) => reached !== undefined);
}

/** With a message in hand that would come to its fence: one that fails on purpose does not. */
async function stoppedAt(stage: Stage, holder: Child, step: StepName): Promise<Reached | undefined> {
  for (;;) {
    holder.arm({ step });
    stage.allow((stage.allowed + MORE) / stage.transfers);
    const reached = await stage.arrived(holder, step);
    if (reached === undefined) return undefined;
    if (!failsAtFirst(reached.number)) {
      holder.pause();
      stage.fault(`stopped at ${step}`);
      return reached;
    }
    holder.go();
  }
}

function goesOn(holder: Child): void {
  holder.resume();
  holder.go();
}

function fencedSoFar(stage: Stage): number {
  return stage.counts.get('fenced') ?? 0;
}

/**
 * The total of the message's branch, and who has its lock, as others see them. A defect does harm once the other has committed; where the
 * holder has written the total already, nobody commits before it has ended, and the lock alone shows that another is there. Of a branch that has
 * had no entry yet there is no total.
 */
async function branchAt(stage: Stage, { number }: Reached, seen: 'lock or total' | 'total'): Promise<string> {
  const branch = branchOf(accountOf(number % KEYS), SHARED);
  return stage.servers.b.with(stage.databaseB, async (client) => {
    const { rows } = await client.query(
      `select total, (select owner from tallystick_lease where scope = 'lock:branch-' || id) as owner from branch where id = $1`,
      [branch],
    );
    return JSON.stringify(seen === 'total' ? (rows[0]?.total ?? null) : rows);
  });
}

export const holderScenarios: readonly Scenario[] = [holderStopped];
