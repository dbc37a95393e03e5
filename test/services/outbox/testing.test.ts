/** The testing kit on PostgreSQL: what the guide says of it. */
import { createInbox, transaction } from '@tallystick/reliable';
import { expectDelivered, testKit } from '@tallystick/reliable/testing';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { freshDatabase } from '../support/services.ts';

test('a relay and a consumer that die change nothing on PostgreSQL either', async () => {
  const database = await freshDatabase();
  onTestFinished(() => database.drop());
  const pool = new pg.Pool({ connectionString: database.url, max: 8 });
  // The database may go before the server has heard that its connections do.
  pool.on('connect', (client) => void client.on('error', () => undefined));
  onTestFinished(() => pool.end());
  await pool.query('create table booked (order_id text)');
  // The lease is the server's and lasts as long as it lasts.
  const kit = testKit({ open: () => pool, relay: { leaseMs: 500 } });
  const inbox = createInbox(pool, { consumer: 'wallet', ...kit.ports });
  inbox.handle('order.created', async ({ body }, { tx }) => {
    await tx.query('insert into booked values ($1)', [Buffer.from(body).toString()]);
  });
  await kit.consume('orders', inbox.receive);
  kit.crashAt('after publish');
  kit.crashAt('after handling');
  await transaction(pool, (tx) => kit.outbox.in(tx).add({ type: 'order.created', topic: 'orders', body: 'o-1' }));
  await kit.deliver();
  expectDelivered(kit.broker, { topic: 'orders', body: 'o-1' });
  expect(kit.broker.stored).toHaveLength(2);
  expect((await pool.query('select order_id from booked')).rows).toEqual([{ order_id: 'o-1' }]);
  await kit.stop();
});
