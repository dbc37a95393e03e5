import { ManualTime, seededRandom } from '@tallystick/base/testing';
import { describe, expect, test } from 'vitest';
import { afterCommit, createInbox, createOutbox, type OutboxSettings, type OutgoingMessage } from '../../src/index.ts';
import { lostLine } from '../../src/outbox/volatile.ts';
import { gate, MemoryTransport } from '../support/memory-transport.ts';
import { failure, migrated } from '../support/outbox.ts';
import { pass, settle } from '../support/world.ts';

function volatileWorld(settings: OutboxSettings = {}) {
  const { raw } = migrated();
  const time = new ManualTime();
  const broker = new MemoryTransport();
  const lost: { event: string; id: string; body?: string; bodyBase64?: string; tries: number; reason?: string }[] = [];
  const outbox = createOutbox(raw, {
    durability: 'trust',
    mode: 'volatile',
    transport: broker,
    clock: time,
    timers: time,
    turn: time,
    random: seededRandom(3),
    log: (line) => lost.push(JSON.parse(line) as (typeof lost)[number]),
    ...settings,
  });
  const add = (...bodies: (string | { body: string; key: string })[]): string[] =>
    outbox.transaction((tx) =>
      bodies.map((given) =>
        outbox.in(tx).add(typeof given === 'string' ? { topic: 't', body: given } : { topic: 't', ...given }),
      ),
    );
  return { raw, time, broker, lost, outbox, add };
}

describe('a volatile message', () => {
  test('that fails is tried again after growing waits, under the same id, and confirmed once', async () => {
    const { time, broker, outbox, add, lost } = volatileWorld({ volatileFirstMs: 100, volatileTries: 4 });
    broker.answer = (_message, push) => (push < 4 ? 'unknown' : 'confirmed');
    const [id] = add('v');
    await pass(time, 10_000, 100);
    expect(broker.pushed).toEqual([id, id, id, id]);
    expect(broker.storedTexts).toEqual(['v']);
    expect(outbox.counters.volatile).toEqual({ confirmed: 1, failed: 3, lost: 0 });
    expect(lost).toEqual([]);
    expect(time.timersWaiting).toBe(0);
  });

  test('leaves as it was added, whatever becomes of its bytes after that', async () => {
    const { time, broker, outbox } = volatileWorld();
    const body = Buffer.from('first');
    outbox.transaction((tx) => outbox.in(tx).add({ topic: 't', body }));
    body.write('other');
    await settle(time);
    expect(broker.storedTexts).toEqual(['first']);
  });

  test('shares a push with others of its turn; two of one key never share one and keep their order', async () => {
    const { time, broker, add } = volatileWorld();
    add('a', { body: 'k1', key: 'k' }, 'b', { body: 'k2', key: 'k' }, { body: 'k3', key: 'k' });
    await settle(time);
    expect(broker.keysTwiceInABatch).toBe(0);
    expect(broker.batchSizes).toEqual([3, 1, 1]);
    expect(broker.storedTexts.filter((text) => text.startsWith('k'))).toEqual(['k1', 'k2', 'k3']);
  });

  test('whose push never comes back counts as failed after volatilePushMs, and is told lost in the end', async () => {
    const { time, broker, lost, add } = volatileWorld({ volatilePushMs: 1_000, volatileTries: 2, volatileFirstMs: 10 });
    broker.before = () => new Promise(() => undefined);
    const [id] = add('v');
    await pass(time, 5_000, 100);
    expect(broker.pushed).toEqual([id, id]);
    expect(lost).toMatchObject([{ id, tries: 2, reason: 'no answer for 1000 ms' }]);
  });

  test('is pushed again when the transport throws, and the error is the reason when it is lost', async () => {
    const { time, broker, lost, add } = volatileWorld({ volatileTries: 2, volatileFirstMs: 10 });
    broker.before = () => {
      throw new Error('no route to broker');
    };
    add('v');
    await pass(time, 5_000, 100);
    expect(lost).toMatchObject([{ tries: 2, reason: 'no route to broker', body: 'v' }]);
  });

  test.each([
    ['volatileMessagesMax', { volatileMessagesMax: 2 }],
    ['volatileBytesMax', { volatileBytesMax: 2 }],
  ])('beyond %s is lost at once and told so; the commit is not touched', async (name, bound) => {
    const { time, broker, lost, outbox, add } = volatileWorld(bound);
    const { promise, open } = gate();
    broker.before = () => promise;
    add('a', 'b', 'c');
    expect(lost).toMatchObject([{ body: 'c', tries: 0, reason: expect.stringContaining(name) as string }]);
    open();
    await settle(time);
    expect(broker.storedTexts).toEqual(['a', 'b']);
    add('d');
    await settle(time);
    expect(broker.storedTexts).toEqual(['a', 'b', 'd']);
    expect(outbox.counters.volatile).toEqual({ confirmed: 3, failed: 0, lost: 1 });
  });

  test('of a transaction that is rolled back is neither sent nor told', async () => {
    const { time, broker, lost, outbox } = volatileWorld();
    await failure(() =>
      outbox.transaction((tx) => {
        outbox.in(tx).add({ topic: 't', body: 'v' });
        throw new Error('no');
      }),
    );
    await settle(time);
    expect([broker.pushed, lost]).toEqual([[], []]);
  });

  test('that was added in the work of a key that failed goes with it, though the transaction is committed', async () => {
    const { raw, time, broker, outbox } = volatileWorld();
    const inbox = createInbox(raw, { durability: 'trust' });
    const heard: string[] = [];
    outbox.transaction((tx) => {
      const work = (name: string, fails: boolean) => (): void => {
        outbox.in(tx).add({ topic: 't', body: name });
        afterCommit(tx, () => void heard.push(name));
        if (fails) throw new Error(name);
      };
      expect(() => inbox.once(tx, '1', work('before anything', true))).toThrow('before anything');
      work('outer', false)();
      expect(() => inbox.once(tx, '2', work('failed', true))).toThrow('failed');
      inbox.once(tx, '3', work('done', false));
      const nested = (): unknown =>
        inbox.once(tx, '4', () => inbox.once(tx, '5', work('inner', false)) && work('middle', true)());
      expect(nested).toThrow('middle');
    });
    await settle(time);
    expect([broker.storedTexts, heard]).toEqual([
      ['outer', 'done'],
      ['outer', 'done'],
    ]);
  });

  test.each([
    ['a time to wait for', { notBefore: 5 }],
    ['a delay', { delayMs: 5 }],
    ['a consumer’s confirmation', { confirm: { by: 'consumer', withinMs: 5 }, replyTo: 'r' }],
  ] as const)('with %s is refused: it is in memory only', async (_name, given) => {
    const { outbox } = volatileWorld();
    const error = await failure(() => outbox.transaction((tx) => outbox.in(tx).add({ topic: 't', body: 'v', ...given })));
    expect(error.code).toBe('BAD_MESSAGE');
  });

  test('a listener that throws hides the loss from nobody else', async () => {
    const told: string[] = [];
    const { time, broker, outbox, add } = volatileWorld({
      volatileTries: 1,
      log: () => {
        throw new Error('disk full');
      },
      onLost: ({ id }) => told.push(id),
    });
    broker.answer = () => 'rejected';
    const ids = add('a', 'b');
    await settle(time);
    expect(told).toEqual(ids);
    expect(outbox.counters.volatile.lost).toBe(2);
  });
});

describe('flush and close', () => {
  test('flush waits for all that is in memory, also for what rests between two tries', async () => {
    const { time, broker, outbox, add } = volatileWorld();
    broker.answer = (_message, push) => (push < 3 ? 'unavailable' : 'confirmed');
    add('a', 'b');
    let flushed = false;
    void outbox.flush().then(() => (flushed = true));
    await settle(time);
    expect(flushed).toBe(false);
    await pass(time, 5_000, 100);
    expect([flushed, new Set(broker.storedTexts)]).toEqual([true, new Set(['a', 'b'])]);
    await outbox.flush();
  });

  test('close waits no longer than closeAfterMs; the rest is told lost, each once, and nothing is taken any more', async () => {
    const { time, broker, lost, outbox, add } = volatileWorld({ closeAfterMs: 1_000 });
    const { promise, open } = gate();
    broker.before = (batch) => (Buffer.from(batch[0]!.body).toString() === 'flying' ? promise : undefined);
    broker.answer = () => 'unavailable';
    add('flying');
    await settle(time);
    add('resting');
    await settle(time);
    let closed = false;
    void outbox.close().then(() => (closed = true));
    await pass(time, 1_000, 100);
    expect(closed).toBe(true);
    expect(new Set(lost.map(({ body }) => body))).toEqual(new Set(['flying', 'resting']));
    expect(lost.map(({ reason }) => reason?.slice(0, 21))).toEqual(['the outbox was closed', 'the outbox was closed']);
    open();
    await pass(time, 10_000, 500);
    expect(lost).toHaveLength(2);
    expect(time.timersWaiting).toBe(0);
    expect((await failure(() => add('late'))).code).toBe('OUTBOX_CLOSED');
  });

  test('an outbox without volatile messages closes at once', async () => {
    const { raw } = migrated();
    const outbox = createOutbox(raw, { durability: 'trust' });
    await outbox.flush();
    await outbox.close();
  });
});

test('a lost message is logged whole: text as text, bytes as base64, headers by name', () => {
  const message: OutgoingMessage = {
    id: 'AB'.repeat(16),
    topic: 't',
    key: 'k',
    tag: 'g',
    headers: new Map([['a', 'b']]),
    body: Buffer.from([0xff, 0]),
    type: 'x',
    exchange: 'e',
    routingKey: 'r',
  };
  const lost = { message, outcome: { outcome: 'unroutable', reason: 'no queue' }, tries: 5 } as const;
  expect(JSON.parse(lostLine(lost, 0))).toEqual({
    event: 'tallystick.lost',
    at: '1970-01-01T00:00:00.000Z',
    id: 'AB'.repeat(16),
    topic: 't',
    key: 'k',
    tag: 'g',
    headers: { a: 'b' },
    type: 'x',
    exchange: 'e',
    routingKey: 'r',
    bodyBase64: '/wA=',
    tries: 5,
    outcome: 'unroutable',
    reason: 'no queue',
  });
  const text = lostLine({ ...lost, message: { ...message, body: Buffer.from('{"ä":1}') } }, 0);
  expect(JSON.parse(text)).toMatchObject({ body: '{"ä":1}' });
});
