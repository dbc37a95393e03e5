/** The testing kit, used as an application's own tests would: a shop and a wallet, and everything that can go wrong between them. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { createInbox, msg } from '../../src/index.ts';
import {
  CRASH_STEPS,
  expectDelivered,
  memoryBroker,
  testKit,
  type CrashStep,
  type TestKitSettings,
} from '../../src/testing/index.ts';
import { databasePath, openRaw, rowsOf, type RawDatabase } from '../support/backends.ts';
import { failure, migrated } from '../support/outbox.ts';

const messages = { 'order.created': msg<{ order: string; cents: number }>({ topic: 'orders', key: ({ order }) => order }) };

async function shop(given: Partial<TestKitSettings<RawDatabase, typeof messages>> = {}, checked = true) {
  const path = databasePath();
  migrated(path);
  const kit = testKit({ open: () => openRaw(path), messages, ...given });
  const { raw: wallet } = migrated();
  wallet.exec('create table booked (order_id text, cents int)');
  const inbox = createInbox(wallet, { consumer: 'wallet', ...kit.ports });
  let handled = 0;
  inbox.handle('order.created', ({ body }, { tx }) => {
    handled++;
    const { order, cents } = JSON.parse(Buffer.from(body).toString()) as { order: string; cents: number };
    (tx as RawDatabase).prepare('insert into booked values (?, ?)').run([order, cents]);
  });
  await kit.consume('orders', inbox.receive);
  if (checked) onTestFinished(() => kit.stop());
  const order = (name: string, cents = 5, more: { delayMs?: number } = {}): string =>
    kit.outbox.transaction((tx) => kit.outbox.in(tx).add({ type: 'order.created', body: { order: name, cents }, ...more }));
  const booked = (): string[] =>
    rowsOf(wallet, 'select order_id from booked order by order_id').map((row) => String(row['order_id']));
  return { kit, order, booked, handled: () => handled, wallet, inbox };
}

test('what is added is delivered and handled once', async () => {
  const { kit, order, booked } = await shop();
  order('a');
  order('b');
  await kit.deliver();
  expect(booked()).toEqual(['a', 'b']);
  expectDelivered(kit.broker, { type: 'order.created', topic: 'orders', key: 'a', body: { order: 'a', cents: 5 } });
});

describe('a process that dies', () => {
  const repeats: Record<CrashStep, { stored: number; handled: number }> = {
    'before publish': { stored: 1, handled: 1 },
    'after publish': { stored: 2, handled: 1 },
    'before handling': { stored: 1, handled: 1 },
    'after handling': { stored: 1, handled: 1 },
  };

  test.each(CRASH_STEPS)('%s changes nothing: the order is booked once', async (step) => {
    const { kit, order, booked, handled } = await shop();
    kit.crashAt(step);
    order('a');
    await kit.deliver();
    expect(booked()).toEqual(['a']);
    expect({ stored: kit.broker.stored.length, handled: handled() }).toEqual(repeats[step]);
    expectDelivered(kit.broker, { key: 'a' });
  });

  test('again and again is followed by another one each time', async () => {
    const { kit, order, booked } = await shop();
    for (const step of [...CRASH_STEPS, ...CRASH_STEPS]) kit.crashAt(step);
    for (const name of ['a', 'b', 'c']) order(name);
    await kit.deliver();
    await kit.until(() => booked().length === 3);
    expect(booked()).toEqual(['a', 'b', 'c']);
  });
});

describe('a broker', () => {
  test('that stores a message twice has it handled once', async () => {
    const { kit, order, booked } = await shop();
    kit.duplicateNext();
    order('a');
    await kit.deliver();
    expect([kit.broker.stored.length, booked()]).toEqual([2, ['a']]);
  });

  test.each(['loseConfirmationNext', 'loseNext'] as const)('whose answer is lost gets the message again: %s', async (fault) => {
    const { kit, order, booked } = await shop();
    kit[fault]();
    order('a');
    await kit.deliver();
    expect([kit.broker.stored.length, booked()]).toEqual([fault === 'loseNext' ? 1 : 2, ['a']]);
  });

  test('that is down for an hour has everything soon after it is back', async () => {
    const { kit, order, booked } = await shop();
    kit.brokerDown();
    order('a');
    const began = kit.time.now();
    await kit.until(() => kit.time.now() - began > 3_600_000);
    expect([booked(), kit.alarms.map(({ kind }) => kind)]).toEqual([[], ['outage']]);
    kit.brokerUp();
    await kit.deliver({ withinMs: 60_000 });
    expect(booked()).toEqual(['a']);
  });
});

describe('the faults are real: a receiver without an inbox', () => {
  test.each([
    ['is seen to book twice when its process dies after its commit', 'after handling'],
    ['is seen to book twice when the relay dies before its note', 'after publish'],
  ] as const)('%s', async (_name, step) => {
    const path = databasePath();
    migrated(path);
    const kit = testKit({ open: () => openRaw(path), messages });
    onTestFinished(() => kit.stop());
    const booked: string[] = [];
    await kit.consume('orders', ({ body }) => {
      booked.push((JSON.parse(Buffer.from(body).toString()) as { order: string }).order);
      return Promise.resolve('done');
    });
    kit.crashAt(step);
    kit.outbox.transaction((tx) => kit.outbox.in(tx).add({ type: 'order.created', body: { order: 'a', cents: 5 } }));
    await kit.deliver();
    expect(booked).toEqual(['a', 'a']);
  });
});

test('time is the test’s: a message for tomorrow is there at once, and not before', async () => {
  const { kit, order, booked } = await shop();
  order('tomorrow', 5, { delayMs: 86_400_000 - 60_000 });
  const began = kit.time.now();
  const error = await failure(() => kit.deliver({ withinMs: 3_600_000 }));
  expect(error.message).toMatch(/not after 3600000 ms; outbox: 1 delayed; queues: orders: 0/);
  expect(booked()).toEqual([]);
  await kit.deliver();
  expect(booked()).toEqual(['tomorrow']);
  expect(kit.time.now() - began).toBeGreaterThanOrEqual(86_400_000 - 60_000);
});

test('a fault that was ordered and never happened is a failure of the test', async () => {
  const { kit } = await shop({}, false);
  kit.crashAt('after handling');
  kit.duplicateNext();
  expect((await failure(() => kit.stop())).message).toBe('ordered and never happened: after handling, duplicate');
  expect((await failure(() => kit.crashAt('at noon' as never))).message).toContain('"at noon" is none of before publish');
});

describe('expectDelivered', () => {
  const id = (digit: string): string => digit.repeat(32);
  const broker = memoryBroker();
  const message = {
    id: id('A'),
    topic: 't',
    type: 'x',
    key: 'k',
    headers: new Map([['h', '1']]),
    body: Buffer.from('{"b":[1],"a":2}'),
  };
  void broker.publish([message]);
  void broker.publish([message, { ...message, id: id('B'), body: Buffer.of(255), key: 'l' }]);

  test('compares what is said, and takes repeats of a message for one', () => {
    expect(
      expectDelivered(broker, { topic: 't', type: 'x', key: 'k', headers: { h: '1' }, body: { a: 2, b: [1] } }),
    ).toHaveLength(1);
    expect(expectDelivered(broker, { topic: 't' }, 2).map((one) => one.id)).toEqual([id('A'), id('B')]);
    expectDelivered(broker, { body: Buffer.of(255) });
    expectDelivered(broker, { body: '{"b":[1],"a":2}' });
    expectDelivered(broker, { topic: 'other' }, 0);
  });

  test.each([
    ['another body', { body: { a: 2, b: [2] } }],
    ['another header', { headers: { h: '2' } }],
    ['another key', { key: 'm' }],
    ['bytes that are no JSON', { id: id('B'), body: {} }],
  ])('says what there was instead of %s', (_name, wanted) => {
    expect(() => expectDelivered(broker, wanted)).toThrow(
      /expected 1 message\(s\) like .*, found 0 among 2:\n {2}\{"id":"A{32}"/s,
    );
  });
});
