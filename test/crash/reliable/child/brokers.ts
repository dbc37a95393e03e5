/** The two brokers as transport and subscriber. */
import { Client } from '@tallystick/client';
import type { Delivery, OutgoingMessage, PublishOutcome, Receipt, Subscriber, Transport } from '@tallystick/reliable';
import amqp from 'amqplib';
import type { BrokerKind } from '../servers/broker-server.ts';

export interface BrokerEnds {
  readonly transport: Transport;
  readonly subscriber: Subscriber;
  close(): Promise<void>;
}

export function brokerEnds(broker: { readonly kind: BrokerKind; readonly endpoint: string }): BrokerEnds {
  return broker.kind === 'ours' ? ours(broker.endpoint) : rabbit(broker.endpoint);
}

/** Short waits: the brokers here are killed on purpose. */
function ours(address: string): BrokerEnds {
  const client = new Client({ address, reconnectMaxMs: 300, heartbeatIntervalMs: 500, routeIntervalMs: 500, routeRetryMs: 100 });
  const producer = client.producer({ group: 'relays', deliveryTimeoutMs: 5000 });
  const subscriber: Subscriber = {
    async subscribe(topic, receive) {
      const consumer = client.consumer({
        group: 'bank-b',
        topics: { [topic]: '*' },
        from: 'first',
        orderly: true,
        suspendMs: 50,
        commitIntervalMs: 200,
        rebalanceIntervalMs: 300,
        rebalanceRetryMs: 100,
        pullRetryMs: 100,
        async handler(message) {
          const receipt = await receive({
            id: message.id,
            topic: message.topic,
            key: message.key,
            tag: message.tag,
            headers: message.headers,
            body: message.value,
            redelivered: message.reconsumeTimes > 0,
          });
          if (receipt === 'again') throw new Error('again');
        },
      });
      await consumer.start();
      return { stop: () => consumer.close() };
    },
  };
  return { transport: producer, subscriber, close: async () => client.close() };
}

const CONNECT_EVERY_MS = 100;

function rabbit(url: string): BrokerEnds {
  let closed = false;
  let publisher: Promise<amqp.ConfirmChannel> | undefined;
  const declared = new Set<string>();
  const open = async (): Promise<amqp.ConfirmChannel> => {
    const connection = await amqp.connect(url);
    const lose = (): void => {
      publisher = undefined;
      declared.clear();
    };
    connection.on('error', lose);
    connection.on('close', lose);
    const channel = await connection.createConfirmChannel();
    channel.on('error', () => {
      lose();
      void connection.close().catch(() => undefined);
    });
    return channel;
  };
  const channelNow = (): Promise<amqp.ConfirmChannel> => {
    publisher ??= open().catch((error: unknown) => {
      publisher = undefined;
      throw error;
    });
    return publisher;
  };
  const publishOne = async (channel: amqp.ConfirmChannel, message: OutgoingMessage, returned: Set<string>): Promise<PublishOutcome> =>
    new Promise((resolve) => {
      const lost = (): void => resolve({ outcome: 'unknown', reason: 'the connection was lost' });
      channel.connection.once('close', lost);
      const headers = { 'tallystick-key': message.key, ...Object.fromEntries(message.headers ?? []) };
      const options = { mandatory: true, persistent: true, messageId: message.id, headers };
      try {
        channel.publish('', message.topic, Buffer.from(message.body), options, (error) => {
          channel.connection.off('close', lost);
          if (returned.delete(message.id)) resolve({ outcome: 'unroutable', reason: 'no queue' });
          else resolve(error === null ? { outcome: 'confirmed' } : { outcome: 'unknown', reason: String(error) });
        });
      } catch (error) {
        resolve({ outcome: 'unavailable', reason: String(error) });
      }
    });
  const returnedOn = new WeakMap<amqp.ConfirmChannel, Set<string>>();
  const transport: Transport = {
    async publish(batch) {
      let channel: amqp.ConfirmChannel;
      try {
        channel = await channelNow();
      } catch (error) {
        return batch.map(() => ({ outcome: 'unavailable', reason: String(error) }));
      }
      let returned = returnedOn.get(channel);
      if (returned === undefined) {
        const set = new Set<string>();
        channel.connection.setMaxListeners(0);
        channel.on('return', (message: amqp.Message) => set.add(String(message.properties.messageId)));
        returnedOn.set(channel, set);
        returned = set;
      }
      const known = returned;
      return Promise.all(batch.map((message) => publishOne(channel, message, known)));
    },
  };
  const subscriber: Subscriber = {
    async subscribe(queue, receive) {
      let stopped = false;
      let connection: amqp.ChannelModel | undefined;
      const again = (): void => {
        if (!stopped && !closed) setTimeout(() => void consume(), CONNECT_EVERY_MS);
      };
      const consume = async (): Promise<void> => {
        try {
          connection = await amqp.connect(url);
          connection.on('error', () => undefined);
          connection.on('close', again);
          const channel = await connection.createChannel();
          channel.on('error', () => void connection?.close().catch(() => undefined));
          await channel.assertQueue(queue, { durable: true, arguments: { 'x-single-active-consumer': true } });
          await channel.prefetch(50);
          let last: Promise<void> = Promise.resolve();
          await channel.consume(queue, (message) => {
            if (message === null) return void connection?.close().catch(() => undefined);
            last = last.then(() => one(channel, message)).catch(() => undefined);
          });
        } catch {
          again();
        }
      };
      const one = async (channel: amqp.Channel, message: amqp.ConsumeMessage): Promise<void> => {
        const { properties, fields, content } = message;
        const headers = new Map(Object.entries((properties.headers ?? {}) as Record<string, string>));
        const delivery: Delivery = {
          id: String(properties.messageId),
          topic: fields.routingKey,
          key: headers.get('tallystick-key'),
          headers,
          body: content,
          redelivered: fields.redelivered,
        };
        let receipt: Receipt = 'again';
        while (receipt === 'again' && !stopped) {
          receipt = await receive(delivery).catch(() => 'again' as const);
          if (receipt === 'again') await new Promise((resolve) => setTimeout(resolve, 50));
        }
        channel.ack(message);
      };
      await consume();
      return {
        async stop() {
          stopped = true;
          await connection?.close().catch(() => undefined);
        },
      };
    },
  };
  const close = async (): Promise<void> => {
    closed = true;
    const channel = await publisher?.catch(() => undefined);
    await channel?.connection.close().catch(() => undefined);
  };
  return { transport, subscriber, close };
}
