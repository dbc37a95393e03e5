/**
 * Migrations of a PostgreSQL that is in use: nobody is kept waiting, nothing is done twice, whatever was begun is ended, and programs
 * of the version before go on working beside the new ones.
 */
import { randomBytes } from 'node:crypto';
import { Pool, type Client } from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  createOutbox,
  createRelay,
  migrate,
  migrationPlan,
  migrationSql,
  postgres,
  TABLES,
  transaction,
  verifyDurability,
} from '@tallystick/reliable';
import { createSchemaTable, migrationTo, newestVersion, recordVersion } from '../../packages/reliable/src/sql/migration-text.ts';
import { LIBRARIES } from './handles/libraries/index.ts';
import { connected, until, WAITING_FOR_LOCK, Writers } from './support/live.ts';
import { emptyDatabase, withClient } from './support/services.ts';

const NEWEST = newestVersion(TABLES);

interface Place {
  readonly url: string;
  readonly pooledUrl: string;
  readonly client: Client;
}

/** A database without tables, or with those of the first version and some rows in them. */
async function place(tables: 'none' | 'version 1'): Promise<Place> {
  const database = await emptyDatabase();
  onTestFinished(() => database.drop());
  const client = await connected(database.url);
  if (tables === 'version 1') {
    for (const statement of versionOne()) await client.query(statement);
    for (let n = 0; n < 20; n++) await insertAsVersionOne(client, n);
  }
  return { url: database.url, pooledUrl: database.pooledUrl, client };
}

function versionOne(): string[] {
  const row = { nowMs: 1, databaseId: 'null' };
  return [createSchemaTable(postgres), ...migrationTo(postgres, TABLES, 1), recordVersion(postgres, TABLES, 1, row)];
}

/** What a program of version 1 writes: it knows none of the later columns. */
function versionOneInsert(n: number): { sql: string; values: unknown[] } {
  const id = randomBytes(16).toString('hex').toUpperCase();
  return {
    sql: `with body as (insert into tallystick_outbox_body (id, channel, headers, body) values ($1, '', null, $2))
      insert into tallystick_outbox (id, channel, shard, message_key, topic, tag, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
      values ($1, '', 0, 'k', 't', null, 'deferred', 'waiting', 0, 0, 0, 1, 1, 4)`,
    values: [id, Buffer.from(String(n).padStart(4, '0'))],
  };
}

async function insertAsVersionOne(client: Client, n: number): Promise<void> {
  const { sql, values } = versionOneInsert(n);
  await client.query(sql, values);
}

/** Advisory locks of this database: others of the same server migrate, too. */
async function turns(client: Client, which: 'waited for' | 'held'): Promise<number> {
  const found = await client.query(
    "select 1 from pg_locks where locktype = 'advisory' and granted = $1 and database = (select oid from pg_database where datname = current_database())",
    [which === 'held'],
  );
  return found.rows.length;
}

/** Columns, constraints and indexes as the database sees them, without what differs by name of the database. */
async function layout(client: Client): Promise<unknown[]> {
  const columns = await client.query(
    "select table_name, column_name, data_type, is_nullable, column_default is not null as defaulted, is_identity from information_schema.columns where table_schema = 'public' order by 1, 2",
  );
  const indexes = await client.query(
    "select indexname, replace(indexdef, 'CONCURRENTLY ', '') as definition, i.indisvalid from pg_indexes p join pg_index i on i.indexrelid = p.indexname::regclass where schemaname = 'public' order by 1",
  );
  return [...(columns.rows as unknown[]), ...(indexes.rows as unknown[])];
}

async function versions(client: Client): Promise<unknown[]> {
  const { rows } = await client.query('select version, database_id is not null as identified from tallystick_schema order by 1');
  return rows as unknown[];
}

const ALL_VERSIONS = Array.from({ length: NEWEST }, (_, i) => ({ version: i + 1, identified: i + 1 === 2 }));

async function invalidIndexes(client: Client): Promise<unknown[]> {
  return (await client.query('select indexrelid::regclass::text as name from pg_index where not indisvalid')).rows as unknown[];
}

describe('the layout', () => {
  test('is the same from nothing, from the version before, from the printed script and from the printed plan', async () => {
    const [code, grown, script, plan] = [
      await place('none'),
      await place('version 1'),
      await place('none'),
      await place('version 1'),
    ] as const;
    expect(await migrate(code.client)).toEqual({ from: 0, to: NEWEST });
    expect(await migrate(grown.client)).toEqual({ from: 1, to: NEWEST });
    await script.client.query(migrationSql(postgres));
    const planned = await migrationPlan(plan.client);
    for (const statement of planned.statements) await plan.client.query(statement);
    const wanted = await layout(code.client);
    for (const other of [grown, script, plan]) {
      const withoutOrder = await layout(other.client);
      // A column that was added later has a default for the old version's inserts; one that came with its table does not differ.
      expect(withoutOrder).toEqual(wanted);
      expect(await versions(other.client)).toEqual(ALL_VERSIONS);
      expect(await migrate(other.client)).toEqual({ from: NEWEST, to: NEWEST });
    }
  });

  test('a plan only looks: from nothing, from the version before, and when there is nothing to do', async () => {
    const empty = await place('none');
    const fresh = await migrationPlan(empty.client);
    expect(fresh).toMatchObject({ from: 0, to: NEWEST });
    expect(fresh.sql).toContain('create table if not exists "tallystick_outbox"');
    expect(await layout(empty.client)).toEqual([]);
    const old = await place('version 1');
    const before = await layout(old.client);
    const { from, sql } = await migrationPlan(old.client);
    expect([from, await layout(old.client)]).toEqual([1, before]);
    expect(sql).toMatch(/^begin;\nset local lock_timeout = 500;\n/);
    expect(sql).toContain('alter table "tallystick_outbox" add column if not exists "message_type"');
    expect(sql).toMatch(
      /commit;\ncreate index concurrently if not exists "tallystick_outbox_business_key" on .* where business_key is not null;/,
    );
    expect(sql).not.toMatch(/create index "/);
    await migrate(old.client);
    expect(await migrationPlan(old.client)).toEqual({ from: NEWEST, to: NEWEST, statements: [], sql: '' });
  });

  test('a newer one is refused, by the migration and by the plan, and so is an open transaction', async () => {
    const { client } = await place('none');
    await migrate(client);
    await client.query('begin');
    await expect(migrate(client)).rejects.toMatchObject({ code: 'ALREADY_IN_TRANSACTION' });
    await client.query('rollback');
    await client.query('insert into tallystick_schema (version, applied_at) values (99, 0)');
    await expect(migrate(client)).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
    await expect(migrationPlan(client)).rejects.toMatchObject({ code: 'SCHEMA_TOO_NEW' });
  });

  test('is made through a pool in transaction mode', async () => {
    const { pooledUrl, client } = await place('version 1');
    const pool = new Pool({ connectionString: pooledUrl, max: 3 });
    onTestFinished(() => pool.end());
    expect(await migrate(pool)).toEqual({ from: 1, to: NEWEST });
    expect(await invalidIndexes(client)).toEqual([]);
    expect(await turns(client, 'held')).toBe(0);
  });
});

describe.each(LIBRARIES)('through $name', (library) => {
  test.each(['none', 'version 1'] as const)('from %s', async (tables) => {
    const { url, client } = await place(tables);
    const opened = await library.open(url);
    onTestFinished(() => opened.close());
    const { root } = opened;
    const from = tables === 'none' ? 0 : 1;
    expect((await migrationPlan(root)).from).toBe(from);
    expect(await migrate(root)).toEqual({ from, to: NEWEST });
    expect(await migrate(root)).toEqual({ from: NEWEST, to: NEWEST });
    expect(await versions(client)).toEqual(ALL_VERSIONS);
    expect(await invalidIndexes(client)).toEqual([]);
    expect(await verifyDurability(root)).toMatchObject({ unloggedTables: [] });
  });
});

describe('while others write', () => {
  /** Somebody has written and does not commit: the tables cannot be changed now. */
  async function openWriter(url: string): Promise<Client> {
    const client = await connected(url);
    await client.query('begin');
    await insertAsVersionOne(client, 1000);
    return client;
  }

  /**
   * The proof: a transaction is open on the table, writers write, the migration begins. The writers must get on while it waits; when the
   * transaction ends, so does the migration.
   */
  async function migratedBeside(url: string, run: (client: Client) => Promise<unknown>): Promise<Writers> {
    const writers = await Writers.start(url, 3, versionOneInsert);
    const open = await openWriter(url);
    const client = await connected(url);
    const running = run(client);
    running.catch(() => undefined);
    const watching = await connected(url);
    await until('the migration waits for a lock', async () => {
      const { rows } = await watching.query(WAITING_FOR_LOCK);
      return rows.length > 0;
    });
    try {
      await writers.goOn(300);
    } finally {
      await open.query('commit');
    }
    await running;
    await writers.goOn(10);
    await writers.stop();
    return writers;
  }

  test('the migration steps back for them, and is done when they let it', async () => {
    const { url, client } = await place('version 1');
    const writers = await migratedBeside(url, (migrating) => migrate(migrating, { lockWaitMs: 20 }));
    expect(writers.errors).toEqual([]);
    expect(await versions(client)).toEqual(ALL_VERSIONS);
    expect(await invalidIndexes(client)).toEqual([]);
    const { rows } = await client.query(
      "select count(*)::int as n from tallystick_outbox where message_type = '' and keep_for = 0",
    );
    expect(rows).toEqual([{ n: 20 + 1 + writers.commits }]);
  });

  test('the proof notices a migration that waits in the queue for as long as it takes', async () => {
    const { url } = await place('version 1');
    const naive = async (client: Client): Promise<void> => {
      const { statements } = await migrationPlan(client);
      for (const statement of statements) if (!statement.startsWith('set local lock_timeout')) await client.query(statement);
    };
    const patience = 3_000;
    const stuck = await Promise.race([
      migratedBeside(url, naive).then(() => 'they wrote'),
      new Promise<string>((resolve) => setTimeout(resolve, patience, 'they waited')),
    ]);
    expect(stuck).toBe('they waited');
    // Let everybody go.
    await withClient(url, (client) =>
      client.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
      ),
    );
  });

  test('an index is built beside them even while an old transaction keeps it from being ready', async () => {
    const { url, client } = await place('version 1');
    const old = await connected(url);
    await old.query('begin isolation level repeatable read');
    await old.query('select 1');
    const running = migrate(await connected(url));
    await until('the index is being built', async () => (await invalidIndexes(client)).length > 0);
    const writers = await Writers.start(url, 3, versionOneInsert);
    await writers.goOn(100);
    expect(await versions(client)).toEqual(ALL_VERSIONS.slice(0, 1).map(({ version }) => ({ version, identified: false })));
    await old.query('commit');
    expect(await running).toEqual({ from: 1, to: NEWEST });
    await writers.stop();
    expect(writers.errors).toEqual([]);
    expect(await invalidIndexes(client)).toEqual([]);
  });

  test('a table that is never free is given up with the names of those who keep it', async () => {
    const { url } = await place('version 1');
    const open = await openWriter(url);
    const { rows } = await open.query<{ pid: number }>('select pg_backend_pid() as pid');
    await expect(migrate(await connected(url), { lockWaitMs: 10, patienceMs: 200 })).rejects.toMatchObject({
      code: 'LOCK_BUSY',
      message: expect.stringMatching(
        new RegExp(`"tallystick_outbox" is held by .*\\b${rows[0]!.pid}\\b.*idle in transaction`),
      ) as string,
    });
    await open.query('rollback');
  });
});

describe('several at once', () => {
  test.each(['none', 'version 1'] as const)('from %s: all succeed, and everything is there once', async (tables) => {
    const { url, client } = await place(tables);
    const clients = await Promise.all(Array.from({ length: 5 }, () => connected(url)));
    const reports = await Promise.all(clients.map((one) => migrate(one, { lockWaitMs: 50 })));
    expect(reports.map(({ to }) => to)).toEqual(Array.from({ length: 5 }, () => NEWEST));
    expect(await versions(client)).toEqual(ALL_VERSIONS);
    expect(await invalidIndexes(client)).toEqual([]);
  });

  test('one that waited for its turn sees what the one before it made', async () => {
    const { url, client } = await place('none');
    await client.query('begin');
    await client.query('select pg_advisory_xact_lock(7214563380911)');
    const waiting = await connected(url);
    const migrated = migrate(waiting, { lockWaitMs: 10_000 });
    await until('it waits for its turn', async () => (await turns(client, 'waited for')) === 1);
    await client.query(migrationSql(postgres));
    await client.query('commit');
    expect(await migrated).toEqual({ from: 0, to: NEWEST });
    expect(await versions(client)).toEqual(ALL_VERSIONS);
  });
});

describe('killed in the middle', () => {
  test('half an index is dropped and made again', async () => {
    const { url, client } = await place('version 1');
    const old = await connected(url);
    await old.query('begin isolation level repeatable read');
    await old.query('select 1');
    const victim = await connected(url);
    const { rows } = await victim.query<{ pid: number }>('select pg_backend_pid() as pid');
    const dying = migrate(victim).catch((error: unknown) => error);
    await until('the index is being built', async () => (await invalidIndexes(client)).length > 0);
    await client.query('select pg_terminate_backend($1)', [rows[0]!.pid]);
    expect(await dying).toBeInstanceOf(Error);
    await old.query('commit');
    const left = await invalidIndexes(client);
    expect(left).toHaveLength(1);
    expect(await migrate(await connected(url))).toEqual({ from: 1, to: NEWEST });
    expect(await invalidIndexes(client)).toEqual([]);
    expect(await versions(client)).toEqual(ALL_VERSIONS);
  });

  test('after any statement of the plan, the next one goes on and ends it', async () => {
    const planned = (await migrationPlan((await place('version 1')).client)).statements;
    for (let reached = 1; reached < planned.length; reached += 7) {
      const { url, client } = await place('version 1');
      await withClient(url, async (victim) => {
        // Its connection ends here: what was not committed is gone.
        for (const statement of planned.slice(0, reached)) await victim.query(statement);
      });
      expect(await migrate(client)).toEqual({ from: 1, to: NEWEST });
      expect([await versions(client), await invalidIndexes(client)]).toEqual([ALL_VERSIONS, []]);
    }
  });
});

describe('the version before', () => {
  test('writes beside the new one, and the new relay sends what either has written, in order', async () => {
    const { url } = await place('version 1');
    const pool = new Pool({ connectionString: url, max: 4 });
    onTestFinished(() => pool.end());
    await migrate(pool);
    const old = await connected(url);
    const outbox = createOutbox(pool, {});
    for (let n = 20; n < 40; n += 2) {
      await insertAsVersionOne(old, n);
      await transaction(pool, (tx) => outbox.in(tx).add({ topic: 't', key: 'k', body: String(n + 1).padStart(4, '0') }));
    }
    const arrived: string[] = [];
    const relay = createRelay({
      db: pool,
      transport: {
        publish: (batch) => {
          arrived.push(...batch.map(({ body }) => Buffer.from(body).toString()));
          return Promise.resolve(batch.map(() => ({ outcome: 'confirmed' as const })));
        },
      },
    });
    expect(await relay.drain()).toBe(40);
    await relay.stop();
    expect(arrived).toEqual(Array.from({ length: 40 }, (_, n) => String(n).padStart(4, '0')));
    const { rows } = await old.query(
      'select (select count(*) from tallystick_outbox) + (select count(*) from tallystick_outbox_body) as n',
    );
    expect(rows).toEqual([{ n: '0' }]);
  });
});

describe('a schema of its own', () => {
  test('holds the tables, and connections that name it find them', async () => {
    const { url, client } = await place('none');
    expect(await migrate(client, { schema: 'messages' })).toEqual({ from: 0, to: NEWEST });
    expect(await migrate(client, { schema: 'messages' })).toEqual({ from: NEWEST, to: NEWEST });
    expect(await layout(client)).toEqual([]);
    const { rows } = await client.query("select tablename from pg_tables where schemaname = 'messages' order by 1");
    expect((rows as { tablename: string }[]).map(({ tablename }) => tablename)).toEqual(TABLES.map(({ name }) => name).sort());
    const pool = new Pool({ connectionString: url, max: 2, options: '-c search_path=messages' });
    onTestFinished(() => pool.end());
    const outbox = createOutbox(pool, {});
    await transaction(pool, (tx) => outbox.in(tx).add({ topic: 't', body: 'b' }));
    expect((await client.query('select count(*)::int as n from messages.tallystick_outbox')).rows).toEqual([{ n: 1 }]);
  });

  test('is upgraded in place', async () => {
    const { client } = await place('none');
    await client.query('create schema messages');
    await client.query('set search_path = messages');
    for (const statement of versionOne()) await client.query(statement);
    await client.query('set search_path = public');
    expect(await migrate(client, { schema: 'messages' })).toEqual({ from: 1, to: NEWEST });
    expect(await layout(client)).toEqual([]);
    const { rows } = await client.query(
      "select indexname from pg_indexes where schemaname = 'messages' and indexname like '%business_key'",
    );
    expect(rows).toHaveLength(3);
  });

  test.each([
    'x"; drop table victim; --',
    "x'; drop table victim; --",
    'x"',
    'Capitals',
    'a.b',
    'a b',
    '',
    'a\0b',
    'ö',
    'pg_catalog',
    'information_schema',
    'x'.repeat(64),
    5 as never,
  ])('is refused under the name %j, before anything is asked', async (schema) => {
    const { client } = await place('none');
    await client.query('create table victim (n int)');
    const asked: unknown[] = [];
    const query = client.query.bind(client) as (...given: unknown[]) => unknown;
    client.query = ((...given: unknown[]) => (asked.push(given[0]), query(...given))) as never;
    await expect(migrate(client, { schema })).rejects.toMatchObject({ code: 'BAD_NAME' });
    expect(asked).toEqual([]);
    await client.query('select * from victim');
  });

  test.each([{ databaseId: "0'; drop table victim; --" }, { nowMs: Number.NaN }, { nowMs: '1); drop table victim' as never }])(
    'values that become part of a statement are checked: %j',
    async (settings) => {
      const { client } = await place('none');
      await expect(migrate(client, settings)).rejects.toMatchObject({ code: 'BAD_NAME' });
    },
  );
});
