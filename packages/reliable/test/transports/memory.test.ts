import { describe, expect, it } from 'vitest';
import { memoryBroker, type Delivery, type MemoryFault, type OutgoingMessage, type Receipt } from '../../src/index.ts';

let ids = 0;
const message = (topic: string, more: Partial<OutgoingMessage> = {}): OutgoingMessage => ({
  id: (++ids).toString(16).toUpperCase().padStart(32, '0'),
  topic,
  body: Buffer.from('x'),
  ...more,
});
const done = (): Promise<Receipt> => Promise.resolve('done');

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 2000 && !what(); i++) await new Promise((resolve) => setTimeout(resolve, 1));
  expect(what()).toBe(true);
}

describe('the memory broker', () => {
  it('brings a message to the queue of its topic with everything it said', async () => {
    const broker = memoryBroker();
    const got: Delivery[] = [];
    await broker.subscribe('orders', (delivery) => (got.push(delivery), done()));
    const sent = message('orders', { key: 'k', tag: 't', type: 'order.created', headers: new Map([['a', 'ä']]), createdAt: 5 });
    expect(await broker.publish([sent])).toEqual([{ outcome: 'confirmed' }]);
    expect(got).toEqual([
      {
        id: sent.id,
        topic: 'orders',
        key: 'k',
        tag: 't',
        type: 'order.created',
        headers: new Map([['a', 'ä']]),
        body: sent.body,
        redelivered: false,
        sentAt: 5,
      },
    ]);
  });

  it('is unroutable where no queue is, when it must not make one', async () => {
    const broker = memoryBroker({ autoCreate: false });
    expect((await broker.publish([message('orders')]))[0]!.outcome).toBe('unroutable');
    broker.queue('wallet', 'orders');
    expect((await broker.publish([message('orders')]))[0]!.outcome).toBe('confirmed');
    expect(broker.waiting('wallet')).toBe(1);
  });

  it.each<[MemoryFault, string, number]>([
    ['rejected', 'rejected', 0],
    ['unavailable', 'unavailable', 0],
    ['confirmation lost', 'unknown', 1],
    ['message lost', 'unknown', 0],
    ['duplicate', 'confirmed', 2],
  ])('%s: the sender hears %s, and it is stored %i times', async (fault, outcome, copies) => {
    const broker = memoryBroker();
    broker.fault = (_, push) => (push === 1 ? fault : undefined);
    const sent = message('orders');
    expect((await broker.publish([sent]))[0]!.outcome).toBe(outcome);
    expect(broker.waiting('orders')).toBe(copies);
    expect((await broker.publish([sent]))[0]!.outcome).toBe('confirmed');
  });

  it('stops a key at its gap when it keeps order', async () => {
    const broker = memoryBroker({ keepsOrder: true });
    const [first, second, other] = [message('t', { key: 'k' }), message('t', { key: 'k' }), message('t', { key: 'l' })];
    broker.fault = ({ id }, push) => (id === first.id && push === 1 ? 'message lost' : undefined);
    const outcomes = await broker.publish([first, second, other]);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['unknown', 'unavailable', 'confirmed']);
    expect(broker.stored).toEqual([other]);
  });

  it('receives one message of a key at a time, and tries again in place', async () => {
    const broker = memoryBroker({ againMs: 1 });
    const seen: string[] = [];
    let failures = 3;
    await broker.subscribe('t', async ({ id, key }) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (id === first.id && failures-- > 0) return 'again';
      seen.push(`${key}${id}`);
      return 'done';
    });
    const [first, second, other] = [message('t', { key: 'k' }), message('t', { key: 'k' }), message('t', { key: 'l' })];
    await broker.publish([first, second, other]);
    await until(() => seen.length === 3);
    expect(seen).toEqual([`l${other.id}`, `k${first.id}`, `k${second.id}`]);
  });

  it('delivers again, in order, what a dead consumer had in hand', async () => {
    const broker = memoryBroker();
    const dying = await broker.subscribe('t', () => new Promise(() => undefined));
    const sent = [message('t', { key: 'k' }), message('t', { key: 'k' }), message('t', { key: 'k' })];
    await broker.publish(sent);
    const got: Delivery[] = [];
    await broker.subscribe('t', (delivery) => (got.push(delivery), done()));
    dying.die();
    await until(() => got.length === 3);
    expect(got.map(({ id }) => id)).toEqual(sent.map(({ id }) => id));
    expect(got.every(({ redelivered }) => redelivered)).toBe(true);
  });

  it('keeps its messages while it is down, and delivers those in hand again', async () => {
    const broker = memoryBroker();
    const got: Delivery[] = [];
    await broker.subscribe('t', (delivery) => (got.push(delivery), got.length === 1 ? new Promise(() => undefined) : done()));
    await broker.publish([message('t')]);
    broker.down();
    expect((await broker.publish([message('t')]))[0]!.outcome).toBe('unavailable');
    broker.up();
    await until(() => got.length === 2);
    expect(got[1]).toEqual({ ...got[0], redelivered: true });
  });

  it('stop() waits for what is being received and gives the rest back', async () => {
    const broker = memoryBroker();
    let finish!: (receipt: Receipt) => void;
    const subscription = await broker.subscribe('t', () => new Promise((resolve) => (finish = resolve)));
    await broker.publish([message('t', { key: 'k' }), message('t', { key: 'k' })]);
    let stopped = false;
    const stopping = subscription.stop().then(() => (stopped = true));
    await Promise.resolve();
    expect([stopped, broker.waiting('t')]).toEqual([false, 1]);
    finish('done');
    await stopping;
    expect(broker.waiting('t')).toBe(1);
  });

  it('hands out messages out of order when told to', async () => {
    let turn = 0;
    const broker = memoryBroker({ random: { u32: () => ++turn } });
    const sent = Array.from({ length: 6 }, () => message('t'));
    await broker.publish(sent);
    broker.reorder = 3;
    const got: string[] = [];
    await broker.subscribe('t', ({ id }) => (got.push(id), done()));
    await until(() => got.length === 6);
    expect(new Set(got)).toEqual(new Set(sent.map(({ id }) => id)));
    expect(got).not.toEqual(sent.map(({ id }) => id));
  });
});
