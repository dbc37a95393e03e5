/**
 * The works that are compared, one row each: who does them, how, at which durability, and which marks they are held to. The command
 * line may choose among the rows and set times; it never changes a row.
 */
import type { Job } from './loads/job.ts';
import type { ServerName } from './servers.ts';

/** Whose figure: ours, a variant of ours, or a peer's. */
export type Who =
  | 'ours'
  | 'own-async'
  | 'bare-disk'
  | 'redis-everysec'
  | 'redis-always'
  | 'nats'
  | 'rabbitmq'
  | 'kafka'
  | 'rocketmq-async'
  | 'rocketmq-sync';

export type LoadName = 'tallystick' | 'redis' | 'nats' | 'rabbitmq' | 'kafka' | 'rocketmq';

/** One way of doing a work. The first round tries all the ways of a side; the later ones keep the best. */
export interface Way {
  readonly window: number;
  /** What else distinguishes it, for the load program and the page. */
  readonly variant?: string | undefined;
}

export interface Side {
  readonly who: Who;
  readonly server: ServerName;
  readonly load: LoadName;
  readonly job: Omit<Job, 'window' | 'warmUpMs' | 'windowMs'>;
  readonly ways: readonly Way[];
  readonly durability: string;
  /** What a reader must know to judge the figure. */
  readonly note?: string | undefined;
}

/** What may be measured; the processor times are per message, in µs. */
export type Value = 'perSecond' | 'p50Ms' | 'p99Ms' | 'megabytes' | 'gigabytesPerSecond' | 'clientCpuUs' | 'serverCpuUs';

/** What a row is held to. `against` is a side of this work, or of the work named by `of`. */
export type Mark =
  | { readonly kind: 'times'; readonly against: Who; readonly mark: number; readonly of?: string | undefined }
  /** At most so many times the peer's value. */
  | { readonly kind: 'limit'; readonly against: Who; readonly times: number }
  /** At least so much. */
  | { readonly kind: 'least'; readonly required: number }
  /** At most so much. */
  | { readonly kind: 'most'; readonly required: number }
  /** At least so many times what the same disk gives a plain reader. */
  | { readonly kind: 'raw'; readonly mark: number };

export interface Work {
  readonly name: string;
  readonly title: string;
  readonly value: Value;
  readonly sides: readonly Side[];
  /** Takes its figures from this work's measurement. */
  readonly from?: string | undefined;
  readonly marks: readonly Mark[];
}

const WRITTEN = 'written to the page cache; synced within 200 ms';
const SYNCED = 'fdatasync before the acknowledgement';
const WINDOWS: readonly Way[] = [{ window: 1024 }, { window: 4096 }];
const SINGLE = 'one request per message (batchSizeBytes 0), as the row says';
const ALL_DEFAULT = 'everything at its default';
const BODY = 100;
const KIB = 1024;

type Ours = Partial<Pick<Side, 'who' | 'ways' | 'note'>>;

function ours(flush: 'sync' | 'async', job: Partial<Side['job']>, given: Ours = {}): Side {
  return {
    who: 'ours',
    server: flush === 'sync' ? 'tallystick-sync' : 'tallystick-async',
    load: 'tallystick',
    job: { mode: 'produce', bytes: BODY, ...job },
    ways: WINDOWS,
    durability: flush === 'sync' ? SYNCED : WRITTEN,
    note: job.single === true ? SINGLE : ALL_DEFAULT,
    ...given,
  };
}

function redis(fsync: 'everysec' | 'always', job: Partial<Side['job']>, ways = WINDOWS): Side {
  return {
    who: `redis-${fsync}`,
    server: `redis-${fsync}`,
    load: 'redis',
    job: { mode: 'produce', bytes: BODY, ...job },
    ways,
    durability: fsync === 'always' ? 'fdatasync before the reply (appendfsync always)' : 'written; synced every second',
    note: job.mode === 'pipeline' ? 'explicit pipelines of 256 XADD' : 'XADD, automatic pipelining',
  };
}

function nats(job: Partial<Side['job']>, ways = WINDOWS): Side {
  return {
    who: 'nats',
    server: 'nats',
    load: 'nats',
    job: { mode: 'produce', bytes: BODY, ...job },
    ways,
    durability: 'written; synced every two minutes (JetStream, file storage)',
  };
}

function rocketmq(flush: 'async' | 'sync', ways: readonly Way[], note?: string): Side {
  return {
    who: `rocketmq-${flush}`,
    server: `rocketmq-${flush}`,
    load: 'rocketmq',
    job: { mode: 'produce', bytes: BODY },
    ways,
    durability:
      flush === 'sync' ? 'fsync before the answer (SYNC_FLUSH)' : 'written to the page cache; synced every 500 ms (ASYNC_FLUSH)',
    note: note ?? 'its Java client; as its benchmark program does (64 threads that wait), or asynchronous sends',
  };
}

/** As RocketMQ's own benchmark program: 64 threads that wait; or asynchronous sends with a window. */
const ROCKETMQ_WAYS: readonly Way[] = [
  { window: 64, variant: 'threads' },
  { window: 1024, variant: 'async' },
];

const rabbitmq: Side = {
  who: 'rabbitmq',
  server: 'rabbitmq',
  load: 'rabbitmq',
  job: { mode: 'produce', bytes: BODY },
  ways: WINDOWS,
  durability: 'quorum queue, one node: fsync of its write-ahead log before the confirm',
};

const kafka: Side = {
  who: 'kafka',
  server: 'kafka',
  load: 'kafka',
  job: { mode: 'produce', bytes: BODY },
  ways: [
    { window: 8192, variant: 'keys' },
    { window: 0, variant: 'keys' },
    { window: 0, variant: 'no-keys' },
  ],
  durability: 'written to the page cache; synced when the system likes',
  note: 'Java producer, defaults with acks=1; window 0: only buffer.memory bounds it',
};

const one = (window: number): readonly Way[] => [{ window }];

export const WORKS: readonly Work[] = [
  {
    name: 'async-single',
    title: 'one request per message, binary header',
    value: 'perSecond',
    sides: [ours('async', { single: true }), redis('everysec', {}), nats({}), rocketmq('async', ROCKETMQ_WAYS)],
    marks: [
      { kind: 'times', against: 'redis-everysec', mark: 4 },
      { kind: 'times', against: 'nats', mark: 15 },
      { kind: 'times', against: 'rocketmq-async', mark: 5 },
    ],
  },
  {
    name: 'json-header',
    title: 'one request per message, JSON header',
    value: 'perSecond',
    sides: [ours('async', { single: true, header: 'json' })],
    marks: [{ kind: 'times', against: 'redis-everysec', mark: 1.4, of: 'async-single' }],
  },
  {
    name: 'promise',
    title: '`producer.send()`, a promise for each message',
    value: 'perSecond',
    sides: [ours('async', { mode: 'promise' })],
    marks: [{ kind: 'times', against: 'ours', mark: 0.7, of: 'async-single' }],
  },
  {
    name: 'kib',
    title: '1 KiB bodies, one request per message',
    value: 'perSecond',
    sides: [ours('async', { single: true, bytes: KIB }), redis('everysec', { bytes: KIB })],
    marks: [{ kind: 'times', against: 'redis-everysec', mark: 1.6 }],
  },
  {
    name: 'batch',
    title: 'accumulator, batches of 32 KiB',
    value: 'perSecond',
    sides: [
      ours('async', {}, { ways: [{ window: 1024 }, { window: 8192 }] }),
      redis('everysec', { mode: 'pipeline' }, [{ window: 1024 }, { window: 8192 }]),
      kafka,
    ],
    marks: [
      { kind: 'times', against: 'redis-everysec', mark: 3.5 },
      { kind: 'times', against: 'kafka', mark: 1 },
    ],
  },
  {
    name: 'sync-one',
    title: 'one in flight, beside bare fs.write and fs.fdatasync',
    value: 'perSecond',
    sides: [
      ours(
        'sync',
        { mode: 'bare' },
        {
          ways: one(1),
          note: 'writes and syncs in one call (O_DSYNC); alternates every 250 ms with the bare loop, which writes into a segment-like file',
        },
      ),
    ],
    marks: [{ kind: 'times', against: 'bare-disk', mark: 0.9 }],
  },
  {
    name: 'sync-256',
    title: '256 in flight',
    value: 'perSecond',
    sides: [ours('sync', {}, { ways: one(256) }), redis('always', {}, one(256))],
    marks: [{ kind: 'times', against: 'redis-always', mark: 1.8 }],
  },
  {
    name: 'sync-1024',
    title: '1,024 in flight',
    value: 'perSecond',
    sides: [ours('sync', {}, { ways: one(1024) }), redis('always', {}, one(1024)), rabbitmq, rocketmq('sync', ROCKETMQ_WAYS)],
    marks: [
      { kind: 'times', against: 'redis-always', mark: 2.5 },
      { kind: 'times', against: 'rabbitmq', mark: 5 },
      { kind: 'times', against: 'rocketmq-sync', mark: 5 },
    ],
  },
  {
    name: 'sync-4096',
    title: '4,096 in flight, beside our own async mode',
    value: 'perSecond',
    sides: [ours('sync', {}, { ways: one(4096) }), ours('async', {}, { who: 'own-async', ways: one(4096) })],
    marks: [{ kind: 'times', against: 'own-async', mark: 0.7 }],
  },
  {
    name: 'transactional',
    title: 'half message and commit',
    value: 'perSecond',
    sides: [
      ours('sync', { mode: 'transaction' }, { note: 'callback form; a transaction counts when its commit is known to be taken' }),
      {
        ...rocketmq('async', [{ window: 32, variant: 'transaction' }], 'TransactionMQProducer, 32 threads as in its benchmark'),
        job: { mode: 'transaction', bytes: BODY },
      },
    ],
    marks: [
      { kind: 'times', against: 'ours', mark: 0.3, of: 'async-single' },
      { kind: 'times', against: 'rocketmq-async', mark: 5 },
    ],
  },
  {
    name: 'consume',
    title: 'push consumer through a backlog, progress committed',
    value: 'perSecond',
    sides: [
      ours('async', { mode: 'consume', backlogPerSecond: 500_000 }, { ways: one(0) }),
      {
        ...redis('everysec', { mode: 'consume', backlogPerSecond: 200_000 }, one(0)),
        note: 'XREADGROUP COUNT 1000, XACK per read',
      },
      { ...nats({ mode: 'consume', backlogPerSecond: 60_000 }, one(0)), note: 'explicit acknowledgement per message' },
    ],
    marks: [
      { kind: 'times', against: 'redis-everysec', mark: 2.3 },
      { kind: 'times', against: 'nats', mark: 6 },
    ],
  },
  {
    name: 'latency-p50',
    title: 'send to handler at 1,000/s, median: at most 1.5 times theirs',
    value: 'p50Ms',
    sides: [
      ours('async', { mode: 'latency' }, { ways: one(0) }),
      { ...redis('everysec', { mode: 'latency' }, one(0)), note: 'XREADGROUP BLOCK, XACK' },
      { ...nats({ mode: 'latency' }, one(0)), note: 'explicit acknowledgement' },
    ],
    marks: [{ kind: 'limit', against: 'redis-everysec', times: 1.5 }],
  },
  {
    name: 'latency-p99',
    title: 'the same, 99th percentile: at most 1.5 times theirs',
    value: 'p99Ms',
    sides: [],
    from: 'latency-p50',
    marks: [{ kind: 'limit', against: 'nats', times: 1.5 }],
  },
  {
    name: 'half-memory',
    title: 'memory of 1,000,000 open half messages',
    value: 'megabytes',
    sides: [],
    marks: [{ kind: 'most', required: 16 }],
  },
  {
    name: 'recovery-warm',
    title: 'reading and checking the log at a start, files in the page cache',
    value: 'gigabytesPerSecond',
    sides: [],
    marks: [{ kind: 'least', required: 1.4 }],
  },
  {
    name: 'recovery-cold',
    title: 'the same from the disk, beside a plain reader',
    value: 'gigabytesPerSecond',
    sides: [],
    marks: [{ kind: 'raw', mark: 0.8 }],
  },
];
