/** Several relays at one outbox: one is stopped past its lease and goes on afterwards as if nothing had been. */
import { setTimeout as sleep } from 'node:timers/promises';
import { shardOf } from '@tallystick/reliable';
import { accountOf } from '../bank.ts';
import type { Child } from '../child-process.ts';
import type { Scenario } from '../scenario.ts';
import { KEYS, LEASE_MS, type Stage } from '../stage.ts';
import { type StepName, stepsOf } from '../steps.ts';

const LEASES_STOPPED = 3;

const relayStopped: Scenario = {
  name: 'relay-stopped',
  sentence:
    'a relay is stopped for three leases before its push, after it and before settling, then continued while its heir is at work',
  share: 2,
  faults: ['stopped at after-claim', 'stopped at after-publish', 'stopped at before-settle', 'heir took over'],
  async run(stage) {
    await stage.spawn('consumer');
    await stage.spawn('app');
    const points: readonly StepName[] = ['after-claim', 'after-publish', 'before-settle'];
    let stopped = await stage.spawn('relay');
    for (const [n, point] of points.entries()) {
      stopped.arm({ step: point });
      stage.allow((n + 0.6) / points.length);
      if ((await stage.arrived(stopped, point)) === undefined) return;
      stopped.pause();
      await sleep(LEASES_STOPPED * LEASE_MS);
      stage.fault(`stopped at ${point}`);
      const heir = await stage.spawn('relay', { defect: undefined, arm: [{ step: 'after-publish' }] });
      // The heir has pushed what the stopped one had claimed, and has not settled it: now the old one comes back with its own verdict.
      if ((await stage.arrived(heir, 'after-publish')) !== undefined) stage.fault('heir took over');
      stopped.resume();
      stopped.go();
      await sleep(LEASE_MS / 3);
      heir.go();
      stage.allow((n + 1) / points.length);
      await stopped.stop();
      stopped = heir;
    }
  },
};

const RELAYS = 8;
/** So that each has work; one more relay stands by and takes what the stopped one loses. */
const RANGES_EACH = 16 / RELAYS;
const KILLS = 4;

const eightRelays: Scenario = {
  name: 'eight-relays',
  sentence:
    'eight relays share one outbox: at each step one is stopped past its lease and goes on when its rows are with another; then one after the other is killed',
  share: 2,
  faults: ['eight at one outbox', ...stepsOf('relay').map(({ name }) => `stopped at ${name}`), 'relay killed among the others'],
  async run(stage) {
    const { defect } = stage.options;
    await stage.spawn('consumer');
    const app = stage.spawn('app');
    const relays = await Promise.all(Array.from({ length: RELAYS }, () => spawnOne(stage)));
    await app;
    if (defect === undefined) {
      const owners = async (): Promise<number> => new Set(await holders(stage)).size;
      if (await stage.comesTrue('each relay holds its ranges', async () => (await owners()) === RELAYS))
        stage.fault('eight at one outbox');
      relays.push(await spawnOne(stage));
    }
    // What claims without leases is exposed where its rows are overtaken.
    const steps = stepsOf('relay').filter(({ name }) => defect === undefined || name === 'after-claim');
    for (const { name: step } of steps) {
      const stopped = await holderOfNext(stage, relays);
      stopped.arm({ step });
      stage.allow((stage.allowed + Math.max(1, Math.floor(stage.transfers / (steps.length + 2)))) / stage.transfers);
      if ((await stage.arrived(stopped, step)) === undefined) return;
      stopped.pause();
      stage.fault(`stopped at ${step}`);
      if (defect === undefined)
        await stage.comesTrue('its ranges are with another', async () => !(await holders(stage)).includes(stopped.name));
      else stage.allow(1);
      await overtaken(stage);
      stopped.resume();
      stopped.go();
    }
    for (const [n, relay] of relays.slice(0, KILLS).entries()) {
      stage.allow((stage.allowed + (stage.transfers - stage.allowed) / (KILLS - n)) / stage.transfers);
      await stage.reaches('more is made', ({ made }) => made >= stage.allowed);
      await relay.kill();
      stage.fault('relay killed among the others');
      await spawnOne(stage);
    }
  },
};

function spawnOne(stage: Stage): Promise<Child> {
  return stage.spawn('relay', { rangesMax: RANGES_EACH });
}

/** The others have sent all there is; where they may not touch what the stopped one has, as much as they can. */
async function overtaken(stage: Stage): Promise<void> {
  if (stage.options.defect === undefined)
    await stage.reaches('the others have sent all', ({ made, open }) => made >= stage.allowed && open === 0);
  else
    await stage.reaches('the others overtake', ({ made, effects }) => made >= stage.allowed && effects >= stage.transfers * 0.7);
}

/** Who holds each of the 16 ranges: what it was called, without the end that is its own. */
async function holders(stage: Stage): Promise<string[]> {
  return stage.servers.a.with(stage.databaseA, async (client) => {
    const { rows } = await client.query<{ owner: string }>(
      `select owner from tallystick_lease where scope = 'tallystick_outbox' order by first_shard`,
    );
    return rows.map(({ owner }) => owner.replace(/-[0-9a-f]{16}$/, ''));
  });
}

/** The relay that will have the next transfer in hand. */
async function holderOfNext(stage: Stage, relays: readonly Child[]): Promise<Child> {
  const range = Math.floor(shardOf(accountOf((stage.allowed + 1) % KEYS), '') / 16);
  const owner = (await holders(stage))[range];
  return relays.find(({ name }) => name === owner) ?? relays[0]!;
}

export const relayScenarios: readonly Scenario[] = [relayStopped, eightRelays];
