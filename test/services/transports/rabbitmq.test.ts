/** What only RabbitMQ can do to a message, on a real one. */
import { connect, type Channel, type Options } from 'amqplib';
import { readFileSync } from 'node:fs';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemRandom } from '@tallystick/base/node';
import { ManualTime } from '@tallystick/base/testing';
import {
  MessageIds,
  rabbitSubscriber,
  rabbitTransport,
  type Delivery,
  type OutgoingMessage,
  type PublishOutcome,
  type RabbitConnection,
  type RabbitSubscriber,
  type RabbitSubscriberSettings,
  type RabbitTransport,
} from '@tallystick/reliable';
import { startRabbitmq, type RabbitmqNode } from '../../../scripts/services/rabbitmq.ts';
import { freshVhost, type FreshVhost } from '../support/services.ts';
import { until } from './support/world.ts';

const ids = new MessageIds(systemClock, systemRandom());
const message = (topic: string, more: Partial<OutgoingMessage> = {}): OutgoingMessage => ({
  id: ids.next(),
  topic,
  body: Buffer.from('x'),
  ...more,
});
const results = (outcomes: readonly PublishOutcome[]): string[] => outcomes.map(({ outcome }) => outcome);

let vhost: FreshVhost;
let channel: Channel;
let transport: RabbitTransport;
const closing: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  vhost = await freshVhost();
  const connection = await connect(vhost.url);
  channel = await connection.createChannel();
  transport = rabbitTransport({ connect: () => connect(vhost.url) });
  closing.push(
    () => connection.close(),
    () => transport.close(),
  );
});
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
  await vhost.drop();
});

function subscriber(settings: Partial<RabbitSubscriberSettings> = {}): {
  readonly subscriber: RabbitSubscriber;
  readonly reports: string[];
} {
  const reports: string[] = [];
  const made = rabbitSubscriber({
    connect: () => connect(vhost.url),
    reconnectMaxMs: 200,
    onReport: (sentence) => reports.push(sentence),
    ...settings,
  });
  closing.push(() => made.close());
  return { subscriber: made, reports };
}

describe('the transport', () => {
  it('a missing exchange makes its own messages unroutable and nobody else repeat', async () => {
    await channel.assertQueue('fine');
    const batch = Array.from({ length: 200 }, (_, n) => message('fine', n % 50 === 7 ? { exchange: 'missing' } : {}));
    const outcomes = await transport.publish(batch);
    expect(
      outcomes.map(({ outcome }, n) => (n % 50 === 7 ? outcome === 'unroutable' : outcome === 'confirmed')).every(Boolean),
    ).toBe(true);
    expect(outcomes[7]!.reason).toMatch(/NOT_FOUND - no exchange 'missing'/);
    // And nothing came twice.
    expect((await channel.checkQueue('fine')).messageCount).toBe(196);
  });

  it('routes through an exchange by routing key, and tells of a key that leads nowhere', async () => {
    await channel.assertExchange('events', 'topic');
    await channel.assertQueue('all-orders');
    await channel.bindQueue('all-orders', 'events', 'order.*');
    const to = (routingKey: string): OutgoingMessage =>
      message('orders', { exchange: 'events', exchangeType: 'topic', routingKey });
    expect(results(await transport.publish([to('order.created'), to('invoice.created'), to('order.paid')]))).toEqual([
      'confirmed',
      'unroutable',
      'confirmed',
    ]);
    const got: Delivery[] = [];
    await subscriber().subscriber.subscribe('all-orders', (delivery) => (got.push(delivery), Promise.resolve('done')));
    await until(() => got.length === 2);
    expect(got.map(({ topic }) => topic)).toEqual(['orders', 'orders']);
  });

  it('a queue that is full and says so: unknown, and the others of the batch are confirmed', async () => {
    await channel.assertQueue('small', { maxLength: 2, overflow: 'reject-publish' });
    await channel.assertQueue('roomy');
    const outcomes = await transport.publish([0, 1, 2, 3, 4].map((n) => message(n === 3 ? 'roomy' : 'small')));
    expect(results(outcomes)).toEqual(['confirmed', 'confirmed', 'unknown', 'confirmed', 'unknown']);
    expect(outcomes[4]!.reason).toMatch(/nacked/);
  });

  it('headers larger than the driver can write are rejected, and the channel lives on', async () => {
    await channel.assertQueue('headers');
    const headers = new Map([['large', 'x'.repeat(200_000)]]);
    expect(results(await transport.publish([message('headers', { headers }), message('headers')]))).toEqual([
      'rejected',
      'confirmed',
    ]);
  });

  it('has no more on their way than its window, however many it is given', async () => {
    await channel.assertQueue('window');
    const narrow = rabbitTransport({ connect: () => connect(vhost.url), windowMessages: 50 });
    closing.push(() => narrow.close());
    await narrow.publish([message('window')]);
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, narrow.state().onTheWay)), 1);
    const outcomes = await narrow.publish(Array.from({ length: 5_000 }, () => message('window')));
    clearInterval(watch);
    expect(new Set(results(outcomes))).toEqual(new Set(['confirmed']));
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(50);
  });
});

describe('the subscriber', () => {
  it('hands a queue of one active consumer on only when what it is receiving has ended, and everything else in order', async () => {
    const arguments_ = { 'x-single-active-consumer': true };
    await channel.assertQueue('handed-on', { durable: true, arguments: arguments_ });
    await transport.publish(
      Array.from({ length: 12 }, (_, n) => message('handed-on', { key: `k${n % 2}`, body: Buffer.from(String(n)) })),
    );
    const events: string[] = [];
    let finish: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => (finish = resolve));
    const first = await subscriber({ prefetch: 6 }).subscriber.subscribe('handed-on', async ({ body }) => {
      events.push(`first began ${String(body)}`);
      await finished;
      events.push(`first ended ${String(body)}`);
      return 'done';
    });
    await until(() => events.length === 2);
    await subscriber({ prefetch: 6 }).subscriber.subscribe('handed-on', ({ body, key }) => {
      events.push(`second ${key} ${String(body)}`);
      return Promise.resolve('done');
    });
    const stopping = first.stop();
    // Long enough for a broker that was told to go on to have done so.
    await expect(until(() => events.length > 2, 300)).rejects.toThrow();
    finish();
    await stopping;
    await until(() => events.length === 14);
    expect(events.slice(0, 4).toSorted()).toEqual(['first began 0', 'first began 1', 'first ended 0', 'first ended 1']);
    expect(events.slice(4).filter((event) => event.startsWith('second k0'))).toEqual(
      [2, 4, 6, 8, 10].map((n) => `second k0 ${n}`),
    );
    expect(events.slice(4).filter((event) => event.startsWith('second k1'))).toEqual(
      [3, 5, 7, 9, 11].map((n) => `second k1 ${n}`),
    );
  });

  it('refuses a queue that is not there, and declares what it is told to', async () => {
    await expect(subscriber().subscriber.subscribe('absent', () => Promise.resolve('done'))).rejects.toThrow(/NOT_FOUND/);
    const got: Delivery[] = [];
    const { subscriber: declaring } = subscriber({ declare: (on) => (on as Channel).assertQueue('declared') });
    await declaring.subscribe('declared', (delivery) => (got.push(delivery), Promise.resolve('done')));
    expect(results(await transport.publish([message('declared')]))).toEqual(['confirmed']);
    await until(() => got.length === 1);
  });

  it('comes back when the broker cancels it', async () => {
    await channel.assertQueue('cancelled');
    const got = new Set<string>();
    const { subscriber: steady, reports } = subscriber();
    await steady.subscribe('cancelled', ({ id }) => (got.add(id), Promise.resolve('done')));
    await channel.deleteQueue('cancelled');
    await until(() => reports.length > 0);
    expect(reports[0]).toMatch(/cancelled/);
    await channel.assertQueue('cancelled');
    const sent = message('cancelled');
    expect(results(await transport.publish([sent]))).toEqual(['confirmed']);
    await until(() => got.has(sent.id));
  });

  it('receives a foreign message as it is; one without an id is told by identify, handed over without, or refused', async () => {
    const arguments_ = { deadLetterExchange: '', deadLetterRoutingKey: 'dead' };
    await channel.assertQueue('dead');
    for (const queue of ['identified', 'handed', 'refused']) await channel.assertQueue(queue, arguments_);
    const foreign = { headers: { n: 5, list: [1, 'two'], deep: { a: true }, nothing: null, '': 'x' }, timestamp: 1_700_000_000 };
    for (const queue of ['identified', 'handed', 'refused']) channel.sendToQueue(queue, Buffer.from(queue), foreign);
    channel.sendToQueue('identified', Buffer.from('own'), { ...foreign, messageId: 'order-17' });
    const got: Delivery[] = [];
    const receive = (delivery: Delivery): Promise<'done'> => (got.push(delivery), Promise.resolve('done'));
    await subscriber({ identify: ({ content }) => `by-content-${content.length}` }).subscriber.subscribe('identified', receive);
    await until(() => got.length === 2);
    expect(got.map(({ id }) => id)).toEqual(['by-content-10', 'order-17']);
    expect(got[0]).toMatchObject({ topic: 'identified', key: undefined, type: undefined, sentAt: 1_700_000_000_000 });
    expect([...got[0]!.headers]).toEqual([
      ['n', '5'],
      ['list', '[1,"two"]'],
      ['deep', '{"a":true}'],
      ['nothing', 'null'],
      ['', 'x'],
    ]);

    await subscriber().subscriber.subscribe('handed', receive);
    await until(() => got.length === 3);
    expect(got[2]!.id).toBe('');

    const { subscriber: strict, reports } = subscriber({ withoutId: 'refuse' });
    await strict.subscribe('refused', receive);
    await until(async () => (await channel.checkQueue('dead')).messageCount === 1);
    expect(got).toHaveLength(3);
    expect(reports).toEqual([expect.stringMatching(/a message in refused has no message id/)]);
  });

  it('what is asked for again stays in hand, without a hot loop, and goes back to the broker after holdMs', async () => {
    await channel.assertQueue('again');
    let attempts = 0;
    const time = new ManualTime();
    const { subscriber: patient } = subscriber({ againFirstMs: 20, againMaxMs: 100, holdMs: 400, clock: time, timers: time });
    let redelivered = false;
    await patient.subscribe('again', (delivery) => {
      attempts++;
      redelivered = delivery.redelivered;
      return Promise.resolve(delivery.redelivered ? 'done' : 'again');
    });
    await transport.publish([message('again')]);
    await until(() => {
      if (attempts > 0) time.advance(5);
      return redelivered;
    });
    expect(attempts).toBeGreaterThanOrEqual(3);
    // 400 ms of waits of at least 10, 20, 40, 50, 50 … ms.
    expect(attempts).toBeLessThanOrEqual(12);
  });
});

describe('a poisoned message', () => {
  /** The declaration of the guide, run as it stands there, but with a limit that is reached sooner. */
  const declareAsTheGuide = async (limit: number): Promise<void> => {
    const guide = readFileSync(new URL('../../../docs/guides/reliable-messages.md', import.meta.url), 'utf8');
    const [, code] = /^```js\n([^]*?assertQueue[^]*?)^```/m.exec(guide) ?? [];
    const parts = code!.split("'x-delivery-limit': 20");
    expect(parts).toHaveLength(2);
    await runInNewContext(`(async () => {${parts.join(`'x-delivery-limit': ${limit}`)}})()`, { channel });
  };

  it('that goes back to a quorum queue more often than its delivery limit ends behind its dead letter exchange, with its id', async () => {
    await declareAsTheGuide(3);
    const [poison, good] = [message('parcels', { key: 'p' }), message('parcels', { key: 'g' })];
    expect(results(await transport.publish([poison, good]))).toEqual(['confirmed', 'confirmed']);
    const seen: string[] = [];
    const { subscriber: hasty } = subscriber({ holdMs: 0 });
    await hasty.subscribe('parcels', ({ id }) => (seen.push(id), Promise.resolve(id === poison.id ? 'again' : 'done')));
    const dead: Delivery[] = [];
    await subscriber().subscriber.subscribe('parcels.dead', (delivery) => (dead.push(delivery), Promise.resolve('done')));
    await until(() => dead.length > 0);
    expect(dead.map(({ id }) => id)).toEqual([poison.id]);
    expect(dead[0]!.headers.get('x-first-death-reason')).toBe('delivery_limit');
    // The first delivery and as many repeats as the limit allows.
    expect(seen.filter((id) => id === poison.id)).toHaveLength(4);
    expect(seen).toContain(good.id);
  });

  it('is dropped by a quorum queue that has a delivery limit and no dead letter exchange', async () => {
    await channel.assertQueue('lossy', { durable: true, arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 1 } });
    let seen = 0;
    const { subscriber: hasty } = subscriber({ holdMs: 0 });
    await hasty.subscribe('lossy', () => (seen++, Promise.resolve('again')));
    expect(results(await transport.publish([message('lossy')]))).toEqual(['confirmed']);
    await until(() => seen === 2);
    await hasty.close();
    // It would come before the one that is sent now.
    const next = message('lossy');
    expect(results(await transport.publish([next]))).toEqual(['confirmed']);
    const got: string[] = [];
    await subscriber().subscriber.subscribe('lossy', ({ id }) => (got.push(id), Promise.resolve('done')));
    await until(() => got.length > 0);
    expect(got).toEqual([next.id]);
  });
});

describe('a server of its own', () => {
  let server: RabbitmqNode;
  beforeAll(async () => {
    server = await startRabbitmq({ settings: { max_message_size: '200000' } });
  });
  afterAll(() => server.close());

  const declared = async (name: string, options: Options.AssertQueue = {}): Promise<string> => {
    const connection = await connect(server.url);
    await (await connection.createChannel()).assertQueue(name, options);
    await connection.close();
    return name;
  };

  it('a message over its max_message_size is rejected alone; its neighbours are repeated and arrive', async () => {
    const own = rabbitTransport({ connect: () => connect(server.url) });
    const queue = await declared('sizes');
    expect(results(await own.publish([message(queue)]))).toEqual(['confirmed']);
    const batch = Array.from({ length: 60 }, (_, n) => message(queue, { body: Buffer.alloc(n === 30 ? 200_001 : 100) }));
    const outcomes = await own.publish(batch);
    expect(outcomes[30]).toEqual({
      outcome: 'rejected',
      reason: 'its body has 200001 bytes, RabbitMQ takes at most 200000 (its max_message_size)',
    });
    const others = results(outcomes).toSpliced(30, 1);
    expect(others.every((outcome) => outcome === 'confirmed' || outcome === 'unknown')).toBe(true);
    expect(others).toContain('unknown');
    // Now that the limit is known, the like of it troubles nobody.
    const repeats = batch.filter((_, n) => outcomes[n]!.outcome === 'unknown');
    const again = await own.publish([...repeats, message(queue, { body: Buffer.alloc(300_000) })]);
    expect(results(again)).toEqual([...repeats.map(() => 'confirmed'), 'rejected']);
    const exact = await own.publish([message(queue, { body: Buffer.alloc(200_000) })]);
    expect(results(exact)).toEqual(['confirmed']);
    await own.close();
  });

  it('a queue that does not answer costs its own messages their confirmation and nobody else; repeated, they arrive once it does', async () => {
    let channels = 0;
    const counting = async (): Promise<RabbitConnection> => {
      const connection = await connect(server.url);
      const make = connection.createConfirmChannel.bind(connection);
      return Object.assign(connection, { createConfirmChannel: () => (channels++, make()) });
    };
    const time = new ManualTime();
    const own = rabbitTransport({ connect: counting, confirmTimeoutMs: 1_000, clock: time, timers: time });
    const quorum = { arguments: { 'x-queue-type': 'quorum' } };
    const [stuck, fine] = [await declared('stuck', quorum), await declared('fine')];
    expect(results(await own.publish([message(stuck), message(fine)]))).toEqual(['confirmed', 'confirmed']);
    server.evaluate(`sys:suspend({'%2F_stuck', node()}).`);
    const held = message(stuck);
    let [answer, others] = ['', new Set<string>()];
    const going = own.publish([held]).then((outcomes) => (answer = results(outcomes)[0]!));
    await until(async () => {
      others = new Set([...others, ...results(await own.publish([message(fine)]))]);
      // Time passes only between these: none of them can be late.
      time.advance(50);
      return answer !== '';
    });
    await going;
    expect([answer, [...others]]).toEqual(['unknown', ['confirmed']]);
    expect(results(await own.publish([message(fine)]))).toEqual(['confirmed']);
    expect(channels).toBeGreaterThanOrEqual(2);
    server.evaluate(`sys:resume({'%2F_stuck', node()}).`);
    await until(async () => results(await own.publish([held]))[0] === 'confirmed');
    await own.close();
  });

  it('under a memory alarm takes nothing: unavailable, no wait without end; all is well when the alarm ends', async () => {
    const own = rabbitTransport({ connect: () => connect(server.url), confirmTimeoutMs: 2_000 });
    const connection = await connect(server.url);
    const setUp = await connection.createChannel();
    await setUp.assertQueue('alarmed');
    await connection.close();
    await until(async () => results(await own.publish([message('alarmed')]))[0] === 'confirmed');
    server.evaluate('vm_memory_monitor:set_vm_memory_high_watermark(0.0001).');
    // RabbitMQ tells a connection that it is blocked when it publishes.
    const outcomes: string[] = [];
    await until(async () => {
      outcomes.push(...results(await own.publish([message('alarmed')])));
      return outcomes.at(-1) === 'unavailable';
    });
    expect(outcomes.every((outcome) => outcome === 'unknown' || outcome === 'unavailable' || outcome === 'confirmed')).toBe(true);
    const [alarmed] = await own.publish([message('alarmed')]);
    expect(alarmed).toEqual({ outcome: 'unavailable', reason: expect.stringMatching(/takes no messages/) as string });
    server.evaluate('vm_memory_monitor:set_vm_memory_high_watermark(0.8).');
    await until(async () => results(await own.publish([message('alarmed')]))[0] === 'confirmed');
    await own.close();
  });
});
