/**
 * At 500 messages a second: from the call that adds one (its transaction included) until a consumer of our broker has it; or, bare, from the
 * call that sends it. Both through the same client, in one process.
 */
import { Client } from '@tallystick/client';
import { createOutbox, createRelay, tallystickTransport, transaction } from '@tallystick/reliable';
import pg from 'pg';

export interface LatencyJob {
  readonly bare: boolean;
  readonly url: string;
  readonly to: string;
  readonly perSecond: number;
  readonly seconds: number;
  readonly bytes: number;
}

export interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly count: number;
  /** Of that, until the transaction was committed; bare there is none. */
  readonly commitP50Ms?: number;
  readonly commitP99Ms?: number;
}

const job = JSON.parse(process.argv[2]!) as LatencyJob;
/** Seconds: either side runs for weeks, not only while its runtime compiles it. */
const WARM_UP = 5;
const client = new Client({ address: job.to });
const producer = client.producer({});
const topic = job.bare ? 'bare' : 'relayed';
const sentAt = new Map<string, number>();
const took: number[] = [];
const committed: number[] = [];
const consumer = client.consumer({
  group: `latency-${topic}`,
  topics: new Map([[topic, '*']]),
  from: 'first',
  handler: (message) => {
    const at = sentAt.get(Buffer.from(message.value.subarray(0, 12)).toString());
    if (at !== undefined) took.push(performance.now() - at);
  },
});
await producer.send({ topic, value: 'first' });
await consumer.start();
const pool = new pg.Pool({ connectionString: job.url, max: 16 });
await Promise.all(Array.from({ length: 16 }, () => pool.query('select 1')));
const send = job.bare ? bare : await relayed();
const total = job.perSecond * (job.seconds + WARM_UP);
const began = performance.now();
const tail = 'x'.repeat(job.bytes - 12);
for (let n = 0; n < total;) {
  const due = Math.min(total, ((performance.now() - began) / 1000) * job.perSecond);
  for (; n < due; n++) send(n);
  await new Promise((resolve) => setTimeout(resolve, 1));
}
for (const until = performance.now() + 30_000; took.length < total && performance.now() < until;)
  await new Promise((resolve) => setTimeout(resolve, 10));
if (took.length < total) throw new Error(`${total - took.length} of ${total} messages did not arrive`);
const { count, p50Ms, p99Ms } = measured(took);
const commits = measured(committed);
const inside = commits.count === 0 ? {} : { commitP50Ms: commits.p50Ms, commitP99Ms: commits.p99Ms };
process.stdout.write(`${JSON.stringify({ p50Ms, p99Ms, count, ...inside } satisfies Latency)}\n`);
process.exit(0);

/** After the warm-up. */
function measured(times: readonly number[]): Latency {
  const sorted = times.slice(job.perSecond * WARM_UP).sort((a, b) => a - b);
  const at = (share: number): number => Number((sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(2));
  return { p50Ms: at(0.5), p99Ms: at(0.99), count: sorted.length };
}

function bodyOf(n: number): string {
  const mark = String(n).padStart(12, '0');
  sentAt.set(mark, performance.now());
  return mark + tail;
}

function bare(n: number): void {
  producer.sendWith({ topic, value: bodyOf(n) }, (error) => {
    if (error !== undefined) throw error;
  });
}

async function relayed(): Promise<(n: number) => void> {
  // A pool of its own: the relay does not queue behind the application's transactions.
  const own = new pg.Pool({ connectionString: job.url, max: 4 });
  await Promise.all(Array.from({ length: 3 }, () => own.query('select 1')));
  const relay = createRelay({ db: own, transport: tallystickTransport(producer as never) });
  const outbox = createOutbox(pool, { wake: () => relay.wake() });
  relay.start();
  return (n) => {
    const body = bodyOf(n);
    const began = performance.now();
    void transaction(pool, (tx: pg.PoolClient) => outbox.in(tx).add({ topic, body })).then(() =>
      committed.push(performance.now() - began),
    );
  };
}
