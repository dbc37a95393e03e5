/** Several relays at one outbox: racing, and one that is stopped past its lease and goes on afterwards as if nothing had been. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LEASE_MS } from '../stage.ts';
import type { Scenario } from '../scenario.ts';
import type { StepName } from '../steps.ts';

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

const twoRelays: Scenario = {
  name: 'two-relays',
  sentence: 'four relays race for one outbox while one after the other is killed and replaced',
  share: 2,
  faults: ['relay killed in the race'],
  async run(stage) {
    await stage.spawn('consumer');
    const app = stage.spawn('app');
    const relays = await Promise.all(Array.from({ length: 4 }, () => stage.spawn('relay')));
    await app;
    const kills = 4;
    for (let n = 0; n < kills; n++) {
      const made = (await stage.progress()).made;
      stage.allow((n + 1) / kills);
      await stage.reaches('more is made', (now) => now.made > made);
      await relays[n]!.kill();
      stage.fault('relay killed in the race');
      await stage.spawn('relay');
    }
  },
};

export const relayScenarios: readonly Scenario[] = [relayStopped, twoRelays];
