/** Leaves `count` plain messages or open half messages of 100 bytes in a broker; the halves belong to ten groups. */
import { Client } from '@tallystick/client';
import { keyOf, pool, QUEUES, TOPICS, valueOf } from './messages.ts';

const GROUPS = 10;
const WINDOW = 4096;
const BODY = 100;

const [address, what, countText] = process.argv.slice(2) as [string, 'plain' | 'halves', string];
const count = Number(countText);
const client = new Client({ address });
for (const topic of TOPICS) await client.admin().createTopic(topic, QUEUES);
const content = pool(BODY);
const record = (n: number) => ({ topic: TOPICS[n & 1]!, key: keyOf(content, n), value: valueOf(content, n) });

type Done = (error: Error | undefined) => void;
const producer = client.producer();
const transactional = Array.from({ length: what === 'halves' ? GROUPS : 0 }, (_, n) =>
  client.transactionProducer({ group: `bench-halves-${n}`, listener: { check: () => 'unknown' } }),
);
for (const one of transactional) await one.start();
const send = (n: number, done: Done): void => {
  if (what === 'plain') producer.sendWith(record(n), done);
  else transactional[n % GROUPS]!.core.half(record(n), done);
};

await new Promise<void>((resolve, reject) => {
  let sent = 0;
  let acknowledged = 0;
  const settle: Done = (error) => {
    if (error !== undefined) reject(error);
    else if (++acknowledged === count) resolve();
    else if (sent < count) send(sent++, settle);
  };
  while (sent < Math.min(count, WINDOW)) send(sent++, settle);
});
process.stdout.write('{}\n', () => process.exit(0));
