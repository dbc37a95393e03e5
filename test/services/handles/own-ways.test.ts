/** What single libraries have beside the function that runs a transaction: controlled transactions, reserved connections, chains. */
import type { MikroORM } from '@mikro-orm/core';
import { drizzle } from 'drizzle-orm/node-postgres';
import knexOf from 'knex';
import { Kysely, PostgresDialect } from 'kysely';
import { Client, Pool as PgPool, type Pool, type PoolClient } from 'pg';
import postgres from 'postgres';
import { DataSource } from 'typeorm';
import { afterAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import {
  afterCommit,
  connectionsOf,
  createOutbox,
  transaction,
  watchWrongUse,
  type Handle,
  type WrongUse,
} from '@tallystick/reliable';
import { cutterTo } from './commit-cutter.ts';
import { mikroorm } from './libraries/mikroorm.ts';
import { pg, poolOf } from './libraries/pg.ts';
import { EFFECTS, IDS, leave, until, worldOf, type World } from './world.ts';

let world: World;
let seen: number;
const message = { topic: 'orders', body: Buffer.from('{}') };
const count = (): void => void seen++;

beforeEach(async () => {
  world = await worldOf(pg);
  seen = 0;
});
afterAll(() => leave(pg));

/** Adds, ends, and must not be able to add again. */
async function addsOnce(tx: Handle, commit: () => Promise<unknown>): Promise<void> {
  await world.outbox.in(tx).add(message);
  afterCommit(tx, count);
  await commit();
  expect(seen).toBe(1);
  await expect(world.outbox.in(tx).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
  expect(await world.rows(IDS)).toHaveLength(1);
}

async function clientOf(): Promise<PoolClient> {
  const client = await (world.root as Pool).connect();
  onTestFinished(() => client.release(true));
  return client;
}

describe('pg', () => {
  test('a client of its own is a handle and a root', async () => {
    const client = new Client({ connectionString: world.url });
    await client.connect();
    onTestFinished(() => client.end());
    const outbox = createOutbox(client);
    await transaction(client, async (tx) => {
      await outbox.in(tx).add(message);
      afterCommit(tx, count);
    });
    expect(seen).toBe(1);
    await connectionsOf(client).use(async (session) => session.execute({ sql: 'select 1', parameters: [], reads: true }));
    await client.query('begin');
    const used = connectionsOf(client).use(async () => undefined);
    await expect(used).rejects.toMatchObject({ code: 'ALREADY_IN_TRANSACTION' });
  });

  test('a commit that chains is a commit, a rollback that chains is none', async () => {
    const client = await clientOf();
    await client.query('begin');
    afterCommit(client, count);
    await client.query('commit and chain');
    expect(seen).toBe(1);
    afterCommit(client, count);
    await client.query('rollback and chain');
    await client.query('commit');
    expect(seen).toBe(1);
  });

  test('a commit in the middle of several statements is seen', async () => {
    const client = await clientOf();
    await client.query('begin');
    afterCommit(client, count);
    await client.query('select 1; commit; begin; select 2');
    expect(seen).toBe(1);
    await client.query('rollback');
    expect(seen).toBe(1);
  });

  test('a prepared transaction is not called committed', async () => {
    const client = await clientOf();
    const told: unknown[] = [];
    await client.query('begin');
    afterCommit(client, count, (error) => void told.push(error));
    await client.query(`prepare transaction 'later'`).catch(() => undefined);
    expect(seen).toBe(0);
  });

  test('writes of one client wait for each other', async () => {
    const client = await clientOf();
    await client.query('begin');
    const warned: unknown[] = [];
    const warning = (one: unknown): void => void warned.push(one);
    process.on('warning', warning);
    onTestFinished(() => void process.off('warning', warning));
    await Promise.all(Array.from({ length: 5 }, () => world.outbox.in(client).add(message)));
    await client.query('commit');
    expect(warned).toEqual([]);
    expect(await world.rows(IDS)).toHaveLength(5);
  });

  test('a transaction whose writes were not awaited is rolled back', async () => {
    const running = transaction(world.root, async (tx) => {
      void (world.outbox.in(tx as Handle).add(message) as Promise<string>).catch(() => undefined);
    });
    await expect(running).rejects.toMatchObject({ code: 'ADD_STILL_OPEN' });
    expect(await world.rows(IDS)).toEqual([]);
  });

  test('a transaction that has to give way is run again, as often as it may and no more', async () => {
    for (const [retries, runs] of [
      [0, 1],
      [2, 3],
    ] as const) {
      seen = 0;
      const giving = transaction(
        world.root,
        async () => {
          count();
          throw Object.assign(new Error('serialization failure'), { code: '40001' });
        },
        { retries },
      );
      await expect(giving).rejects.toThrow('serialization failure');
      expect(seen).toBe(runs);
    }
    const wrong = transaction(world.root, async () => (count(), Promise.reject(new Error('not that'))), { retries: 5 });
    await expect(wrong).rejects.toThrow('not that');
    expect(seen).toBe(4);
  });

  test('a client of its own that is lost at the COMMIT has nobody to ask', async () => {
    const cutter = await cutterTo(world.url);
    onTestFinished(() => cutter.close());
    const client = new Client({ connectionString: cutter.url });
    client.on('error', () => undefined);
    await client.connect();
    cutter.cutNext('after the server');
    const running = transaction(client, async (tx) => void (await tx.query(`insert into effect values ('a')`)), {
      resolveOutcome: true,
    });
    await expect(running).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN' });
    expect(await world.rows(EFFECTS)).toEqual(['a']);
  });

  test('a hook that fails is reported and stops no other', async () => {
    const told: string[] = [];
    const report = (error: unknown): void => void told.push((error as Error).message);
    const fail = (): never => {
      throw new Error('first');
    };
    await transaction(world.root as Pool, async (tx) => {
      afterCommit(tx, fail, report);
      afterCommit(tx, async () => Promise.reject(new Error('second')), report);
      afterCommit(tx, count);
    });
    expect(seen).toBe(1);
    await until(() => told.length === 2, 'both are reported');
    expect(told).toEqual(['first', 'second']);
  });

  test("the guard follows a transaction of one's own from its first message to its end", async () => {
    const reports: WrongUse[] = [];
    const watch = watchWrongUse({ onReport: (report) => void reports.push(report) });
    onTestFinished(() => watch.stop());
    const broker = watch.watch({ publish: () => true });
    await (async () => {
      const client = await clientOf();
      await client.query('begin');
      await world.outbox.in(client).add(message);
      await client.query('select 1');
      broker.publish();
      await client.query('commit');
      broker.publish();
    })();
    broker.publish();
    expect(reports).toMatchObject([{ kind: 'publish', what: 'publish' }]);
    expect(reports[0]!.stack).toContain('own-ways.test.ts');
  });
});

describe('the other ways of the libraries', () => {
  test('postgres.js: a reserved connection, one transaction after the other', async () => {
    const sql = postgres(world.url, { max: 1 });
    onTestFinished(() => sql.end({ timeout: 1 }));
    const reserved = await sql.reserve();
    await expect(world.outbox.in(reserved).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
    for (const end of ['commit', 'rollback', 'COMMIT']) {
      await reserved.unsafe('begin');
      await world.outbox.in(reserved).add(message);
      afterCommit(reserved, count);
      await reserved.unsafe(end);
    }
    await expect(world.outbox.in(reserved).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
    expect(seen).toBe(2);
    expect(await world.rows(IDS)).toHaveLength(2);
    reserved.release();
  });

  test('Kysely: a controlled transaction, with a log that reads statements as texts', async () => {
    const texts: string[] = [];
    const db = new Kysely<object>({
      dialect: new PostgresDialect({ pool: poolOf(world.url) }),
      log: ({ query }) => void texts.push(query.sql.slice(0, 20).toLowerCase()),
    });
    onTestFinished(() => db.destroy());
    const trx = await db.startTransaction().execute();
    await addsOnce(trx, () => trx.commit().execute());
    expect(texts).toContain('-- tallystick looks ');
  });

  test('Drizzle: over one client', async () => {
    const client = new Client({ connectionString: world.url });
    await client.connect();
    onTestFinished(() => client.end());
    const db = drizzle(client);
    await transaction(db, async (tx) => {
      await world.outbox.in(tx).add(message);
      afterCommit(tx, count);
    });
    expect(seen).toBe(1);
  });

  test('Knex: a transaction without a function', async () => {
    const db = knexOf({ client: 'pg', connection: world.url });
    onTestFinished(() => db.destroy());
    const trx = await db.transaction();
    await addsOnce(trx, () => trx.commit());
  });

  test('TypeORM: a query runner, and its manager', async () => {
    const source = await new DataSource({ type: 'postgres', url: world.url }).initialize();
    onTestFinished(() => source.destroy());
    const runner = source.createQueryRunner();
    await expect(world.outbox.in(runner).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
    await runner.startTransaction();
    await world.outbox.in(runner.manager).add(message);
    await world.outbox.in(runner).add(message);
    afterCommit(runner, count);
    await runner.commitTransaction();
    expect(seen).toBe(1);
    await runner.release();
    await expect(world.outbox.in(runner.manager).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
  });

  test('MikroORM: one manager, several transactions', async () => {
    const opened = await mikroorm.open(world.url);
    onTestFinished(() => opened.close());
    const em = (opened.root as MikroORM).em.fork();
    for (let round = 1; round <= 2; round++) {
      await expect(world.outbox.in(em as unknown as Handle).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
      await em.begin();
      await world.outbox.in(em as unknown as Handle).add(message);
      afterCommit(em as unknown as Handle, count);
      await em.commit();
      expect(seen).toBe(round);
    }
    expect(await world.rows(IDS)).toHaveLength(2);
  });
});

test.each([
  ['camelCase', postgres.camel],
  ['PascalCase', postgres.pascal],
  ['kebab-case', postgres.kebab],
])('postgres.js that writes columns in %s: they are read as they are', async (_, transform) => {
  const sql = postgres(world.url, { max: 2, transform });
  onTestFinished(() => sql.end());
  const outbox = createOutbox(sql);
  const id = await sql.begin(async (tx) => outbox.in(tx).add({ ...message, type: 'placed', key: 'k', businessKey: 'b' }));
  const { messages } = await outbox.status({ id: id });
  expect(messages).toMatchObject([{ id, type: 'placed', key: 'k', businessKey: 'b' }]);
  expect(messages[0]!.createdAt).toBeGreaterThan(0);
});

test('a pool of one: the first transaction waits once for what nobody can ask meanwhile, not for each of its messages', async () => {
  const one = new PgPool({ connectionString: world.url, max: 1 });
  onTestFinished(() => one.end());
  const timers: number[] = [];
  const outbox = createOutbox(one, {
    timers: {
      after: (ms: number, run: () => void) => (timers.push(ms), setTimeout(run, 10) as never),
      cancel: (timer: unknown) => clearTimeout(timer as NodeJS.Timeout),
    } as never,
  });
  await transaction(one, async (tx) => {
    for (let i = 0; i < 5; i++) await outbox.in(tx).add(message);
  });
  expect(timers.filter((ms) => ms === 1_000)).toHaveLength(1);
  expect(await world.rows(IDS)).toHaveLength(5);
});

test('a message that went to another database while nobody could be asked is told, and the next is refused', async () => {
  const other = await worldOf(pg, 'other');
  const busy = new PgPool({ connectionString: world.url, max: 1 });
  onTestFinished(() => busy.end());
  const held = await busy.connect();
  const warnings: string[] = [];
  const hear = ({ message: said }: Error): void => void warnings.push(said);
  process.on('warning', hear);
  onTestFinished(() => void process.off('warning', hear));
  const outbox = createOutbox(busy, {
    timers: {
      after: (_ms: number, run: () => void) => setTimeout(run, 10) as never,
      cancel: (timer: unknown) => clearTimeout(timer as NodeJS.Timeout),
    } as never,
  });
  const add = (to: World): Promise<string> => to.begin(async (tx) => outbox.in(tx).add(message));
  const [stray] = [await add(other), await add(world)];
  held.release();
  await outbox.ready();
  await until(() => warnings.length > 0, 'the warning');
  expect(warnings.filter((said) => said.includes('WRONG_DATABASE'))).toHaveLength(1);
  expect(warnings[0]).toContain(stray);
  await expect(add(other)).rejects.toMatchObject({ code: 'WRONG_DATABASE' });
  await add(world);
  expect(await other.rows(IDS)).toEqual([stray]);
  expect(await world.rows(IDS)).toHaveLength(2);
});

test('a function after the commit may return what only begins when it is awaited: a query of Knex', async () => {
  const knex = knexOf({ client: 'pg', connection: world.url });
  onTestFinished(() => knex.destroy());
  await transaction(world.root as Pool, async (tx) => {
    afterCommit(tx, () => knex('effect').insert({ id: 'after' }) as unknown as Promise<void>);
  });
  await until(async () => (await world.rows(EFFECTS)).includes('after'), 'the query has run');
});
