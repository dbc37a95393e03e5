/**
 * The producing process of one benchmark row: sends differing messages to two topics of eight queues through the public client
 * and prints what it measured. An acknowledgement counts only when its receipt names the topic that was sent to and an offset
 * that this queue had not returned before.
 */
import { Client } from '@tallystick/client';
import { closedLoop } from './measure.ts';
import type { Row } from './rows.ts';

const TOPICS = ['bench-orders', 'bench-payments'] as const;
const QUEUES = 8;
const POOL = 4096;

const [address, rowText, windowText] = process.argv.slice(2) as [string, string, string];
const row = JSON.parse(rowText) as Row;
const windowMs = Number(windowText);

const client = new Client({ address, header: row.header });
for (const topic of TOPICS) await client.admin().createTopic(topic, QUEUES);
const producer = client.producer(row.mode === 'single' ? { batchSizeBytes: 0 } : {});

// Bodies, keys and one header per message come from a pool whose entries all differ, so that nothing in the path can be cached
// per message, while making them costs the producer little.
const values: Buffer[] = [];
const keys: string[] = [];
const traces: { trace: string }[] = [];
for (let i = 0; i < POOL; i++) {
  const value = Buffer.alloc(row.bytes, 97 + (i % 26));
  value.write(String(i).padStart(8, '0'), 0, 'latin1');
  values.push(value);
  keys.push(`order-${i}`);
  traces.push({ trace: `t${i.toString(36)}` });
}
const highest = new Map(TOPICS.map((topic) => [topic as string, new Array<number>(QUEUES).fill(-1)]));

const check = (topic: string, receipt: { topic: string; queueId: number; offset: number }): Error | undefined => {
  if (receipt.topic !== topic) return new Error(`sent to ${topic}, acknowledged for ${receipt.topic}`);
  const offsets = highest.get(topic);
  const previous = offsets?.[receipt.queueId];
  if (offsets === undefined || previous === undefined) return new Error(`${topic} has no queue ${receipt.queueId}`);
  if (receipt.offset <= previous) return new Error(`${topic}/${receipt.queueId}: offset ${receipt.offset} after ${previous}`);
  offsets[receipt.queueId] = receipt.offset;
  return undefined;
};

const record = (n: number) => {
  const slot = n % POOL;
  return { topic: TOPICS[n & 1]!, key: keys[slot]!, value: values[(n * 31) % POOL]!, headers: traces[slot]! };
};

const measured = await closedLoop({ inFlight: row.inFlight, warmUpMs: Math.min(2000, windowMs / 2), windowMs }, (n, done) => {
  const next = record(n);
  if (row.mode === 'promise') {
    producer.send(next).then(
      (receipt) => done(check(next.topic, receipt)),
      (error: unknown) => done(error as Error),
    );
  } else {
    producer.sendWith(next, (error, receipt) => done(error ?? check(next.topic, receipt!)));
  }
});
await client.close();
process.stdout.write(`${JSON.stringify(measured)}\n`);
