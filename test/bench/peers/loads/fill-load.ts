/** Leaves `count` plain messages or open half messages of 100 bytes, or plain ones of 512 KiB, in a broker; the halves belong to ten groups. */
import { Client } from '@tallystick/client';
import { keyOf, pool, QUEUES, TOPICS, valueOf } from './messages.ts';

const GROUPS = 10;
const WINDOW = 4096;
const LARGE_WINDOW = 8;
const BODY = 100;
const LARGE_BODY = 512 * 1024;
/** Nothing is measured here, so nothing need be quick. */
const TIMEOUT_MS = 60_000;
const FAILED_MAX = 1000;

const [address, what, countText] = process.argv.slice(2) as [string, 'plain' | 'halves' | 'large', string];
const count = Number(countText);
const client = new Client({ address });
for (const topic of TOPICS) await client.admin().createTopic(topic, QUEUES);
const content = pool(BODY);
const large = what === 'large' ? Buffer.alloc(LARGE_BODY, 'x') : undefined;
const record = (n: number) => ({ topic: TOPICS[n & 1]!, key: keyOf(content, n), value: large ?? valueOf(content, n) });

type Done = (error: Error | undefined) => void;
const options = { requestTimeoutMs: TIMEOUT_MS, deliveryTimeoutMs: TIMEOUT_MS, compressOverBytes: 0 };
const producer = client.producer(options);
const transactional = Array.from({ length: what === 'halves' ? GROUPS : 0 }, (_, n) =>
  client.transactionProducer({ ...options, group: `bench-halves-${n}`, listener: { check: () => 'unknown' } }),
);
for (const one of transactional) await one.start();
const send = (n: number, done: Done): void => {
  if (what === 'halves') transactional[n % GROUPS]!.core.half(record(n), done);
  else producer.sendWith(record(n), done);
};

await new Promise<void>((resolve, reject) => {
  let sent = 0;
  let acknowledged = 0;
  let failed = 0;
  const settle: Done = (error) => {
    // A half that a slow disk did not sync in time has been rolled back; another one takes its place.
    if (error !== undefined) {
      if (++failed > FAILED_MAX) reject(error);
      else setImmediate(() => send(sent++, settle));
    } else if (++acknowledged === count) resolve();
    else if (sent < count + failed) send(sent++, settle);
  };
  while (sent < Math.min(count, what === 'large' ? LARGE_WINDOW : WINDOW)) send(sent++, settle);
});
process.stdout.write('{}\n', () => process.exit(0));
