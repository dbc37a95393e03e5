/**
 * Redis Streams by ioredis: `produce` with automatic pipelining, `pipeline` with explicit ones, a consumer group with acknowledgements.
 * Key and body are two fields; two streams. An entry counts when its id differs from the stream's last one.
 */
import { Redis } from 'ioredis';
import { Backlog } from './backlog.ts';
import { answer, type Figure, jobOf } from './job.ts';
import { Loop } from './loop.ts';
import { keyOf, pool, TOPICS, valueOf } from './messages.ts';
import { numbered, numberOf, SteadyLoad } from './steady.ts';

/** Entries of one explicit pipeline: some 32 KiB of 100-byte messages. */
const PIPELINE = 256;
const READ_COUNT = 1000;
const GROUP = 'bench';

const { host, port, job } = jobOf(process.argv);
const connect = (enableAutoPipelining: boolean): Redis => new Redis({ host, port, enableAutoPipelining });
const content = pool(job.bytes);

function checker(): (id: unknown) => void {
  let last = '';
  return (id) => {
    if (typeof id !== 'string' || id === last) throw new Error(`entry id ${String(id)} after ${last}`);
    last = id;
  };
}

function produce(): Promise<Figure> {
  const redis = connect(true);
  const loop = new Loop(job);
  const settles = TOPICS.map(() => {
    const check = checker();
    return (id: unknown): void => {
      check(id);
      loop.finished();
    };
  });
  return loop.run((n, sample) => {
    const settle = settles[n & 1]!;
    const added = redis.xadd(TOPICS[n & 1]!, '*', 'key', keyOf(content, n), 'value', valueOf(content, n));
    if (sample === undefined) added.then(settle, loop.failed);
    else
      added.then((id) => {
        sample();
        settle(id);
      }, loop.failed);
  });
}

function pipeline(): Promise<Figure> {
  const redis = connect(false);
  const loop = new Loop({ ...job, window: Math.max(1, Math.round(job.window / PIPELINE)) }, PIPELINE);
  const checks = TOPICS.map(checker);
  const send = async (n: number, sample: (() => void) | undefined): Promise<void> => {
    const commands = redis.pipeline();
    const from = n * PIPELINE;
    for (let i = from; i < from + PIPELINE; i++)
      commands.xadd(TOPICS[i & 1]!, '*', 'key', keyOf(content, i), 'value', valueOf(content, i));
    const replies = await commands.exec();
    if (replies?.length !== PIPELINE) throw new Error(`${replies?.length} replies to ${PIPELINE} commands`);
    for (let i = 0; i < PIPELINE; i++) {
      const [error, id] = replies[i]!;
      if (error !== null) throw error;
      checks[i & 1]!(id);
    }
    sample?.();
    loop.finished();
  };
  return loop.run((n, sample) => void send(n, sample).catch(loop.failed));
}

type Entry = [id: string, fields: Buffer[]];

async function consume(): Promise<Figure> {
  const redis = connect(false);
  const total = Math.round(((job.backlogPerSecond ?? 0) * job.windowMs) / 1000);
  await fill(redis, total);
  const backlog = new Backlog(total);
  const read = async (): Promise<void> => {
    const answered: Promise<unknown>[] = [];
    for (let isLast = false; !isLast;) {
      const entries = await next(redis);
      const ids: string[] = [];
      for (const [id, fields] of entries) {
        if (fields[3]!.length !== job.bytes) throw new Error(`entry ${id} has a body of ${fields[3]!.length} bytes`);
        ids.push(id);
        isLast = backlog.handled();
      }
      answered.push(redis.xack(TOPICS[0], GROUP, ...ids));
    }
    await Promise.all(answered);
  };
  await redis.xgroup('CREATE', TOPICS[0], GROUP, '0');
  await read();
  return backlog.done;
}

/** The next entries of the one stream, as buffers. */
async function next(redis: Redis): Promise<Entry[]> {
  type Streams = [Buffer, [Buffer, Buffer[]][]][] | null;
  const streams = (await redis.xreadgroupBuffer(
    'GROUP',
    GROUP,
    'consumer',
    'COUNT',
    READ_COUNT,
    'BLOCK',
    1000,
    'STREAMS',
    TOPICS[0],
    '>',
  )) as Streams;
  return (streams?.[0]?.[1] ?? []).map(([id, fields]) => [id.toString('latin1'), fields]);
}

async function fill(redis: Redis, total: number): Promise<void> {
  for (let at = 0; at < total;) {
    const commands = redis.pipeline();
    for (const end = Math.min(total, at + READ_COUNT); at < end; at++)
      commands.xadd(TOPICS[0], '*', 'key', keyOf(content, at), 'value', valueOf(content, at));
    await commands.exec();
  }
}

async function latency(): Promise<Figure> {
  const [writer, reader] = [connect(true), connect(false)];
  await writer.xgroup('CREATE', TOPICS[0], GROUP, '0', 'MKSTREAM');
  const load = new SteadyLoad(job.warmUpMs, job.windowMs);
  let failure: unknown;
  let isOver = false;
  const listen = async (): Promise<void> => {
    while (!isOver) {
      const entries = await next(reader);
      for (const [, fields] of entries) load.received(numberOf(fields[3]!));
      if (entries.length > 0) writer.xack(TOPICS[0], GROUP, ...entries.map(([id]) => id)).catch((error) => (failure ??= error));
    }
  };
  listen().catch((error) => (failure ??= error));
  const figure = await load.run((n) => {
    writer.xadd(TOPICS[0], '*', 'key', keyOf(content, n), 'value', numbered(n, job.bytes)).catch((error) => (failure ??= error));
  });
  isOver = true;
  if (failure !== undefined) throw failure;
  return figure;
}

const modes: Partial<Record<typeof job.mode, () => Promise<Figure>>> = { produce, pipeline, consume, latency };
const run = modes[job.mode];
if (run === undefined) throw new Error(`no mode ${job.mode}`);
answer(await run());
