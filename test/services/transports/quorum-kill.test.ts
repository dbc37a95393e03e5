/** An outbox before a quorum queue whose node is killed: what was confirmed is there, what was unknown is repeated under its own id. */
import { connect } from 'amqplib';
import Database from 'libsql';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  createOutbox,
  createRelay,
  migrate,
  rabbitSubscriber,
  rabbitTransport,
  transaction,
  verifyDurability,
  type PublishResult,
  type Transport,
} from '@tallystick/reliable';
import { startRabbitmq, type RabbitmqNode } from '../../../scripts/services/rabbitmq.ts';
import { until } from './support/world.ts';

const MESSAGES = 10_000;
const KEYS = 200;
const QUEUE = 'orders';

let node: RabbitmqNode;
const folder = mkdtempSync(join(tmpdir(), 'tallystick-quorum-'));
const closing: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  node = await startRabbitmq();
  const connection = await connect(node.url);
  const channel = await connection.createChannel();
  await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  await connection.close();
  await node.remembers(QUEUE);
});
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
  await node.close();
  rmSync(folder, { recursive: true, force: true });
});

function database(): Database.Database {
  const db = new Database(join(folder, 'shop.db'), { timeout: 5000 });
  verifyDurability(db);
  migrate(db);
  return db;
}

/** Every outcome that a message ever had, in order. */
function recorded(transport: Transport, told: Map<string, PublishResult[]>): Transport {
  return {
    keepsOrder: true,
    async publish(batch) {
      const outcomes = await transport.publish(batch);
      batch.forEach(({ id }, n) => told.set(id, [...(told.get(id) ?? []), outcomes[n]!.outcome]));
      return outcomes;
    },
  };
}

it('a SIGKILL of the node loses no confirmed message; what it left unknown is repeated with the same id until it is confirmed', async () => {
  const shop = database();
  const outbox = createOutbox(shop);
  const added = transaction(shop, (tx) =>
    Array.from({ length: MESSAGES }, (_, n) =>
      outbox.in(tx).add({ topic: QUEUE, key: `k${n % KEYS}`, body: `${Math.floor(n / KEYS)} ${'x'.repeat(1000)}` }),
    ),
  );
  const told = new Map<string, PublishResult[]>();
  const rabbit = rabbitTransport({ connect: () => connect(`${node.url}?heartbeat=5`), reconnectMaxMs: 500 });
  const relay = createRelay({ db: database(), transport: recorded(rabbit, told), onAlarm: () => undefined });
  closing.push(
    () => rabbit.close(),
    () => relay.stop(),
  );
  relay.start();
  const ids = (...wanted: PublishResult[]): string[] =>
    [...told].filter(([, all]) => all.some((one) => wanted.includes(one))).map(([id]) => id);
  await until(() => relay.counters.confirmed >= 1_000);
  await node.kill();
  await until(() => ids('unknown').length > 0);
  const confirmed = ids('confirmed');
  expect(confirmed.length).toBeLessThan(MESSAGES);
  await node.start();

  const left = (): number => (shop.prepare('select count(*) as n from tallystick_outbox').get() as { n: number }).n;
  await until(() => left() === 0, 90_000);
  for (const id of ids('unknown')) expect(told.get(id)!.at(-1)).toBe('confirmed');

  const got = new Map<string, string[]>();
  const came = new Set<string>();
  const subscriber = rabbitSubscriber({ connect: () => connect(node.url), onReport: () => undefined });
  closing.push(() => subscriber.close());
  await subscriber.subscribe(QUEUE, ({ id, key, body }) => {
    if (!came.has(id)) got.set(key!, [...(got.get(key!) ?? []), Buffer.from(body).toString().split(' ')[0]!]);
    came.add(id);
    return Promise.resolve('done');
  });
  await until(() => came.size >= MESSAGES, 60_000);
  expect(came).toEqual(new Set(added));
  expect(confirmed.filter((id) => !came.has(id))).toEqual([]);
  // In the order of each key, repeats apart.
  const inOrder = Array.from({ length: MESSAGES / KEYS }, (_, n) => String(n));
  for (const numbers of got.values()) expect(numbers).toEqual(inOrder);
});
