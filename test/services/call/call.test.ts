/** Calls recorded on a real PostgreSQL, under the conditions of the outbox's messages. */
import { ManualTime } from '@tallystick/base/testing';
import { createCalls, transaction } from '@tallystick/reliable';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { emptyDatabase, freshDatabase, type FreshDatabase } from '../support/services.ts';

const url = 'https://bank.example/pay';

async function place(made: Promise<FreshDatabase> = freshDatabase()): Promise<pg.Pool> {
  const database = await made;
  onTestFinished(() => database.drop());
  const pool = new pg.Pool({ connectionString: database.url, max: 4 });
  onTestFinished(() => pool.end());
  return pool;
}

const rowsIn = async (pool: pg.Pool): Promise<unknown[]> =>
  (await pool.query('select state, due_at = 0 as now from tallystick_call order by sequence')).rows as unknown[];

test('a call waits for its time by the clock of the database, whatever the process takes for the present', async () => {
  const pool = await place();
  // The process lives in 2023.
  const calls = createCalls(pool, { clock: new ManualTime() });
  await transaction(pool, async (tx) => {
    await calls.add(tx, { url, notBefore: Date.now() - 60_000 });
    await calls.add(tx, { url, notBefore: Date.now() + 60_000 });
  });
  expect(await rowsIn(pool)).toEqual([
    { state: 'waiting', now: true },
    { state: 'delayed', now: false },
  ]);
  const { rows } = await pool.query(
    `select abs(created_at - extract(epoch from clock_timestamp()) * 1000) < 600000 as fresh from tallystick_call`,
  );
  expect(rows).toEqual([{ fresh: true }, { fresh: true }]);
});

test('in a transaction of another database it is refused, and nothing is written', async () => {
  const [right, wrong] = [await place(), await place()];
  const calls = createCalls(right);
  await calls.ready();
  await expect(transaction(wrong, (tx) => calls.add(tx, { url }))).rejects.toMatchObject({ code: 'WRONG_DATABASE' });
  await transaction(right, (tx) => calls.add(tx, { url }));
  expect([(await rowsIn(right)).length, (await rowsIn(wrong)).length]).toEqual([1, 0]);
});

test('without the tables it is refused by what has to be done', async () => {
  const pool = await place(emptyDatabase());
  const calls = createCalls(pool);
  await expect(calls.ready()).rejects.toMatchObject({ code: 'NOT_MIGRATED' });
  await expect(transaction(pool, (tx) => calls.add(tx, { url }))).rejects.toMatchObject({ code: 'NOT_MIGRATED' });
});

test('its id is taken once', async () => {
  const pool = await place();
  const calls = createCalls(pool);
  const id = '018F0000000070008000000000000001';
  await transaction(pool, (tx) => calls.add(tx, { url, id }));
  await expect(transaction(pool, (tx) => calls.add(tx, { url, id }))).rejects.toMatchObject({ code: 'DUPLICATE_ID' });
});
