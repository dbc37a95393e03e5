/**
 * The transferring process of one benchmark row: two banks' databases (SQLite, synchronous FULL), the outbox path end to end. A
 * transfer starts with the debit's transaction, which also writes the outbox row; the relay publishes it; the other bank credits
 * through its inbox and answers with a message; the transfer is done when that confirmation has settled the journal row. Both
 * banks share this process, so the figure is that of one core for two services and their databases.
 */
import { existsSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@tallystick/client';
import { createInbox, createOutbox, createRelay, migrate, transaction, verifyDurability } from '@tallystick/reliable';
import Database from 'libsql';
import { closedLoop } from './measure.ts';
import type { Row } from './rows.ts';

const [address, rowText, windowText] = process.argv.slice(2) as [string, string, string];
const row = JSON.parse(rowText) as Row;
const folder = mkdtempSync(join(tmpdir(), 'tallystick-transfer-'));
const openingMinor = 1_000_000_000;

const client = new Client({ address, header: row.header });
await client.admin().createTopic('bench-transfers', 8);
await client.admin().createTopic('bench-confirmations', 8);

const open = (name: string) => {
  const db = new Database(join(folder, name));
  verifyDurability(db);
  return db;
};
const a = open('a.db');
const b = open('b.db');
for (const db of [a, b]) {
  db.exec(`CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE journal (serial TEXT PRIMARY KEY, account TEXT NOT NULL, amount INTEGER NOT NULL, state TEXT NOT NULL);
    INSERT INTO account VALUES ('customer', ${openingMinor})`);
  migrate(db);
}

// Bank B: credit once, then confirm.
const confirmations = client.producer({ group: 'bench-bank-b' });
const inbox = createInbox(b);
const credit = b.prepare(`UPDATE account SET balance = balance + 1 WHERE id = 'customer'`);
const creditEntry = b.prepare(`INSERT INTO journal VALUES (?, 'customer', 1, 'succeeded')`);
const receiver = client.consumer({
  group: 'bench-receivers',
  topics: { 'bench-transfers': '*' },
  from: 'first',
  handler: async (message) => {
    transaction(b, (tx) =>
      inbox.once(tx, message.id, () => {
        credit.run();
        creditEntry.run(message.id);
      }),
    );
    await confirmations.send({ topic: 'bench-confirmations', key: message.id, value: message.id });
  },
});

// Bank A: debit and record in one transaction; settle when the confirmation comes.
const waiting = new Map<string, () => void>();
const debit = a.prepare(`UPDATE account SET balance = balance - 1 WHERE id = 'customer'`);
const debitEntry = a.prepare(`INSERT INTO journal VALUES (?, 'customer', -1, 'in-process')`);
const settle = a.prepare(`UPDATE journal SET state = 'succeeded' WHERE serial = ? AND state = 'in-process'`);
const settled = client.consumer({
  group: 'bench-settlers',
  topics: { 'bench-confirmations': '*' },
  from: 'first',
  handler: (message) => {
    const serial = message.value.toString('latin1');
    settle.run(serial);
    const done = waiting.get(serial);
    waiting.delete(serial);
    done?.();
  },
});
const relay = createRelay({ db: new Database(join(folder, 'a.db')), transport: client.producer({ group: 'bench-bank-a' }) });
const outbox = createOutbox(a, { wake: () => relay.wake() });
const body = Buffer.alloc(row.bytes, 'x');

await receiver.start();
await settled.start();
relay.start();
const measured = await closedLoop(
  { inFlight: row.inFlight, warmUpMs: Math.min(2000, windowMs() / 2), windowMs: windowMs() },
  (_n, done) => {
    const serial = transaction(a, (tx) => {
      const id = outbox.in(tx).add({ topic: 'bench-transfers', body });
      debit.run();
      debitEntry.run(id);
      return id;
    });
    waiting.set(serial, done);
  },
);
await relay.stop();
await receiver.close();
await settled.close();
await client.close();

const number = (db: typeof a, sql: string): number => (db.prepare(sql).get() as { n: number }).n;
const debited = openingMinor - number(a, 'SELECT balance AS n FROM account');
const credited = number(b, 'SELECT balance AS n FROM account') - openingMinor;
const open_ = number(a, `SELECT count(*) AS n FROM journal WHERE state <> 'succeeded'`);
if (debited !== credited || open_ !== 0) throw new Error(`debited ${debited}, credited ${credited}, ${open_} still in process`);
for (const db of [a, b]) db.close();
if (existsSync(folder)) rmSync(folder, { recursive: true, force: true });
process.stdout.write(`${JSON.stringify(measured)}\n`);

function windowMs(): number {
  return Number(windowText);
}
