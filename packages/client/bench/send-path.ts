/**
 * What one send costs this process: CPU time (user and kernel) per message in a closed loop, against a broker at an address, or against a
 * wire that acknowledges at once (`null`), where nothing but the client runs. For profiles: `node --cpu-prof`.
 *
 *    node --import ./packages/cli/bin/sources.js packages/client/bench/send-path.ts null|HOST:PORT MODE [inFlight] [seconds] [bytes] [plain]
 *
 * Modes: single, json, batch, promise, half. Messages carry a key and a header unless `plain` is said.
 */
import { Client } from '@tallystick/client';
import { NullBroker } from './null-wire.ts';

const [target = 'null', mode = 'single', inFlightText = '1024', secondsText = '4', bytesText = '100', plain] =
  process.argv.slice(2);
const TOPICS = ['bench-orders', 'bench-payments'] as const;
const QUEUES = 8;
const POOL = 4096;
const inFlight = Number(inFlightText);
const windowMs = Number(secondsText) * 1000;

const broker = new NullBroker('127.0.0.1:9876', QUEUES);
const isNull = target === 'null';
const client = new Client({
  ...(isNull ? { dialer: broker } : { address: target }),
  header: mode === 'json' ? 'json' : 'binary',
});
if (!isNull) for (const topic of TOPICS) await client.admin().createTopic(topic, QUEUES);
const options = mode === 'batch' ? {} : { batchSizeBytes: 0 };
const producer = client.producer(options);
const transactions = client.transactionProducer({ ...options, group: 'bench', listener: { check: () => 'unknown' } });
if (mode === 'half' && !isNull) await transactions.start();

const values = Array.from({ length: POOL }, (_, n) => {
  const value = Buffer.alloc(Number(bytesText), 97 + (n % 26));
  value.write(String(n).padStart(8, '0'), 0, 'latin1');
  return value;
});
const keys = Array.from({ length: POOL }, (_, n) => `order-${n}`);
const traces = Array.from({ length: POOL }, (_, n) => ({ trace: `t${n.toString(36)}` }));

let sent = 0;
let done = 0;
let offsets = 0;
let open = 0;
let stopAt = Infinity;
let finished: () => void = () => {};

const record = (n: number) => {
  const slot = n % POOL;
  const topic = TOPICS[n & 1]!;
  const value = values[(n * 31) % POOL]!;
  return plain === 'plain' ? { topic, value } : { topic, key: keys[slot]!, value, headers: traces[slot]! };
};

const settled = (error: unknown, receipt: { readonly queueId: number; readonly offset: number } | undefined): void => {
  if (error !== undefined) {
    console.error(error);
    process.exit(1);
  }
  open--;
  done++;
  offsets += receipt!.offset + receipt!.queueId;
  if ((done & 63) === 0 && performance.now() >= stopAt) stopAt = 0;
  if (stopAt > 0) launch();
  else if (open === 0) finished();
};

function launch(): void {
  open++;
  const next = record(sent++);
  if (mode === 'promise') {
    producer.send(next).then(
      (receipt) => settled(undefined, receipt),
      (error: unknown) => settled(error, undefined),
    );
  } else if (mode === 'half') {
    transactions.core.half(next, (error, half) => {
      if (error === undefined) half.commit();
      settled(error, error === undefined ? half.receipt : undefined);
    });
  } else producer.sendWith(next, settled);
}

for (let n = 0; n < inFlight; n++) launch();
await new Promise((resolve) => setTimeout(resolve, 1500));
const before = { cpu: process.cpuUsage(), done, ms: performance.now(), spentMs: broker.spentMs };
stopAt = before.ms + windowMs;
await new Promise<void>((resolve) => (finished = resolve));
const cpu = process.cpuUsage(before.cpu);
const messages = done - before.done;
const ms = performance.now() - before.ms;
const us = cpu.user + cpu.system - (broker.spentMs - before.spentMs) * 1000;
process.stdout.write(
  `${mode.padEnd(8)} ${isNull ? 'null' : 'broker'} ${bytesText} B, ${inFlight} in flight: ${(us / messages).toFixed(2)} us CPU a message ` +
    `(kernel ${(cpu.system / messages).toFixed(2)}), ${Math.round(messages / ms)}k/s, checksum ${offsets % 10}\n`,
);
await client.close();
