/** The two brokers as transport and subscriber: the package's own, with short waits, because the brokers here are killed on purpose. */
import { Client } from '@tallystick/client';
import {
  rabbitSubscriber,
  rabbitTransport,
  type Subscriber,
  tallystickSubscriber,
  tallystickTransport,
  type Transport,
} from '@tallystick/reliable';
import amqp from 'amqplib';
import type { BrokerKind } from '../servers/broker-server.ts';

export interface BrokerEnds {
  readonly transport: () => Transport;
  readonly subscriber: () => Subscriber;
  /** Makes the queue if the broker wants that. */
  prepare(queue: string): Promise<void>;
  close(): Promise<void>;
}

/** `group`: whose subscribers share the messages. `orderly`: one message of a queue at a time. */
export function brokerEnds(
  broker: { readonly kind: BrokerKind; readonly endpoint: string },
  { group = 'bank-b', orderly = true }: { readonly group?: string; readonly orderly?: boolean } = {},
): BrokerEnds {
  return broker.kind === 'ours' ? ours(broker.endpoint, group, orderly) : rabbit(broker.endpoint);
}

function ours(address: string, group: string, orderly: boolean): BrokerEnds {
  const client = new Client({ address, reconnectMaxMs: 300, heartbeatIntervalMs: 500, routeIntervalMs: 500, routeRetryMs: 100 });
  const consumer = {
    suspendMs: 50,
    commitIntervalMs: 200,
    rebalanceIntervalMs: 300,
    rebalanceRetryMs: 100,
    pullRetryMs: 100,
    lockIntervalMs: 400,
    lockLostMs: 1200,
  };
  return {
    transport: () => tallystickTransport(client.producer({ group: 'relays', deliveryTimeoutMs: 8000 })),
    subscriber: () => tallystickSubscriber(client, { group, orderly, consumer }),
    prepare: async () => undefined,
    close: async () => client.close(),
  };
}

function rabbit(url: string): BrokerEnds {
  const connect = () => amqp.connect(url);
  const waits = { reconnectFirstMs: 50, reconnectMaxMs: 300 };
  const open: { close(): Promise<unknown> }[] = [];
  const kept = <T extends { close(): Promise<unknown> }>(one: T): T => (open.push(one), one);
  return {
    transport: () => kept(rabbitTransport({ connect, ...waits, confirmTimeoutMs: 8000 })),
    subscriber: () => kept(rabbitSubscriber({ connect, ...waits, againFirstMs: 50, againMaxMs: 500 })),
    async prepare(queue) {
      const connection = await connect();
      try {
        // One consumer of the group at a time: RabbitMQ's way to keep the order while members come and go.
        const channel = await connection.createChannel();
        await channel.assertQueue(queue, { durable: true, arguments: { 'x-single-active-consumer': true } });
      } finally {
        await connection.close();
      }
    },
    close: async () => void (await Promise.all(open.map((one) => one.close()))),
  };
}
