/** What every other test of the services stands on: the services themselves, set up as they say. */
import { Client } from 'pg';
import { connect } from 'amqplib';
import { expect, onTestFinished, test } from 'vitest';
import { emptyDatabase, freshDatabase, freshVhost, services, withClient, type FreshDatabase } from './support/services.ts';

async function database(made = freshDatabase()): Promise<FreshDatabase> {
  const given = await made;
  onTestFinished(() => given.drop());
  return given;
}

test('PostgreSQL syncs what it commits and takes 300 clients', async () => {
  const shown = await withClient(services().postgres.url, async (client) => {
    const { rows } = await client.query(
      "select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit', 'max_connections')",
    );
    return new Map((rows as { name: string; setting: string }[]).map(({ name, setting }) => [name, setting]));
  });
  expect(shown).toEqual(
    new Map([
      ['fsync', 'on'],
      ['full_page_writes', 'on'],
      ['max_connections', '300'],
      ['synchronous_commit', 'on'],
    ]),
  );
});

test('a fresh database has the tables and an id of its own, and goes when it is dropped', async () => {
  const [a, b] = await Promise.all([database(), database()]);
  const ids = await Promise.all(
    [a, b].map(({ url }) =>
      withClient(url, async (client) => {
        const { rows } = await client.query('select database_id from tallystick_schema where database_id is not null');
        expect((await client.query('select * from tallystick_outbox')).rows).toEqual([]);
        return rows as unknown[];
      }),
    ),
  );
  expect(ids[0]).toEqual([{ database_id: expect.stringMatching(/^[0-9a-f]{32}$/) }]);
  expect(ids[0]).not.toEqual(ids[1]);
  await a.drop();
  await expect(withClient(a.url, () => Promise.resolve())).rejects.toMatchObject({ code: '3D000' });
});

test('an empty database has no table', async () => {
  const { url } = await database(emptyDatabase());
  await withClient(url, async (client) => {
    const { rows } = await client.query("select 1 from pg_tables where schemaname = 'public'");
    expect(rows).toEqual([]);
  });
});

test('pgbouncer gives a session away between transactions', async () => {
  const { pooledUrl } = await database();
  const [a, b] = [new Client({ connectionString: pooledUrl }), new Client({ connectionString: pooledUrl })];
  onTestFinished(async () => {
    await Promise.all([a.end(), b.end()]);
  });
  await Promise.all([a.connect(), b.connect()]);
  const backend = async (client: Client): Promise<unknown> =>
    (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid;
  expect(await backend(a)).toBe(await backend(b));
  await a.query('begin');
  expect(await backend(a)).not.toBe(await backend(b));
  await a.query('rollback');
});

test('a fresh virtual host of RabbitMQ keeps and gives messages, and goes when it is dropped', async () => {
  const vhost = await freshVhost();
  const connection = await connect(vhost.url);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('q', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  channel.sendToQueue('q', Buffer.from('hello'), { persistent: true });
  await channel.waitForConfirms();
  const message = await channel.get('q', { noAck: true });
  expect(message === false ? message : message.content.toString()).toBe('hello');
  await connection.close();
  await vhost.drop();
  await expect(connect(vhost.url)).rejects.toThrow();
});
