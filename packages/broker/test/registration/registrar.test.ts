import { expect, it } from 'vitest';
import { SimDisk } from '../../../../test/sim/disk.ts';
import { World } from '../../../../test/sim/world.ts';
import { BrokerCore } from '../../src/broker.ts';

it('a start that is stopped while a name server has not answered yet fails', () => {
  const world = new World(1);
  const owner = world.process('broker');
  const dialed: string[] = [];
  const dialer = { dial: (address: string) => void dialed.push(address) };
  const core = new BrokerCore(
    { disk: new SimDisk(world).mount(owner), dialer, ...owner.ports },
    { advertise: '10.0.0.1:10911', nameServers: '10.0.0.9:9876,10.0.0.8:9876', segmentBytes: 262_144 },
  );
  const started: (string | undefined)[] = [];
  core.start((error) => void started.push(error?.message));
  expect(world.runUntil(() => dialed.length === 2, 60_000)).toBe(true);
  expect(started).toEqual([]);
  let stopped = false;
  core.stop((error) => {
    expect(error).toBeUndefined();
    stopped = true;
  });
  expect(world.runUntil(() => stopped, 60_000)).toBe(true);
  expect(started).toEqual([expect.stringContaining('the broker was stopped before it was registered')]);
  expect(core.state).toBe('stopped');
});

it('tells of a name server that cannot be reached once, not at each attempt', () => {
  const world = new World(1);
  const owner = world.process('broker');
  let dials = 0;
  const dialer = {
    dial: (address: string, done: (error: string | undefined, wire: never) => void) => {
      dials++;
      done(`nobody listens on ${address}`, undefined as never);
    },
  };
  const alarms: string[] = [];
  const core = new BrokerCore(
    { disk: new SimDisk(world).mount(owner), dialer, ...owner.ports },
    { advertise: '10.0.0.1:10911', nameServers: '10.0.0.9:9876', segmentBytes: 262_144 },
    { failed: () => {}, alarm: (sentence) => void alarms.push(sentence) },
  );
  core.start(() => {});
  expect(world.runUntil(() => dials === 3, 60_000)).toBe(true);
  expect(alarms).toEqual([expect.stringMatching(/10\.0\.0\.9:9876 \(nobody listens.*again every 1000 ms/)]);
});
