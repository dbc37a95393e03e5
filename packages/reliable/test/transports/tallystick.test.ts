import { describe, expect, it } from 'vitest';
import { tallystickSubscriber, tallystickTransport, type Delivery, type OutgoingMessage } from '../../src/index.ts';
import type {
  TallystickConsumerSettings,
  TallystickMessage,
  TallystickRecord,
  TallystickSendError,
} from '../../src/transports/tallystick.ts';

const message = (more: Partial<OutgoingMessage> = {}): OutgoingMessage => ({
  id: 'A'.repeat(32),
  topic: 't',
  body: Buffer.from('x'),
  ...more,
});

function producer(answer: (record: TallystickRecord) => TallystickSendError | undefined = () => undefined) {
  const records: TallystickRecord[] = [];
  return {
    records,
    sendWith: (record: TallystickRecord, done: (error: TallystickSendError | undefined) => void) => (
      records.push(record),
      done(answer(record))
    ),
  };
}

/** What a consumer sees of a record. */
const received = (record: TallystickRecord, more: Partial<TallystickMessage> = {}): TallystickMessage => ({
  id: record.id,
  offsetMessageId: 'place',
  topic: record.topic,
  key: record.key,
  tag: record.tag,
  headers: record.headers ?? new Map(),
  properties: new Map(),
  value: record.value,
  timestamp: record.timestamp ?? 0,
  reconsumeTimes: 0,
  ...more,
});

function subscribed(receive: (delivery: Delivery) => Promise<'done' | 'again'>) {
  const made: TallystickConsumerSettings[] = [];
  const client = {
    consumer: (settings: TallystickConsumerSettings) => (
      made.push(settings),
      { start: () => Promise.resolve(), close: () => Promise.resolve() }
    ),
  };
  const subscriber = tallystickSubscriber(client, { group: 'wallet' });
  return { made, subscribe: (queue: string) => subscriber.subscribe(queue, receive) };
}

describe("the transport over a client's producer", () => {
  it('takes outcomes from the errors, by their field', async () => {
    const errors: Record<string, TallystickSendError['outcome']> = {
      r: 'rejected',
      u: 'unroutable',
      a: 'unavailable',
      k: 'unknown',
    };
    const { sendWith } = producer(({ topic }) =>
      errors[topic] === undefined ? undefined : { outcome: errors[topic], message: topic },
    );
    const outcomes = await tallystickTransport({ sendWith }).publish(
      ['x', 'r', 'u', 'a', 'k'].map((topic) => message({ topic })),
    );
    expect(outcomes).toEqual([
      { outcome: 'confirmed' },
      { outcome: 'rejected', reason: 'r' },
      { outcome: 'unroutable', reason: 'u' },
      { outcome: 'unavailable', reason: 'a' },
      { outcome: 'unknown', reason: 'k' },
    ]);
  });

  it('hands plain headers over as they are, and copies nothing', async () => {
    const { records, sendWith } = producer();
    const headers = new Map([['traceparent', '00-1-2-01']]);
    const body = Buffer.from('x');
    await tallystickTransport({ sendWith }).publish([message({ headers, body, key: 'k', tag: 'T', createdAt: 7 })]);
    expect(records[0]!.headers).toBe(headers);
    expect(records[0]!.value).toBe(body);
    expect(records[0]).toMatchObject({ key: 'k', tag: 'T', timestamp: 7, id: 'A'.repeat(32) });
  });

  it('refuses what is no producer and no client', () => {
    expect(() => tallystickTransport({} as never)).toThrow(/client.producer\(\)/);
    expect(() => tallystickSubscriber({} as never, { group: 'g' })).toThrow(/new Client/);
  });
});

describe("the subscriber over a client's consumers", () => {
  it('gives back what the transport sent: awkward headers, the type, an empty body', async () => {
    const { records, sendWith } = producer();
    const headers = new Map([
      ['TAGS', 'mine'],
      ['empty', ''],
      ['lines', 'a\u0001b'],
      ['plain', 'p'],
    ]);
    await tallystickTransport({ sendWith }).publish([message({ headers, type: 'order.created', body: Buffer.alloc(0) })]);
    expect([...records[0]!.headers!.keys()]).toEqual(['plain', 'tallystick-headers', 'tallystick-type', 'tallystick-empty']);
    expect([...records[0]!.headers!.values()].every((value) => /^[ -~]+$/.test(value))).toBe(true);
    const got: Delivery[] = [];
    const { made, subscribe } = subscribed((delivery) => (got.push(delivery), Promise.resolve('done')));
    await subscribe('orders');
    await made[0]!.handler(received(records[0]!));
    expect(got[0]).toMatchObject({ type: 'order.created', redelivered: false, id: 'A'.repeat(32) });
    expect(got[0]!.headers).toEqual(headers);
    expect(got[0]!.body).toHaveLength(0);
  });

  it('acknowledges only what is done: everything else is a rejection for the consumer', async () => {
    const receipts: (() => Promise<'done' | 'again'>)[] = [
      () => Promise.resolve('done'),
      () => Promise.resolve('again'),
      () => Promise.reject(new Error('no database')),
    ];
    const { made, subscribe } = subscribed(() => receipts.shift()!());
    await subscribe('orders');
    const one = received({
      topic: 'orders',
      key: undefined,
      value: Buffer.alloc(1),
      headers: undefined,
      tag: undefined,
      id: 'I',
      timestamp: 1,
    });
    await expect(made[0]!.handler(one)).resolves.toBeUndefined();
    await expect(made[0]!.handler(one)).rejects.toThrow(/again/);
    await expect(made[0]!.handler(one)).rejects.toThrow('no database');
  });

  it('makes each queue a group of its own, from its beginning, in order', async () => {
    const { made, subscribe } = subscribed(() => Promise.resolve('done'));
    await subscribe('orders');
    await subscribe('refunds');
    expect(made.map(({ group, from, orderly, topics }) => [group, from, orderly, [...topics]])).toEqual([
      ['wallet-orders', 'first', true, [['orders', '*']]],
      ['wallet-refunds', 'first', true, [['refunds', '*']]],
    ]);
  });

  it("knows a foreign message by the broker's id of its first copy", async () => {
    const got: string[] = [];
    const { made, subscribe } = subscribed(({ id }) => (got.push(id), Promise.resolve('done')));
    await subscribe('orders');
    const foreign = received({
      topic: 'orders',
      key: undefined,
      value: Buffer.alloc(1),
      headers: undefined,
      tag: undefined,
      id: '',
      timestamp: 1,
    });
    await made[0]!.handler(foreign);
    await made[0]!.handler({
      ...foreign,
      offsetMessageId: 'another place',
      properties: new Map([['ORIGIN_MESSAGE_ID', 'place']]),
      reconsumeTimes: 1,
    });
    expect(got).toEqual(['place', 'place']);
  });
});
