/** The statement that adds a message is planned once per connection of pg; only where nobody stands between, and never at the cost of a message. */
import { createOutbox, transaction } from '@tallystick/reliable';
import { Client } from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { connected } from '../support/live.ts';
import { freshDatabase } from '../support/services.ts';

const message = { topic: 'orders', body: 'b' };
const KEPT = `select count(*)::int as kept from pg_prepared_statements where name like 'tallystick%'`;

async function place(way: 'url' | 'pooledUrl') {
  const database = await freshDatabase();
  onTestFinished(() => database.drop());
  const client = await connected(database[way]);
  const outbox = createOutbox(client);
  const add = (): Promise<unknown> => transaction(client, (tx) => outbox.in(tx).add(message));
  const one = async (sql: string): Promise<unknown> => Object.values((await client.query(sql)).rows[0] as object)[0];
  return { database, client, add, one };
}

const COUNT = 'select count(*)::int as there from tallystick_outbox';

test('a connection to the server itself keeps it from its second use on', async () => {
  const { add, one } = await place('url');
  const kept: unknown[] = [];
  for (let n = 0; n < 4; n++) {
    await add();
    kept.push(await one(KEPT));
  }
  expect(kept).toEqual([0, 1, 1, 1]);
  expect(await one('select max(generic_plans + custom_plans)::int as uses from pg_prepared_statements')).toBe(3);
  expect(await one(COUNT)).toBe(4);
});

test('behind pgbouncer nothing is kept, so every server process behind it can take every message', async () => {
  const { database, client, add, one } = await place('pooledUrl');
  const processes = new Set<unknown>();
  for (let n = 0; n < 12; n++) {
    await add();
    processes.add(await one('select pg_backend_pid() as pid'));
    // Another client takes the server process that was just used.
    const other = new Client({ connectionString: database.pooledUrl });
    await other.connect();
    await other.query('begin');
    await other.query('select 1');
    await add();
    await other.query('commit');
    await other.end();
  }
  expect(processes.has((client as unknown as { processID: number }).processID)).toBe(false);
  expect(await one(KEPT)).toBe(0);
  expect(await one(COUNT)).toBe(24);
});

test.each(['discard all', 'deallocate all'])('%s between two messages is noticed', async (forget) => {
  const { client, add, one } = await place('url');
  for (let n = 0; n < 3; n++) await add();
  await client.query(forget);
  expect(await one(KEPT)).toBe(0);
  for (let n = 0; n < 3; n++) await add();
  expect(await one(KEPT)).toBe(1);
  expect(await one(COUNT)).toBe(6);
});

test('when the server has forgotten unseen, one transaction fails, nothing of it is there, and the next goes', async () => {
  const { client, add, one } = await place('url');
  for (let n = 0; n < 3; n++) await add();
  await client.query(
    `do $$ begin execute 'deallocate ' || (select name from pg_prepared_statements where name like 'tallystick%'); end $$`,
  );
  await expect(add()).rejects.toMatchObject({ code: '26000' });
  expect(await one(COUNT)).toBe(3);
  for (let n = 0; n < 3; n++) await add();
  expect(await one(COUNT)).toBe(6);
});

test('a statement that was kept still does not leave after the end of its transaction', async () => {
  const { client, add, one } = await place('url');
  for (let n = 0; n < 3; n++) await add();
  const outbox = createOutbox(client);
  await client.query('begin');
  await outbox.in(client).add(message);
  const late = outbox.in(client);
  const ending = client.query('commit');
  const refused = late.add(message);
  await ending;
  await expect(refused).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
  expect(await one(COUNT)).toBe(4);
});

test('when what it answers has another type than it was planned for, one transaction fails, and the next goes', async () => {
  const { client, add, one } = await place('url');
  for (let n = 0; n < 3; n++) await add();
  await client.query('alter table tallystick_outbox alter column id type text');
  await expect(add()).rejects.toMatchObject({ code: '0A000' });
  for (let n = 0; n < 3; n++) await add();
  expect(await one(COUNT)).toBe(6);
});

test('a message that was refused on its way to the server leaves a connection that takes the next ones', async () => {
  const { client, add, one } = await place('url');
  const outbox = createOutbox(client);
  for (let n = 0; n < 5; n++) {
    // The first is added while its transaction is open, the second leaves after its end.
    await client.query('begin');
    const adding = outbox.in(client).add(message);
    const ending = client.query('rollback');
    const late = outbox.in(client).add(message);
    await Promise.allSettled([adding, ending, late]);
    await add();
  }
  expect(await one(COUNT)).toBe(5);
});

test('in a transaction that has failed, the server’s own refusal is what is told', async () => {
  const { client, add } = await place('url');
  await add();
  const outbox = createOutbox(client);
  await client.query('begin');
  await expect(client.query('select 1 / 0')).rejects.toThrow('division by zero');
  await expect(outbox.in(client).add(message)).rejects.toMatchObject({ code: '25P02' });
  await client.query('rollback');
  for (let n = 0; n < 3; n++) await add();
});
