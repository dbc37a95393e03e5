/** The brokers that the contract runs over. */
import { connect } from 'amqplib';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, type ProducerSettings } from '@tallystick/client';
import {
  memoryBroker,
  rabbitSubscriber,
  rabbitTransport,
  tallystickSubscriber,
  tallystickTransport,
  type MemorySubscription,
  type RabbitConnection,
} from '@tallystick/reliable';
import { startRabbitmq } from '../../../../scripts/services/rabbitmq.ts';
import { BrokerProcess } from '../../../process/broker-process.ts';
import { freshVhost } from '../../support/services.ts';
import type { Backend, BrokerWorld, Consumer } from './world.ts';

const SOURCES = new URL('../../../../packages/cli/bin/sources.js', import.meta.url).href;
const CHILD = fileURLToPath(new URL('./broker-child.ts', import.meta.url));

const name = (): string => `q-${randomBytes(6).toString('hex')}`;

export const MEMORY: Backend = {
  name: 'memory',
  capabilities: { unroutable: true, survivesKill: false, tellsRedelivery: true, largeBytes: 8 * 1024 * 1024, keysApart: true },
  open() {
    const broker = memoryBroker({ autoCreate: false, keepsOrder: true });
    return Promise.resolve({
      transport: broker,
      queue: () => {
        const queue = name();
        broker.queue(queue);
        return Promise.resolve(queue);
      },
      consumer: () => {
        const subscriptions: MemorySubscription[] = [];
        return Promise.resolve({
          subscriber: {
            subscribe: async (...given: Parameters<typeof broker.subscribe>) => {
              const subscription = await broker.subscribe(...given);
              subscriptions.push(subscription);
              return subscription;
            },
          },
          die: () => Promise.resolve(subscriptions.forEach((subscription) => subscription.die())),
        });
      },
      close: () => Promise.resolve(),
    });
  },
};

const RABBIT = { unroutable: true, tellsRedelivery: true, largeBytes: 8 * 1024 * 1024, keysApart: true };

/** The shared service, in a virtual host of its own. */
export const RABBITMQ: Backend = {
  name: 'RabbitMQ',
  capabilities: { ...RABBIT, survivesKill: false },
  async open() {
    const vhost = await freshVhost();
    return rabbitWorld(vhost.url, { queueType: 'classic' }, () => vhost.drop());
  },
};

export const RABBITMQ_QUORUM: Backend = {
  name: 'RabbitMQ, quorum queues',
  capabilities: { ...RABBIT, survivesKill: false },
  async open() {
    const vhost = await freshVhost();
    return rabbitWorld(vhost.url, { queueType: 'quorum' }, () => vhost.drop());
  },
};

/** A server of one's own, which can be killed. */
const killed = (name: string, queueType: 'classic' | 'quorum'): Backend => ({
  name,
  capabilities: { ...RABBIT, survivesKill: true },
  async open() {
    const node = await startRabbitmq();
    const declared = (queue: string): Promise<void> => (queueType === 'quorum' ? node.remembers(queue) : Promise.resolve());
    const world = rabbitWorld(node.url, { queueType, declared }, () => node.close());
    return { ...world, kill: () => node.kill(), revive: () => node.start() };
  },
});

export const RABBITMQ_PRIVATE = killed('RabbitMQ', 'classic');
export const RABBITMQ_QUORUM_PRIVATE = killed('RabbitMQ, quorum queues', 'quorum');

interface Queues {
  readonly queueType: 'classic' | 'quorum';
  /** Waited for after each declaration. */
  readonly declared?: (queue: string) => Promise<void>;
}

function rabbitWorld(url: string, { queueType, declared }: Queues, drop: () => Promise<void>): BrokerWorld {
  const transport = rabbitTransport({ connect: () => connect(`${url}?heartbeat=5`) });
  const closing: (() => Promise<unknown>)[] = [() => transport.close()];
  return {
    transport,
    async queue() {
      const queue = name();
      const connection = await connect(url);
      const channel = await connection.createChannel();
      await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': queueType } });
      await connection.close();
      await declared?.(queue);
      return queue;
    },
    consumer() {
      const connections: RabbitConnection[] = [];
      let dead = false;
      const subscriber = rabbitSubscriber({
        connect: async () => {
          if (dead) throw new Error('this consumer is dead');
          const connection = await connect(`${url}?heartbeat=5`);
          connections.push(connection);
          return connection;
        },
        againFirstMs: 10,
        onReport: () => undefined,
      });
      closing.push(() => (dead ? Promise.resolve() : subscriber.close()));
      const die = (): Promise<void> => {
        dead = true;
        for (const { connection } of connections)
          (connection as { stream: { destroy(error: Error): void } }).stream.destroy(new Error('killed'));
        return Promise.resolve();
      };
      return Promise.resolve({ subscriber, die });
    },
    async close() {
      for (const close of closing.toReversed()) await close();
      await drop();
    },
  };
}

/** `sending`: limits on sends. */
const ours = (sending: ProducerSettings): Backend => ({
  name: 'our broker',
  capabilities: { unroutable: true, survivesKill: true, tellsRedelivery: false, largeBytes: 4 * 1024 * 1024, keysApart: false },
  async open() {
    const data = mkdtempSync(join(tmpdir(), 'tallystick-transports-'));
    const start = (port?: number): Promise<BrokerProcess> =>
      BrokerProcess.start({
        data,
        command: [process.execPath, '--import', SOURCES, CHILD],
        ...(port === undefined ? {} : { port }),
      });
    let broker = await start();
    const client = (): Client => new Client({ address: broker.address, onReport: () => undefined });
    const sender = client();
    const consuming = new Set<Client>();
    const consumer = (): Promise<Consumer> => {
      const own = client();
      consuming.add(own);
      const subscriber = tallystickSubscriber(own, {
        group: 'contract',
        consumer: { closeTimeoutMs: 0, suspendMs: 10, rebalanceIntervalMs: 200, commitIntervalMs: 50 },
      });
      const die = async (): Promise<void> => {
        consuming.delete(own);
        await own.close();
      };
      return Promise.resolve({ subscriber, die });
    };
    return {
      transport: tallystickTransport(sender.producer({ ...sending, idempotence: true })),
      consumer,
      async queue() {
        const topic = name();
        await sender.admin().createTopic(topic, 1);
        return topic;
      },
      kill: async () => void (await broker.end('SIGKILL')),
      revive: async () => {
        const port = Number(broker.address.split(':')[1]);
        broker = await start(port);
      },
      async close() {
        for (const one of [sender, ...consuming]) await one.close();
        await broker.end('SIGKILL');
        rmSync(data, { recursive: true, force: true });
      },
    };
  },
});

export const TALLYSTICK = ours({});

/** What is sent to a dead broker is answered soon. */
export const TALLYSTICK_PRIVATE = ours({ maxBlockMs: 3_000, deliveryTimeoutMs: 4_000, requestTimeoutMs: 2_000 });
