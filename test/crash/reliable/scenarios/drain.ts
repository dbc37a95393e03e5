/**
 * The backlog of an outage leaves while the service goes on. How long the service's own transactions take beside it is compared with how long
 * they took before, in the same run on the same machine: a ratio, whatever the machine is.
 */
import { BACKLOG_TABLES } from '../child/sink.ts';
import type { Scenario } from '../scenario.ts';
import type { Stage } from '../stage.ts';
import { backlogRows } from './backlog.ts';

const ROWS = { defect: 4000, ci: 30_000, full: 300_000 };
/** Transactions of the service per phase: so many that the hundredth part is more than one of them. */
const SAMPLES_MIN = 200;
/** With all processes on two cores 4 to 13 were seen; 870 and more where the outbox is locked while it drains. */
const RATIO_MAX = 50;
/** Other work on the machine can only make it worse: the best of so many rounds counts. */
const ROUNDS = { sound: 3, defect: 1 };
const DRAIN_WITHIN_MS = 300_000;

const drain: Scenario = {
  name: 'drain',
  sentence:
    'after an outage the backlog leaves through a relay that is told to spare the database, and the service’s own transactions go on at its pace',
  share: 0.5,
  alone: true,
  faults: ['backlog of an outage', 'transactions beside the drain'],
  async run(stage) {
    const topic = `${stage.topic}-backlog`;
    await stage.servers.b.with(stage.databaseB, (client) => client.query(BACKLOG_TABLES));
    await stage.spawn('consumer');
    await stage.spawn('sink', { topic });
    await stage.spawn('app');
    const service = await stage.spawn('service', { topic });
    await stage.comesTrue('the service has found its pace', () => stage.took.length >= SAMPLES_MIN);
    const before = slowestHundredth(await phase(stage, async () => undefined));
    const rounds = stage.options.defect === undefined ? ROUNDS.sound : ROUNDS.defect;
    const ratios: number[] = [];
    while (ratios.length < rounds && !ratios.some((ratio) => ratio <= RATIO_MAX)) {
      await stage.comesTrue('the service keeps its pace', () => stage.took.at(-1)! <= before);
      ratios.push((await besideDrain(stage, topic, ratios.length)) / before);
    }
    await service.stop();
    stage.counts.set('slowdown in hundredths', Math.round(Math.min(...ratios) * 100));
    await stage.spawn('relay', { gentle: true });
    if (ratios.some((ratio) => ratio <= RATIO_MAX)) return;
    const seen = ratios.map((ratio) => ratio.toFixed(1)).join(', ');
    stage.giveUp({
      invariant: 'service-unhurt',
      seen: `beside a drain they took ${seen} times as long, at most ${RATIO_MAX} they may`,
    });
  },
};

/** How long the slowest hundredth of the transactions takes beside the drain of a new backlog. */
async function besideDrain(stage: Stage, topic: string, round: number): Promise<number> {
  const { broker } = stage.servers;
  const { defect, full } = stage.options;
  const rows = ROWS[defect !== undefined ? 'defect' : full ? 'full' : 'ci'];
  await broker.kill();
  await stage.servers.a.with(stage.databaseA, (client) => client.query(backlogRows(rows, topic, round * rows)));
  await broker.start();
  stage.fault('backlog of an outage');
  const relay = await stage.spawn('relay', { gentle: true });
  const beside = await phase(stage, async () => {
    await stage.reaches('the backlog has left', ({ open }) => open < SAMPLES_MIN, DRAIN_WITHIN_MS);
  });
  await relay.stop();
  if (beside.length >= SAMPLES_MIN) stage.fault('transactions beside the drain');
  return slowestHundredth(beside);
}

/** How long the service's transactions took meanwhile. */
async function phase(stage: Stage, act: () => Promise<void>): Promise<readonly number[]> {
  const from = stage.took.length;
  await act();
  await stage.comesTrue('the service has made its transactions', () => stage.took.length >= from + SAMPLES_MIN);
  return stage.took.slice(from);
}

function slowestHundredth(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
}

export const drainScenarios: readonly Scenario[] = [drain];
