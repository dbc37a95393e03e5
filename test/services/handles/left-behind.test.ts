/** Writes that nobody waited for: whatever becomes of them, none is written outside of the transaction that it was meant for. */
import { Client, type Pool, type PoolClient } from 'pg';
import type { DataSource } from 'typeorm';
import postgres, { type Sql } from 'postgres';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { afterCommit, createOutbox, transaction, type Handle, type Root } from '@tallystick/reliable';
import { LIBRARIES } from './libraries/index.ts';
import { pg } from './libraries/pg.ts';
import { postgresJs } from './libraries/postgres-js.ts';
import { typeorm } from './libraries/typeorm.ts';
import { IDS, leave, worldOf } from './world.ts';

const message = { topic: 'orders', body: '{}' };

/** Begins to add, and fails at once; `added` is what became of the add. */
function failing(outbox: { in(tx: Handle): { add(one: typeof message): unknown } }) {
  const added: Promise<unknown>[] = [];
  const work = async (tx: Handle): Promise<void> => {
    const adding = outbox.in(tx).add(message) as Promise<string>;
    added.push(adding.catch(() => undefined));
    await Promise.all([adding, Promise.reject(new Error('business'))]);
  };
  return { work, settled: () => Promise.all(added) };
}

for (const library of LIBRARIES) {
  describe(library.name, () => {
    afterAll(() => leave(library));
    for (const readied of [false, true]) {
      const when = readied ? 'later' : 'the first';
      test(`${when} add, left behind by a failure in the library’s own transaction`, async () => {
        const world = await worldOf(library);
        const outbox = createOutbox(world.root);
        if (readied) await outbox.ready();
        const { work, settled } = failing(outbox);
        await expect(world.begin(work)).rejects.toThrow('business');
        await settled();
        expect(await world.rows(IDS)).toEqual([]);
      });

      test(`${when} add, left behind by a failure in transaction()`, async () => {
        const world = await worldOf(library);
        const outbox = createOutbox(world.root);
        if (readied) await outbox.ready();
        const { work, settled } = failing(outbox);
        const running = transaction(world.root as Root, work as never) as Promise<unknown>;
        await expect(running).rejects.toThrow('business');
        await settled();
        expect(await world.rows(IDS)).toEqual([]);
      });
    }

    test('and the connection serves the next transaction', async () => {
      const world = await worldOf(library);
      const { work, settled } = failing(world.outbox);
      for (let i = 0; i < 8; i++) await world.begin(work).catch(() => undefined);
      await settled();
      await world.begin(async (tx) => world.outbox.in(tx).add(message) as Promise<string>);
      expect(await world.rows(IDS)).toHaveLength(1);
    });
  });
}

describe('pg', () => {
  async function onClient(work: (client: PoolClient) => Promise<void>): Promise<string[]> {
    const world = await worldOf(pg);
    const client = await (world.root as Pool).connect();
    try {
      await work(client);
    } finally {
      client.release();
    }
    return world.rows(IDS);
  }

  test.each(['rollback', 'commit', 'rollback and chain', 'commit; begin', 'rollback; begin'])(
    '%s sent before the add was',
    async (end) => {
      const { outbox } = await worldOf(pg);
      const rows = await onClient(async (client) => {
        await client.query('begin');
        const adding = outbox.in(client).add(message);
        await Promise.all([client.query(end), expect(adding).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' })]);
        await client.query('commit');
        expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
      });
      expect(rows).toEqual([]);
    },
  );

  test('a rollback that a pipelined client has sent before the add', async () => {
    const world = await worldOf(pg);
    const { outbox, url } = world;
    const client = new Client({ connectionString: url, pipeline: true } as never);
    await client.connect();
    onTestFinished(() => client.end());
    await client.query('begin');
    const adding = outbox.in(client).add(message);
    await Promise.all([client.query('rollback'), expect(adding).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' })]);
    await client.query('begin');
    await outbox.in(client).add(message);
    await client.query('commit');
    expect(await world.rows(IDS)).toHaveLength(1);
  });

  test('a rollback in one text with the next begin is no commit', async () => {
    let seen = 0;
    await onClient(async (client) => {
      await client.query('begin');
      afterCommit(client, () => void seen++);
      await client.query('rollback; begin');
      await client.query('commit');
    });
    expect(seen).toBe(0);
  });

  test('of two transactions at once on one client the second is refused', async () => {
    const { outbox } = await worldOf(pg);
    const rows = await onClient(async (client) => {
      const first = transaction(client, async (tx) => {
        await outbox.in(tx).add(message);
        throw new Error('business');
      });
      const second = transaction(client, async (tx) => outbox.in(tx).add(message));
      await expect(second).rejects.toMatchObject({ code: 'ALREADY_IN_TRANSACTION' });
      await expect(first).rejects.toThrow('business');
    });
    expect(rows).toEqual([]);
  });
});

describe('postgres.js', () => {
  test('a connection that is lost in the middle is not ended by the commit of whoever has it next', async () => {
    const world = await worldOf(postgresJs);
    // With one connection, so that the same object is connected anew: the library crashes the program when it writes to a closed one.
    const sql = postgres(world.url, { max: 1, onnotice: () => undefined });
    onTestFinished(() => sql.end());
    const told: unknown[] = [];
    let [open, take] = [(): void => undefined, (): void => undefined];
    const gate = new Promise<void>((resolve) => (open = resolve));
    const taken = new Promise<void>((resolve) => (take = resolve));
    const dying = sql.begin(async (tx) => {
      await world.outbox.in(tx).add(message);
      afterCommit(
        tx,
        () => void told.push('commit'),
        (error) => void told.push((error as { code: unknown }).code),
      );
      const [row] = await tx`select pg_backend_pid() as pid`;
      await world.rows(`select pg_terminate_backend(${row!['pid']})`);
      take();
      await gate;
    });
    const lost = expect(dying).rejects.toThrow(/CONNECTION_CLOSED/);
    await taken;
    await lost;
    for (let i = 0; i < 20; i++) await sql.begin((tx) => tx`select 1`);
    open();
    expect(told).toEqual(['COMMIT_UNKNOWN']);
    expect(await world.rows(IDS)).toEqual([]);
  });

  test('an exception of a trigger at the commit is that exception, not an unknown outcome', async () => {
    const world = await worldOf(postgresJs);
    await world.run(world.root, 'create table refused (id text)');
    await world.run(
      world.root,
      `create function refuses() returns trigger language plpgsql as $$ begin raise exception 'refused by a trigger'; end $$`,
    );
    await world.run(
      world.root,
      'create constraint trigger refuses after insert on refused deferrable initially deferred for each row execute function refuses()',
    );
    const running = transaction(world.root as unknown as Sql, (tx) => tx`insert into refused values ('a')`);
    await expect(running).rejects.toMatchObject({ code: 'P0001', message: 'refused by a trigger' });
  });
});

test('TypeORM: one QueryRunner, one transaction after the other', async () => {
  const world = await worldOf(typeorm);
  const runner = (world.root as unknown as DataSource).createQueryRunner();
  let seen = 0;
  for (let i = 0; i < 3; i++) {
    await runner.startTransaction();
    await world.outbox.in(runner).add(message);
    afterCommit(runner, () => void seen++);
    await runner.commitTransaction();
    await expect(world.outbox.in(runner).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
  }
  await runner.release();
  expect([seen, (await world.rows(IDS)).length]).toEqual([3, 3]);
});
