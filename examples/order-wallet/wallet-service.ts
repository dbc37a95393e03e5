/**
 * Pays orders out of accounts. An order is debited once, however often its message comes, and in whichever process: the three guards are a
 * lock on the account, the business's own question, and the unique key of the message, the last.
 */
import { msg } from '@tallystick/reliable';
import { service } from './service.ts';

interface Decision {
  readonly order: string;
}

const decision = (): ReturnType<typeof msg<Decision>> => msg<Decision>({ topic: 'orders.payments', key: ({ order }) => order });

const { pool, inbox, consume, serve } = await service('wallet', {
  'payment.made': decision(),
  'payment.refused': decision(),
  'tallystick.confirmation': {},
});

interface OrderCreated {
  readonly order: string;
  readonly account: string;
  readonly amountCents: number;
}

const read = ({ body }: { readonly body: Uint8Array }): OrderCreated => JSON.parse(Buffer.from(body).toString()) as OrderCreated;

inbox.handle(
  'order.created',
  async (delivery, { tx, emit }) => {
    const { order, account, amountCents } = read(delivery);
    const { rowCount } = await tx.query(
      'update account set balance_cents = balance_cents - $2 where id = $1 and balance_cents >= $2',
      [account, amountCents],
    );
    const paid = rowCount === 1;
    await tx.query('insert into debit (order_id, account, amount_cents) values ($1, $2, $3)', [
      order,
      account,
      paid ? amountCents : 0,
    ]);
    // Leaves if and only if all of this is committed.
    await emit({ type: paid ? 'payment.made' : 'payment.refused', body: { order } });
  },
  {
    lock: (delivery) => `account:${read(delivery).account}`,
    // A killed process leaves its lock behind; others wait this long for it.
    lockHoldMs: 2_000,
    alreadyDone: async (tx, delivery) => {
      const { rows } = await tx.query('select 1 from debit where order_id = $1', [read(delivery).order]);
      return rows.length > 0;
    },
  },
);
await consume('wallet.orders');

await serve(Number(process.env['PORT'] ?? 0), async (method, path) => {
  const [, what, id = ''] = path.split('/');
  if (method !== 'GET' || what !== 'accounts') return [404, {}];
  const { rows } = await pool.query('select id, balance_cents::int from account where id = $1', [id]);
  return rows.length === 0 ? [404, {}] : [200, rows[0]];
});
