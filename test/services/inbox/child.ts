/**
 * A consumer in a process of its own: `child.ts URL DEATHS_MAX`. Its parent is the broker: it sends deliveries and hears receipts. The
 * handler of the message P kills the process.
 */
import { createInbox, type Delivery } from '@tallystick/reliable';
import { Pool } from 'pg';

const [url, deathsMax] = process.argv.slice(2) as [string, string];
const pool = new Pool({ connectionString: url, max: 4 });
const inbox = createInbox(pool, {
  consumer: 'wallet',
  deathsMax: Number(deathsMax),
  leaseMs: 300,
  // Quarantine waits for as long.
  databaseAfterMs: 10_000,
  sweepIntervalMs: 20,
  onAlarm: (alarm) => process.send?.({ alarm: alarm.kind, id: 'row' in alarm ? alarm.row.id : undefined }),
});

inbox.handle('debit', async ({ id }, { tx }) => {
  await tx.query('insert into effect (name) values ($1)', [id]);
  // The others are at it for a moment, so that a death has company.
  await new Promise((resolve) => setTimeout(resolve, 30));
  if (id === 'P') process.kill(process.pid, 'SIGKILL');
});
inbox.start();

process.on('message', (told: { id: string; redelivered: boolean } | 'stop') => {
  // What the inbox told until then has left before this.
  if (told === 'stop') return void inbox.stop().then(() => process.send?.({ stopped: true }));
  const { id, redelivered } = told;
  const delivery: Delivery = { id, topic: 'payments', type: 'debit', headers: new Map(), body: Buffer.from('{}'), redelivered };
  void inbox.receive(delivery).then((receipt) => process.send?.({ id, receipt }));
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });
