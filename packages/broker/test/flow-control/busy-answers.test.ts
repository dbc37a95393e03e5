import { RequestCode, wireFields } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import type { GivenBrokerOptions } from '../../src/options.ts';
import { Stage, type Answer, type Half, type TestClient } from '../broker-stage.ts';

const REJECT = '[REJECTREQUEST]system busy, start flow control for a while';
const OVERLOAD = '[OVERLOAD]system busy, start flow control for a while';
const PUT_BUSY = '[PC_SYNCHRONIZED]broker busy, start flow control for a while';
const TIMEOUT =
  /^\[TIMEOUT_CLEAN_QUEUE\]broker busy, start flow control for a while, period in queue: (\d+)ms, size of queue: (\d+)$/;
const PCBUSY =
  /^\[PCBUSY_CLEAN_QUEUE\]broker busy, start flow control for a while, period in queue: (\d+)ms, size of queue: (\d+)$/;

type Waiting = { answer?: Answer; error?: string };

function begin(client: TestClient, body: string, queueId = 0): Waiting {
  return client.begin('SEND_MESSAGE_V2', client.sendHeader('orders', { queueId }), Buffer.from(body));
}

function settled(stage: Stage, waiting: readonly Waiting[]): Answer[] {
  stage.until(() => waiting.every(({ answer }) => answer !== undefined));
  return waiting.map(({ answer }) => answer!);
}

/** A broker whose log write never ends, one send inside it. */
function stuck(options: GivenBrokerOptions = {}): { stage: Stage; client: TestClient; first: Waiting } {
  const stage = new Stage({ syncFlushTimeoutMs: 60_000, ...options }).start();
  const client = stage.client();
  client.send('orders', 'before');
  stage.run(300);
  stage.holdWrites();
  return { stage, client, first: begin(client, 'held') };
}

/** A broker whose store takes 4 KiB and then waits for a slow sync. */
function shut(options: GivenBrokerOptions = {}): { stage: Stage; client: TestClient } {
  const stage = new Stage({ unsyncedBytesMax: 4096, syncFlushTimeoutMs: 60_000, ...options }).start();
  const client = stage.client();
  client.send('orders', 'before');
  stage.run(300);
  return { stage, client };
}

const LARGE = 'x'.repeat(4000);
const BODY = Buffer.alloc(100, 'b');

describe('a write of the log that takes longer than osPageCacheBusyTimeOutMills', () => {
  it('has sends rejected at the door, and lets everything else pass', () => {
    const { stage, client, first } = stuck();
    client.heartbeat({ producers: ['pay'], consumers: ['readers'] });
    stage.run(1030);
    const refused = client.send('orders', 'refused');
    expect(refused).toMatchObject({ code: 2, remark: REJECT });
    expect(refused.fields.size).toBe(0);
    const back = client.call('CONSUMER_SEND_MSG_BACK', { offset: 0, group: 'readers', delayLevel: 0 });
    expect(back).toMatchObject({ code: 2, remark: REJECT });
    expect(client.heartbeat({ producers: ['pay'] }).code).toBe(0);
    expect(client.pull('orders', 0).code).toBe(0);
    expect(client.call('GET_ROUTEINFO_BY_TOPIC', { topic: 'orders' }).code).toBe(0);
    expect(client.call('GET_CONSUMER_LIST_BY_GROUP', { consumerGroup: 'readers' }).code).toBe(0);
    expect(first.answer).toBeUndefined();
    expect(stage.core.counters).toMatchObject({ busy: 2, busyPageCache: 2, busyNoBuffer: 0 });
    stage.releaseWrites();
    expect(settled(stage, [first])[0]!.code).toBe(0);
    expect(client.send('orders', 'after').code).toBe(0);
    expect(client.bodies('orders')).toEqual(['before', 'held', 'after']);
    expect(stage.powerCut().client().bodies('orders')).toEqual(['before', 'held', 'after']);
  });

  it('is not one that takes just less', () => {
    const { stage, client, first } = stuck();
    stage.run(950);
    const second = begin(client, 'second');
    stage.run(20);
    stage.releaseWrites();
    expect(settled(stage, [first, second]).map(({ code }) => code)).toEqual([0, 0]);
    expect(stage.core.counters.busy).toBe(0);
  });

  it('is not one that nobody has looked after because the process stood still', () => {
    const { stage, client, first } = stuck();
    stage.run(20);
    stage.stalledMs += 30_000;
    const second = begin(client, 'second');
    stage.run(20);
    expect(stage.core.counters.busy).toBe(0);
    stage.releaseWrites();
    expect(settled(stage, [first, second]).map(({ code }) => code)).toEqual([0, 0]);
    expect(client.bodies('orders')).toEqual(['before', 'held', 'second']);
  });

  it('is not a slow sync', () => {
    const stage = new Stage({ syncFlushTimeoutMs: 60_000 }).start();
    const client = stage.client();
    stage.syncDelayMs = 3000;
    const first = begin(client, 'a');
    stage.run(1500);
    const second = begin(client, 'b');
    expect(settled(stage, [first, second]).map(({ code }) => code)).toEqual([0, 0]);
    expect(stage.core.counters.busyPageCache).toBe(0);
  });

  it('empties the lane of sends, and tells each how long it has waited and how many are left', () => {
    const { stage, client, first } = stuck({ unsyncedBytesMax: 4096, waitTimeMillsInSendQueue: 60_000 });
    const large = begin(client, LARGE);
    stage.run(200);
    const queued = [1, 2, 3].map((n) => begin(client, `m${n}`));
    stage.run(700);
    expect(queued.every(({ answer }) => answer === undefined)).toBe(true);
    const answers = settled(stage, queued);
    expect(answers.map(({ code }) => code)).toEqual([2, 2, 2]);
    const found = answers.map(({ remark }) => PCBUSY.exec(remark!)!);
    expect(found.map(([, , left]) => left)).toEqual(['2', '1', '0']);
    expect(Number(found[0]![1])).toBeGreaterThan(750);
    expect(Number(found[0]![1])).toBeLessThan(1000);
    expect(stage.core.counters).toMatchObject({ busy: 3, busyCleanedPageCache: 3, queued: 3 });
    stage.releaseWrites();
    expect(settled(stage, [first, large]).map(({ code }) => code)).toEqual([0, 0]);
    expect(client.bodies('orders')).toEqual(['before', 'held', LARGE]);
  });

  it('is told at the put when fast failure is off', () => {
    const { stage, client, first } = stuck({ unsyncedBytesMax: 4096, brokerFastFailureEnable: false });
    client.heartbeat({ consumers: ['readers'] });
    const large = begin(client, LARGE);
    stage.run(100);
    const queued = [1, 2].map((n) => begin(client, `m${n}`));
    const back = client.begin('CONSUMER_SEND_MSG_BACK', { offset: stage.core.recovery.end, group: 'readers', delayLevel: 0 });
    stage.run(500);
    expect(queued.every(({ answer }) => answer === undefined)).toBe(true);
    const answers = settled(stage, queued);
    expect(answers.map(({ code, remark }) => [code, remark])).toEqual([
      [2, PUT_BUSY],
      [2, PUT_BUSY],
    ]);
    settled(stage, [back]);
    expect(back.answer!.code).toBe(1);
    stage.releaseWrites();
    expect(settled(stage, [first, large]).map(({ code }) => code)).toEqual([0, 0]);
    expect(stage.core.counters).toMatchObject({ busyCleanedPageCache: 0, busyCleanedTimeout: 0 });
    expect(stage.core.counters.busyAtPut).toBeGreaterThanOrEqual(2);
    expect(client.bodies('orders')).toEqual(['before', 'held', LARGE]);
  });

  it('does not keep a confirmation from its turn', () => {
    const stage = new Stage({ syncFlushTimeoutMs: 60_000 }).start();
    const client = stage.client();
    const halves = ['K0', 'K1', 'K2'].map((id) => client.half('orders', id, id));
    stage.run(300);
    stage.holdWrites();
    begin(client, 'held', 1);
    stage.run(1100);
    expect(client.send('orders', 'x').remark).toBe(REJECT);
    for (const half of halves) tell(client, half);
    const asked = client.begin('END_TRANSACTION', client.end(halves[0]!, 'commit'));
    stage.run(100);
    stage.releaseWrites();
    expect(settled(stage, [asked])[0]!.code).toBe(0);
    expect(client.bodies('orders')).toEqual(['K0', 'K1', 'K2']);
  });
});

describe('a transient store pool without a buffer', () => {
  it('has sends rejected at the door until one comes back', () => {
    const stage = new Stage({
      flush: 'async',
      transientStorePoolEnable: true,
      transientStorePoolSize: 2,
      transientStorePoolBufferBytes: 16 * 1024,
      groupBytes: 4096,
      syncFlushTimeoutMs: 60_000,
    }).start();
    const client = stage.client();
    client.send('orders', 'before');
    stage.run(500);
    stage.holdWrites();
    const bodies: string[] = ['before'];
    const waiting: Waiting[] = [];
    for (let n = 0; n < 40 && stage.core.counters.busyNoBuffer === 0; n++) {
      const body = `${n} ${'x'.repeat(2000)}`;
      waiting.push(begin(client, body));
      bodies.push(body);
      stage.run(10);
    }
    expect(waiting.at(-1)!.answer).toMatchObject({ code: 2, remark: REJECT });
    bodies.pop();
    expect(stage.core.counters).toMatchObject({ busy: 1, busyNoBuffer: 1, busyPageCache: 0 });
    expect(client.heartbeat({ producers: ['pay'] }).code).toBe(0);
    stage.releaseWrites();
    settled(stage, waiting);
    stage.run(500);
    expect(client.send('orders', 'after').code).toBe(0);
    stage.run(500);
    expect(client.bodies('orders')).toEqual([...bodies, 'after']);
  });

  it('is what makes a broker with a pool busy, and not a slow write: a put ends in a buffer', () => {
    const { stage, client } = stuck({ flush: 'async', transientStorePoolEnable: true });
    stage.run(1500);
    const sends = [1, 2, 3].map((n) => begin(client, `m${n}`));
    stage.run(100);
    expect(sends.map(({ answer }) => answer?.code)).toEqual([0, 0, 0]);
    expect(stage.core.counters.busy).toBe(0);
    stage.releaseWrites();
    stage.run(500);
    expect(client.bodies('orders')).toEqual(['before', 'held', 'm1', 'm2', 'm3']);
  });
});

describe('a lane that is full', () => {
  it('by number refuses the next send, keeps those it has and takes new ones when there is room', () => {
    const { stage, client } = shut({ sendThreadPoolQueueCapacity: 3, waitTimeMillsInSendQueue: 60_000 });
    stage.syncDelayMs = 100;
    const large = begin(client, LARGE);
    stage.run(20);
    const waiting = [1, 2, 3, 4, 5].map((n) => begin(client, `m${n}`));
    stage.run(20);
    expect(waiting.map(({ answer }) => answer?.remark)).toEqual([undefined, undefined, undefined, OVERLOAD, OVERLOAD]);
    expect(stage.core.lanes().find(({ name }) => name === 'send')).toMatchObject({ waiting: 3, capacity: 3 });
    expect(client.heartbeat({ producers: ['pay'] }).code).toBe(0);
    expect(client.pull('orders', 0).code).toBe(0);
    const answers = settled(stage, [large, ...waiting]);
    expect(answers.map(({ code }) => code)).toEqual([0, 0, 0, 0, 2, 2]);
    expect(stage.core.counters).toMatchObject({ busy: 2, busyQueueCount: 2, busyQueueBytes: 0 });
    expect(client.send('orders', 'after').code).toBe(0);
    expect(client.bodies('orders')).toEqual(['before', LARGE, 'm1', 'm2', 'm3', 'after']);
    expect(stage.powerCut().client().bodies('orders')).toHaveLength(6);
  });

  it('by bytes refuses what does not fit, and takes one that is larger than all of it when it is empty', () => {
    const { stage, client } = shut({ sendQueueBytesMax: 64 * 1024, waitTimeMillsInSendQueue: 60_000 });
    stage.syncDelayMs = 100;
    begin(client, LARGE);
    stage.run(20);
    const giant = 'g'.repeat(100_000);
    const waiting = [giant, 'small', 'y'.repeat(40_000)].map((body) => begin(client, body));
    stage.run(20);
    expect(waiting.map(({ answer }) => answer?.remark)).toEqual([undefined, OVERLOAD, OVERLOAD]);
    expect(settled(stage, waiting).map(({ code }) => code)).toEqual([0, 2, 2]);
    expect(stage.core.counters).toMatchObject({ busy: 2, busyQueueCount: 0, busyQueueBytes: 2 });
    expect(client.bodies('orders')).toEqual(['before', LARGE, giant]);
  });

  it('only counts a one-way send that it refuses', () => {
    const { stage, client } = shut({ sendThreadPoolQueueCapacity: 1 });
    stage.syncDelayMs = 100;
    begin(client, LARGE);
    stage.run(20);
    for (const body of ['a', 'b', 'c']) client.oneway('SEND_MESSAGE_V2', client.sendHeader('orders'), Buffer.from(body));
    stage.run(400);
    expect(stage.core.counters).toMatchObject({ busy: 2, busyQueueCount: 2 });
    expect(client.bodies('orders')).toEqual(['before', LARGE, 'a']);
  });
});

describe('sends that have waited for waitTimeMillsInSendQueue', () => {
  it('are refused head by head, each once, with the time they waited', () => {
    const { stage, client } = shut();
    stage.syncDelayMs = 500;
    const large = begin(client, LARGE);
    stage.run(20);
    const waiting = [1, 2, 3].map((n) => begin(client, `m${n}`));
    stage.run(150);
    const late = begin(client, 'late');
    expect(waiting.every(({ answer }) => answer === undefined)).toBe(true);
    stage.run(80);
    const found = waiting.map(({ answer }) => TIMEOUT.exec(answer!.remark!)!);
    expect(found.map(([, , left]) => left)).toEqual(['3', '2', '1']);
    for (const [, waitedMs] of found) {
      expect(Number(waitedMs)).toBeGreaterThanOrEqual(200);
      expect(Number(waitedMs)).toBeLessThan(215);
    }
    expect(late.answer).toBeUndefined();
    settled(stage, [large, late]);
    expect(late.answer!.remark).toMatch(TIMEOUT);
    expect(stage.core.counters).toMatchObject({ busy: 4, busyCleanedTimeout: 4, busyCleanedPageCache: 0 });
    stage.syncDelayMs = 0;
    expect(client.send('orders', 'after').code).toBe(0);
    expect(client.bodies('orders')).toEqual(['before', LARGE, 'after']);
  });

  it('go on waiting when fast failure is off', () => {
    const { stage, client } = shut({ brokerFastFailureEnable: false });
    stage.syncDelayMs = 500;
    const waiting = [LARGE, 'a', 'b'].map((body) => begin(client, body));
    expect(settled(stage, waiting).map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(stage.core.counters.busy).toBe(0);
  });
});

describe('a slow disk under too many sends', () => {
  it('is given what it can do, so that what is taken is answered in time and the rest is refused for certain', () => {
    const stage = new Stage({ segmentBytes: 32 * 1024 * 1024, blockBytes: 1024 * 1024, groupBytes: 256 * 1024 }).start();
    const [sender, other] = [stage.client(), stage.client()];
    const header = sender.sendHeader('orders', { queueId: 1 });
    sender.send('orders', 'first');
    // The disk takes a thousand of these messages a second, four thousand are offered.
    stage.writeBytesPerMs = 4200;
    const body = Buffer.alloc(4000, 'x');
    const sends: { waiting: Waiting; atMs: number; doneMs?: number }[] = [];
    for (let ms = 0; ms < 3000; ms += 5) {
      for (let n = 0; n < 20 && ms < 2000; n++) sends.push({ waiting: sender.begin('SEND_MESSAGE_V2', header, body), atMs: ms });
      stage.run(5);
      for (const send of sends) if (send.doneMs === undefined && send.waiting.answer !== undefined) send.doneMs = ms + 5;
      const askedMs = stage.world.timeMs;
      if (ms % 100 === 0) expect(other.heartbeat({ producers: ['pay'] }).code).toBe(0);
      expect(stage.world.timeMs - askedMs).toBeLessThan(5);
    }
    expect(sends.every(({ doneMs }) => doneMs !== undefined)).toBe(true);
    const { counters } = stage.core;
    const taken = sends.filter(({ waiting }) => waiting.answer!.code === 0);
    const refused = sends.filter(({ waiting }) => waiting.answer!.code === 2);
    expect(taken.length + refused.length).toBe(sends.length);
    const longest = (those: typeof sends): number => Math.max(...those.map(({ atMs, doneMs }) => doneMs! - atMs));
    expect(longest(taken)).toBeLessThan(1000);
    expect(longest(refused)).toBeLessThan(225);
    expect(taken.length).toBeGreaterThan(1800);
    expect(counters).toMatchObject({ busy: refused.length, busyCleanedTimeout: refused.length, sendTimeouts: 0 });
    stage.writeBytesPerMs = Infinity;
    expect(other.send('orders', 'after').code).toBe(0);
    expect(other.read('orders', 1)).toHaveLength(taken.length);
  });
});

describe('confirmations', () => {
  it('that fill their lane stop the reading of their connection, and none is dropped', () => {
    const stage = new Stage({ controlShareBytes: 1024, endTransactionPoolQueueCapacity: 2 }).start();
    const [client, other] = [stage.client(), stage.client()];
    const halves = Array.from({ length: 40 }, (_, n) => client.half('orders', `m${n}`, `K${n}`));
    for (const half of halves) tell(client, half);
    const asked = other.begin('GET_ROUTEINFO_BY_TOPIC', { topic: 'orders' });
    let mostHeld = 0;
    stage.until(() => {
      const lane = stage.core.lanes().find(({ name }) => name === 'endTransaction')!;
      mostHeld = Math.max(mostHeld, lane.heldConnections);
      expect(lane.waiting).toBeLessThanOrEqual(3);
      return stage.core.counters.commits === 40;
    });
    expect(mostHeld).toBe(1);
    expect(settled(stage, [asked])[0]!.code).toBe(0);
    expect(client.bodies('orders')).toEqual(halves.map((_, n) => `m${n}`));
    expect(stage.core.counters).toMatchObject({ busy: 0, commits: 40 });
  });

  it('wait behind no send', () => {
    const { stage, client } = shut({ unsyncedBytesMax: 8192, waitTimeMillsInSendQueue: 60_000 });
    const half = client.half('orders', 'paid', 'K1');
    client.heartbeat({ consumers: ['readers'] });
    stage.syncDelayMs = 200;
    const flood = Array.from({ length: 30 }, (_, n) => begin(client, `${n} ${LARGE}`, 1));
    stage.run(5);
    expect(stage.core.lanes().find(({ name }) => name === 'send')!.waiting).toBeGreaterThan(20);
    const commit = client.begin('END_TRANSACTION', client.end(half, 'commit'));
    const offset = client.begin('UPDATE_CONSUMER_OFFSET', {
      consumerGroup: 'readers',
      topic: 'orders',
      queueId: 0,
      commitOffset: 1,
    });
    const beat = stage.world.timeMs;
    expect(client.heartbeat({ producers: ['pay'] }).code).toBe(0);
    expect(stage.world.timeMs - beat).toBeLessThan(5);
    settled(stage, [commit, offset]);
    expect([commit.answer!.code, offset.answer!.code]).toEqual([0, 0]);
    expect(stage.world.timeMs - beat).toBeLessThan(700);
    expect(flood.at(-1)!.answer).toBeUndefined();
    expect(settled(stage, flood).every(({ code }) => code === 0)).toBe(true);
  });
});

describe('a connection', () => {
  it('with too many unanswered sends is not read until half are answered, and loses none', () => {
    const stage = new Stage({ connectionSendsMax: 4 }).start();
    const [eager, other] = [stage.client(), stage.client()];
    stage.syncDelayMs = 50;
    const waiting = Array.from({ length: 20 }, (_, n) => begin(eager, `m${n}`));
    stage.run(20);
    expect(stage.core.store.info().messages).toBe(5);
    expect(other.heartbeat({ producers: ['pay'] }).code).toBe(0);
    expect(settled(stage, waiting).every(({ code }) => code === 0)).toBe(true);
    expect(eager.bodies('orders')).toEqual(waiting.map((_, n) => `m${n}`));
    expect(stage.core.counters.busy).toBe(0);
  });

  it('of our client at its limits is never paused', () => {
    const { options } = new Stage().start().core;
    expect(options.connectionSendsMax).toBeGreaterThanOrEqual(16_384);
    expect(options.connectionSendBytesMax).toBeGreaterThanOrEqual(2 * 8 * 1024 * 1024);
  });
});

describe('a window of 16,384 small sends at once, the most that our client has on one connection', () => {
  it.each([0, 40])('is taken without a refusal when every sync takes %i ms more', (syncDelayMs) => {
    const stage = new Stage({ segmentBytes: 32 * 1024 * 1024, blockBytes: 1024 * 1024, groupBytes: 256 * 1024 }).start();
    const client = stage.client();
    const header = client.sendHeader('orders');
    stage.syncDelayMs = syncDelayMs;
    client.send('orders', 'first');
    for (let round = 0; round < 2; round++) {
      let settled = 0;
      const codes = new Set<number>();
      for (let n = 0; n < 16_384; n++) {
        client.peer.request(
          RequestCode.SEND_MESSAGE_V2,
          wireFields('SEND_MESSAGE_V2', header),
          BODY,
          undefined,
          (_error, reply) => {
            settled++;
            codes.add(reply.code);
          },
        );
      }
      stage.until(() => settled === 16_384);
      expect([...codes]).toEqual([0]);
    }
    expect(stage.core.counters).toMatchObject({ busy: 0, sends: 1 + 2 * 16_384 });
  });
});

describe('a broker that stops', () => {
  it('carries out the confirmations that wait, and says to waiting sends that it goes', () => {
    const { stage, client } = shut({ controlShareBytes: 1024 });
    const clients = Array.from({ length: 12 }, () => stage.client());
    const halves = clients.map((each, n) => each.half('orders', `h${n}`, `K${n}`));
    stage.syncDelayMs = 50;
    const large = begin(client, LARGE, 1);
    stage.run(10);
    const queued = [1, 2].map((n) => begin(client, `m${n}`, 1));
    stage.run(10);
    clients.forEach((each, n) => tell(each, halves[n]!));
    const waiting = (): number => stage.core.lanes().find(({ name }) => name === 'endTransaction')!.waiting;
    stage.until(() => waiting() > 3);
    const taken = waiting() + halves.length - stage.core.halves().length;
    stage.stop();
    expect(large.answer!.code).toBe(0);
    expect(queued.map(({ answer }) => answer?.code)).toEqual([14, 14]);
    const after = stage.start().client();
    expect(after.bodies('orders')).toHaveLength(1 + taken);
    expect(after.bodies('orders', 1)).toEqual([LARGE]);
  });
});

describe('the running figures', () => {
  it('name the lanes as RocketMQ does, and each cause of a busy answer', () => {
    const { stage, client } = shut({ sendThreadPoolQueueCapacity: 2, waitTimeMillsInSendQueue: 60_000 });
    stage.syncDelayMs = 100;
    begin(client, LARGE);
    stage.run(20);
    for (const body of ['a', 'b', 'c']) begin(client, body);
    stage.run(20);
    const { table } = JSON.parse(client.raw(RequestCode.GET_BROKER_RUNTIME_INFO, undefined).body.toString()) as {
      table: Record<string, string>;
    };
    expect(table).toMatchObject({
      sendThreadPoolQueueSize: '2',
      sendThreadPoolQueueCapacity: '2',
      pullThreadPoolQueueSize: '0',
      pullThreadPoolQueueCapacity: '100000',
      queryThreadPoolQueueCapacity: '20000',
      EndTransactionQueueSize: '0',
      EndTransactionThreadPoolQueueCapacity: '100000',
      pageCacheLockTimeMills: '0',
      remainTransientStoreBufferNumbs: '2147483647',
      'ts.busy': '1',
      'ts.busyQueueCount': '1',
      'ts.busyCleanedTimeout': '0',
    });
    expect(Number(table['sendThreadPoolQueueHeadWaitTimeMills'])).toBeGreaterThanOrEqual(15);
  });
});

function tell(client: TestClient, half: Half): void {
  client.peer.oneway(RequestCode.END_TRANSACTION, wireFields('END_TRANSACTION', client.end(half, 'commit')));
}
