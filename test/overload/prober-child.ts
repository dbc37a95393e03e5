/**
 * The control lane seen from outside: heartbeats, offset commits, queue locks and two-way confirmations of half messages, each kind at a
 * fixed schedule on one connection of their own, timed from when they were due. The half messages are stored before the load begins.
 */
import { emptySendRequest, encodeHeartbeat, encodeProperties, RequestCode, SendRequests, type Frame } from '@tallystick/remoting';
import { configOf, serve } from './children.ts';
import { Histogram, type Spread } from './histogram.ts';
import { ask, dial } from './read-back.ts';

export interface ProberConfig {
  readonly port: number;
  /** Half messages to store, for as many confirmations. */
  readonly halves: number;
  readonly everyMs: number;
}

export interface ProberResult {
  readonly latency: Readonly<Record<string, Spread>>;
  /** All kinds together. */
  readonly all: Spread;
  /** Asked, and not answered with 0; by kind and code. */
  readonly failures: Readonly<Record<string, number>>;
  /** Confirmations answered with 0. */
  readonly committed: number;
}

const { port, halves, everyMs } = configOf<ProberConfig>();
const GROUP = 'control';
const TOPIC = 'control';
const CLIENT = 'prober@1';
const peer = await dial(port);
const topic = {
  topic: TOPIC,
  defaultTopic: 'TBW102',
  readQueueNums: 1,
  writeQueueNums: 1,
  perm: 6,
  topicFilterType: 'SINGLE_TAG',
  topicSysFlag: 0,
  order: false,
};
await ask(peer, RequestCode.UPDATE_AND_CREATE_TOPIC, topic, undefined, () => {});

interface Half {
  readonly offset: string;
  readonly position: number;
  readonly id: string;
}
const stored: Half[] = [];
await Promise.all(Array.from({ length: halves }, (_, n) => storeHalf(n)));

let running = false;
let startMs = 0;
let latency = new Map<string, Histogram>();
let all = new Histogram();
let failures: Record<string, number> = {};
let committed = 0;
const counts = new Map<string, number>();
const open = new Set<object>();

const heartbeat = encodeHeartbeat({
  clientID: CLIENT,
  producerDataSet: [{ groupName: GROUP }],
  consumerDataSet: [],
  heartbeatFingerprint: 0,
  withoutSub: false,
});
const lock = Buffer.from(
  JSON.stringify({ consumerGroup: GROUP, clientId: CLIENT, mqSet: [{ topic: TOPIC, brokerName: 'broker-a', queueId: 0 }] }),
);
const KINDS: Readonly<Record<string, (n: number, done: (code: number) => void) => boolean>> = {
  heartbeat: (_n, done) => tell(RequestCode.HEART_BEAT, {}, heartbeat, done),
  'offset commit': (_n, done) =>
    tell(
      RequestCode.UPDATE_CONSUMER_OFFSET,
      { consumerGroup: GROUP, topic: TOPIC, queueId: 0, commitOffset: 0 },
      undefined,
      done,
    ),
  lock: (_n, done) => tell(RequestCode.LOCK_BATCH_MQ, {}, lock, done),
  confirmation: (_n, done) => {
    const half = stored.pop();
    if (half === undefined) return false;
    const fields = {
      producerGroup: GROUP,
      tranStateTableOffset: half.offset,
      commitLogOffset: half.position,
      commitOrRollback: 8,
      fromTransactionCheck: false,
      msgId: half.id,
      transactionId: half.id,
      topic: TOPIC,
    };
    return tell(RequestCode.END_TRANSACTION, fields, undefined, (code) => {
      if (code === 0) committed++;
      done(code);
    });
  },
};

serve({
  start: () => {
    latency = new Map(Object.keys(KINDS).map((kind) => [kind, new Histogram()]));
    all = new Histogram();
    failures = {};
    running = true;
    startMs = performance.now();
    counts.clear();
    tick();
  },
  /** Ends the schedule and waits for what is open. */
  stop: async ({ waitMs }: { waitMs: number }): Promise<ProberResult> => {
    running = false;
    const untilMs = performance.now() + waitMs;
    while (open.size > 0 && performance.now() < untilMs) await new Promise((resolve) => setTimeout(resolve, 10));
    if (open.size > 0) failures['no answer'] = open.size;
    return {
      latency: Object.fromEntries([...latency].map(([kind, each]) => [kind, each.summary()])),
      all: all.summary(),
      failures,
      committed,
    };
  },
  /** Messages of committed transactions that can be read. */
  visible: () =>
    ask(peer, RequestCode.GET_MAX_OFFSET, { topic: TOPIC, queueId: 0 }, undefined, (reply) => extText(reply, 'offset')),
});

function tick(): void {
  if (!running) return;
  const nowMs = performance.now();
  Object.entries(KINDS).forEach(([kind, send], at) => {
    for (;;) {
      const count = counts.get(kind) ?? 0;
      const dueMs = startMs + (count + at / 4) * everyMs;
      if (dueMs > nowMs) return;
      counts.set(kind, count + 1);
      const token = {};
      open.add(token);
      const sent = send(count, (code) => {
        if (!open.delete(token)) return;
        const ms = performance.now() - dueMs;
        latency.get(kind)!.add(ms);
        all.add(ms);
        if (code !== 0) failures[`${kind}: ${code}`] = (failures[`${kind}: ${code}`] ?? 0) + 1;
      });
      if (!sent) open.delete(token);
    }
  });
  setTimeout(tick, 1);
}

function tell(
  code: number,
  fields: Readonly<Record<string, string | number | boolean>>,
  body: Uint8Array | undefined,
  done: (code: number) => void,
): boolean {
  peer.request(code, fields, body, 30_000, (error, reply) => done(error === undefined ? reply.code : -1));
  return true;
}

function storeHalf(n: number): Promise<void> {
  const id = `C0DE0000000000000000C0DE${n.toString(16).padStart(8, '0').toUpperCase()}`;
  const requests = new SendRequests({
    producerGroup: GROUP,
    topic: TOPIC,
    queueId: 0,
    defaultTopic: 'TBW102',
    defaultTopicQueueNums: 4,
    batch: false,
  });
  const send = emptySendRequest();
  send.bornTimestamp = Date.now();
  send.sysFlag = 4;
  send.properties = Buffer.from(
    encodeProperties(
      new Map([
        ['TRAN_MSG', 'true'],
        ['PGROUP', GROUP],
        ['UNIQ_KEY', id],
      ]),
    ),
  );
  send.propertiesEnd = send.properties.length;
  send.body = Buffer.from(id);
  send.bodyEnd = send.body.length;
  return new Promise((resolve, reject) => {
    peer.requestWith(
      requests,
      send,
      30_000,
      {
        onReply: (_token, error, reply) => {
          if (error !== undefined || reply.code !== 0)
            return reject(new Error(`a half message was not stored: ${error?.message ?? reply.remark()}`));
          const position = Number.parseInt(extText(reply, 'msgId').slice(-16), 16);
          stored.push({ offset: extText(reply, 'queueOffset'), position, id });
          resolve();
        },
      },
      0,
    );
  });
}

function extText(reply: Frame, name: string): string {
  return reply.fields().get(name) ?? '';
}
