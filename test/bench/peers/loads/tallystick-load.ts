/**
 * Our load process: the public client at its defaults, but for what the row's name says. An acknowledgement counts only when its receipt names
 * the topic that was sent to and an offset that this queue had not returned before.
 */
import { Client, type SendReceipt } from '@tallystick/client';
import { Backlog } from './backlog.ts';
import { besideBareDisk } from './bare-disk.ts';
import { answer, type Figure, jobOf } from './job.ts';
import { Loop } from './loop.ts';
import { keyOf, pool, QUEUES, TOPICS, valueOf } from './messages.ts';
import { numbered, numberOf, SteadyLoad } from './steady.ts';

const { address, job } = jobOf(process.argv);
const client = new Client({ address, ...(job.header === undefined ? {} : { header: job.header }) });
for (const topic of TOPICS) await client.admin().createTopic(topic, QUEUES);
const options = job.single === true ? { batchSizeBytes: 0 } : {};
const content = pool(job.bytes);

const record = (n: number) => ({ topic: TOPICS[n & 1]!, key: keyOf(content, n), value: valueOf(content, n) });

/** Checks receipts of one topic. */
function checker(topic: string): (receipt: SendReceipt) => void {
  const highest = new Array<number>(QUEUES).fill(-1);
  return (receipt) => {
    if (receipt.topic !== topic) throw new Error(`sent to ${topic}, acknowledged for ${receipt.topic}`);
    const previous = highest[receipt.queueId];
    if (previous === undefined || !(receipt.offset > previous))
      throw new Error(`${topic}/${receipt.queueId}: offset ${receipt.offset} after ${previous}`);
    highest[receipt.queueId] = receipt.offset;
  };
}

/** Callbacks: one per topic, made once. */
function produce(loop = new Loop(job)): Promise<Figure> {
  const producer = client.producer(options);
  const [first, second] = TOPICS.map((topic) => {
    const check = checker(topic);
    return (error: Error | undefined, receipt: SendReceipt): void => {
      if (error !== undefined) return loop.failed(error);
      check(receipt);
      loop.finished();
    };
  });
  return loop.run((n, sample) => {
    const settle = (n & 1) === 0 ? first! : second!;
    if (sample === undefined) producer.sendWith(record(n), settle);
    else
      producer.sendWith(record(n), (error, receipt) => {
        sample();
        settle(error, receipt);
      });
  });
}

/** The same with a promise for each message. */
function promise(): Promise<Figure> {
  const producer = client.producer(options);
  const loop = new Loop(job);
  const [first, second] = TOPICS.map((topic) => {
    const check = checker(topic);
    return (receipt: SendReceipt): void => {
      check(receipt);
      loop.finished();
    };
  });
  return loop.run((n, sample) => {
    const settle = (n & 1) === 0 ? first! : second!;
    const sent = producer.send(record(n));
    if (sample === undefined) sent.then(settle, loop.failed);
    else
      sent
        .then((receipt) => {
          sample();
          settle(receipt);
        })
        .catch(loop.failed);
  });
}

/**
 * Half message, then its one-way commit. After the last one a commit that is answered shows that all before it were taken; the time
 * until then belongs to the figure.
 */
async function transaction(): Promise<Figure> {
  const producer = client.transactionProducer({ group: 'bench-transactions', listener: { check: () => 'unknown' } });
  await producer.start();
  const loop = new Loop(job);
  let acknowledged = 0;
  const settle = (error: Error | undefined, half: { commit(): void }): void => {
    if (error !== undefined) return loop.failed(error);
    half.commit();
    acknowledged++;
    loop.finished();
  };
  let countedFrom = -1;
  let countedAt = 0;
  const began = performance.now();
  const figure = await loop.run((n, sample) => {
    if (sample !== undefined && countedFrom < 0) {
      const now = performance.now();
      if (now - began >= job.warmUpMs) {
        countedFrom = acknowledged;
        countedAt = now;
      }
    }
    if (sample === undefined) producer.core.half(record(n), settle);
    else
      producer.core.half(record(n), (error, half) => {
        sample();
        settle(error, half);
      });
  });
  const last = await producer.half(record(0));
  await last.commit({ confirmed: true });
  const perSecond = Math.round(((acknowledged - countedFrom) / (performance.now() - countedAt)) * 1000);
  return { ...figure, perSecond };
}

/** A push consumer through a backlog. Offsets of a queue must come without a gap or a repeat. */
async function consume(): Promise<Figure> {
  const total = Math.round(((job.backlogPerSecond ?? 0) * job.windowMs) / 1000);
  await fill(total);
  const backlog = new Backlog(total);
  const expected = new Map(TOPICS.map((topic) => [topic as string, new Array<number>(QUEUES).fill(0)]));
  const consumer = client.consumer({
    group: 'bench-consumers',
    topics: Object.fromEntries(TOPICS.map((topic) => [topic, '*'])),
    from: 'first',
    handler: (message) => {
      const offsets = expected.get(message.topic)!;
      if (message.offset !== offsets[message.queueId]!++ || message.value.length !== job.bytes)
        return giveUp(`${message.topic}/${message.queueId}: unexpected message at offset ${message.offset}`);
      backlog.handled();
    },
  });
  await consumer.start();
  const figure = await backlog.done;
  await consumer.close();
  return figure;
}

/** What a handler throws would only be retried. */
function giveUp(why: string): never {
  process.stderr.write(`${why}\n`);
  process.exit(1);
}

async function fill(total: number): Promise<void> {
  const producer = client.producer();
  await new Promise<void>((resolve, reject) => {
    let sent = 0;
    let acknowledged = 0;
    const next = (): void => producer.sendWith(record(sent++), settle);
    const settle = (error: Error | undefined): void => {
      if (error !== undefined) reject(error);
      else if (++acknowledged === total) resolve();
      else if (sent < total) next();
    };
    while (sent < Math.min(total, 8192)) next();
  });
  await producer.close();
}

async function latency(): Promise<Figure> {
  const load = new SteadyLoad(job.warmUpMs, job.windowMs);
  const consumer = client.consumer({
    group: 'bench-listeners',
    topics: { [TOPICS[0]]: '*' },
    from: 'first',
    handler: (message) => load.received(numberOf(message.value)),
  });
  await consumer.start();
  const producer = client.producer();
  let failure: Error | undefined;
  const figure = await load.run((n) =>
    producer.sendWith(
      { topic: TOPICS[0], key: keyOf(content, n), value: numbered(n, job.bytes) },
      (error) => (failure ??= error),
    ),
  );
  if (failure !== undefined) throw failure;
  return figure;
}

const modes: Partial<Record<typeof job.mode, () => Promise<Figure>>> = {
  produce,
  promise,
  transaction,
  consume,
  latency,
  bare: () => besideBareDisk(job, (slice) => produce(new Loop({ ...job, warmUpMs: 0, windowMs: slice }))),
};
const run = modes[job.mode];
if (run === undefined) throw new Error(`no mode ${job.mode}`);
answer(await run());
