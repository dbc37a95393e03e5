/**
 * The benchmark's own PostgreSQL: durable as it comes, with memory and log room for a machine that has some, the same for every side. And
 * the tables of every side, filled with the same messages.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migrationSql, postgres as dialect } from '@tallystick/reliable';
import { DatabaseSetup } from 'pg-transactional-outbox';
import pg from 'pg';
import { startPostgres } from '../../../scripts/services/postgres.ts';
import { stop } from '../../../scripts/services/processes.ts';

export const SETTINGS = {
  shared_buffers: '1GB',
  max_wal_size: '8GB',
  checkpoint_timeout: '15min',
  max_connections: '120',
} as const;

export interface BenchServer {
  /** A new database with the outbox's tables; its url. */
  database(): Promise<string>;
  stop(): Promise<void>;
}

export async function startServer(more: Readonly<Record<string, string>> = {}): Promise<BenchServer> {
  const folder = mkdtempSync(join(tmpdir(), 'tallystick-bench-pg-'));
  // The server runs as another user.
  chmodSync(folder, 0o755);
  const server = await startPostgres(join(folder, 'server'), { ...SETTINGS, ...more });
  const { url } = server.urls;
  return {
    async database() {
      const name = `b_${randomBytes(4).toString('hex')}`;
      await withClient(url, (client) => client.query(`create database ${name}`));
      const made = url.replace(/\/postgres$/, `/${name}`);
      await withClient(made, (client) => client.query(migrationSql(dialect)));
      return made;
    },
    async stop() {
      for (const process of server.processes) await stop(process, 'SIGINT');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** A body of `bytes` printable characters that differ from row to row, as SQL over `g`. */
function bodySql(bytes: number): string {
  return `left(repeat(md5(g::text), ${Math.ceil(bytes / 32)}), ${bytes})`;
}

/** Messages without a key, in the outbox. `fast`: indexes are built afterwards. Vacuumed, analysed and checkpointed, so that only the drain is measured. */
export async function fillOutbox(url: string, rows: number, bytes: number, fast = false): Promise<void> {
  await withClient(url, async (client) => {
    const { rows: indexes } = await client.query<{ def: string; name: string }>(
      `select pg_get_indexdef(indexrelid) as def, indexrelid::regclass::text as name from pg_index
       where indrelid = 'tallystick_outbox'::regclass and not indisprimary`,
    );
    if (fast) for (const { name } of indexes) await client.query(`drop index ${name}`);
    await client.query('set synchronous_commit = off');
    const step = 1_000_000;
    for (let from = 1; from <= rows; from += step) {
      const series = `generate_series(${from}, ${Math.min(rows, from + step - 1)}) as g`;
      const id = `upper(lpad(to_hex(1700000000000 + g), 12, '0') || '7' || substr(md5(g::text), 1, 3) || '8' || substr(md5(g::text), 4, 15))`;
      await client.query(
        `insert into tallystick_outbox (id, channel, shard, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
         select ${id}, '', g % 256, 'orders', 'deferred', 'waiting', 0, 0, 0, 1700000000000, 1700000000000, ${bytes} from ${series}`,
      );
      await client.query(
        `insert into tallystick_outbox_body (id, channel, headers, body) select ${id}, '', null, convert_to(${bodySql(bytes)}, 'UTF8') from ${series}`,
      );
    }
    if (fast) for (const { def } of indexes) await client.query(def);
    await client.query('vacuum analyze');
    await client.query('checkpoint');
    // A checkpoint makes the next change of each page log it whole; that first touch is not what is compared.
    await client.query('set synchronous_commit = on');
  });
}

export async function fillGraphile(url: string, rows: number, bytes: number): Promise<void> {
  await withClient(url, async (client) => {
    // In pieces: one transaction that adds them all updates the row of their task so many times, and walks over all its versions.
    for (let from = 1; from <= rows; from += 1000)
      await client.query(
        `select count(*) from graphile_worker.add_jobs(array(
           select row('relay', json_build_object('b', ${bodySql(bytes)}), null, null, null, null, null, null)::graphile_worker.job_spec
           from generate_series(${from}, ${Math.min(rows, from + 999)}) as g))`,
      );
    await client.query('vacuum analyze');
    await client.query('checkpoint');
  });
}

export async function fillPgTransactionalOutbox(url: string, rows: number, bytes: number): Promise<void> {
  const database = new URL(url).pathname.slice(1);
  const config = {
    outboxOrInbox: 'outbox',
    database,
    schema: 'public',
    table: 'outbox',
    listenerRole: 'tallystick',
    nextMessagesName: 'next_outbox_messages',
  } as const;
  await withClient(url, async (client) => {
    await client.query(DatabaseSetup.dropAndCreateTable(config));
    await client.query(DatabaseSetup.createPollingFunction(config));
    await client.query(DatabaseSetup.setupPollingIndexes(config));
    // A segment of its own and `parallel`: without them it sends one message per round trip.
    await client.query(
      `insert into outbox (id, aggregate_type, aggregate_id, message_type, segment, concurrency, payload)
       select gen_random_uuid(), 'order', g::text, 'relay', g::text, 'parallel', jsonb_build_object('b', ${bodySql(bytes)})
       from generate_series(1, ${rows}) as g`,
    );
    await client.query('vacuum analyze');
    await client.query('checkpoint');
  });
}

/** Bytes of WAL between two positions, without full-page images. */
export async function walBytes(url: string, from: string, to: string): Promise<number> {
  return withClient(url, async (client) => {
    await client.query('create extension if not exists pg_walinspect');
    const { rows } = await client.query<{ bytes: string }>(`select sum(record_size) as bytes from pg_get_wal_stats($1, $2)`, [
      from,
      to,
    ]);
    return Number(rows[0]!.bytes);
  });
}

export async function walPosition(url: string): Promise<string> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ at: string }>('select pg_current_wal_flush_lsn() as at');
    return rows[0]!.at;
  });
}
