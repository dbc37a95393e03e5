/**
 * `npm run bench -- relay`: the outbox relay against its peers, in one run on one machine. Every drain begins with a full table, is timed
 * from its first fifth of rows on (a relay runs for weeks), and ends when the database says that nothing is left; every side sends through the same client to the same broker. A mark is held when its
 * ratio is at least its mark; absolute marks are measured ÷ required (or required ÷ measured), mark 1.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { chosen } from '../only.ts';
import { type Machine, machineFacts } from '../peers/machine.ts';
import { type MarkResult, median } from '../peers/marks.ts';
import { startRabbitmq } from '../peers/servers/rabbitmq.ts';
import { measureIn, startBroker } from '../processes.ts';
import {
  type BenchServer,
  fillGraphile,
  fillOutbox,
  fillPgTransactionalOutbox,
  SETTINGS,
  startServer,
  walBytes,
  walPosition,
  withClient,
} from './database.ts';
import type { Drained, DrainJob } from './loads/drain-load.ts';
import type { Latency, LatencyJob } from './loads/latency-load.ts';
import type { CommitJob } from './loads/commit-load.ts';

export interface RelayOptions {
  readonly rounds: number;
  /** Rows of a drain. */
  readonly rows: number;
  /** Rows of the backlog of claim-flat. */
  readonly backlog: number;
  readonly seconds: number;
  readonly only: string | undefined;
  readonly progress: (line: string) => void;
}

/** One side's figure of one work. */
export interface RelayFigure {
  readonly work: string;
  readonly who: string;
  /** The middle of the rounds. */
  readonly value: number;
  readonly unit: string;
  readonly rounds: readonly number[];
  readonly durability: string;
  readonly note: string;
}

export interface RelayResult {
  readonly kind: 'relay';
  readonly machine: Machine;
  readonly settings: Readonly<Record<string, string | number>>;
  readonly tookSeconds: number;
  readonly results: readonly RelayFigure[];
  readonly marks: readonly MarkResult[];
}

const BYTES = 1024;
/** Slow peers drain fewer rows, which is in their favour: their cost per row grows with the backlog. */
const SLOW_ROWS = { graphile: 30_000, pgto: 10_000, pgboss: 10_000 };
/** Before the rows that are measured so many times as many go, which takes every side a second or more; slow peers have fewer, as above. */
const WARM = 2;
const SLOW_WARM = 0.2;
const WITHIN_MS = 900_000;
const DATABASE = 'PostgreSQL: fsync, synchronous commit';
const ASYNC = `${DATABASE}; broker: written to the page cache, synced within 200 ms`;
const SYNC = `${DATABASE}; broker: fdatasync before the acknowledgement`;
const QUORUM = `${DATABASE}; quorum queue, one node: fsync of its write-ahead log before the confirm`;

interface Bench extends RelayOptions {
  readonly figures: RelayFigure[];
  readonly marks: MarkResult[];
}

type Works = Readonly<Record<string, (bench: Bench) => Promise<void>>>;

export const WORKS: Works = {
  'drain-async': (bench) => drainAbsolute(bench, 'drain-async', 'async', 100_000),
  'drain-sync': (bench) => drainAbsolute(bench, 'drain-sync', 'sync', 60_000),
  'drain-graphile': (bench) => drainAgainst(bench, 'drain-graphile', 'graphile', 5),
  'drain-pgto': (bench) => drainAgainst(bench, 'drain-pgto', 'pgto', 50),
  'drain-pgboss': (bench) => drainAgainst(bench, 'drain-pgboss', 'pgboss', undefined),
  'drain-rabbit': drainRabbit,
  'latency-p99': latency,
  wal,
  'claim-flat': claimFlat,
  'claim-pinned': claimPinned,
  'transaction-cost': transactionCost,
};

export async function relayBench(options: RelayOptions): Promise<RelayResult> {
  const began = performance.now();
  const progress = (line: string): void =>
    options.progress(`${((performance.now() - began) / 1000).toFixed(0).padStart(4)} s  ${line}`);
  const bench: Bench = { ...options, progress, figures: [], marks: [] };
  for (const name of chosen(Object.keys(WORKS), options.only)) {
    try {
      await WORKS[name]!(bench);
    } catch (error) {
      // What cannot be measured is shown as missing, with its reason.
      mark(bench, name, Number.NaN, Number.NaN, Number.NaN, 'not measured', '', (error as Error).message);
    }
  }
  return {
    kind: 'relay',
    machine: machineFacts(),
    settings: {
      ...SETTINGS,
      rounds: options.rounds,
      rows: options.rows,
      warmRows: options.rows * WARM,
      bodyBytes: BYTES,
      backlog: options.backlog,
    },
    tookSeconds: Math.round((performance.now() - began) / 1000),
    results: bench.figures,
    marks: bench.marks,
  };
}

/** Rows per second of one drain, to nowhere or to a broker of its own. */
async function drainOnce(
  server: BenchServer,
  who: DrainJob['who'],
  flush: 'async' | 'sync' | undefined,
  rows: number,
): Promise<Drained> {
  const url = await server.database();
  const warm = rows * (who === 'ours' ? WARM : SLOW_WARM);
  const all = rows + warm;
  if (who === 'ours') await fillOutbox(url, all, BYTES);
  if (who === 'pgto') await fillPgTransactionalOutbox(url, all, BYTES);
  if (who === 'graphile') {
    await migrateGraphile(url);
    await fillGraphile(url, all, BYTES);
  }
  const broker = flush === undefined ? undefined : await startBroker(flush);
  try {
    return await load<Drained>('drain-load', {
      who,
      url,
      to: broker?.address ?? '',
      rows: all,
      warm,
      bytes: BYTES,
    } satisfies DrainJob);
  } finally {
    await broker?.stop();
  }
}

async function migrateGraphile(url: string): Promise<void> {
  const { runMigrations } = await import('graphile-worker');
  await runMigrations({ connectionString: url });
}

function load<T>(name: string, job: object): Promise<T> {
  return measureIn<T>(new URL(`./loads/${name}.ts`, import.meta.url).href, [JSON.stringify(job)], WITHIN_MS);
}

/** Ours to our broker, once per kind of flush and run; several works compare with it. */
const measured = new WeakMap<Bench, Map<string, number>>();

async function oursDrained(bench: Bench, flush: 'async' | 'sync'): Promise<number> {
  const known = measured.get(bench) ?? new Map<string, number>();
  measured.set(bench, known);
  if (!known.has(flush)) {
    const value = await rounds(bench, `drain-${flush}`, 'ours', flush === 'async' ? ASYNC : SYNC, '', bench.rounds, (server) =>
      drainOnce(server, 'ours', flush, bench.rows),
    );
    known.set(flush, value);
  }
  return known.get(flush)!;
}

async function drainAbsolute(bench: Bench, work: string, flush: 'async' | 'sync', required: number): Promise<void> {
  const value = await oursDrained(bench, flush);
  mark(
    bench,
    work,
    value / required,
    1,
    value,
    `at least ${required} rows/s`,
    flush === 'async' ? ASYNC : SYNC,
    undefined,
    required,
  );
}

async function drainAgainst(
  bench: Bench,
  work: string,
  who: 'graphile' | 'pgto' | 'pgboss',
  times: number | undefined,
): Promise<void> {
  const ours = await oursDrained(bench, 'async');
  const name = { graphile: 'graphile-worker 0.16.6', pgto: 'pg-transactional-outbox 0.5.7', pgboss: 'pg-boss 10.4.2' }[who];
  const way = {
    graphile: '48 jobs at once on 48 connections',
    pgto: 'polling (its replication mode loses messages), batches of 100, a segment per message, parallel',
    pgboss: '8 workers, batches of 1,000, polled every 0.5 s',
  }[who];
  const rows = Math.min(bench.rows, SLOW_ROWS[who]);
  const count = who === 'graphile' ? bench.rounds : 1;
  const theirs = await rounds(bench, work, name, ASYNC, `${way}; ${rows} rows`, count, (server) =>
    drainOnce(server, who, 'async', rows),
  );
  if (times !== undefined) mark(bench, work, ours / theirs, times, ours, name, ASYNC, undefined, theirs);
}

async function drainRabbit(bench: Bench): Promise<void> {
  const rows = Math.min(bench.rows, 50_000);
  const rabbit = await startRabbitmq();
  const to = `amqp://guest:guest@${rabbit.address}`;
  const run = (who: DrainJob['who'], server: BenchServer) => drainToRabbit(server, who, to, rows);
  try {
    const theirs: number[] = [];
    const ours: number[] = [];
    await withServer(async (server) => {
      for (let round = 0; round < bench.rounds; round++) {
        theirs.push((await run('rabbit-bare', server)).rowsPerSecond);
        ours.push((await run('ours', server)).rowsPerSecond);
        bench.progress(`drain-rabbit: ours ${ours.at(-1)} rows/s, bare ${theirs.at(-1)}`);
      }
    });
    figure(bench, 'drain-rabbit', 'ours', ours, 'rows/s', QUORUM, `${rows} rows`);
    figure(bench, 'drain-rabbit', 'bare publish', theirs, 'rows/s', QUORUM, 'amqplib, confirm channel, window 2,000');
    mark(
      bench,
      'drain-rabbit',
      median(ours) / median(theirs),
      0.7,
      median(ours),
      'bare confirmed publish',
      QUORUM,
      undefined,
      median(theirs),
    );
  } finally {
    await rabbit.stop();
  }
}

async function drainToRabbit(server: BenchServer, who: DrainJob['who'], to: string, rows: number): Promise<Drained> {
  const url = who === 'ours' ? await server.database() : '';
  const warm = rows * WARM;
  if (who === 'ours') await fillOutbox(url, rows + warm, BYTES);
  return load<Drained>('drain-load', { who, url, to, rows: rows + warm, warm, bytes: BYTES } satisfies DrainJob);
}

async function latency(bench: Bench): Promise<void> {
  const ours: number[] = [];
  const theirs: number[] = [];
  const middles: number[] = [];
  const commits: number[] = [];
  await withServer(async (server) => {
    for (let round = 0; round < bench.rounds; round++) {
      for (const bare of round % 2 === 0 ? [true, false] : [false, true]) {
        const broker = await startBroker('async');
        try {
          const job: LatencyJob = {
            bare,
            url: await server.database(),
            to: broker.address,
            perSecond: 500,
            seconds: bench.seconds,
            bytes: BYTES,
          };
          const { p50Ms, p99Ms, commitP50Ms, commitP99Ms } = await load<Latency>('latency-load', job);
          (bare ? theirs : ours).push(p99Ms);
          if (!bare) middles.push(p50Ms);
          if (commitP99Ms !== undefined) commits.push(commitP99Ms);
          const inside = bare ? '' : `; until committed p50 ${commitP50Ms} ms, p99 ${commitP99Ms} ms`;
          bench.progress(`latency-p99 ${bare ? 'bare' : 'ours'}: p50 ${p50Ms} ms, p99 ${p99Ms} ms${inside}`);
        } finally {
          await broker.stop();
        }
      }
    }
  });
  figure(
    bench,
    'latency-p99',
    'ours',
    ours,
    'ms',
    ASYNC,
    `500/s, from the call that adds it to the consumer; p50 ${median(middles)} ms; until the transaction is committed p99 ${median(commits)} ms`,
  );
  figure(bench, 'latency-p99', 'bare', theirs, 'ms', 'broker: written to the page cache', '500/s, from the send to the consumer');
  mark(
    bench,
    'latency-p99',
    (3 * median(theirs)) / median(ours),
    1,
    median(ours),
    '3 × bare publish → consume',
    ASYNC,
    undefined,
    median(theirs),
  );
}

async function wal(bench: Bench): Promise<void> {
  const values: number[] = [];
  await withServer(async (server) => {
    for (let round = 0; round < bench.rounds; round++) {
      const url = await server.database();
      await fillOutbox(url, bench.rows, BYTES);
      const from = await walPosition(url);
      await load<Drained>('drain-load', { who: 'ours', url, to: '', rows: bench.rows, warm: 0, bytes: BYTES } satisfies DrainJob);
      await pause(300);
      values.push((await walBytes(url, from, await walPosition(url))) / bench.rows);
      bench.progress(`wal: ${values.at(-1)!.toFixed(1)} B per message`);
    }
  });
  figure(
    bench,
    'wal',
    'ours',
    values,
    'B',
    DATABASE,
    'claim and settle of head and body, everything the server logged meanwhile, without full-page images',
  );
  mark(bench, 'wal', 150 / median(values), 1, median(values), 'at most 150 B', DATABASE, undefined, 150);
}

/** Rows per second that are claimed and settled, to nowhere, of a table that holds just these, and of one that holds a backlog as well. */
async function claimFlat(bench: Bench): Promise<void> {
  const small: number[] = [];
  const large: number[] = [];
  // Filling ten million rows is not what is measured.
  const fast = { wal_level: 'minimal', max_wal_senders: '0', maintenance_work_mem: '512MB' };
  await withServer(async (server) => {
    const url = await server.database();
    bench.progress(`claim-flat: filling ${bench.backlog} rows`);
    await fillOutbox(url, bench.backlog, CLAIM_BYTES, true);
    for (let round = 0; round < bench.rounds; round++) {
      const alone = await server.database();
      await fillOutbox(alone, bench.rows, CLAIM_BYTES);
      small.push((await claimed(alone, bench.rows)).rowsPerSecond);
      large.push((await claimed(url, bench.rows)).rowsPerSecond);
      bench.progress(`claim-flat: alone ${small.at(-1)} rows/s, with the backlog ${large.at(-1)}`);
    }
  }, fast);
  figure(bench, 'claim-flat', 'with the backlog', large, 'rows/s', DATABASE, `${bench.backlog} rows, bodies of ${CLAIM_BYTES} B`);
  figure(bench, 'claim-flat', 'alone', small, 'rows/s', DATABASE, `${bench.rows} rows`);
  mark(
    bench,
    'claim-flat',
    median(large) / median(small),
    0.8,
    median(large),
    'own empty table',
    DATABASE,
    undefined,
    median(small),
  );
}

/** The same with an old snapshot held open, so that nothing dead can be cleaned away: the last rows of a long drain against the same rows without it. */
async function claimPinned(bench: Bench): Promise<void> {
  const free: number[] = [];
  const pinned: number[] = [];
  const rows = 3 * bench.rows;
  await withServer(async (server) => {
    for (let round = 0; round < bench.rounds; round++) {
      for (const pin of round % 2 === 0 ? [false, true] : [true, false]) {
        const url = await server.database();
        await fillOutbox(url, rows, CLAIM_BYTES);
        const run = (): Promise<Drained> => claimed(url, rows);
        const { tenths } = pin ? await whilePinned(url, run) : await run();
        const last = median(tenths.slice(5));
        (pin ? pinned : free).push(last);
        bench.progress(`claim-pinned ${pin ? 'pinned' : 'free'}: ${last} rows/s at the end; tenths ${tenths.join(' ')}`);
      }
    }
  });
  figure(
    bench,
    'claim-pinned',
    'pinned',
    pinned,
    'rows/s',
    DATABASE,
    `second half of ${rows} rows, a snapshot from before held open`,
  );
  figure(bench, 'claim-pinned', 'free', free, 'rows/s', DATABASE, `second half of ${rows} rows`);
  mark(
    bench,
    'claim-pinned',
    median(pinned) / median(free),
    0.8,
    median(pinned),
    'own without the snapshot',
    DATABASE,
    undefined,
    median(free),
  );
}

const CLAIM_BYTES = 100;

function claimed(url: string, rows: number): Promise<Drained> {
  return load<Drained>('drain-load', { who: 'ours', url, to: '', rows, warm: 0, bytes: CLAIM_BYTES } satisfies DrainJob);
}

function whilePinned<T>(url: string, work: () => Promise<T>): Promise<T> {
  return withClient(url, async (client) => {
    await client.query('begin isolation level repeatable read');
    await client.query('select count(*) from tallystick_lease');
    return work();
  });
}

async function transactionCost(bench: Bench): Promise<void> {
  const ours: number[] = [];
  const theirs: number[] = [];
  await withServer(async (server) => {
    for (let round = 0; round < bench.rounds; round++)
      for (const bare of round % 2 === 0 ? [true, false] : [false, true]) {
        const job: CommitJob = { bare, url: await server.database(), clients: 32, seconds: bench.seconds, bytes: BYTES };
        const { commitsPerSecond } = await load<{ commitsPerSecond: number }>('commit-load', job);
        (bare ? theirs : ours).push(commitsPerSecond);
        bench.progress(`transaction-cost ${bare ? 'bare' : 'with a message'}: ${commitsPerSecond} commits/s`);
      }
  });
  figure(
    bench,
    'transaction-cost',
    'ours',
    ours,
    'commits/s',
    DATABASE,
    '32 clients of pg; BEGIN, one INSERT, one message of 1 KiB, COMMIT',
  );
  figure(bench, 'transaction-cost', 'bare', theirs, 'commits/s', DATABASE, '32 clients of pg; BEGIN, one INSERT, COMMIT');
  mark(
    bench,
    'transaction-cost',
    median(ours) / median(theirs),
    0.5,
    median(ours),
    'bare commits',
    DATABASE,
    undefined,
    median(theirs),
  );
}

/** Several drains, each on a fresh server. */
async function rounds(
  bench: Bench,
  work: string,
  who: string,
  durability: string,
  note: string,
  count: number,
  drain: (server: BenchServer) => Promise<Drained>,
): Promise<number> {
  const values: number[] = [];
  for (let round = 0; round < count; round++) {
    const { rowsPerSecond, cpuUsPerRow } = await withServer(drain);
    values.push(rowsPerSecond);
    bench.progress(`${work} ${who}: ${rowsPerSecond} rows/s, ${cpuUsPerRow} us of its process's CPU per row`);
  }
  figure(bench, work, who, values, 'rows/s', durability, note);
  return median(values);
}

async function withServer<T>(work: (server: BenchServer) => Promise<T>, settings?: Readonly<Record<string, string>>): Promise<T> {
  const server = await startServer(settings);
  try {
    return await work(server);
  } finally {
    await server.stop();
  }
}

function figure(
  bench: Bench,
  work: string,
  who: string,
  values: readonly number[],
  unit: string,
  durability: string,
  note: string,
): void {
  bench.figures.push({ work, who, value: cutOff(median(values)), unit, rounds: values.map(cutOff), durability, note });
}

function cutOff(value: number): number {
  return Number(value.toPrecision(4));
}

function mark(
  bench: Bench,
  work: string,
  ratio: number,
  required: number,
  ours: number,
  against: string,
  durability: string,
  missing: string | undefined,
  theirs = Number.NaN,
): void {
  const known = (value: number): number | null => (Number.isFinite(value) ? cutOff(value) : null);
  bench.marks.push({
    work,
    // Digits are cut, never rounded up: what is shown as held is held.
    ratio: Number.isFinite(ratio) ? Math.floor(ratio * 1000) / 1000 : null,
    mark: Number.isFinite(required) ? required : 1,
    against,
    ours: known(ours),
    theirs: known(theirs),
    durability,
    ...(missing === undefined ? {} : { missing }),
  });
}
