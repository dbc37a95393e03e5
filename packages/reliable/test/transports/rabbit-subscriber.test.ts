import { EventEmitter } from 'node:events';
import { ManualTime } from '@tallystick/base/testing';
import { expect, it } from 'vitest';
import { rabbitSubscriber } from '../../src/index.ts';
import type { RabbitMessage } from '../../src/transports/rabbit-driver.ts';

/** Its consumer is cancelled in the same breath in which it was accepted, when `cancels` says so. */
class FakeChannel extends EventEmitter {
  take: ((message: RabbitMessage | null) => void) | undefined;
  readonly #cancels: boolean;

  constructor(cancels: boolean) {
    super();
    this.#cancels = cancels;
  }

  prefetch = (): Promise<void> => Promise.resolve();
  cancel = (): Promise<void> => Promise.resolve();
  close = (): Promise<void> => Promise.resolve();
  ack = (): void => undefined;
  nack = (): void => undefined;

  consume(_queue: string, take: (message: RabbitMessage | null) => void): Promise<{ consumerTag: string }> {
    this.take = take;
    if (this.#cancels) take(null);
    return Promise.resolve({ consumerTag: 'one' });
  }
}

const turns = async (): Promise<void> => {
  for (let i = 0; i < 30; i++) await Promise.resolve();
};

it('a subscription that is lost in the moment it stands stands up again, and only then says that it stands', async () => {
  const time = new ManualTime();
  const channels: FakeChannel[] = [];
  const connection = Object.assign(new EventEmitter(), {
    createChannel: () => {
      channels.push(new FakeChannel(channels.length === 0));
      return Promise.resolve(channels.at(-1)!);
    },
    createConfirmChannel: (): never => {
      throw new Error('a subscriber publishes nothing');
    },
    close: () => Promise.resolve(),
  });
  const subscriber = rabbitSubscriber({
    connect: () => Promise.resolve(connection),
    clock: time,
    timers: time,
    random: { u32: () => 0xffffffff },
    onReport: () => undefined,
  });
  const received: string[] = [];
  let stands = false;
  const subscribing = subscriber
    .subscribe('q', ({ id }) => (received.push(id), Promise.resolve('done')))
    .then(() => (stands = true));
  await turns();
  expect(stands).toBe(false);
  time.advance(1_000);
  await turns();
  await subscribing;
  channels.at(-1)!.take!({
    content: Buffer.from('x'),
    fields: { routingKey: 'q', exchange: '' },
    properties: { messageId: 'M1' },
  });
  await turns();
  expect([channels.length, received]).toEqual([2, ['M1']]);
  await subscriber.close();
});

it('a subscription that has stopped is not kept, nor one that was refused', async () => {
  const refused = Object.assign(new Error('no queue'), { code: 404 });
  const connection = Object.assign(new EventEmitter(), {
    createChannel: () => Promise.resolve(new FakeChannel(false)),
    createConfirmChannel: (): never => {
      throw new Error('a subscriber publishes nothing');
    },
    close: () => Promise.resolve(),
  });
  const subscriber = rabbitSubscriber({
    connect: () => Promise.resolve(connection),
    declare: () => (missing ? Promise.reject(refused) : Promise.resolve()),
    onReport: () => undefined,
  });
  let missing = false;
  const subscriptions = await Promise.all(['a', 'b'].map((queue) => subscriber.subscribe(queue, () => Promise.resolve('done'))));
  expect(subscriber.state()).toEqual({ subscriptions: 2 });
  await subscriptions[0]!.stop();
  expect(subscriber.state()).toEqual({ subscriptions: 1 });
  missing = true;
  await expect(subscriber.subscribe('c', () => Promise.resolve('done'))).rejects.toThrow(/no queue/);
  expect(subscriber.state()).toEqual({ subscriptions: 1 });
  await subscriber.close();
  expect(subscriber.state()).toEqual({ subscriptions: 0 });
});

it('refuses a prefetch without bound', async () => {
  const subscriber = rabbitSubscriber({ connect: () => Promise.reject(new Error('not asked')), onReport: () => undefined });
  const subscribing = subscriber.subscribe('q', () => Promise.resolve('done'), { prefetch: 0 });
  await expect(subscribing).rejects.toThrow(/prefetch/);
});
