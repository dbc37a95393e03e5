/**
 * One relay in a process of its own drains a table that is full: ours or a peer's, to our broker through our client, to RabbitMQ, or to
 * nowhere. Time runs from its first `warm` rows, with connections open and the topic there, until the database says that nothing is left.
 */
import { Client, type Producer } from '@tallystick/client';
import { createRelay, rabbitTransport, tallystickTransport, type Transport } from '@tallystick/reliable';
import amqp from 'amqplib';
import { run, type Task } from 'graphile-worker';
import { getDisabledLogger, initializePollingMessageListener } from 'pg-transactional-outbox';
import pg from 'pg';
import PgBoss from 'pg-boss';

export interface DrainJob {
  readonly who: 'ours' | 'graphile' | 'pgto' | 'pgboss' | 'rabbit-bare';
  readonly url: string;
  /** Address of our broker, url of RabbitMQ, or '' for nowhere. */
  readonly to: string;
  readonly rows: number;
  /** So many of the rows go first and do not count: a relay runs for weeks, not only while its runtime still compiles it. */
  readonly warm: number;
  readonly bytes: number;
}

export interface Drained {
  readonly rowsPerSecond: number;
  readonly cpuUsPerRow: number;
  /** Rows per second of each tenth, for what changes on the way. */
  readonly tenths: readonly number[];
}

const job = JSON.parse(process.argv[2]!) as DrainJob;
const QUEUE = 'orders';
const RABBIT_WINDOW = 2000;
const began: { at: number; cpu: NodeJS.CpuUsage } = { at: 0, cpu: process.cpuUsage() };
const tenths: number[] = [];

const drained = await { ours, graphile, pgto, pgboss, 'rabbit-bare': rabbitBare }[job.who]();
process.stdout.write(`${JSON.stringify(drained)}\n`);
process.exit(0);

function begin(): void {
  began.at = performance.now();
  began.cpu = process.cpuUsage();
}

/** Waits until `done` says that all rows are through. */
async function ended(done: () => number | Promise<number>, everyMs = 2): Promise<Drained> {
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, everyMs));
  let before = 0;
  if (job.warm > 0) {
    while ((before = await done()) < job.warm) await pause();
    begin();
  }
  const rows = job.rows - before;
  let at = 0;
  let mark = began.at;
  for (;;) {
    const count = (await done()) - before;
    for (; at < 10 && count >= ((at + 1) * rows) / 10; at++) {
      const now = performance.now();
      tenths.push(Math.round(rows / 10 / ((now - mark) / 1000)));
      mark = now;
    }
    if (count >= rows) break;
    await pause();
  }
  const seconds = (performance.now() - began.at) / 1000;
  const { user, system } = process.cpuUsage(began.cpu);
  return { rowsPerSecond: Math.round(rows / seconds), cpuUsPerRow: Number(((user + system) / rows).toFixed(2)), tenths };
}

async function ours(): Promise<Drained> {
  const pool = new pg.Pool({ connectionString: job.url, max: 4 });
  const relay = createRelay({ db: pool, transport: await transport(), onAlarm: (alarm) => console.error('alarm', alarm) });
  await Promise.all([pool.query('select 1'), pool.query('select 1'), pool.query('select 1')]);
  begin();
  relay.start();
  const result = await ended(() => relay.counters.confirmed);
  // The next round's relay shall not wait until this one's leases expire.
  await relay.stop();
  return result;
}

async function transport(): Promise<Transport> {
  if (job.to === '')
    return { keepsOrder: true, publish: (batch) => Promise.resolve(batch.map(() => ({ outcome: 'confirmed' }))) };
  if (job.to.startsWith('amqp:')) {
    await quorumQueue();
    return rabbitTransport({ connect: () => amqp.connect(job.to) });
  }
  return tallystickTransport(await producer());
}

async function producer(): Promise<Producer<string, Uint8Array | string>> {
  const made = new Client({ address: job.to }).producer({});
  await made.send({ topic: QUEUE, value: 'first' });
  return made as Producer<string, Uint8Array | string>;
}

async function quorumQueue(): Promise<void> {
  const connection = await amqp.connect(job.to);
  const channel = await connection.createChannel();
  await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  await connection.close();
}

/** graphile-worker: many jobs at once; each is done when our client's promise is. */
async function graphile(): Promise<Drained> {
  const to = await producer();
  const relay: Task = async (payload) => {
    await to.send({ topic: QUEUE, value: (payload as { b: string }).b });
  };
  const pool = new pg.Pool({ connectionString: job.url, max: 48 });
  await Promise.all(Array.from({ length: 48 }, () => pool.query('select 1')));
  begin();
  const runner = await run({ pgPool: pool, concurrency: 48, taskList: { relay }, noHandleSignals: true, pollInterval: 100 });
  let done = 0;
  runner.events.on('job:success', () => done++);
  const left = async (): Promise<number> =>
    done < job.rows
      ? done
      : job.rows -
        Number((await pool.query<{ n: string }>('select count(*) as n from graphile_worker._private_jobs')).rows[0]!.n);
  return ended(left, 5);
}

/** pg-transactional-outbox, polling (its replication mode loses messages), with segments in parallel. */
async function pgto(): Promise<Drained> {
  const to = await producer();
  const { hostname, port, username, password, pathname } = new URL(job.url);
  const db = { host: hostname, port: Number(port), user: username, password, database: pathname.slice(1) };
  const pool = new pg.Pool({ connectionString: job.url, max: 1 });
  begin();
  initializePollingMessageListener(
    {
      outboxOrInbox: 'outbox',
      dbListenerConfig: db,
      dbHandlerConfig: { ...db, max: 24 } as never,
      settings: {
        dbSchema: 'public',
        dbTable: 'outbox',
        nextMessagesFunctionName: 'next_outbox_messages',
        nextMessagesBatchSize: 100,
        nextMessagesPollingIntervalInMs: 10,
        enableMaxAttemptsProtection: false,
        enablePoisonousMessageProtection: false,
      },
    },
    {
      handle: async ({ payload }) => {
        await to.send({ topic: QUEUE, value: (payload as { b: string }).b });
      },
    },
    getDisabledLogger(),
  );
  // Some it gives up by itself, on its own lock conflicts: they count for it.
  const through = 'select count(*) as n from outbox where processed_at is not null or abandoned_at is not null';
  return ended(async () => Number((await pool.query<{ n: string }>(through)).rows[0]!.n), 50);
}

async function pgboss(): Promise<Drained> {
  const to = await producer();
  const boss = new PgBoss({ connectionString: job.url, max: 10 });
  boss.on('error', () => undefined);
  await boss.start();
  await boss.createQueue('relay');
  const value = 'x'.repeat(job.bytes);
  for (let at = 0; at < job.rows; at += 1000)
    await boss.insert(Array.from({ length: Math.min(1000, job.rows - at) }, () => ({ name: 'relay', data: { b: value } })));
  const pool = new pg.Pool({ connectionString: job.url, max: 1 });
  await pool.query('vacuum analyze');
  let done = 0;
  begin();
  for (let worker = 0; worker < 8; worker++)
    await boss.work<{ b: string }>('relay', { batchSize: 1000, pollingIntervalSeconds: 0.5 }, async (jobs) => {
      await Promise.all(jobs.map(({ data }) => to.send({ topic: QUEUE, value: data.b })));
      done += jobs.length;
    });
  const left = async (): Promise<number> =>
    done < job.rows
      ? done
      : Number(
          (await pool.query<{ n: string }>(`select count(*) as n from pgboss.job where name = 'relay' and state = 'completed'`))
            .rows[0]!.n,
        );
  return ended(left, 20);
}

/** The driver alone: the same messages, persistent, mandatory and confirmed, with a window that suits it. */
async function rabbitBare(): Promise<Drained> {
  await quorumQueue();
  const connection = await amqp.connect(job.to);
  const channel = await connection.createConfirmChannel();
  const body = Buffer.alloc(job.bytes, 'x');
  let sent = 0;
  let confirmed = 0;
  begin();
  const more = (): void => {
    while (sent < job.rows && sent - confirmed < RABBIT_WINDOW) {
      sent++;
      channel.sendToQueue(QUEUE, body, { persistent: true, mandatory: true, messageId: `m${sent}` }, () => {
        confirmed++;
        more();
      });
    }
  };
  more();
  return ended(() => confirmed);
}
