/**
 * A message that only its consumer's confirmation settles, all the way: shop → broker → wallet → broker → shop. Relays, inbox and outboxes are
 * the real ones; the broker is in memory, and time is the test's.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { createInbox, createOutbox, createRelay, httpTransport, type Delivery, type Receipt } from '../../src/index.ts';
import { testKit } from '../../src/testing/index.ts';
import { databasePath, openRaw, rowsOf, type RawDatabase } from '../support/backends.ts';
import { migrated } from '../support/outbox.ts';

const WITHIN_MS = 30_000;

/** A shop whose wallet confirms; `replies` may get in the way of the confirmations. */
async function shopAndWallet(given: { replyTo?: string; keepMs?: number } = {}) {
  const path = databasePath();
  const { raw: shop } = migrated(path);
  const kit = testKit({
    open: () => openRaw(path),
    replyTo: given.replyTo ?? 'shop.replies',
    keepMs: given.keepMs ?? 0,
    relay: { leaseMs: 600_000 },
  });
  const { raw: wallet, path: walletPath } = migrated();
  wallet.exec('create table booked (order_id text)');
  const outbox = createOutbox(wallet, { ...kit.ports });
  const inbox = createInbox(wallet, { ...kit.ports, consumer: 'wallet', outbox });
  inbox.handle('order.created', ({ body }, { tx }) => {
    (tx as RawDatabase).prepare('insert into booked values (?)').run([Buffer.from(body).toString()]);
  });
  const relay = createRelay({ ...kit.ports, db: openRaw(walletPath), transport: kit.broker, leaseMs: 600_000 });
  relay.start();
  const calls = createRelay({
    ...kit.ports,
    db: openRaw(walletPath),
    table: 'tallystick_call',
    transport: httpTransport({ allow: given.replyTo === undefined ? [] : [new URL(given.replyTo).origin] }),
    leaseMs: 600_000,
  });
  calls.start();
  await kit.consume('orders', inbox.receive);
  onTestFinished(async () => {
    for (const one of [relay, calls]) {
      let over = false;
      void one.stop().then(() => (over = true));
      await kit.until(() => over);
    }
    await kit.stop();
  });
  const order = (name: string): string =>
    kit.outbox.transaction((tx) =>
      kit.outbox.in(tx).add({
        type: 'order.created',
        topic: 'orders',
        businessKey: name,
        body: name,
        confirm: { by: 'consumer', withinMs: WITHIN_MS },
      }),
    );
  return {
    kit,
    order,
    inbox,
    booked: () => rowsOf(wallet, 'select order_id from booked').map((row) => row['order_id']),
    rows: () => rowsOf(shop, 'select id, state from tallystick_outbox').map(({ state }) => state),
    status: (name: string) => kit.outbox.status({ businessKey: name }).status,
    sends: (id: string) => kit.broker.stored.filter((message) => message.id === id).length,
  };
}

test('is sent while the consumer works, and gone when it has confirmed', async () => {
  const here = await shopAndWallet();
  const { kit } = here;
  const id = here.order('o-1');
  await kit.until(() => here.booked().length === 1 && here.status('o-1') === 'sent');
  await kit.consume('shop.replies', kit.outbox.confirmations());
  await kit.deliver({ withinMs: WITHIN_MS / 2 });
  expect([here.rows(), here.sends(id), here.booked()]).toEqual([[], 1, ['o-1']]);
  expect(kit.outbox.counters.confirmations).toMatchObject({ confirmed: 1, repeated: 0, unknown: 0 });
});

test('is sent again under its serial number when the confirmation is lost; the repeat changes nothing and is confirmed again', async () => {
  const here = await shopAndWallet();
  const { kit } = here;
  let lost = 0;
  const confirm = kit.outbox.confirmations();
  await kit.consume('shop.replies', async (delivery: Delivery): Promise<Receipt> => (lost++ < 2 ? 'done' : confirm(delivery)));
  const id = here.order('o-1');
  const began = kit.time.now();
  await kit.deliver();
  expect([here.sends(id), here.booked(), here.rows(), here.inbox.counters.duplicates]).toEqual([3, ['o-1'], [], 2]);
  expect(kit.time.now() - began).toBeGreaterThanOrEqual(2 * WITHIN_MS);
});

test('a consumer that is away for an hour is waited for: the message is neither dead nor lost', async () => {
  const here = await shopAndWallet();
  const { kit } = here;
  await kit.consume('shop.replies', kit.outbox.confirmations());
  let away = true;
  const began = kit.time.now();
  kit.broker.fault = ({ topic }) => (away && topic === 'orders' ? 'unroutable' : undefined);
  here.order('o-1');
  await kit.until(() => kit.time.now() - began > 3_600_000);
  expect([here.booked(), here.status('o-1')]).toEqual([[], 'retrying']);
  away = false;
  await kit.deliver();
  expect([here.booked(), here.rows()]).toEqual([['o-1'], []]);
});

test('one that was given up because nobody confirmed it is settled when its consumer confirms after all', async () => {
  const here = await shopAndWallet();
  const { kit } = here;
  const id = here.order('o-1');
  await kit.until(() => here.status('o-1') === 'dead');
  expect([here.sends(id), kit.outbox.status({ id }).messages[0]!.lastOutcome]).toEqual([100, 'unconfirmed']);
  await kit.consume('shop.replies', kit.outbox.confirmations());
  await kit.until(() => here.rows().length === 0);
  expect(here.booked()).toEqual(['o-1']);
});

test('a settled one is known for as long as it is kept, and forgotten by the relay after that', async () => {
  const here = await shopAndWallet({ keepMs: 600_000 });
  const { kit } = here;
  await kit.consume('shop.replies', kit.outbox.confirmations());
  here.order('o-1');
  await kit.deliver();
  expect([here.status('o-1'), here.rows()]).toEqual(['confirmed', ['confirmed']]);
  const settled = kit.time.now();
  await kit.until(() => here.status('o-1') === 'unknown');
  expect(kit.time.now() - settled).toBeGreaterThanOrEqual(500_000);
  expect(here.rows()).toEqual([]);
});

test('later messages of its key do not wait for the confirmation', async () => {
  const here = await shopAndWallet();
  const { kit } = here;
  for (const name of ['o-1', 'o-2'])
    kit.outbox.transaction((tx) =>
      kit.outbox.in(tx).add({
        type: 'order.created',
        topic: 'orders',
        key: 'k',
        body: name,
        confirm: { by: 'consumer', withinMs: WITHIN_MS },
      }),
    );
  await kit.until(() => here.booked().length === 2);
  expect(here.booked()).toEqual(['o-1', 'o-2']);
  expect(here.rows()).toEqual(['sent', 'sent']);
  await kit.consume('shop.replies', kit.outbox.confirmations());
  await kit.deliver();
});

test('the confirmation may come as a request to the shop', async () => {
  const answers: number[] = [];
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => new Promise((resolve) => void (server.closeAllConnections(), server.close(() => resolve()))));
  const here = await shopAndWallet({ replyTo: `http://127.0.0.1:${(server.address() as AddressInfo).port}/confirm` });
  const handler = here.kit.outbox.confirmationHandler({ open: true });
  server.on('request', (request, response) => {
    response.on('finish', () => answers.push(response.statusCode));
    handler(request, response);
  });
  here.order('o-1');
  await here.kit.until(() => here.booked().length === 1);
  // A request takes as long as it takes.
  await expect.poll(() => (here.kit.time.advance(50), here.rows()), { timeout: 20_000, interval: 5 }).toEqual([]);
  expect([here.booked(), answers]).toEqual([['o-1'], [200]]);
});
