/** The shipped client against the shipped broker, embedded: what a user of both sees. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Broker, type BrokerSettings } from '@tallystick/broker';
import { Client, type ClientSettings, IndefiniteError, type SendError, type Verdict } from '@tallystick/client';
import { afterEach, describe, expect, it, vi } from 'vitest';

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function broker(options: Partial<BrokerSettings> = {}): Promise<Broker> {
  const dataDir = mkdtempSync(join(tmpdir(), 'tallystick-contract-'));
  cleanups.push(() => rmSync(dataDir, { recursive: true, force: true }));
  const made = new Broker({ dataDir, host: false, ...options });
  await made.start();
  cleanups.push(() => made.stop());
  return made;
}

function clientOf(to: Broker, options: ClientSettings = {}): Client {
  const client = new Client({ connect: () => to.connect(), onReport: () => {}, ...options });
  cleanups.push(() => client.close());
  return client;
}

/** As long as a machine may take that has other things to do. */
const WITHIN_MS = 40_000;

const QUICK = { commitIntervalMs: 50, rebalanceIntervalMs: 200, rebalanceRetryMs: 50 };

describe('client and broker', () => {
  it('keep order per key, whatever else is sent beside', async () => {
    const client = clientOf(await broker());
    const producer = client.producer();
    const sends: Promise<unknown>[] = [];
    for (let n = 0; n < 300; n++) sends.push(producer.send({ topic: 'orders', key: `k${n % 7}`, value: `${n}` }));
    await Promise.all(sends);
    const byKey = new Map<string, number[]>();
    const consumer = client.consumer({
      ...QUICK,
      group: 'g',
      topics: { orders: '*' },
      from: 'first',
      orderly: true,
      handler: async (message) => {
        await Promise.resolve();
        const list = byKey.get(message.key!) ?? [];
        byKey.set(message.key!, [...list, Number(message.value.toString())]);
      },
    });
    await consumer.start();
    await vi.waitFor(() => expect([...byKey.values()].flat().length).toBe(300), WITHIN_MS);
    for (const list of byKey.values()) expect(list).toEqual([...list].sort((a, b) => a - b));
  });

  it('give back exactly what was sent', async () => {
    const client = clientOf(await broker());
    const id = '0199AAAA0000700080000000000000AA';
    const value = Buffer.from([0, 1, 2, 255]);
    const sent = await client.producer().send({
      topic: 't',
      key: Buffer.from([255, 0]),
      value,
      tag: 'A',
      id,
      headers: { h: 'ü', b: Buffer.from([9]) },
      timestamp: 12345,
    });
    const [message] = await client.admin().readAll('t');
    expect(message!.value.equals(value)).toBe(true);
    expect([message!.id, message!.tag, message!.timestamp, message!.queueId, message!.offset]).toEqual([
      id,
      'A',
      12345,
      sent.queueId,
      sent.offset,
    ]);
    expect([message!.headers.get('h'), message!.headerBytes('b'), message!.keyBytes]).toEqual([
      'ü',
      Buffer.from([9]),
      Buffer.from([255, 0]),
    ]);
    expect(message!.offsetMessageId).toBe(sent.offsetMessageId);
  });

  it('carry large and compressible bodies', async () => {
    const client = clientOf(await broker());
    const producer = client.producer();
    const random = Buffer.from(Array.from({ length: 300_000 }, (_, n) => (n * 7919) % 251));
    await Promise.all([
      producer.send({ topic: 't', value: 'z'.repeat(1_000_000) }),
      producer.send({ topic: 't', value: random }),
    ]);
    const messages = await client.admin().readAll('t');
    expect(messages.map(({ value }) => value.length).sort((a, b) => b - a)).toEqual([1_000_000, 300_000]);
  });

  it('share a group: each message goes to one member, and a leaving member loses nothing', async () => {
    const one = await broker();
    const producer = clientOf(one).producer();
    const got: string[] = [];
    const member = () =>
      clientOf(one).consumer({
        ...QUICK,
        group: 'g',
        topics: { shared: '*' },
        from: 'first',
        handler: (message) => void got.push(message.value.toString()),
      });
    const [first, second] = [member(), member()];
    await first.start();
    await second.start();
    const send = (from: number, to: number) =>
      Promise.all(
        Array.from({ length: to - from }, (_, n) => producer.send({ topic: 'shared', value: `${from + n}`, queueId: n % 4 })),
      );
    await send(0, 40);
    await vi.waitFor(() => expect(new Set(got).size).toBe(40), WITHIN_MS);
    await first.close();
    await send(40, 80);
    await vi.waitFor(() => expect(new Set(got).size).toBe(80), WITHIN_MS);
    expect(second.core.assigned.filter(({ topic }) => topic === 'shared').length).toBe(4);
  });

  it('go on where a closed consumer stopped', async () => {
    const one = await broker();
    const client = clientOf(one);
    const producer = client.producer();
    const run = async (expected: string[]): Promise<void> => {
      const got: string[] = [];
      const consumer = client.consumer({
        ...QUICK,
        group: 'g',
        topics: { t: '*' },
        from: 'first',
        handler: (message) => void got.push(message.value.toString()),
      });
      await consumer.start();
      await vi.waitFor(() => expect(got).toEqual(expected), WITHIN_MS);
      await consumer.close();
    };
    await producer.send({ topic: 't', value: 'a', queueId: 0 });
    await run(['a']);
    await producer.send({ topic: 't', value: 'b', queueId: 0 });
    await run(['b']);
  });

  it('start a group with from: last behind what is there, without losing what comes after start', async () => {
    const client = clientOf(await broker());
    const producer = client.producer();
    await producer.send({ topic: 't', value: 'old' });
    const got: string[] = [];
    const consumer = client.consumer({
      ...QUICK,
      group: 'late',
      topics: { t: '*' },
      from: 'last',
      handler: (message) => void got.push(message.value.toString()),
    });
    await consumer.start();
    await producer.send({ topic: 't', value: 'new' });
    await vi.waitFor(() => expect(got).toEqual(['new']), WITHIN_MS);
  });

  it('deliver only the wanted tags', async () => {
    const client = clientOf(await broker());
    const producer = client.producer();
    for (const tag of ['Aa', 'BB', 'C']) await producer.send({ topic: 't', value: tag, tag, queueId: 0 });
    const got: string[] = [];
    const consumer = client.consumer({
      ...QUICK,
      group: 'g',
      topics: { t: 'Aa||C' },
      from: 'first',
      handler: (message) => void got.push(message.value.toString()),
    });
    await consumer.start();
    await vi.waitFor(() => expect(got).toEqual(['Aa', 'C']), WITHIN_MS);
  });

  it('deliver a failed message again, and bury it when it failed too often', async () => {
    const client = clientOf(await broker({ delayLevelsMs: [20, 20, 20, 20, 20, 20] }));
    const producer = client.producer();
    const tries: number[] = [];
    const consumer = client.consumer({
      ...QUICK,
      group: 'g',
      topics: { t: '*' },
      from: 'first',
      maxReconsumeTimes: 2,
      handler: (message) => {
        tries.push(message.reconsumeTimes);
        expect(message.topic).toBe('t');
        throw new Error('never works');
      },
    });
    await consumer.start();
    const sent = await producer.send({ topic: 't', value: 'poison' });
    await vi.waitFor(async () => {
      const letters = await client.admin().readAll('%DLQ%g');
      expect(letters.map(({ id }) => id)).toEqual([sent.messageId]);
    }, WITHIN_MS);
    expect(tries).toEqual([0, 1, 2]);
  });

  it('bury an orderly message without letting the next overtake it', async () => {
    const client = clientOf(await broker());
    const producer = client.producer();
    const seen: string[] = [];
    const consumer = client.consumer({
      ...QUICK,
      group: 'g',
      topics: { t: '*' },
      from: 'first',
      orderly: true,
      suspendMs: 10,
      maxReconsumeTimes: 1,
      handler: (message) => {
        seen.push(message.value.toString());
        if (seen.at(-1) === 'bad') throw new Error('never works');
      },
    });
    await consumer.start();
    for (const value of ['bad', 'good']) await producer.send({ topic: 't', value, queueId: 0 });
    await vi.waitFor(() => expect(seen).toEqual(['bad', 'bad', 'good']), WITHIN_MS);
    await vi.waitFor(async () => expect((await client.admin().readAll('%DLQ%g')).length).toBe(1), WITHIN_MS);
  });

  it('deliver a delayed message after its time', async () => {
    const client = clientOf(await broker({ delayLevelsMs: [150] }));
    const got: [string, number][] = [];
    const consumer = client.consumer({
      ...QUICK,
      group: 'g',
      topics: { t: '*' },
      from: 'first',
      handler: (message) => void got.push([message.value.toString(), performance.now()]),
    });
    await consumer.start();
    const sentMs = performance.now();
    await client.producer().send({ topic: 't', value: 'later', delayLevel: 1 });
    await vi.waitFor(() => expect(got.map(([value]) => value)).toEqual(['later']), WITHIN_MS);
    // Timers and clocks count whole milliseconds each in their own way.
    expect(got[0]![1] - sentMs).toBeGreaterThan(145);
  });

  it('show a half message after its commit, never after its rollback', async () => {
    const client = clientOf(await broker());
    const producer = client.transactionProducer({ group: 'bank', listener: { check: () => 'unknown' } });
    await producer.start();
    const kept = await producer.half({ topic: 't', value: 'kept' });
    const dropped = await producer.half({ topic: 't', value: 'dropped' });
    await producer.half({ topic: 't', value: 'open' });
    expect(
      await client
        .admin()
        .readAll('t')
        .catch(() => []),
    ).toEqual([]);
    await kept.commit({ confirmed: true });
    await dropped.rollback({ confirmed: true });
    const messages = await client.admin().readAll('t');
    expect(messages.map(({ value, id }) => [value.toString(), id])).toEqual([['kept', kept.messageId]]);
    await expect(dropped.commit({ confirmed: true })).rejects.toMatchObject({ code: 'SYSTEM_ERROR' });
    await kept.commit({ confirmed: true });
    expect((await client.admin().readAll('t')).length).toBe(1);
  });

  it('run the listener form and repeat nothing', async () => {
    const client = clientOf(await broker());
    const ran: unknown[] = [];
    const producer = client.transactionProducer({
      group: 'bank',
      listener: {
        check: () => 'unknown',
        execute: async (record, argument) => {
          ran.push([record.value, argument]);
          await Promise.resolve();
          return argument === 1 ? 'commit' : 'rollback';
        },
      },
    });
    await producer.start();
    const results = [
      await producer.sendInTransaction({ topic: 't', value: 'a' }, 1),
      await producer.sendInTransaction({ topic: 't', value: 'b' }, 2),
    ];
    expect(results.map(({ verdict }) => verdict)).toEqual(['commit', 'rollback']);
    await vi.waitFor(
      async () => expect((await client.admin().readAll('t')).map(({ value }) => value.toString())).toEqual(['a']),
      WITHIN_MS,
    );
    expect(ran).toEqual([
      ['a', 1],
      ['b', 2],
    ]);
  });

  it('ask back for lost confirmations, also after the producer was made anew and has sent nothing', async () => {
    const one = await broker({ checkIntervalMs: 50, checkAfterMs: 50 });
    const checked: string[] = [];
    const verdicts = new Map<string, Verdict>();
    const bank = (client: Client) =>
      client.transactionProducer({
        group: 'bank',
        listener: {
          check: async ({ id }) => {
            checked.push(id);
            await Promise.resolve();
            return verdicts.get(id) ?? 'unknown';
          },
        },
      });
    const firstClient = clientOf(one);
    const first = bank(firstClient);
    await first.start();
    const kept = await first.half({ topic: 't', value: 'kept' });
    const dropped = await first.half({ topic: 't', value: 'dropped' });
    await firstClient.close();
    verdicts.set(kept.messageId, 'commit').set(dropped.messageId, 'rollback');
    const client = clientOf(one);
    await bank(client).start();
    await vi.waitFor(
      async () => expect((await client.admin().readAll('t')).map(({ id }) => id)).toEqual([kept.messageId]),
      WITHIN_MS,
    );
    await vi.waitFor(() => expect(new Set(checked)).toEqual(new Set([kept.messageId, dropped.messageId])), WITHIN_MS);
  });

  it('publish an outbox batch with one outcome per message, in order', async () => {
    const client = clientOf(await broker());
    const producer = client.producer({ maxMessageBytes: 100 });
    const message = (last: string, topic: string, bytes: number) => ({
      id: `0199AAAA0000700080000000000000${last}`,
      topic,
      body: Buffer.alloc(bytes, 1),
      key: 'k',
      headers: new Map([['h', 'v']]),
    });
    const outcomes = await producer.publish([
      message('01', 't', 5),
      message('02', 't', 101),
      message('03', 'bad topic', 5),
      message('04', 't', 6),
    ]);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['confirmed', 'rejected', 'rejected', 'confirmed']);
    expect((await client.admin().readAll('t')).map(({ id }) => id.slice(-2))).toEqual(['01', '04']);
    expect(await producer.publish([])).toEqual([]);
  });

  it('report what a stopped broker leaves unknown or unsent, and nothing as sent', async () => {
    const one = await broker();
    const client = clientOf(one);
    const producer = client.producer({ deliveryTimeoutMs: 500, requestTimeoutMs: 300 });
    // The limits are for what nobody answers; what is answered may take more than one try.
    await vi.waitFor(() => producer.send({ topic: 't', value: 'before' }), WITHIN_MS);
    await one.stop();
    const error = await producer.send({ topic: 't', value: 'after' }).then(
      () => undefined,
      (thrown: SendError) => thrown,
    );
    expect(error instanceof IndefiniteError || error?.outcome === 'unavailable').toBe(true);
  });

  it('work over TCP, through an address that is mapped', async () => {
    const one = await broker({ host: '127.0.0.1', port: 0 });
    const mapped: string[] = [];
    const client = new Client({
      address: 'somewhere:1',
      onReport: () => {},
      mapAddress: (address) => {
        mapped.push(address);
        return one.address!;
      },
    });
    cleanups.push(() => client.close());
    await client.admin().createTopic('made', 3);
    const receipt = await client.producer().send({ topic: 'made', value: 'v', queueId: 2 });
    expect([receipt.queueId, mapped[0]]).toEqual([2, 'somewhere:1']);
    expect(await client.admin().topicList()).toContain('made');
  });
});
