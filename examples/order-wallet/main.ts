/**
 * Sets everything up, starts both services as processes of their own, orders, and checks the books. With `--kill` it kills one of the
 * services again and again while orders come in, as a crash would, and the books must still be right.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { connect } from 'amqplib';
import { Client, Pool } from 'pg';
import { migrate } from '@tallystick/reliable';

const given = readArguments();

const ACCOUNTS = 10;
const BALANCE_CENTS = 100_000;
const KILLS_MAX = 4;
const QUEUES = ['wallet.orders', 'orders.payments', 'orders.confirmations'];
const root = fileURLToPath(new URL('../../', import.meta.url));

const servers = serversOf();
const run = randomBytes(4).toString('hex');
const databases = { orders: `orders_${run}`, wallet: `wallet_${run}` };
const services = new Map<Name, { child: ChildProcess; port: number }>();
type Name = 'orders' | 'wallet';
let ending = false;

await Promise.all([
  answers('PostgreSQL', servers.postgres, async () => {
    const client = new Client({ connectionString: servers.postgres });
    await client.connect();
    await client.end();
  }),
  answers('RabbitMQ', servers.rabbitmq, async () => (await connect(servers.rabbitmq)).close()),
]);
try {
  await setUp();
  await Promise.all([start('orders'), start('wallet')]);
  const killing = given.kill ? killNowAndThen() : Promise.resolve(0);
  const placed = await placeOrders(Number(given.orders));
  await allDecided(placed);
  ending = true;
  const kills = await killing;
  process.exitCode = (await report(placed, kills)) ? 0 : 1;
} finally {
  ending = true;
  await Promise.all([...services.values()].map(({ child }) => end(child, 'SIGTERM')));
  await tearDown();
}

function readArguments() {
  try {
    return parseArgs({
      options: {
        kill: { type: 'boolean', default: false },
        orders: { type: 'string', default: '300' },
        postgres: { type: 'string' },
        rabbitmq: { type: 'string' },
      },
    }).values;
  } catch (error) {
    console.error(`${(error as Error).message}\nusage: npm start -- [--kill] [--orders N] [--postgres URL] [--rabbitmq URL]`);
    process.exit(2);
  }
}

/** Nothing is begun where one of the two is not there. */
async function answers(server: string, url: string, look: () => Promise<void>): Promise<void> {
  try {
    await look();
  } catch (error) {
    console.error(`${server} at ${new URL(url).host} does not answer: ${(error as Error).message || String(error)}`);
    process.exit(1);
  }
}

/** The URLs given, else those of `npm run services:up`, which is called when they are not there. */
function serversOf(): { readonly postgres: string; readonly rabbitmq: string } {
  const postgres = given.postgres ?? process.env['DATABASE_URL'];
  const rabbitmq = given.rabbitmq ?? process.env['RABBITMQ_URL'];
  if (postgres !== undefined && rabbitmq !== undefined) return { postgres, rabbitmq };
  const { status } = spawnSync('npm', ['run', '--silent', 'services:up'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  const file = `${root}.tmp/services.json`;
  if (status !== 0 || !existsSync(file)) throw new Error('give --postgres and --rabbitmq, or make npm run services:up work');
  const { services: up } = JSON.parse(readFileSync(file, 'utf8')) as { services: Record<string, { urls: { url: string } }> };
  return { postgres: postgres ?? up['postgres']!.urls.url, rabbitmq: rabbitmq ?? up['rabbitmq']!.urls.url };
}

function databaseUrl(name: string): string {
  const url = new URL(servers.postgres);
  url.pathname = `/${name}`;
  return url.href;
}

async function setUp(): Promise<void> {
  const admin = new Client({ connectionString: servers.postgres });
  await admin.connect();
  for (const name of Object.values(databases)) await admin.query(`create database "${name}"`);
  await admin.end();
  await inDatabase('orders', async (pool) => {
    await migrate(pool);
    await pool.query(
      'create table orders (id text primary key, account text not null, amount_cents bigint not null, status text not null)',
    );
  });
  await inDatabase('wallet', async (pool) => {
    await migrate(pool);
    await pool.query('create table account (id text primary key, balance_cents bigint not null check (balance_cents >= 0))');
    await pool.query('create table debit (order_id text primary key, account text not null, amount_cents bigint not null)');
    await pool.query(`insert into account select 'a' || n, $1 from generate_series(1, $2) as n`, [BALANCE_CENTS, ACCOUNTS]);
  });
  const broker = await connect(servers.rabbitmq);
  const channel = await broker.createChannel();
  for (const queue of QUEUES) {
    await channel.deleteQueue(queue);
    await channel.assertQueue(queue, { durable: true });
  }
  await broker.close();
}

async function tearDown(): Promise<void> {
  const admin = new Client({ connectionString: servers.postgres });
  await admin.connect();
  for (const name of Object.values(databases)) await admin.query(`drop database if exists "${name}" with (force)`);
  await admin.end();
  const broker = await connect(servers.rabbitmq);
  const channel = await broker.createChannel();
  for (const queue of QUEUES) await channel.deleteQueue(queue);
  await broker.close();
}

async function inDatabase<T>(name: Name, work: (pool: Pool) => Promise<T>): Promise<T> {
  const pool = new Pool({ connectionString: databaseUrl(databases[name]), max: 1 });
  try {
    return await work(pool);
  } finally {
    await pool.end();
  }
}

/** Starts a service, on its old port when it had one. */
async function start(name: Name): Promise<void> {
  const port = services.get(name)?.port ?? 0;
  const file = fileURLToPath(new URL(name === 'orders' ? './order-service.ts' : './wallet-service.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', `${root}packages/cli/bin/sources.js`, file], {
    env: { ...process.env, PORT: String(port), DATABASE_URL: databaseUrl(databases[name]), RABBITMQ_URL: servers.rabbitmq },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ready = (async (): Promise<number> => {
    for await (const chunk of child.stdout) {
      const found = / ready on (\d+)/.exec(String(chunk));
      if (found !== null) return Number(found[1]);
    }
    throw new Error(`the ${name} service ended before it was ready`);
  })();
  services.set(name, { child, port: await ready });
}

async function end(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
}

/** Answers how often it killed. */
async function killNowAndThen(): Promise<number> {
  let kills = 0;
  for (let name: Name = 'wallet'; !ending && kills < KILLS_MAX; name = name === 'wallet' ? 'orders' : 'wallet') {
    await pause(300 + Math.random() * 700);
    if (ending) break;
    kills++;
    console.log(`killing the ${name} service`);
    await end(services.get(name)!.child, 'SIGKILL');
    await start(name);
  }
  return kills;
}

/** Each customer repeats an order until it is accepted, under the same number. */
async function placeOrders(count: number): Promise<Map<string, number>> {
  const placed = new Map<string, number>();
  const place = async (account: string): Promise<void> => {
    const id = randomUUID();
    // Some orders are larger than what is left, so that some are refused.
    const amountCents = 1_000 + Math.floor(Math.random() * 9_000);
    placed.set(id, amountCents);
    await call('orders', 'PUT', `/orders/${id}`, { account, amountCents });
  };
  const customers = Array.from({ length: ACCOUNTS }, async (_, n) => {
    for (let order = n; order < count; order += ACCOUNTS) await place(`a${n + 1}`);
  });
  await Promise.all(customers);
  return placed;
}

async function call(name: Name, method: string, path: string, body?: unknown): Promise<unknown> {
  for (const patience = performance.now() + 60_000; ; await pause(50)) {
    try {
      const answer = await fetch(`http://127.0.0.1:${services.get(name)!.port}${path}`, {
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const value: unknown = await answer.json();
      if (answer.ok) return value;
      if (answer.status < 500)
        throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(value)}`, { cause: 'refused' });
    } catch (error) {
      // A service that has just been killed: the customer tries again.
      if ((error as Error).cause === 'refused' || performance.now() > patience) throw error;
    }
  }
}

async function allDecided(placed: ReadonlyMap<string, number>): Promise<void> {
  for (const patience = performance.now() + 120_000; ; await pause(100)) {
    const open = await inDatabase('orders', async (pool) => {
      const { rows } = await pool.query<{ open: number }>(`select count(*)::int as open from orders where status = 'created'`);
      const { rows: waiting } = await pool.query<{ n: number }>(
        `select count(*)::int as n from tallystick_outbox where state <> 'confirmed'`,
      );
      return rows[0]!.open + waiting[0]!.n;
    });
    if (open === 0) return;
    if (performance.now() > patience) throw new Error(`${open} of ${placed.size} orders are still open or unconfirmed`);
  }
}

async function report(placed: ReadonlyMap<string, number>, kills: number): Promise<boolean> {
  type Row = Record<string, number>;
  const orders = await inDatabase('orders', async (pool) => {
    const { rows } = await pool.query<Row>(`
      select count(*)::int as orders, count(*) filter (where status = 'paid')::int as paid,
        count(*) filter (where status = 'refused')::int as refused,
        coalesce(sum(amount_cents) filter (where status = 'paid'), 0)::int as paid_cents from orders`);
    return rows[0]!;
  });
  const wallet = await inDatabase('wallet', async (pool) => {
    const { rows } = await pool.query<Row>(`
      select (select sum(balance_cents) from account)::int as left_cents, (select count(*) from debit)::int as debits,
        (select coalesce(sum(amount_cents), 0) from debit)::int as debited_cents`);
    return rows[0]!;
  });
  const total = ACCOUNTS * BALANCE_CENTS;
  const checks: [string, boolean][] = [
    [`${placed.size} orders placed, ${orders['orders']} recorded`, orders['orders'] === placed.size],
    [`${orders['paid']} paid, ${orders['refused']} refused, none open`, orders['paid']! + orders['refused']! === placed.size],
    [`${wallet['debits']} decisions of the wallet, one for each order`, wallet['debits'] === placed.size],
    [`${orders['paid_cents']} cents paid, ${wallet['debited_cents']} debited`, orders['paid_cents'] === wallet['debited_cents']],
    [`${wallet['left_cents']} cents left, ${total} in all`, wallet['left_cents']! + wallet['debited_cents']! === total],
  ];
  if (given.kill) checks.push([`${kills} kills`, kills > 0]);
  for (const [sentence, right] of checks) console.log(`${right ? 'right' : 'WRONG'}  ${sentence}`);
  return checks.every(([, right]) => right);
}
