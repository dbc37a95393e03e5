import { deflateSync } from 'node:zlib';
import { RequestCode, ResponseCode } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import type { ConsumerCoreOptions } from '../../src/client-core.ts';
import type { PushConsumerCore } from '../../src/consumer/push-consumer-core.ts';
import type { ReceivedMessage } from '../../src/message/received-message.ts';
import { Stage } from '../fake-broker.ts';

type Settle = (error?: unknown) => void;

interface Setup {
  readonly stage: Stage;
  readonly consumer: PushConsumerCore;
  /** Bodies in the order in which handlers got them. */
  readonly got: string[];
  readonly messages: ReceivedMessage[];
  /** Settles of handlers that were not settled at once. */
  readonly open: Map<string, Settle>;
}

/** A consumer of topic t (2 queues). `act` says what its handler does with a body; `undefined` leaves it open. */
function consuming(
  act: (body: string, message: ReceivedMessage) => 'ok' | 'fail' | undefined,
  options: Partial<ConsumerCoreOptions> = {},
): Setup {
  const stage = new Stage();
  stage.broker.topics.set('t', 2);
  const got: string[] = [];
  const messages: ReceivedMessage[] = [];
  const open = new Map<string, Settle>();
  const consumer = stage.client().consumer({
    group: 'g',
    topics: { t: '*' },
    from: 'first',
    handler: (message, settle) => {
      messages.push(message);
      const body = message.value.toString();
      got.push(body);
      const does = act(body, message);
      if (does === 'ok') settle();
      else if (does === 'fail') settle(new Error('as planned'));
      else open.set(body, settle);
    },
    ...options,
  });
  return { stage, consumer, got, messages, open };
}

function start({ stage, consumer }: Setup): void {
  const told: unknown[] = [];
  consumer.start((error) => told.push(error));
  stage.time.settle();
  expect(told).toEqual([undefined]);
}

function put(stage: Stage, body: string, queueId = 0, properties: Record<string, string> = { UNIQ_KEY: `ID${body}` }): void {
  stage.broker.store({ topic: 't', queueId, body: Buffer.from(body), properties });
  stage.time.settle();
}

describe('push consumer', () => {
  it('joins its group, subscribes the retry topic with it, and gets what is there and what comes', () => {
    const setup = consuming(() => 'ok');
    const { stage, got } = setup;
    put(stage, 'old');
    start(setup);
    put(stage, 'new', 1);
    expect(got).toEqual(['old', 'new']);
    const beat = stage.broker
      .asks(RequestCode.HEART_BEAT)
      .map(({ body }) => JSON.parse(body.toString()))
      .find(({ consumerDataSet }) => consumerDataSet.length > 0);
    expect(beat.consumerDataSet[0]).toMatchObject({
      groupName: 'g',
      consumeType: 'CONSUME_PASSIVELY',
      messageModel: 'CLUSTERING',
    });
    expect(beat.consumerDataSet[0].subscriptionDataSet.map(({ topic }: { topic: string }) => topic)).toEqual(['t', '%RETRY%g']);
  });

  it('begins at the stored offset; without one at the first or the next message, as told', () => {
    for (const [from, stored, first] of [
      ['first', undefined, 'a'],
      ['last', undefined, 'c'],
      ['first', 1, 'b'],
      ['last', 0, 'a'],
    ] as const) {
      const setup = consuming(() => 'ok', { from });
      for (const body of ['a', 'b']) put(setup.stage, body);
      if (stored !== undefined) setup.stage.broker.offsets.set('t 0', stored);
      start(setup);
      put(setup.stage, 'c');
      expect(setup.got[0]).toBe(first);
    }
  });

  it('commits the lowest unfinished offset every commitIntervalMs, one-way, and only when it changed', () => {
    const setup = consuming((body) => (body === 'slow' ? undefined : 'ok'), { commitIntervalMs: 1000 });
    const { stage } = setup;
    start(setup);
    for (const body of ['a', 'slow', 'b']) put(stage, body);
    stage.time.advance(1000);
    expect(stage.broker.offsets.get('t 0')).toBe(1);
    const commits = (): number => stage.broker.asks(RequestCode.UPDATE_CONSUMER_OFFSET).length;
    const before = commits();
    stage.time.advance(3000);
    expect(commits()).toBe(before);
    setup.open.get('slow')!();
    stage.time.advance(1000);
    expect(stage.broker.offsets.get('t 0')).toBe(3);
  });

  it('runs no more handlers at once than allowed', () => {
    const setup = consuming(() => undefined, { concurrency: 3 });
    start(setup);
    for (let n = 0; n < 10; n++) put(setup.stage, `${n}`, n % 2);
    expect(setup.got.length).toBe(3);
    [...setup.open.values()][0]!();
    setup.stage.time.settle();
    expect(setup.got.length).toBe(4);
  });

  it('stops pulling a queue whose window is full and goes on when there is room', () => {
    const setup = consuming(() => undefined, { concurrency: 100, cachedMessagesMax: 4, pullBatchMessages: 2 });
    for (let n = 0; n < 10; n++) put(setup.stage, `${n}`);
    start(setup);
    expect(setup.got.length).toBe(4);
    for (const settle of [...setup.open.values()].slice(0, 2)) settle();
    setup.stage.time.settle();
    expect(setup.got.length).toBe(6);
  });

  it('hands a failed message back to the broker and goes on', () => {
    const setup = consuming((body) => (body === 'bad' ? 'fail' : 'ok'), { maxReconsumeTimes: 5 });
    const { stage } = setup;
    start(setup);
    for (const body of ['bad', 'good']) put(stage, body);
    const [back] = stage.broker.asks(RequestCode.CONSUMER_SEND_MSG_BACK);
    expect(Object.fromEntries(back!.fields)).toMatchObject({
      offset: '1000',
      group: 'g',
      delayLevel: '0',
      originMsgId: 'IDbad',
      originTopic: 't',
      maxReconsumeTimes: '5',
    });
    stage.time.advance(5000);
    expect(stage.broker.offsets.get('t 0')).toBe(2);
  });

  it('sends a copy to the retry topic when the broker does not take a message back', () => {
    const setup = consuming((body) => (body === 'bad' ? 'fail' : 'ok'));
    const { stage } = setup;
    stage.broker.script = (code) =>
      code === RequestCode.CONSUMER_SEND_MSG_BACK ? { code: 1, remark: 'look message by offset failed' } : 'ok';
    start(setup);
    put(stage, 'bad', 0, { UNIQ_KEY: 'IDbad', TAGS: 'A', mine: 'x', MIN_OFFSET: '0' });
    const [copy] = stage.broker.arrived;
    expect([copy!.topic, copy!.body, copy!.reconsumeTimes]).toEqual(['%RETRY%g', 'bad', 1]);
    expect(Object.fromEntries(copy!.properties)).toEqual({
      UNIQ_KEY: 'IDbad',
      TAGS: 'A',
      mine: 'x',
      RETRY_TOPIC: 't',
      RECONSUME_TIME: '1',
      MAX_RECONSUME_TIMES: '16',
      DELAY: '3',
    });
    stage.time.advance(5000);
    expect(stage.broker.offsets.get('t 0')).toBe(1);
  });

  it('tries a message again itself when the broker takes neither it nor a copy', () => {
    let fails = 1;
    const setup = consuming(() => (fails-- > 0 ? 'fail' : 'ok'), { localRetryMs: 5000 });
    const { stage, got } = setup;
    stage.broker.script = (code) => (code === RequestCode.CONSUMER_SEND_MSG_BACK || code === 310 ? { code: 1 } : 'ok');
    start(setup);
    put(stage, 'bad');
    stage.time.advance(4000);
    expect([got, stage.broker.offsets.get('t 0') ?? 0]).toEqual([['bad'], 0]);
    stage.time.advance(7000);
    expect([got, stage.broker.offsets.get('t 0')]).toEqual([['bad', 'bad'], 1]);
  });

  it('takes a message from a handler that holds it too long, and ignores what the handler says then', () => {
    const setup = consuming(() => undefined, { consumeTimeoutMs: 10_000 });
    const { stage } = setup;
    start(setup);
    put(stage, 'stuck');
    stage.time.advance(12_000);
    expect(stage.broker.asks(RequestCode.CONSUMER_SEND_MSG_BACK).length).toBe(1);
    setup.open.get('stuck')!(new Error('at last'));
    stage.time.advance(6000);
    expect([stage.broker.asks(RequestCode.CONSUMER_SEND_MSG_BACK).length, stage.broker.offsets.get('t 0')]).toEqual([1, 1]);
  });

  it('hands a message back once when its handler fails while it is being taken away', () => {
    const setup = consuming(() => undefined, { consumeTimeoutMs: 10_000 });
    const { stage } = setup;
    start(setup);
    put(stage, 'stuck');
    stage.broker.script = (code) => (code === RequestCode.CONSUMER_SEND_MSG_BACK ? 'silent' : 'ok');
    stage.time.advance(11_000);
    setup.open.get('stuck')!(new Error('at last'));
    stage.time.advance(10_000);
    expect(stage.broker.asks(RequestCode.CONSUMER_SEND_MSG_BACK).length).toBe(1);
    expect(stage.broker.arrived.map(({ topic }) => topic)).toEqual(['%RETRY%g']);
    expect(stage.broker.offsets.get('t 0')).toBe(1);
  });

  it('gets retried messages under the topic they were sent to', () => {
    const setup = consuming(() => 'ok');
    start(setup);
    setup.stage.broker.store({
      topic: '%RETRY%g',
      queueId: 0,
      body: Buffer.from('again'),
      properties: { RETRY_TOPIC: 't', UNIQ_KEY: 'X' },
      reconsumeTimes: 2,
    });
    setup.stage.time.settle();
    const [message] = setup.messages;
    expect([message!.topic, message!.storedTopic, message!.reconsumeTimes]).toEqual(['t', '%RETRY%g', 2]);
  });

  it('compares tags exactly, because brokers compare hashes', () => {
    const setup = consuming(() => 'ok', { topics: { t: 'Aa || TagA' } });
    start(setup);
    for (const tag of ['Aa', 'BB', 'TagA', 'TagB']) put(setup.stage, tag, 0, { TAGS: tag });
    put(setup.stage, 'untagged', 0, { x: 'y' });
    expect(setup.got).toEqual(['Aa', 'TagA']);
    setup.stage.time.advance(5000);
    expect(setup.stage.broker.offsets.get('t 0')).toBe(5);
  });

  it('inflates bodies, and fails only the message whose body inflates beyond the limit', () => {
    const setup = consuming(() => 'ok', { inflatedBytesMax: 1000 });
    const { stage } = setup;
    start(setup);
    const zipped = (length: number): Buffer => deflateSync('z'.repeat(length));
    stage.broker.store({ topic: 't', queueId: 0, body: zipped(1001), properties: { UNIQ_KEY: 'bomb' }, sysFlag: 0x301 });
    stage.broker.store({ topic: 't', queueId: 0, body: zipped(900), properties: { UNIQ_KEY: 'fine' }, sysFlag: 0x1 });
    stage.time.settle();
    expect(setup.got).toEqual(['z'.repeat(900)]);
    expect(stage.broker.asks(RequestCode.CONSUMER_SEND_MSG_BACK).map(({ fields }) => fields.get('originMsgId'))).toEqual([
      'bomb',
    ]);
  });

  it('jumps when its offset does not exist, commits the new one with an answer, and says so', () => {
    const setup = consuming(() => 'ok');
    const { stage } = setup;
    for (const body of ['a', 'b']) put(stage, body);
    stage.broker.offsets.set('t 0', 99);
    start(setup);
    stage.time.settle();
    expect(stage.broker.offsets.get('t 0')).toBe(2);
    expect(stage.reports.some((report) => report.includes('going on at 2'))).toBe(true);
    put(stage, 'c');
    expect(setup.got).toEqual(['c']);
  });

  it('gives queues up when another member joins, committing what it finished', () => {
    const setup = consuming(() => 'ok');
    const { stage, consumer } = setup;
    start(setup);
    put(stage, 'a', 1);
    expect(consumer.assigned.map(({ topic, queueId }) => `${topic}${queueId}`).sort()).toEqual(['%RETRY%g0', 't0', 't1']);
    stage.broker.members.push('zz-other');
    stage.broker.peers.at(-1)!.oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, { consumerGroup: 'g' });
    stage.time.settle();
    expect(consumer.assigned.map(({ topic, queueId }) => `${topic}${queueId}`).sort()).toEqual(['%RETRY%g0', 't0']);
    expect(stage.broker.offsets.get('t 1')).toBe(1);
  });

  it('keeps its queues when a broker cannot say who is in the group', () => {
    const setup = consuming(() => 'ok', { rebalanceIntervalMs: 1000 });
    start(setup);
    setup.stage.broker.script = (code) =>
      code === RequestCode.GET_CONSUMER_LIST_BY_GROUP ? { code: 1, remark: 'no consumer for this group' } : 'ok';
    setup.stage.time.advance(3000);
    expect(setup.consumer.assigned.length).toBe(3);
  });

  it('goes on after its connection broke, with a heartbeat first', () => {
    const setup = consuming(() => 'ok');
    const { stage } = setup;
    start(setup);
    put(stage, 'a');
    stage.broker.cut();
    stage.time.advance(3000);
    put(stage, 'b');
    expect(setup.got).toEqual(['a', 'b']);
  });

  it('waits for handlers at work when it closes, commits with an answer and leaves the group', () => {
    const setup = consuming((body) => (body === 'slow' ? undefined : 'ok'), { concurrency: 1 });
    const { stage, consumer } = setup;
    start(setup);
    for (const body of ['a', 'slow', 'never started']) put(stage, body);
    let closed = false;
    consumer.close(() => (closed = true));
    stage.time.settle();
    expect(closed).toBe(false);
    setup.open.get('slow')!();
    stage.time.settle();
    expect([closed, setup.got]).toEqual([true, ['a', 'slow']]);
    expect(stage.broker.offsets.get('t 0')).toBe(2);
    const last = stage.broker.asks(RequestCode.UPDATE_CONSUMER_OFFSET).at(-1)!;
    expect([last.oneway, stage.broker.asks(RequestCode.UNREGISTER_CLIENT)[0]!.fields.get('consumerGroup')]).toEqual([false, 'g']);
  });

  it('closes without a stuck handler after closeTimeoutMs, leaving its message uncommitted', () => {
    const setup = consuming(() => undefined, { closeTimeoutMs: 500 });
    const { stage, consumer } = setup;
    start(setup);
    put(stage, 'stuck');
    let closed = false;
    consumer.close(() => (closed = true));
    stage.time.advance(501);
    expect([closed, stage.broker.offsets.get('t 0')]).toEqual([true, 0]);
  });

  it('refuses a consumer without topics or with an impossible one', () => {
    expect(() => consuming(() => 'ok', { topics: {} })).toThrow('has no topics');
    expect(() => consuming(() => 'ok', { topics: { 'a b': '*' } })).toThrow('topic "a b"');
  });
});

describe('orderly push consumer', () => {
  it('handles one message of a queue at a time, in order, and queues beside each other', () => {
    const setup = consuming(() => undefined, { orderly: true });
    start(setup);
    for (const body of ['a0', 'a1', 'a2']) put(setup.stage, body, 0);
    put(setup.stage, 'b0', 1);
    expect(setup.got).toEqual(['a0', 'b0']);
    setup.open.get('a0')!();
    setup.stage.time.settle();
    expect(setup.got).toEqual(['a0', 'b0', 'a1']);
  });

  it('repeats a failed message in place before the next, and buries it when it failed too often', () => {
    const setup = consuming((body) => (body === 'bad' ? 'fail' : 'ok'), { orderly: true, suspendMs: 100, maxReconsumeTimes: 2 });
    const { stage } = setup;
    start(setup);
    for (const body of ['bad', 'next']) put(stage, body);
    expect(setup.got).toEqual(['bad']);
    stage.time.advance(100);
    expect(setup.got).toEqual(['bad', 'bad']);
    stage.time.advance(100);
    expect(setup.got).toEqual(['bad', 'bad', 'bad', 'next']);
    expect(setup.messages.map(({ reconsumeTimes }) => reconsumeTimes).slice(0, 1)).toEqual([3]);
    expect(stage.broker.asks(RequestCode.CONSUMER_SEND_MSG_BACK)[0]!.fields.get('delayLevel')).toBe('-1');
  });

  it('pulls only queues whose lock it got, renews locks, and stops when one is lost', () => {
    const setup = consuming(() => 'ok', {
      orderly: true,
      lockIntervalMs: 1000,
      rebalanceIntervalMs: 60_000,
      rebalanceRetryMs: 60_000,
    });
    const { stage, consumer } = setup;
    stage.broker.lockGrants = (queueId) => queueId === 0;
    start(setup);
    expect(consumer.assigned.filter(({ topic }) => topic === 't').map(({ queueId }) => queueId)).toEqual([0]);
    const asked = stage.broker.asks(RequestCode.LOCK_BATCH_MQ).length;
    stage.time.advance(1000);
    expect(stage.broker.asks(RequestCode.LOCK_BATCH_MQ).length).toBe(asked + 1);
    stage.broker.lockGrants = () => false;
    stage.time.advance(1000);
    put(stage, 'unseen');
    expect([consumer.assigned, setup.got]).toEqual([[], []]);
  });

  it('starts no handler while its lock is not certain', () => {
    const setup = consuming(() => 'ok', { orderly: true, lockIntervalMs: 1000, lockLostMs: 3000, suspendMs: 10 });
    const { stage } = setup;
    start(setup);
    stage.broker.script = (code) => (code === RequestCode.LOCK_BATCH_MQ ? 'silent' : 'ok');
    stage.time.advance(2900);
    put(stage, 'in time');
    expect(setup.got).toEqual(['in time']);
    stage.time.advance(200);
    put(stage, 'too late');
    expect(setup.got).toEqual(['in time']);
  });

  it('takes a queue back only when no handler has a message of its last time here', () => {
    const setup = consuming((body) => (body === 'slow' ? undefined : 'ok'), {
      orderly: true,
      lockIntervalMs: 1000,
      commitIntervalMs: 1000,
      rebalanceRetryMs: 500,
    });
    const { stage } = setup;
    start(setup);
    for (const body of ['slow', 'next']) put(stage, body);
    stage.broker.lockGrants = () => false;
    stage.time.advance(1000);
    stage.broker.lockGrants = () => true;
    stage.time.advance(3000);
    expect(setup.got).toEqual(['slow']);
    setup.open.get('slow')!();
    stage.time.advance(3000);
    put(stage, 'last');
    stage.time.advance(3000);
    expect(setup.got).toEqual(['slow', 'next', 'last']);
    expect(stage.broker.offsets.get('t 0')).toBe(3);
  });

  it('returns its locks when it closes', () => {
    const setup = consuming(() => 'ok', { orderly: true });
    start(setup);
    let closed = false;
    setup.consumer.close(() => (closed = true));
    setup.stage.time.settle();
    expect([closed, setup.stage.broker.asks(RequestCode.UNLOCK_BATCH_MQ).length]).toEqual([true, 1]);
  });
});

describe('a topic that its first message will make', () => {
  /** A producer that knows what the topic would look like, and whose first message is still on its way. */
  function awaited(from: 'first' | 'last' = 'first') {
    const stage = new Stage();
    stage.broker.topics.set('TBW102', 8);
    stage.broker.script = (code) => (code === RequestCode.SEND_MESSAGE_V2 ? 'silent' : 'ok');
    const client = stage.client();
    const producer = client.producer();
    const got: string[] = [];
    const consumer = client.consumer({
      group: 'g',
      topics: { t: '*' },
      from,
      handler: (message, settle) => {
        got.push(message.value.toString());
        settle();
      },
    });
    const failures: unknown[] = [];
    const send = (): void => void producer.send({ topic: 't', value: 'x' }, (error) => error && failures.push(error.code));
    return { stage, consumer, got, send, failures };
  }
  const places: readonly number[] = [
    RequestCode.QUERY_CONSUMER_OFFSET,
    RequestCode.GET_MIN_OFFSET,
    RequestCode.GET_CONSUMER_LIST_BY_GROUP,
  ];

  it('is consumed as soon as it is there: until then nobody is asked where to start in it, and nothing is complained of', () => {
    const { stage, consumer, got, send } = awaited();
    send();
    stage.time.settle();
    const told: unknown[] = [];
    consumer.start((error) => told.push(error));
    stage.time.advance(3_000);
    expect(told).toEqual([undefined]);
    const asked = stage.broker.asked.filter(({ code, fields }) => places.includes(code) && fields.get('topic') === 't');
    expect(asked).toEqual([]);
    expect(stage.reports).toEqual([]);
    stage.broker.topics.set('t', 2);
    put(stage, 'first');
    stage.time.advance(500);
    expect(got).toEqual(['first']);
  });

  it('is not called unroutable because a consumer had asked for it before the producer', () => {
    const { stage, consumer, send, failures } = awaited();
    consumer.start(() => undefined);
    send();
    stage.time.advance(1_000);
    expect(failures).toEqual([]);
    expect(stage.broker.arrived.map(({ topic }) => topic)).toEqual(['t']);
  });

  describe('is consumed from that message on by a group that begins at the end', () => {
    /** The consumer has started; then the topic is made by its first message, and a second one comes before anyone has noticed. */
    function isMadeLater({ stage, consumer, got }: Pick<ReturnType<typeof awaited>, 'stage' | 'consumer' | 'got'>): void {
      const told: unknown[] = [];
      consumer.start((error) => told.push(error));
      stage.time.settle();
      expect([told, got]).toEqual([[undefined], []]);
      stage.broker.topics.set('t', 2);
      for (const [queueId, body] of ['first', 'second'].entries()) put(stage, body, queueId);
      stage.time.advance(500);
      expect(got.sort()).toEqual(['first', 'second']);
    }

    it('when a producer knew what the topic would look like', () => {
      const setup = awaited('last');
      setup.send();
      setup.stage.time.settle();
      isMadeLater(setup);
    });

    it('when nobody knew anything of it', () => {
      isMadeLater(awaited('last'));
    });

    it('when its locks come first', () => {
      const setup = consuming(() => 'ok', { from: 'last', orderly: true });
      setup.stage.broker.topics.delete('t');
      setup.stage.broker.topics.set('TBW102', 8);
      isMadeLater(setup);
    });

    it('when it was asked for in vain before: what counts is the first answer that says whether it exists', () => {
      const setup = consuming(() => 'ok', { from: 'last', topics: { t: '*', u: '*' } });
      const { stage } = setup;
      stage.broker.topics.delete('t');
      stage.broker.topics.set('u', 1);
      let asked = 0;
      stage.broker.script = (code, { fields }) =>
        code === RequestCode.GET_ROUTEINFO_BY_TOPIC && fields.get('topic') === 't' && asked++ === 0
          ? { code: ResponseCode.SYSTEM_BUSY }
          : 'ok';
      setup.consumer.start(() => undefined);
      stage.time.advance(500);
      stage.broker.topics.set('t', 1);
      put(stage, 'first');
      stage.time.advance(500);
      expect([asked, setup.got]).toEqual([3, ['first']]);
    });

    it('but its other topics, which were there when it subscribed, are consumed from their ends', () => {
      const setup = consuming(() => 'ok', { from: 'last', topics: { t: '*', u: '*' } });
      const { stage } = setup;
      stage.broker.topics.delete('t');
      stage.broker.topics.set('u', 1);
      const store = (body: string): void => {
        stage.broker.store({ topic: 'u', queueId: 0, body: Buffer.from(body), properties: { UNIQ_KEY: body } });
        stage.time.settle();
      };
      store('u before');
      isMadeLater(setup);
      store('u after');
      expect(setup.got.sort()).toEqual(['first', 'second', 'u after']);
    });
  });
});
