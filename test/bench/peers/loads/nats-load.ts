/**
 * NATS JetStream by @nats-io/jetstream: publishes that wait for their acknowledgement, a consumer that acknowledges each message. Two
 * subjects of one stream in files. A message counts when its sequence is higher than the one before.
 */
import { AckPolicy, jetstream, jetstreamManager, type PubAck, StorageType } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { Backlog } from './backlog.ts';
import { answer, type Figure, jobOf } from './job.ts';
import { Loop } from './loop.ts';
import { pool, TOPICS, valueOf } from './messages.ts';
import { numbered, numberOf, SteadyLoad } from './steady.ts';

const STREAM = 'bench';
const FETCH = 1000;
const MAX_UNACKNOWLEDGED = 50_000;

const { address, job } = jobOf(process.argv);
const connection = await connect({ servers: address });
const manager = await jetstreamManager(connection);
await manager.streams.add({ name: STREAM, subjects: [...TOPICS], storage: StorageType.File });
const stream = jetstream(connection);
const content = pool(job.bytes);

function produce(): Promise<Figure> {
  const loop = new Loop(job);
  let highest = 0;
  const settle = (ack: PubAck): void => {
    if (!(ack.seq > highest)) throw new Error(`sequence ${ack.seq} after ${highest}`);
    highest = ack.seq;
    loop.finished();
  };
  return loop.run((n, sample) => {
    const published = stream.publish(TOPICS[n & 1]!, valueOf(content, n));
    if (sample === undefined) published.then(settle, loop.failed);
    else
      published
        .then((ack) => {
          sample();
          settle(ack);
        })
        .catch(loop.failed);
  });
}

async function consume(): Promise<Figure> {
  const total = Math.round(((job.backlogPerSecond ?? 0) * job.windowMs) / 1000);
  await fill(total);
  const backlog = new Backlog(total);
  for await (const message of await listener()) {
    if (message.data.length !== job.bytes) throw new Error(`message ${message.seq} has ${message.data.length} bytes`);
    message.ack();
    if (backlog.handled()) break;
  }
  await connection.flush();
  return backlog.done;
}

async function listener() {
  await manager.consumers.add(STREAM, {
    durable_name: 'bench',
    ack_policy: AckPolicy.Explicit,
    max_ack_pending: MAX_UNACKNOWLEDGED,
  });
  const consumer = await stream.consumers.get(STREAM, 'bench');
  return consumer.consume({ max_messages: FETCH });
}

async function fill(total: number): Promise<void> {
  for (let at = 0; at < total;) {
    const acks: Promise<PubAck>[] = [];
    for (const end = Math.min(total, at + FETCH); at < end; at++) acks.push(stream.publish(TOPICS[0], valueOf(content, at)));
    await Promise.all(acks);
  }
}

async function latency(): Promise<Figure> {
  const load = new SteadyLoad(job.warmUpMs, job.windowMs);
  let failure: unknown;
  const messages = await listener();
  const listen = async (): Promise<void> => {
    for await (const message of messages) {
      load.received(numberOf(message.data));
      message.ack();
    }
  };
  listen().catch((error) => (failure ??= error));
  const figure = await load.run((n) => {
    stream.publish(TOPICS[0], numbered(n, job.bytes)).catch((error) => (failure ??= error));
  });
  if (failure !== undefined) throw failure;
  return figure;
}

const modes: Partial<Record<typeof job.mode, () => Promise<Figure>>> = { produce, consume, latency };
const run = modes[job.mode];
if (run === undefined) throw new Error(`no mode ${job.mode}`);
answer(await run());
