/** The shipped client with two of the shipped brokers, of which one is the other's name server: which broker a named queue is on. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Broker } from '@tallystick/broker';
import { Client, type SendError } from '@tallystick/client';
import { afterEach, describe, expect, it, vi } from 'vitest';

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function broker(brokerName: string, nameServers = ''): Promise<Broker> {
  const dataDir = mkdtempSync(join(tmpdir(), 'tallystick-two-'));
  cleanups.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const made = new Broker({ dataDir, brokerName, port: 0, ...(nameServers === '' ? {} : { nameServers }) });
  await made.start();
  cleanups.push(() => made.stop());
  return made;
}

function clientOf(address: string): Client {
  const client = new Client({ address, routeIntervalMs: 1000, onReport: () => {} });
  cleanups.push(() => client.close());
  return client;
}

async function valuesIn(one: Broker): Promise<string[]> {
  const client = new Client({ connect: () => one.connect(), onReport: () => {} });
  const messages = await client.admin().readAll('t');
  await client.close();
  // Every broker of the route is this one here, so each message is read once for each of them.
  return [...new Set(messages.map(({ queueId, value }) => `${value.toString()}@${queueId}`))].sort();
}

/** Two brokers that have two queues of t each; the second one's name sorts before the first one's. */
async function two(): Promise<{ m: Broker; c: Broker; client: Client }> {
  const m = await broker('broker-m');
  const c = await broker('broker-c', m.address!);
  for (const one of [m, c]) {
    const admin = new Client({ connect: () => one.connect(), onReport: () => {} });
    await admin.admin().createTopic('t', 2);
    await admin.close();
  }
  return { m, c, client: clientOf(m.address!) };
}

describe('two brokers', () => {
  it('get what names their queues, and a queue number alone is refused while it is not clear whose', async () => {
    const { m, c, client } = await two();
    const producer = client.producer();
    const partitioned = client.producer({
      group: 'p',
      partitioner: {
        partition: ({ value }, queues) =>
          queues.findIndex(({ brokerName, queueId }) => `${brokerName} ${queueId}` === value.toString()),
      },
    });
    await vi.waitFor(() => partitioned.send({ topic: 't', value: 'broker-c 1' }), 40_000);
    await partitioned.send({ topic: 't', value: 'broker-m 0' });
    await producer.send({ topic: 't', value: 'M', queueId: 1, brokerName: 'broker-m' });
    await producer.send({ topic: 't', value: 'C', queueId: 1, brokerName: 'broker-c' });
    const refused = await producer.send({ topic: 't', value: 'x', queueId: 0 }).catch((error: SendError) => error);
    expect(refused).toMatchObject({ code: 'ILLEGAL_RECORD', outcome: 'rejected' });
    expect((refused as SendError).message).toContain('broker-c, broker-m; give brokerName too');
    const transactions = client.transactionProducer({ group: 'g', listener: { check: () => 'commit' } });
    await transactions.start();
    const half = await transactions.half({ topic: 't', value: 'half', queueId: 0, brokerName: 'broker-c' });
    await half.commit();
    expect(await valuesIn(m)).toEqual(['M@1', 'broker-m 0@0']);
    await vi.waitFor(async () => expect(await valuesIn(c)).toEqual(['C@1', 'broker-c 1@1', 'half@0']), 40_000);
  });
});
