/**
 * Name servers in both directions: our broker registers at Apache RocketMQ's name server, and Apache's broker registers at ours, as every
 * RocketMQ broker does. Our client, which only knows the name server, then works with whoever is behind it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from '@tallystick/client';
import { startBroker, startNameServer } from '../bench/peers/servers/rocketmq.ts';
import { BrokerProcess } from '../process/broker-process.ts';

export interface NameServerCheck {
  readonly name: string;
  /** Empty when it held. */
  readonly fault: string;
  readonly ms: number;
}

/** Long enough for two brokers, a name server and a client of a machine that has other things to do. */
const WITHIN_MS = 60_000;

export async function playNameServers(): Promise<NameServerCheck[]> {
  const checks: NameServerCheck[] = [];
  const check = async (name: string, run: () => Promise<string>): Promise<void> => {
    const begunMs = performance.now();
    const fault = await run().catch((error: unknown) => String(error));
    checks.push({ name, fault, ms: Math.round(performance.now() - begunMs) });
  };
  await check("our broker at Apache's name server", ourBrokerAtApaches);
  await check("Apache's broker at ours, beside our own", apachesBrokerAtOurs);
  return checks;
}

async function ourBrokerAtApaches(): Promise<string> {
  const names = await startNameServer();
  const folder = mkdtempSync(join(tmpdir(), 'tallystick-compat-names-'));
  const flags = ['--broker-name', 'ours', '--name-server', names.address];
  const broker = await BrokerProcess.start({ data: folder, flags });
  const client = new Client({ address: names.address, routeRetryMs: 100 });
  try {
    if (!(await client.admin().topicList()).includes('TBW102')) return 'the name server does not list our topics';
    await client.admin().createTopic('registered', 3);
    // A broker tells its name servers of a new topic a moment later.
    await within(WITHIN_MS, async () => ((await client.admin().topicList()).includes('registered') ? true : undefined));
    const found = await roundTrip(client, 'registered', 30);
    if (found.join() !== 'ours') return `messages went to ${found.join()}`;
    // A second broker of the name would quietly take the first one's place there.
    const clash = await BrokerProcess.start({ data: `${folder}-2`, flags }).then(
      (second) => second.end('SIGTERM').then(() => 'a namesake was let in'),
      (error: unknown) => (String(error).includes('--broker-name') ? '' : `a namesake was refused with: ${String(error)}`),
    );
    if (clash !== '') return clash;
    await broker.end('SIGTERM');
    const left = await client
      .admin()
      .topicList()
      .then((topics) => topics.includes('registered'));
    return left ? 'the name server still lists our topic after the stop' : '';
  } finally {
    await client.close();
    await broker.end('SIGKILL');
    await names.stop();
    for (const path of [folder, `${folder}-2`]) rmSync(path, { recursive: true, force: true });
  }
}

async function apachesBrokerAtOurs(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'tallystick-compat-names-'));
  const broker = await BrokerProcess.start({ data: folder, flags: ['--broker-name', 'ours'] });
  const apaches = await startBroker({
    nameServer: broker.address,
    settings: { brokerName: 'apaches', mappedFileSizeCommitLog: 67_108_864, timerWheelEnable: false },
    memory: ['-Xms512m', '-Xmx1g', '-XX:MaxDirectMemorySize=512m'],
  });
  const client = new Client({ address: broker.address, routeRetryMs: 100 });
  try {
    const found = await within(WITHIN_MS, async () => {
      // On every broker that has registered by now.
      await client.admin().createTopic('shared', 4);
      const brokers = await roundTrip(client, 'shared', 60);
      return brokers.length === 2 ? brokers : undefined;
    });
    if (found?.join() !== 'apaches,ours') return `messages went to ${found?.join() ?? 'one broker only'}`;
    await apaches.stop();
    // The connection has closed: nothing is left of it in the routes.
    const gone = await within(WITHIN_MS, async () =>
      (await roundTrip(client, 'shared', 20)).join() === 'ours' ? true : undefined,
    );
    return gone === true ? '' : 'it stays in the routes after its end';
  } finally {
    await client.close();
    await apaches.stop();
    await broker.end('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Sends so many messages, reads everything back, and answers which brokers took them. */
async function roundTrip(client: Client, topic: string, count: number): Promise<string[]> {
  const producer = client.producer({ batchSizeBytes: 0, maxBlockMs: 10_000, deliveryTimeoutMs: 10_000 });
  const taken = new Set<string>();
  try {
    const sent = new Set<string>();
    for (let n = 0; n < count; n++) {
      const receipt = await producer.send({ topic, value: `${n}` });
      taken.add(receipt.brokerName);
      sent.add(receipt.messageId);
    }
    for (const { id } of await client.admin().readAll(topic)) sent.delete(id);
    if (sent.size > 0) throw new Error(`${sent.size} of ${count} messages cannot be read`);
    return [...taken].sort();
  } finally {
    await producer.close();
  }
}

/** Tries again every half second until there is an answer. */
async function within<T>(ms: number, attempt: () => Promise<T | undefined>): Promise<T | undefined> {
  const untilMs = performance.now() + ms;
  for (;;) {
    const result = await attempt().catch(() => undefined);
    if (result !== undefined || performance.now() > untilMs) return result;
    await pause(500);
  }
}
