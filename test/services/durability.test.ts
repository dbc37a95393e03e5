/** Settings with which PostgreSQL loses commits it has answered are found at the start, and named with what undoes them. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool, type Client } from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  createInbox,
  createLocalTransactionTable,
  createOutbox,
  migrate,
  transaction,
  verifyDurability,
} from '@tallystick/reliable';
import { startPostgres, type PostgresServer } from '../../scripts/services/postgres.ts';
import { stop } from '../../scripts/services/processes.ts';
import { connected, until } from './support/live.ts';
import { freshDatabase, inDatabase, withClient } from './support/services.ts';

const folder = mkdtempSync(join(tmpdir(), 'tallystick-durability-'));
let server: PostgresServer;

// A server of our own: its settings are changed while it runs.
beforeAll(async () => {
  chmodSync(folder, 0o711);
  server = await startPostgres(join(folder, 'postgres'), { shared_buffers: '16MB', max_connections: '20' });
  await withClient(server.urls.url, async (client) => {
    await migrate(client);
    await client.query("create role clerk login password 'x'");
    await client.query('grant all on all tables in schema public to clerk');
  });
});
afterAll(async () => {
  for (const running of server.processes) await stop(running, 'SIGINT');
  rmSync(folder, { recursive: true, force: true });
});

/** Does something to the server, and undoes it when the test ends. */
async function given(does: string, undoes: string): Promise<void> {
  const change = async (statement: string): Promise<void> =>
    withClient(server.urls.url, async (client) => {
      await client.query(statement);
      await client.query('select pg_reload_conf()');
    });
  await change(does);
  onTestFinished(() => change(undoes));
}

/** As another role, on connections made now; the file's settings arrive a moment after they were changed. */
async function poolOf(wanted: Readonly<Record<string, string>>, options?: string): Promise<Pool> {
  const url = new URL(server.urls.url);
  [url.username, url.password] = ['clerk', 'x'];
  await until('the settings have arrived', () =>
    withClient(url.href, async (client) => {
      for (const [name, value] of Object.entries(wanted)) {
        const { rows } = await client.query(`show ${name}`);
        if ((rows[0] as Record<string, string>)[name] !== value) return false;
      }
      return true;
    }),
  );
  const pool = new Pool({ connectionString: url.href, max: 2, options });
  onTestFinished(() => pool.end());
  return pool;
}

async function faultOf(pool: Pool | Client): Promise<string> {
  try {
    await verifyDurability(pool);
  } catch (error) {
    expect(error).toMatchObject({ code: 'NOT_DURABLE' });
    return (error as Error).message;
  }
  return 'none';
}

describe('found and named with what to do', () => {
  test('nothing, on a server as it is installed', async () => {
    const report = await verifyDurability(await poolOf({}));
    expect(report.settings.map(({ name, value }) => `${name} ${value}`).sort()).toEqual([
      'fsync on',
      'full_page_writes on',
      'synchronous_commit on',
    ]);
    expect(report).toMatchObject({ role: 'clerk', database: 'postgres', unloggedTables: [] });
  });

  test.each(['fsync', 'full_page_writes', 'synchronous_commit'])('%s = off for the whole server', async (name) => {
    await given(`alter system set ${name} = off`, `alter system reset ${name}`);
    const fault = await faultOf(await poolOf({ [name]: 'off' }));
    expect(fault).toContain(`${name} is off (configuration file), so `);
    expect(fault).toContain(`: alter system set ${name} = on, then select pg_reload_conf()`);
  });

  test.each([
    [
      'a role',
      'alter role clerk set synchronous_commit = off',
      'alter role clerk reset synchronous_commit',
      '(user)',
      'alter role "clerk" reset synchronous_commit',
    ],
    [
      'a database',
      'alter database postgres set synchronous_commit = off',
      'alter database postgres reset synchronous_commit',
      '(database)',
      'alter database "postgres" reset synchronous_commit',
    ],
    [
      'a role in a database',
      'alter role clerk in database postgres set synchronous_commit = off',
      'alter role clerk in database postgres reset synchronous_commit',
      '(database user)',
      'alter role "clerk" in database "postgres" reset synchronous_commit',
    ],
  ])('synchronous_commit = off for %s', async (_whose, does, undoes, source, remedy) => {
    await given(does, undoes);
    const fault = await faultOf(await poolOf({ synchronous_commit: 'off' }));
    expect(fault).toContain(source);
    expect(fault).toContain(remedy);
  });

  test('synchronous_commit = off in what the program connects with', async () => {
    expect(await faultOf(await poolOf({}, '-c synchronous_commit=off'))).toMatch(
      /\(client\).*options this program connects with/,
    );
  });

  test('synchronous_commit = off on the connection in hand, in its transaction too', async () => {
    const client = await connected(server.urls.url);
    await client.query('set synchronous_commit = off');
    expect(await faultOf(client)).toMatch(/\(session\).*do not set it on this connection/);
    await client.query('reset synchronous_commit');
    await client.query('begin');
    await client.query('set local synchronous_commit = off');
    expect(await faultOf(client)).toMatch(/\(session\)/);
    await client.query('rollback');
    expect(await faultOf(client)).toBe('none');
  });

  test.each(['local', 'remote_write', 'remote_apply'])(
    'synchronous_commit = %s survives a crash of this server, and is fine',
    async (value) => {
      const client = await connected(server.urls.url);
      await client.query(`set synchronous_commit = ${value}`);
      expect(await faultOf(client)).toBe('none');
    },
  );

  test('a table of ours that is not logged', async () => {
    await given('alter table tallystick_inbox set unlogged', 'alter table tallystick_inbox set logged');
    expect(await faultOf(await poolOf({}))).toContain(
      'the table tallystick_inbox is unlogged, so a crash empties it: alter table tallystick_inbox set logged',
    );
  });

  test('everything at once', async () => {
    await given('alter system set fsync = off', 'alter system reset fsync');
    await given('alter role clerk set synchronous_commit = off', 'alter role clerk reset synchronous_commit');
    const fault = await faultOf(await poolOf({ fsync: 'off', synchronous_commit: 'off' }));
    expect(fault.match(/ is off /g)).toHaveLength(2);
  });
});

describe('who asks', () => {
  const off = () => poolOf({}, '-c synchronous_commit=off');
  const delivery = {
    id: 'm1',
    topic: 't',
    type: 'x',
    headers: new Map<string, string>(),
    body: Buffer.alloc(0),
    redelivered: false,
  };

  test('the outbox refuses the first message, unless it is told to trust', async () => {
    const pool = await off();
    const add = (settings: object): Promise<unknown> =>
      transaction(pool, (tx) => createOutbox(pool, settings).in(tx).add({ topic: 't', body: 'b' }));
    await expect(add({})).rejects.toMatchObject({ code: 'NOT_DURABLE' });
    expect((await pool.query('select * from tallystick_outbox')).rows).toEqual([]);
    await add({ durability: 'trust' });
    expect((await pool.query('delete from tallystick_outbox')).rowCount).toBe(1);
  });

  test('the inbox leaves messages with the broker, and once() throws; trusted, both work', async () => {
    const pool = await off();
    const handled: string[] = [];
    const inbox = (settings: object) =>
      createInbox(pool, { consumer: 'c', ...settings }).handle('x', ({ id }) => void handled.push(id));
    expect(await inbox({}).receive(delivery)).toBe('again');
    await expect(transaction(pool, (tx) => inbox({}).once(tx, 'k', () => 1))).rejects.toMatchObject({ code: 'NOT_DURABLE' });
    expect(handled).toEqual([]);
    expect(await inbox({ durability: 'trust' }).receive(delivery)).toBe('done');
    expect(handled).toEqual(['m1']);
  });

  test('a local transaction is not recorded where it could be forgotten', async () => {
    const pool = await off();
    const client = await pool.connect();
    try {
      const table = createLocalTransactionTable(client);
      await client.query('begin');
      await expect(table.record(client, 'transfer', 'T1')).rejects.toMatchObject({ code: 'NOT_DURABLE' });
      await client.query('rollback');
    } finally {
      client.release();
    }
  });

  test('asking costs one question per database, not per message', async () => {
    const database = await freshDatabase();
    onTestFinished(() => database.drop());
    const pool = new Pool({ connectionString: inDatabase(database.url, database.name), max: 1 });
    onTestFinished(() => pool.end());
    const asked: string[] = [];
    pool.on('connect', (client) => {
      const query = client.query.bind(client) as (...given: unknown[]) => unknown;
      client.query = ((...given: unknown[]) => {
        const [text] = given as [string | { text: string }];
        asked.push(typeof text === 'string' ? text : text.text);
        return query(...given);
      }) as never;
    });
    const outbox = createOutbox(pool);
    for (let n = 0; n < 5; n++) await transaction(pool, (tx) => outbox.in(tx).add({ topic: 't', body: 'b' }));
    expect(asked.filter((text) => text.includes('synchronous_commit'))).toHaveLength(1);
  });
});
