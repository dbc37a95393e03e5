/** From one broker to a larger one and to two, while clients work: the shipped client and broker in a simulated world. */
import { describe, expect, it } from 'vitest';
import type { ClientCore } from '../../packages/client/src/client-core.ts';
import type { ReceivedMessage } from '../../packages/client/src/message/received-message.ts';
import { SimDisk } from './disk.ts';
import { Town, type TownBroker } from './town.ts';

const A = '10.0.0.1:9876';
const B = '10.0.0.2:10911';
const QUICK = { rebalanceIntervalMs: 500, rebalanceRetryMs: 50, commitIntervalMs: 100 } as const;
/** Sends meet trouble within seconds, not minutes. */
const HASTY = { requestTimeoutMs: 500, deliveryTimeoutMs: 5000, retryBackoffMs: 20, retryBackoffMaxMs: 200 } as const;

type Receipt = { readonly brokerName: string; readonly queueId: number; readonly offset: number };
type Sent = { readonly value: string; receipt?: Receipt; outcome?: string };
type Producer = ReturnType<ClientCore['producer']>;

function sendAll(producer: Producer, topic: string, values: readonly string[]): Sent[] {
  return values.map((value) => {
    const sent: Sent = { value };
    producer.send({ topic, value }, (error, receipt) => {
      if (error === undefined) sent.receipt = receipt as Receipt;
      sent.outcome = error === undefined ? 'ok' : error.outcome;
    });
    return sent;
  });
}

/** Digits by chance: what repeats itself would be sent compressed. */
function digits(town: Town, words: number): string {
  return Array.from({ length: words }, () => town.world.random.below(0xffffffff).toString(16)).join('');
}

function settled(town: Town, sends: readonly Sent[]): void {
  town.until(() => sends.every(({ outcome }) => outcome !== undefined));
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, n) => `m${from + n}`);
}

function createTopic(town: Town, client: ClientCore, topic: string, queues: number): string {
  let outcome: string | undefined;
  client.admin().createTopic(topic, queues, {}, (error) => (outcome = error === undefined ? 'ok' : error.message));
  town.until(() => outcome !== undefined);
  return outcome!;
}

function readAll(town: Town, client: ClientCore, topic: string): readonly ReceivedMessage[] {
  let messages: readonly ReceivedMessage[] | undefined;
  client.admin().readAll(topic, (error, found) => {
    if (error !== undefined) throw error;
    messages = found;
  });
  town.until(() => messages !== undefined);
  return messages!;
}

function consume(town: Town, client: ClientCore, group: string, topic: string) {
  const got: { readonly value: string; readonly brokerName: string; readonly queueId: number }[] = [];
  const consumer = client.consumer({
    ...QUICK,
    group,
    topics: { [topic]: '*' },
    from: 'first',
    handler: (message, settle) => {
      got.push({ value: message.value.toString(), brokerName: message.brokerName, queueId: message.queueId });
      settle();
    },
  });
  let started = false;
  consumer.start((error) => {
    if (error !== undefined) throw error;
    started = true;
  });
  town.until(() => started);
  return { got, consumer };
}

describe('queues added to a topic on a live broker', () => {
  it('are used by running producers and consumers within one poll of the routes', () => {
    const town = new Town();
    town.broker(A);
    const client = town.client(A, { routeIntervalMs: 5000 });
    expect(createTopic(town, client, 'orders', 2)).toBe('ok');
    const producer = client.producer();
    const { got } = consume(town, town.client(A, { routeIntervalMs: 5000 }), 'g', 'orders');
    const before: Sent[] = [];
    for (const value of numbers(0, 40)) {
      before.push(...sendAll(producer, 'orders', [value]));
      town.run(2);
    }
    settled(town, before);
    expect(new Set(before.map(({ receipt }) => receipt!.queueId))).toEqual(new Set([0, 1]));
    expect(createTopic(town, client, 'orders', 6)).toBe('ok');
    town.run(5100);
    const after: Sent[] = [];
    for (const value of numbers(40, 240)) {
      after.push(...sendAll(producer, 'orders', [value]));
      town.run(2);
    }
    settled(town, after);
    expect(new Set(after.map(({ receipt }) => receipt!.queueId))).toEqual(new Set([0, 1, 2, 3, 4, 5]));
    town.until(() => got.length >= 240);
    expect(new Set(got.map(({ value }) => value)).size).toBe(240);
  });

  it('cannot be taken away again: their messages would be out of reach', () => {
    const town = new Town();
    const { disk, ...broker } = town.broker(A);
    const client = town.client(A);
    createTopic(town, client, 'orders', 6);
    settled(town, sendAll(client.producer(), 'orders', numbers(0, 30)));
    expect(createTopic(town, client, 'orders', 2)).toContain('out of reach');
    town.stop({ disk, ...broker });
    town.broker(A, {}, disk);
    expect(createTopic(town, client, 'orders', 5)).toContain('out of reach');
    expect(createTopic(town, client, 'orders', 6)).toBe('ok');
    expect(readAll(town, client, 'orders')).toHaveLength(30);
  });
});

/** Copies one file between two disks. */
function copyFile(town: Town, path: string, from: SimDisk, to: SimDisk): void {
  const owner = town.world.process('operator');
  const [source, target] = [from.mount(owner), to.mount(owner)];
  let copied = false;
  source.open(path, 'open', (openError, file) => {
    if (openError !== undefined) throw new Error(openError.message);
    file.size((_sizeError, size) => {
      const bytes = Buffer.alloc(size);
      file.read(bytes, 0, () =>
        target.makeFolder('config', () =>
          target.open(path, 'create', (_error, copy) => copy.write([bytes], 0, () => copy.sync(() => (copied = true)))),
        ),
      );
    });
  });
  town.until(() => copied);
}

it("a second broker takes over the first one's topics from a copy of config/topics.json", () => {
  const town = new Town();
  const first = town.broker(A);
  createTopic(town, town.client(A), 'orders', 6);
  createTopic(town, town.client(A), 'bills', 3);
  town.run(1000);
  const disk = new SimDisk(town.world);
  copyFile(town, 'config/topics.json', first.disk, disk);
  const second = town.broker(B, { brokerName: 'broker-b', nameServers: A }, disk);
  const queues = (broker: TownBroker) =>
    broker.core
      .topicList()
      .filter(({ name }) => ['orders', 'bills', 'broker-a'].includes(name))
      .map(({ name, writeQueues, system }) => `${name} ${writeQueues}${system ? ' system' : ''}`)
      .sort();
  expect(queues(second).filter((line) => !line.startsWith('broker-a'))).toEqual(['bills 3', 'orders 6']);
  let routed = 0;
  town
    .client(A)
    .admin()
    .route('orders', (_error, route) => (routed = route.writeQueues.length));
  town.until(() => routed > 0);
  expect(routed).toBe(12);
});

describe('a client of two brokers', () => {
  function twoBrokers(town: Town, moreOfB: object = {}): readonly [TownBroker, TownBroker, ClientCore] {
    const a = town.broker(A, { flush: 'sync', syncFlushTimeoutMs: 400 });
    const b = town.broker(B, { flush: 'sync', syncFlushTimeoutMs: 400, brokerName: 'broker-b', nameServers: A, ...moreOfB });
    const client = town.client(A, { routeIntervalMs: 2000, requestTimeoutMs: 1000 });
    expect(createTopic(town, client, 'orders', 4)).toBe('ok');
    town.run(500);
    return [a, b, client];
  }

  function sendSlowly(town: Town, producer: Producer, values: readonly string[], gapMs = 5): Sent[] {
    const sends: Sent[] = [];
    for (const value of values) {
      sends.push(...sendAll(producer, 'orders', [value]));
      town.run(gapMs);
    }
    return sends;
  }

  function brokersOf(sends: readonly Sent[]): Set<string> {
    return new Set(sends.flatMap(({ receipt }) => (receipt === undefined ? [] : [receipt.brokerName])));
  }

  it('makes a topic on both, spreads over both, and its group reads both', () => {
    const town = new Town();
    const [a, b, client] = twoBrokers(town);
    for (const { core } of [a, b]) expect(core.topicList().some(({ name }) => name === 'orders')).toBe(true);
    const sends = sendSlowly(town, client.producer(HASTY), numbers(0, 200));
    settled(town, sends);
    expect(brokersOf(sends)).toEqual(new Set(['broker-a', 'broker-b']));
    const members = [0, 1].map(() => consume(town, town.client(A, { requestTimeoutMs: 1000 }), 'g', 'orders'));
    const got = () => members.flatMap(({ got }) => got);
    town.until(() => new Set(got().map(({ value }) => value)).size === 200);
    expect(new Set(got().map(({ brokerName }) => brokerName))).toEqual(new Set(['broker-a', 'broker-b']));
    expect(readAll(town, client, 'orders')).toHaveLength(200);
  });

  it('joins and leaves its groups at both', () => {
    const town = new Town();
    twoBrokers(town);
    const client = town.client(A, { requestTimeoutMs: 1000 });
    const { consumer } = consume(town, client, 'g', 'orders');
    const members = (at: string): number => {
      const answer = town.ask(at, 38, { consumerGroup: 'g' });
      return answer.code === 0 ? (JSON.parse(answer.body.toString()) as { consumerIdList: string[] }).consumerIdList.length : 0;
    };
    expect([members(A), members(B)]).toEqual([1, 1]);
    let closed = false;
    consumer.close(() => (closed = true));
    town.until(() => closed);
    expect([members(A), members(B)]).toEqual([0, 0]);
  });

  it.each(['is full', 'is stopped', 'dies'])('leaves out the one that %s, and loses nothing that was acknowledged', (what) => {
    const town = new Town(7);
    const [, b, client] = twoBrokers(town);
    const producer = client.producer(HASTY);
    const before = sendSlowly(town, producer, numbers(0, 100));
    if (what === 'is full') b.disk.full = true;
    else if (what === 'is stopped') town.stop(b);
    else b.owner.kill();
    // A full disk is met at the next segment.
    const body = what === 'is full' ? digits(town, 2500) : '';
    const during = sendSlowly(
      town,
      producer,
      numbers(100, 300).map((value) => value + body),
    );
    settled(town, during);
    const late = sendSlowly(town, producer, numbers(300, 400));
    settled(town, [...before, ...late]);
    expect(late.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 100 }, () => 'ok'));
    if (what === 'is full') expect(b.core.counters.sendsRefused).toBeGreaterThan(0);
    expect(during.filter(({ outcome }) => outcome === 'ok').length).toBeGreaterThanOrEqual(what === 'is full' ? 200 : 180);
    if (what !== 'is full') expect(brokersOf(late)).toEqual(new Set(['broker-a']));
    b.disk.full = false;
    if (what !== 'is full') town.broker(B, { flush: 'sync', brokerName: 'broker-b', nameServers: A }, b.disk);
    town.run(60_000);
    const found = new Map<string, number>();
    for (const { value } of readAll(town, client, 'orders')) found.set(value.toString(), (found.get(value.toString()) ?? 0) + 1);
    for (const { value, outcome } of [...before, ...during, ...late]) if (outcome === 'ok') expect(found.get(value)).toBe(1);
    const again = sendSlowly(town, producer, numbers(400, 600));
    settled(town, again);
    expect(brokersOf(again)).toEqual(new Set(['broker-a', 'broker-b']));
  });

  it('goes to the other when one answers that it is busy', () => {
    const town = new Town(3);
    const [, b, client] = twoBrokers(town, { unsyncedBytesMax: 65_536, pendingBytesMax: 65_536 });
    const producer = client.producer({ ...HASTY, batchSizeBytes: 0 });
    settled(town, sendSlowly(town, producer, numbers(0, 50)));
    b.disk.syncStallMs = 3000;
    const body = digits(town, 2500);
    const during = sendSlowly(
      town,
      producer,
      numbers(50, 250).map((value) => value + body),
      1,
    );
    settled(town, during);
    expect(b.core.counters.busy).toBeGreaterThan(0);
    const outcomes = during.map(({ outcome }) => outcome);
    // What its disk had already taken in may be uncertain; what it refused is not: that went to the other.
    expect(new Set(outcomes)).toEqual(outcomes.includes('unknown') ? new Set(['ok', 'unknown']) : new Set(['ok']));
    expect(outcomes.filter((outcome) => outcome === 'ok').length).toBeGreaterThan(150);
    b.disk.syncStallMs = 0;
    town.run(10_000);
    const found = readAll(town, client, 'orders').map(({ value }) => value.toString());
    for (const { value, outcome } of during) if (outcome === 'ok') expect(found.filter((text) => text === value)).toHaveLength(1);
  });
});
