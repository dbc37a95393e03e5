import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, systemTimers, systemTurn, tcpDialer } from '@tallystick/base/node';
import type { Wire } from '@tallystick/base';
import { encodeProperties, Peer, RequestCode, wireFields, type CommandName, type Header } from '@tallystick/remoting';
import { afterEach, describe, expect, it } from 'vitest';
import { Broker, type BrokerSettings } from '@tallystick/broker';

const folders: string[] = [];
const brokers: Broker[] = [];

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'tallystick-shell-'));
  folders.push(made);
  return made;
}

async function started(settings: Partial<BrokerSettings> = {}): Promise<Broker> {
  const broker = new Broker({ dataDir: folder(), port: 0, segmentBytes: 1024 * 1024, ...settings });
  brokers.push(broker);
  await broker.start();
  return broker;
}

afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.stop();
  for (const made of folders.splice(0)) rmSync(made, { recursive: true });
});

/** A connection over a wire, whose calls are promises. */
function caller(wire: Wire) {
  const ports = { clock: systemClock, timers: systemTimers(), turn: systemTurn() };
  const peer = new Peer(wire, ports, {}, { onRequest() {}, onClose() {} });
  const call = <N extends CommandName>(
    name: N,
    header: Header<N>,
    body?: Uint8Array,
  ): Promise<{ code: number; body: Buffer; remark: string | undefined }> =>
    new Promise((resolve, reject) => {
      peer.request(RequestCode[name], wireFields(name, header), body, undefined, (error, reply) => {
        if (error === undefined) resolve({ code: reply.code, body: Buffer.from(reply.body()), remark: reply.remark() });
        else reject(new Error(error.message));
      });
    });
  return { peer, call };
}

const dial = (address: string): Promise<Wire> =>
  new Promise((resolve, reject) =>
    tcpDialer().dial(address, (error, wire) => (error === undefined ? resolve(wire) : reject(new Error(error)))),
  );

const SEND: Header<'SEND_MESSAGE_V2'> = {
  producerGroup: 'p',
  topic: 'orders',
  defaultTopic: 'TBW102',
  defaultTopicQueueNums: 4,
  queueId: 0,
  sysFlag: 0,
  bornTimestamp: 1,
  flag: 0,
  properties: encodeProperties([['UNIQ_KEY', 'K']]).toString(),
};
const PULL: Header<'PULL_MESSAGE'> = {
  consumerGroup: 'g',
  topic: 'orders',
  queueId: 0,
  queueOffset: 0,
  maxMsgNums: 10,
  sysFlag: 4,
  commitOffset: 0,
  suspendTimeoutMillis: 0,
  subVersion: 0,
  subscription: '*',
};

describe('a broker on real files and sockets', () => {
  it('serves clients by TCP and in the same process, and finds everything after a restart', async () => {
    const dataDir = folder();
    const broker = await started({ dataDir });
    const remote = caller(await dial(broker.address!));
    const near = caller(broker.connect());
    expect((await remote.call('SEND_MESSAGE_V2', SEND, Buffer.from('by tcp'))).code).toBe(0);
    expect((await near.call('SEND_MESSAGE_V2', SEND, Buffer.from('from inside'))).code).toBe(0);
    const first = await near.call('PULL_MESSAGE', PULL);
    expect([first.body.includes('by tcp'), first.body.includes('from inside')]).toEqual([true, true]);
    await broker.stop();
    const again = await started({ dataDir });
    const after = await caller(again.connect()).call('PULL_MESSAGE', PULL);
    expect(after.body.equals(first.body)).toBe(true);
    expect(again.core.recovery.clean).toBe(true);
  });

  it('tells clients the address it listens on', async () => {
    const broker = await started();
    const route = await caller(broker.connect()).call('GET_ROUTEINFO_BY_TOPIC', { topic: 'TBW102' });
    expect(route.body.toString()).toContain(`"${broker.address}"`);
  });

  it('listens on nothing when it is told so', async () => {
    const broker = await started({ host: false });
    expect(broker.address).toBeUndefined();
    expect((await caller(broker.connect()).call('SEND_MESSAGE_V2', SEND, Buffer.from('x'))).code).toBe(0);
  });

  it.each(['0.0.0.0', '::', '192.168.1.1'])('refuses to listen on %s unless it is told that this is insecure', async (host) => {
    await expect(new Broker({ dataDir: folder(), host, port: 0 }).start()).rejects.toThrow(/say insecure/);
  });

  it('refuses a folder that another broker has, and takes it when that one has stopped', async () => {
    const dataDir = folder();
    const first = await started({ dataDir });
    await expect(new Broker({ dataDir, port: 0 }).start()).rejects.toThrow(/in use by another broker/);
    await first.stop();
    await expect(started({ dataDir })).resolves.toBeDefined();
  });

  it('refuses a folder that cannot be made, where nothing can be made', async () => {
    const broker = new Broker({ dataDir: '/proc/nowhere/store', port: 0 });
    await expect(broker.start()).rejects.toThrow(/ENOENT.*\/proc\/nowhere/);
  });

  it('refuses a port that is taken, and lets the folder go', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const dataDir = folder();
    await expect(new Broker({ dataDir, port }).start()).rejects.toThrow(/EADDRINUSE/);
    await new Promise((resolve) => server.close(resolve));
    await expect(started({ dataDir })).resolves.toBeDefined();
  });

  it('names every wrong option at once and starts nothing', async () => {
    const dataDir = folder();
    const broken = new Broker({ dataDir, port: 0, checkMax: 0, flush: 'sometimes' as 'sync' });
    await expect(broken.start()).rejects.toThrow(/flush must be one of sync, async.*checkMax must be a whole number/s);
    await expect(started({ dataDir })).resolves.toBeDefined();
  });

  it('answers what it has taken before it stops', async () => {
    const broker = await started();
    const { call } = caller(broker.connect());
    const answers = Array.from({ length: 50 }, () => call('SEND_MESSAGE_V2', SEND, Buffer.from('x')));
    await Promise.race(answers);
    await broker.stop();
    const codes = await Promise.all(answers.map((answer) => answer.then(({ code }) => code)));
    expect(new Set(codes)).toEqual(new Set([0]));
  });

  it('closes a connection that sends no frames', async () => {
    const broker = await started();
    const wire = await dial(broker.address!);
    const closed = new Promise<string>((resolve) => {
      wire.onClose = resolve;
    });
    wire.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    await closed;
    expect(broker.core.counters.connections).toBe(0);
  });
});
