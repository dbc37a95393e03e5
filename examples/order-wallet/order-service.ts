/**
 * Takes orders over HTTP. The order and the message that asks for its payment are one transaction, so there is never the one without the
 * other; what the customer gets is a ticket, because the wallet may take its time.
 */
import { msg, transaction } from '@tallystick/reliable';
import { service } from './service.ts';

interface Order {
  readonly order: string;
  readonly account: string;
  readonly amountCents: number;
}

const { pool, outbox, inbox, consume, serve } = await service('orders', {
  // Not settled by the broker's confirmation but by the wallet's; sent again when that has not come in time.
  'order.created': msg<Order>({
    topic: 'wallet.orders',
    key: ({ account }) => account,
    businessKey: ({ order }) => order,
    confirm: { by: 'consumer', withinMs: 5_000 },
    replyTo: 'orders.confirmations',
    keepMs: 3_600_000,
  }),
});

/** The wallet has decided. Whether it says so once or five times makes no difference: an order leaves `created` only once. */
for (const [type, status] of [
  ['payment.made', 'paid'],
  ['payment.refused', 'refused'],
] as const) {
  inbox.handle(type, async ({ body }, { tx }) => {
    const { order } = JSON.parse(Buffer.from(body).toString()) as { order: string };
    await tx.query(`update orders set status = $2 where id = $1 and status = 'created'`, [order, status]);
  });
}
await consume('orders.payments');
await consume('orders.confirmations', outbox.confirmations());

await serve(Number(process.env['PORT'] ?? 0), async (method, path, body) => {
  const [, what, id = ''] = path.split('/');
  if (what !== 'orders') return [404, {}];
  if (method === 'PUT') {
    const { account, amountCents } = body as Omit<Order, 'order'>;
    if (!Number.isSafeInteger(amountCents) || amountCents <= 0)
      return [400, { error: 'amountCents must be a whole number above 0' }];
    await transaction(pool, async (tx) => {
      // The customer's repetition finds the order there and adds nothing.
      const { rowCount } = await tx.query(
        `insert into orders (id, account, amount_cents, status) values ($1, $2, $3, 'created') on conflict do nothing`,
        [id, account, amountCents],
      );
      if (rowCount === 1) await outbox.in(tx).add({ type: 'order.created', body: { order: id, account, amountCents } });
    });
    return [202, { order: id, ticket: `/orders/${id}` }];
  }
  const { rows } = await pool.query('select id, status, amount_cents::int from orders where id = $1', [id]);
  if (rows.length === 0) return [404, {}];
  const { status: message } = await outbox.status({ businessKey: id });
  return [200, { ...(rows[0] as object), message }];
});
