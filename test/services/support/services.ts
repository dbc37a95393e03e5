/**
 * The services that `npm run services:up` started, and fresh places in them: a database of one's own, migrated already, and a
 * virtual host of one's own. Never restart or reconfigure these services in a test: others use them; start a private one.
 */
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { migrate, migrationSql, postgres as postgresDialect } from '@tallystick/reliable';
import { readState, SERVICES_FILE } from '../../../scripts/services/state.ts';
import { pgHandle } from './pg-handle.ts';

export interface Services {
  /** `adminUrl` leads to a database in which databases are made. */
  readonly postgres: { readonly url: string; readonly adminUrl: string };
  readonly rabbitmq: { readonly url: string; readonly managementUrl: string };
  /** The same databases as `postgres`, through a pool in transaction mode. */
  readonly pgbouncer: { readonly url: string };
}

/** Where the services are. Throws when they are not there. */
export function services(): Services {
  const found = readState()?.services;
  const url = (service: 'postgres' | 'rabbitmq' | 'pgbouncer', name = 'url'): string => {
    const value = found?.[service]?.urls[name];
    if (value === undefined) throw new Error(`no ${service} in ${SERVICES_FILE}: run npm run services:up`);
    return value;
  };
  return {
    postgres: { url: url('postgres'), adminUrl: url('postgres') },
    rabbitmq: { url: url('rabbitmq'), managementUrl: url('rabbitmq', 'managementUrl') },
    pgbouncer: { url: url('pgbouncer') },
  };
}

export interface FreshDatabase {
  readonly url: string;
  /** The same database behind pgbouncer. */
  readonly pooledUrl: string;
  readonly name: string;
  /** Ends all connections to it and removes it. */
  drop(): Promise<void>;
}

/** A database with the newest tables and an id of its own; made from a template, so it costs some 100 ms. */
export async function freshDatabase(): Promise<FreshDatabase> {
  const template = await ensureTemplate();
  const database = await created(`template "${template}"`);
  // A copy is another database: it must not be taken for the one that was copied.
  await withClient(database.url, (client) =>
    client.query(
      `update tallystick_schema set database_id = replace(gen_random_uuid()::text, '-', '') where database_id is not null`,
    ),
  );
  return database;
}

/** A database without any table. */
export function emptyDatabase(): Promise<FreshDatabase> {
  return created('template template0');
}

async function created(how: string): Promise<FreshDatabase> {
  const { postgres, pgbouncer } = services();
  const name = `t_${randomBytes(8).toString('hex')}`;
  await withClient(postgres.adminUrl, (client) => client.query(`create database "${name}" ${how}`));
  return {
    name,
    url: inDatabase(postgres.url, name),
    pooledUrl: inDatabase(pgbouncer.url, name),
    drop: () =>
      withClient(postgres.adminUrl, async (client) => {
        await connectionsGone(client, name);
        await client.query(`drop database if exists "${name}" with (force)`);
      }),
  };
}

/**
 * A pool's end does not wait for the server's goodbye: a connection that is cut off while it says its own would tell an error that nobody listens to.
 * What stays open for longer was left open.
 */
async function connectionsGone(client: Client, name: string): Promise<void> {
  for (const end = Date.now() + GOODBYE_MS; Date.now() < end; await sleep(5)) {
    const { rows } = await client.query('select 1 from pg_stat_activity where datname = $1 limit 1', [name]);
    if (rows.length === 0) return;
  }
}

const GOODBYE_MS = 5_000;

/** The database that fresh ones are copied from: one per layout of the tables, made by whoever needs it first. */
async function ensureTemplate(): Promise<string> {
  const layout = createHash('sha256').update(migrationSql(postgresDialect)).digest('hex').slice(0, 12);
  const name = `tallystick_template_${layout}`;
  const { adminUrl, url } = services().postgres;
  await withClient(adminUrl, async (client) => {
    const exists = async (): Promise<boolean> =>
      (await client.query('select 1 from pg_database where datname = $1', [name])).rows.length > 0;
    if (await exists()) return;
    await client.query('select pg_advisory_lock($1)', [TEMPLATE_LOCK]);
    if (await exists()) return;
    const building = `${name}_building`;
    await client.query(`drop database if exists "${building}" with (force)`);
    await client.query(`create database "${building}" template template0`);
    await withClient(inDatabase(url, building), (target) => Promise.resolve(migrate(pgHandle(target))));
    await client.query(`alter database "${building}" rename to "${name}"`);
  });
  return name;
}

/** Any number that nothing else on this server locks. */
const TEMPLATE_LOCK = 774_411;

/** `url` with another database's name in it. */
export function inDatabase(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}

/** A connection for a moment. Leaving it also gives up its advisory locks. */
export async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

export interface FreshVhost {
  readonly url: string;
  readonly name: string;
  drop(): Promise<void>;
}

/** An empty virtual host of RabbitMQ: no queues but one's own. */
export async function freshVhost(): Promise<FreshVhost> {
  const { url, managementUrl } = services().rabbitmq;
  const name = `t_${randomBytes(8).toString('hex')}`;
  const { username } = new URL(url);
  await manage(managementUrl, 'PUT', `/api/vhosts/${name}`);
  await manage(managementUrl, 'PUT', `/api/permissions/${name}/${username}`, { configure: '.*', write: '.*', read: '.*' });
  const address = new URL(url);
  address.pathname = `/${name}`;
  return { name, url: address.href, drop: () => manage(managementUrl, 'DELETE', `/api/vhosts/${name}`) };
}

async function manage(base: string, method: string, path: string, body?: unknown): Promise<void> {
  const { username, password, origin } = new URL(base);
  const answer = await fetch(`${origin}${path}`, {
    method,
    headers: {
      authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
      'content-type': 'application/json',
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`RabbitMQ answered ${answer.status} to ${method} ${path}: ${await answer.text()}`);
}
