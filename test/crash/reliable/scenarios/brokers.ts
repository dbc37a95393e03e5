/** The broker goes away while the application goes on writing; and a queue is gone while the broker is there. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RabbitServer } from '../servers/rabbit-server.ts';
import type { Scenario } from '../scenario.ts';

const SLICES = 30;

const brokerDown: Scenario = {
  name: 'broker-down',
  sentence: 'the broker is killed, stays away while writes go on, and comes back on its data',
  share: 3,
  alone: true,
  faults: ['broker down while writes went on', 'broker killed with messages in flight'],
  async run(stage) {
    const { broker } = stage.servers;
    const { relay } = await stage.spawnAll();
    stage.allow(0.1);
    await stage.reaches('messages flow', ({ effects }) => effects > 0);
    // With a push on the wire that nobody has answered.
    relay.arm({ step: 'published' });
    stage.allow(0.15);
    const inFlight = await stage.arrived(relay, 'published');
    await broker.kill();
    if (inFlight !== undefined) stage.fault('broker killed with messages in flight');
    relay.go();
    const before = (await stage.progress()).made;
    const { outageMs } = stage.options;
    const startedMs = performance.now();
    for (let slice = 1; slice <= SLICES; slice++) {
      stage.allow(0.15 + (0.75 * slice) / SLICES);
      await sleep(Math.max(0, startedMs + (slice * outageMs) / SLICES - performance.now()));
    }
    await stage.reaches('what was allowed is made without a broker', ({ made }) => made >= stage.allowed);
    const { made, open } = await stage.progress();
    stage.counts.set('backlog after the outage', open);
    stage.counts.set('outage s', Math.round((performance.now() - startedMs) / 1000));
    if (made > before && open > 0) stage.fault('broker down while writes went on');
    await broker.start();
    const backMs = performance.now();
    if (await stage.reaches('the backlog is gone', (now) => now.open === 0, 120_000))
      stage.counts.set('drained within ms', Math.round(performance.now() - backMs));
  },
};

const unroutable: Scenario = {
  name: 'unroutable',
  sentence: 'the queue is deleted under the relay, messages come back as unroutable, the queue is declared again',
  share: 1,
  faults: ['queue deleted', 'unroutable was told'],
  brokers: ['rabbitmq'],
  async run(stage) {
    const { broker } = stage.servers;
    if (!(broker instanceof RabbitServer)) return;
    const { consumer } = await stage.spawnAll();
    stage.allow(0.3);
    // Nothing may be in the queue when it goes: what it held would be lost by the person who deletes it, not by us.
    await stage.reaches(
      'the queue is empty',
      ({ made, effects, open }) => made >= stage.allowed && effects >= made && open === 0,
    );
    await consumer.stop();
    await broker.deleteQueue(stage.topic);
    stage.fault('queue deleted');
    stage.allow(0.6);
    await stage.reaches('messages come back', () => (stage.counts.get('publish-unroutable') ?? 0) > 3);
    stage.fault('unroutable was told', stage.counts.get('publish-unroutable') ?? 0);
    await stage.spawn('consumer');
  },
};

export const brokerScenarios: readonly Scenario[] = [brokerDown, unroutable];
