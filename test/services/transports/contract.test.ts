/** What every transport and subscriber promises, on real brokers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemRandom } from '@tallystick/base/node';
import {
  memoryBroker,
  MessageIds,
  type Delivery,
  type MemoryBroker,
  type OutgoingMessage,
  type PublishOutcome,
  type Receipt,
  type Transport,
} from '@tallystick/reliable';
import {
  MEMORY,
  RABBITMQ,
  RABBITMQ_PRIVATE,
  RABBITMQ_QUORUM,
  RABBITMQ_QUORUM_PRIVATE,
  TALLYSTICK,
  TALLYSTICK_PRIVATE,
} from './support/backends.ts';
import { gate, until, type Backend, type BrokerWorld } from './support/world.ts';

const ids = new MessageIds(systemClock, systemRandom());
const message = (topic: string, more: Partial<OutgoingMessage> = {}): OutgoingMessage => ({
  id: ids.next(),
  topic,
  body: Buffer.from('x'),
  ...more,
});
const keyed = (topic: string, key: string, n: number): OutgoingMessage =>
  message(topic, { key, body: Buffer.from(`${key} ${n}`) });
const results = (outcomes: readonly PublishOutcome[]): string[] => outcomes.map(({ outcome }) => outcome);
const idsOf = (list: readonly { readonly id: string }[]): string[] => list.map(({ id }) => id);
/** Ids that were sent, or confirmed, and did not come. */
const lost = (sent: readonly string[], got: Iterable<string>): string[] => {
  const came = new Set(got);
  return sent.filter((id) => !came.has(id));
};
/** Places at which a key's numbers, `key n`, do not run on from 0. */
const disorder = (seen: readonly string[], key: string): string[] =>
  seen.filter((one) => one.startsWith(`${key} `)).filter((one, n) => one !== `${key} ${n}`);
const text = ({ body }: Delivery): string => Buffer.from(body).toString();

describe.each([MEMORY, RABBITMQ, RABBITMQ_QUORUM, TALLYSTICK])('$name', ({ capabilities, open }: Backend) => {
  let world: BrokerWorld;
  beforeAll(async () => {
    world = await open();
  });
  afterAll(() => world.close());

  const publish = async (...batch: OutgoingMessage[]): Promise<string[]> => results(await world.transport.publish(batch));
  /** A consumer that takes everything as done. */
  const collect = async (queue: string, into: Delivery[] = []): Promise<Delivery[]> => {
    const { subscriber } = await world.consumer();
    await subscriber.subscribe(queue, (delivery) => (into.push(delivery), Promise.resolve('done')));
    return into;
  };

  it('brings a message whole: names and headers in any script, awkward headers, every byte', async () => {
    const queue = await world.queue();
    const body = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const headers = new Map([
      ['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
      ['größe', '特大 🧾'],
      ['empty', ''],
      ['KEYS', 'not the key'],
      ['x-lines', 'one\ntwo\u0001'],
      ['__proto__', 'harmless'],
      ['constructor', 'harmless'],
      ['CC', 'nobody'],
      ['tallystick-key', 'not the key either'],
      ['tallystick-reply-to', 'orders.confirmed'],
      ['long'.repeat(60), 'v'.repeat(2000)],
    ]);
    const sent = message(queue, {
      key: 'κλειδί/42',
      tag: 'Tag-ß',
      type: 'bestellung.erstellt',
      headers,
      body,
      createdAt: 1_700_000_000_123,
    });
    expect(await publish(sent)).toEqual(['confirmed']);
    const got = await collect(queue);
    await until(() => got.length === 1);
    const { redelivered, ...rest } = got[0]!;
    expect({ ...rest, body: Buffer.from(rest.body), headers: new Map(rest.headers) }).toEqual({
      id: sent.id,
      topic: queue,
      key: sent.key,
      tag: sent.tag,
      type: sent.type,
      headers,
      body,
      sentAt: sent.createdAt,
    });
    // A broker that does not tell repetitions apart cannot rule one out for what was stored before.
    expect(redelivered).toBe(!capabilities.tellsRedelivery);
  });

  it('brings an empty body and a large one', async () => {
    const queue = await world.queue();
    const large = Buffer.alloc(capabilities.largeBytes, 'äbc');
    expect(await publish(message(queue, { body: Buffer.alloc(0) }), message(queue, { body: large }))).toEqual([
      'confirmed',
      'confirmed',
    ]);
    const got = await collect(queue);
    await until(() => got.length === 2);
    const bodies = got.map(({ body }) => Buffer.from(body)).sort((a, b) => a.length - b.length);
    expect(bodies[0]!.length).toBe(0);
    expect(bodies[1]!.equals(large)).toBe(true);
  });

  it('confirms only what is stored: a consumer that comes later gets every message that was confirmed', async () => {
    const queue = await world.queue();
    const batch = Array.from({ length: 2_000 }, (_, n) => message(queue, { body: Buffer.from(String(n)) }));
    const outcomes = await world.transport.publish(batch);
    expect(new Set(results(outcomes))).toEqual(new Set(['confirmed']));
    const got = await collect(queue);
    await until(() => got.length >= batch.length);
    expect(lost(idsOf(batch), idsOf(got))).toEqual([]);
    expect(got).toHaveLength(batch.length);
  });

  it('tells a message that nothing takes from its neighbours', async () => {
    expect(capabilities.unroutable).toBe(true);
    const queue = await world.queue();
    expect(await publish(message(queue), message('nobody-listens'), message(queue))).toEqual([
      'confirmed',
      'unroutable',
      'confirmed',
    ]);
    const got = await collect(queue);
    await until(() => got.length === 2);
  });

  it('gives a message that was sent twice the same id twice', async () => {
    const queue = await world.queue();
    const sent = message(queue);
    expect(await publish(sent)).toEqual(['confirmed']);
    expect(await publish(sent)).toEqual(['confirmed']);
    const got = await collect(queue);
    await until(() => got.length === 2);
    expect(idsOf(got)).toEqual([sent.id, sent.id]);
  });

  it('keeps the order of each key, over batches and within one, and hands over one of a key at a time', async () => {
    const queue = await world.queue();
    expect(world.transport.keepsOrder).toBe(true);
    const keys = ['a', 'b', 'c', 'd'];
    for (let round = 0; round < 3; round++) {
      const batch = Array.from({ length: 40 }, (_, n) => keyed(queue, keys[n % 4]!, round * 10 + Math.floor(n / 4)));
      expect(new Set(await publish(...batch))).toEqual(new Set(['confirmed']));
    }
    const seen: string[] = [];
    const busy = new Set<string>();
    let overlaps = 0;
    const { subscriber } = await world.consumer();
    await subscriber.subscribe(queue, async (delivery) => {
      const key = delivery.key!;
      if (busy.has(key)) overlaps++;
      busy.add(key);
      await new Promise((resolve) => setTimeout(resolve, 1));
      busy.delete(key);
      seen.push(text(delivery));
      return 'done';
    });
    await until(() => seen.length === 120);
    expect(overlaps).toBe(0);
    for (const key of keys) expect(disorder(seen, key)).toEqual([]);
  });

  it.each<[string, () => Promise<Receipt>]>([
    ['asks for again', () => Promise.resolve('again')],
    ['rejects', () => Promise.reject(new Error('no database'))],
  ])('delivers again what the receiver %s, ahead of the rest of its key', async (_, fail) => {
    const queue = await world.queue();
    const batch = [keyed(queue, 'k', 0), keyed(queue, 'k', 1), keyed(queue, 'other', 0), keyed(queue, 'k', 2)];
    await publish(...batch);
    const done: string[] = [];
    let failures = 3;
    const { subscriber } = await world.consumer();
    await subscriber.subscribe(queue, (delivery) => {
      if (text(delivery) === 'k 0' && failures > 0) {
        failures--;
        return fail();
      }
      done.push(text(delivery));
      return Promise.resolve('done');
    });
    await until(() => done.length === 4);
    expect(failures).toBe(0);
    expect(done.filter((one) => one.startsWith('k'))).toEqual(['k 0', 'k 1', 'k 2']);
    // Where keys are apart, the one that failed did not hold the other.
    if (capabilities.keysApart) expect(done[0]).toBe('other 0');
    else expect(done[0]).toBe('k 0');
  });

  it('delivers to another consumer what a dead one had in hand', async () => {
    const queue = await world.queue();
    const batch = [keyed(queue, 'k', 0), keyed(queue, 'k', 1), keyed(queue, 'k', 2)];
    await publish(...batch);
    const dying = await world.consumer();
    const taken: string[] = [];
    await dying.subscriber.subscribe(queue, (delivery) => (taken.push(text(delivery)), new Promise(() => undefined)));
    await until(() => taken.length > 0);
    await dying.die();
    const got = await collect(queue);
    await until(() => got.length === 3);
    expect(got.map(text)).toEqual(['k 0', 'k 1', 'k 2']);
    expect(got[0]!.redelivered).toBe(true);
  });

  it('stop() waits for what is in hand, acknowledges it, and leaves the rest to others', async () => {
    const queue = await world.queue();
    await publish(...[0, 1, 2].map((n) => keyed(queue, 'k', n)));
    const { subscriber } = await world.consumer();
    const finish = gate<Receipt>();
    const taken: string[] = [];
    const subscription = await subscriber.subscribe(queue, (delivery) => (taken.push(text(delivery)), finish.promise));
    await until(() => taken.length === 1);
    // Our client's own limit on that wait is set to 0 here, so that a consumer can die: it is asserted below for the others.
    if (capabilities.keysApart) {
      let stopped = false;
      const stopping = subscription.stop().then(() => (stopped = true));
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(stopped).toBe(false);
      finish.open('done');
      await stopping;
      const got = await collect(queue);
      await until(() => got.length === 2);
      expect(got.map(text)).toEqual(['k 1', 'k 2']);
    } else {
      finish.open('done');
      await until(() => taken.length === 3);
      await subscription.stop();
      expect(await collect(queue)).toEqual([]);
    }
    expect(taken[0]).toBe('k 0');
  });

  it('has no more in hand than its prefetch', async () => {
    const queue = await world.queue();
    await publish(...Array.from({ length: 50 }, () => message(queue)));
    let [now, most, all] = [0, 0, 0];
    const { subscriber } = await world.consumer();
    await subscriber.subscribe(
      queue,
      async () => {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setTimeout(resolve, 2));
        now--;
        all++;
        return 'done';
      },
      { prefetch: 5 },
    );
    await until(() => all === 50);
    expect(most).toBeLessThanOrEqual(5);
    expect(most).toBeGreaterThanOrEqual(capabilities.keysApart ? 2 : 1);
  });
});

describe.each([TALLYSTICK_PRIVATE, RABBITMQ_PRIVATE, RABBITMQ_QUORUM_PRIVATE])(
  '$name: the process is killed',
  ({ capabilities, open }: Backend) => {
    let world: BrokerWorld;
    beforeAll(async () => {
      world = await open();
    });
    afterAll(() => world.close());

    it('loses nothing that it confirmed, says unknown or unavailable of the rest, and takes messages again when it is back', async () => {
      expect(capabilities.survivesKill).toBe(true);
      const queue = await world.queue();
      const outcomes = new Map<string, string>();
      let [sent, killed] = [0, false];
      const sender = async (): Promise<void> => {
        while (!killed) {
          const batch = Array.from({ length: 100 }, () => message(queue, { body: Buffer.alloc(1024, 1) }));
          sent += batch.length;
          const answers = results(await world.transport.publish(batch));
          batch.forEach(({ id }, n) => outcomes.set(id, answers[n]!));
        }
      };
      const senders = [sender(), sender(), sender(), sender()];
      await until(() => outcomes.size >= 2_000);
      const killing = world.kill!();
      await killing;
      // What is asked of a dead broker is answered, and not by a confirmation.
      const [whileDead] = results(await world.transport.publish([message(queue)]));
      expect(['unavailable', 'unknown']).toContain(whileDead);
      killed = true;
      await Promise.all(senders);
      expect(outcomes.size).toBe(sent);
      const told = [...outcomes.values()];
      expect(told.every((outcome) => ['confirmed', 'unknown', 'unavailable'].includes(outcome))).toBe(true);
      expect(told.some((outcome) => outcome === 'unknown')).toBe(true);

      await world.revive!();
      const after = message(queue);
      let answer = '';
      await until(
        async () => (answer = results(await world.transport.publish([after]))[0]!) === 'confirmed',
        60_000,
        'confirmed after revival',
      );
      expect(answer).toBe('confirmed');
      const got = new Set<string>();
      const { subscriber } = await world.consumer();
      await subscriber.subscribe(queue, ({ id }) => (got.add(id), Promise.resolve('done')));
      const confirmed = [...outcomes].filter(([, outcome]) => outcome === 'confirmed').map(([id]) => id);
      await until(() => got.has(after.id) && confirmed.every((id) => got.has(id)), 60_000, 'every confirmed message');
      expect(confirmed.length).toBeGreaterThanOrEqual(1_000);
      // Nothing that was certainly not stored has come.
      expect([...outcomes].filter(([id, outcome]) => outcome === 'unavailable' && got.has(id))).toEqual([]);
    });

    it('brings a subscription back by itself', async () => {
      const queue = await world.queue();
      const got = new Set<string>();
      const { subscriber } = await world.consumer();
      await subscriber.subscribe(queue, ({ id }) => (got.add(id), Promise.resolve('done')));
      const [before, after] = [message(queue), message(queue)];
      expect(results(await world.transport.publish([before]))).toEqual(['confirmed']);
      await until(() => got.has(before.id));
      await world.kill!();
      await world.revive!();
      await until(
        async () => results(await world.transport.publish([after]))[0] === 'confirmed',
        60_000,
        'confirmed after revival',
      );
      await until(() => got.has(after.id), 60_000, 'the message after the revival');
    });
  },
);

describe('the eyes of this contract see', () => {
  const seen = async (topic: string, broker: MemoryBroker, list: Delivery[] = []): Promise<Delivery[]> => {
    await broker.subscribe(topic, (delivery) => (list.push(delivery), Promise.resolve('done')), { prefetch: 1 });
    return list;
  };

  it('a transport that confirms what it has not stored', async () => {
    const broker = memoryBroker();
    let count = 0;
    const liar: Transport = {
      publish: async (batch) => {
        await broker.publish(batch.filter(() => ++count % 50 !== 0));
        return batch.map(() => ({ outcome: 'confirmed' }));
      },
    };
    const batch = Array.from({ length: 200 }, () => message('t'));
    const outcomes = await liar.publish(batch);
    expect(new Set(results(outcomes))).toEqual(new Set(['confirmed']));
    const got = await seen('t', broker);
    await until(() => got.length >= 196);
    expect(lost(idsOf(batch), idsOf(got))).toHaveLength(4);
  });

  it('a broker that changes the order', async () => {
    const broker = memoryBroker();
    await broker.publish(Array.from({ length: 50 }, (_, n) => keyed('t', 'k', n)));
    broker.reorder = 5;
    const got = await seen('t', broker);
    await until(() => got.length === 50);
    expect(disorder(got.map(text), 'k').length).toBeGreaterThan(0);
  });

  it('a consumer that acknowledges before it is done', async () => {
    const broker = memoryBroker();
    const sent = message('t');
    await broker.publish([sent]);
    const hasty = await broker.subscribe('t', () => Promise.resolve('done'));
    await until(() => broker.waiting('t') === 0);
    await new Promise((resolve) => setTimeout(resolve, 10));
    hasty.die();
    const [got, next] = [await seen('t', broker), message('t')];
    await broker.publish([next]);
    await until(() => got.length > 0);
    expect(lost([sent.id], idsOf(got))).toEqual([sent.id]);
  });
});
