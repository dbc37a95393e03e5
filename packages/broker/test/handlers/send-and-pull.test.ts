import {
  BATCH_FIXED_BYTES,
  decodeProperties,
  encodeBatchElement,
  encodeProperties,
  type PeerOptions,
} from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { messagesOf, Stage } from '../broker-stage.ts';

const KINDS: PeerOptions[] = [{ kind: 'json' }, { kind: 'binary' }];

describe.each(KINDS)('a send with a $kind header', (options) => {
  it('is stored as it came and told where', () => {
    const client = new Stage().start().client('c', options);
    const answer = client.send('orders', 'hello', {
      queueId: 2,
      flag: 7,
      props: { TAGS: 'TagA', UNIQ_KEY: 'K1', note: 'ä "x" \\' },
    });
    expect(answer.code).toBe(0);
    expect(Object.fromEntries(answer.fields)).toMatchObject({
      queueId: '2',
      queueOffset: '0',
      transactionId: 'K1',
      MSG_REGION: 'DefaultRegion',
      TRACE_ON: 'true',
    });
    const [message] = messagesOf(client.pull('orders', 0, { queueId: 2 }));
    expect(message).toMatchObject({
      topic: 'orders',
      queueId: 2,
      flag: 7,
      queueOffset: 0,
      sysFlag: 0,
      bornTimestamp: 1_700_000_000_000,
      reconsumeTimes: 0,
    });
    expect(message!.body.toString()).toBe('hello');
    expect([...decodeProperties(message!.properties)]).toEqual([
      ['TAGS', 'TagA'],
      ['UNIQ_KEY', 'K1'],
      ['note', 'ä "x" \\'],
    ]);
    expect(answer.fields.get('msgId')).toBe(
      `7F00000100000000${message!.physicalOffset.toString(16).toUpperCase().padStart(16, '0')}`,
    );
  });
});

describe('a send', () => {
  it('gets a unique key when it has none', () => {
    const client = new Stage().start().client();
    const answer = client.send('orders', 'x', { props: { A: 'b' } });
    const id = answer.fields.get('transactionId')!;
    expect(id).toMatch(/^[0-9A-F]{32}$/);
    expect(decodeProperties(client.read('orders')[0]!.properties).get('UNIQ_KEY')).toBe(id);
  });

  it('gets a unique key behind properties whose last end mark is missing', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x', { properties: 'A\u0001b' });
    const found = decodeProperties(client.read('orders')[0]!.properties);
    expect([found.get('A'), found.get('UNIQ_KEY')]).toEqual(['b', expect.stringMatching(/^[0-9A-F]{32}$/)]);
  });

  it('whose properties are too long with what the broker adds is illegal', () => {
    const client = new Stage().start().client();
    const props = { UNIQ_KEY: 'K', A: 'x'.repeat(32_700), TRAN_MSG: 'true', PGROUP: 'pay' };
    expect(client.send('orders', 'x', { props }).code).toBe(13);
    expect(client.send('orders', 'x', { props: { A: 'x'.repeat(32_700) } }).code).toBe(0);
  });

  it('makes an unknown topic by the default topic, with no more queues than asked for', () => {
    const client = new Stage().start().client();
    expect(client.send('fresh', 'x', { queueId: 3 }).code).toBe(0);
    const route = JSON.parse(client.call('GET_ROUTEINFO_BY_TOPIC', { topic: 'fresh' }).body.toString());
    expect(route.queueDatas).toEqual([{ brokerName: 'broker-a', readQueueNums: 4, writeQueueNums: 4, perm: 6, topicSysFlag: 0 }]);
  });

  it('takes any queue when it asks for none', () => {
    const client = new Stage().start().client();
    const queue = Number(client.send('orders', 'x', { queueId: -1 }).fields.get('queueId'));
    expect(queue).toBeGreaterThanOrEqual(0);
    expect(client.bodies('orders', queue)).toEqual(['x']);
  });

  it.each([
    [
      'an unknown topic when none are made',
      { autoCreateTopics: false },
      'fresh',
      {},
      17,
      'topic[fresh] not exist, apply first please!',
    ],
    [
      'the half topic',
      {},
      'RMQ_SYS_TRANS_HALF_TOPIC',
      {},
      16,
      'Sending message to topic[RMQ_SYS_TRANS_HALF_TOPIC] is forbidden.',
    ],
    ['the schedule topic', {}, 'SCHEDULE_TOPIC_XXXX', {}, 16, 'Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.'],
    ['a topic with a space', {}, 'a b', {}, 29, 'illegal characters'],
    ['a blank topic', {}, ' ', {}, 29, 'The specified topic is blank.'],
    ['a topic of 128 letters', {}, 'x'.repeat(128), {}, 29, 'longer than topic max length'],
    ['a queue that is not there', {}, 'orders', { queueId: 99 }, 29, 'request queueId[99] is illegal'],
    ['a default topic that may not be inherited', {}, 'fresh', { defaultTopic: 'BenchmarkTest' }, 17, 'not exist'],
    ['no body', {}, 'orders', { empty: true }, 13, 'message is illegal'],
  ])('to %s is refused', (_what, options, topic, more, code, text) => {
    const client = new Stage(options).start().client();
    const { empty, ...header } = more as { empty?: boolean };
    const answer = client.send(topic, empty === true ? '' : 'x', header);
    expect(answer.code).toBe(code);
    expect(answer.remark).toContain(text);
  });

  it('with a body over the limit is illegal', () => {
    const client = new Stage({ bodyBytesMax: 100 }).start().client();
    expect(client.send('orders', 'x'.repeat(101)).code).toBe(13);
    expect(client.send('orders', 'x'.repeat(100)).code).toBe(0);
  });

  it('cannot forge a commit by its system flag', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x', { sysFlag: 8 | 0x10 | 0x20 | 0x80 | 1 });
    expect(client.read('orders')[0]!.sysFlag).toBe(1);
  });

  it('cannot smuggle a message into another topic by internal properties', () => {
    const client = new Stage({ delayLevelsMs: [50] }).start().client();
    client.send('secret', 'first');
    client.send('orders', 'plain', { props: { REAL_TOPIC: 'secret', REAL_QID: '0' } });
    client.send('orders', 'delayed', { props: { REAL_TOPIC: 'secret', REAL_QID: '0', DELAY: '1' } });
    client.stage.run(500);
    expect(client.bodies('secret')).toEqual(['first']);
    expect(client.bodies('orders')).toEqual(['plain', 'delayed']);
  });

  it('one-way is stored and not answered', () => {
    const stage = new Stage().start();
    const client = stage.client();
    client.oneway('SEND_MESSAGE_V2', client.sendHeader('orders'), Buffer.from('x'));
    expect(client.bodies('orders')).toEqual(['x']);
    expect(stage.core.counters.sends).toBe(1);
  });

  it('that was answered survives a power cut', () => {
    const stage = new Stage().start();
    stage.client().send('orders', 'kept');
    expect(stage.powerCut().client().bodies('orders')).toEqual(['kept']);
  });
});

describe('a batch', () => {
  function batchOf(...bodies: string[]): Buffer {
    const parts = bodies.map((body, n) => {
      const properties = encodeProperties([
        ['UNIQ_KEY', `K${n}`],
        ['TAGS', `T${n}`],
      ]);
      const bytes = Buffer.alloc(BATCH_FIXED_BYTES + body.length + properties.length);
      encodeBatchElement(bytes, 0, n, Buffer.from(body), properties);
      return bytes;
    });
    return Buffer.concat(parts);
  }

  it('lies in one queue in order, under one answer that names all its ids', () => {
    const client = new Stage().start().client();
    client.send('orders', 'before');
    const answer = client.call('SEND_BATCH_MESSAGE', client.sendHeader('orders', { batch: true }), batchOf('a', 'b', 'c'));
    expect(answer.code).toBe(0);
    expect(answer.fields.get('queueOffset')).toBe('1');
    const messages = client.read('orders').slice(1);
    expect(messages.map((message) => [message.body.toString(), message.flag, message.queueOffset])).toEqual([
      ['a', 0, 1],
      ['b', 1, 2],
      ['c', 2, 3],
    ]);
    expect(
      answer.fields
        .get('msgId')!
        .split(',')
        .map((id) => Number.parseInt(id.slice(16), 16)),
    ).toEqual(messages.map((message) => message.physicalOffset));
  });

  it('that is cut off is refused as a whole', () => {
    const client = new Stage().start().client();
    const answer = client.call(
      'SEND_BATCH_MESSAGE',
      client.sendHeader('orders', { batch: true }),
      batchOf('a', 'b').subarray(0, -1),
    );
    expect(answer.code).toBe(13);
    expect(client.bodies('orders')).toEqual([]);
  });

  it('gives each message without a key its own', () => {
    const client = new Stage().start().client();
    const properties = Buffer.from('A\u0001b');
    const one = Buffer.alloc(BATCH_FIXED_BYTES + 1 + properties.length);
    encodeBatchElement(one, 0, 0, Buffer.from('x'), properties);
    expect(client.call('SEND_BATCH_MESSAGE', client.sendHeader('orders', { batch: true }), Buffer.concat([one, one])).code).toBe(
      0,
    );
    const keys = client.read('orders').map((message) => {
      const found = decodeProperties(message.properties);
      expect(found.get('A')).toBe('b');
      return found.get('UNIQ_KEY');
    });
    expect(new Set(keys).size).toBe(2);
  });

  it("gets the broker's time in a topic that wants it", () => {
    const client = new Stage().start().client();
    const topic = {
      topic: 'timed',
      defaultTopic: 'TBW102',
      readQueueNums: 1,
      writeQueueNums: 1,
      perm: 6,
      topicFilterType: 'SINGLE_TAG',
    };
    client.call('UPDATE_AND_CREATE_TOPIC', { ...topic, order: false, attributes: '+message.timestamp.type=LogAppendTime' });
    client.call('SEND_BATCH_MESSAGE', client.sendHeader('timed', { batch: true }), batchOf('a', 'b'));
    const messages = client.read('timed');
    expect(messages.map(({ bornTimestamp }) => bornTimestamp)).toEqual(messages.map(({ storeTimestamp }) => storeTimestamp));
    expect(messages).toHaveLength(2);
  });

  it('one-way is stored and not answered', () => {
    const client = new Stage().start().client();
    client.oneway('SEND_BATCH_MESSAGE', client.sendHeader('orders', { batch: true }), batchOf('a', 'b'));
    expect(client.bodies('orders')).toEqual(['a', 'b']);
  });

  it('that finds the disk full is refused as a whole', () => {
    const stage = new Stage({ segmentBytes: 64 * 1024, groupBytes: 4096 }).start();
    const client = stage.client();
    stage.disk.full = true;
    const send = (): number =>
      client.call(
        'SEND_BATCH_MESSAGE',
        client.sendHeader('orders', { batch: true }),
        batchOf('a'.repeat(900), 'b'.repeat(900), 'c'.repeat(900)),
      ).code;
    let accepted = 0;
    let code = send();
    for (; code === 0; code = send()) accepted++;
    expect([2, 14]).toContain(code);
    expect(client.bodies('orders')).toHaveLength(accepted * 3);
    expect(stage.core.counters.sends).toBe(accepted * 3);
  });

  it('of more messages than a group can count is refused and breaks nothing', () => {
    const stage = new Stage({ segmentBytes: 16 * 1024 * 1024 }).start();
    const client = stage.client();
    const one = batchOf('x');
    const body = Buffer.alloc(66_000 * one.length, one);
    expect(client.call('SEND_BATCH_MESSAGE', client.sendHeader('orders', { batch: true }), body).code).toBe(13);
    expect(client.send('orders', 'next').code).toBe(0);
    expect(stage.failures).toEqual([]);
  });

  it.each([
    ['an empty one', 'orders', Buffer.from('x').subarray(0, 0)],
    ['one for a retry topic', '%RETRY%g', batchOf('a')],
  ])('%s is illegal', (_what, topic, body) => {
    const client = new Stage().start().client();
    expect(client.call('SEND_BATCH_MESSAGE', client.sendHeader(topic, { batch: true }), body).code).toBe(13);
  });
});

describe('a pull', () => {
  /** What lies in the queue: messages 0 to 4. offset | answer code | remark | next offset */
  const table = `
    0  | 0  | FOUND                 | 5
    3  | 0  | FOUND                 | 5
    5  | 19 | OFFSET_OVERFLOW_ONE   | 5
    6  | 21 | OFFSET_OVERFLOW_BADLY | 5
    -1 | 21 | OFFSET_TOO_SMALL      | 0
  `;
  const rows = table
    .trim()
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()) as [string, string, string, string]);

  it.each(rows)('at offset %s of five messages gives %s %s and goes on at %s', (offset, code, remark, next) => {
    const client = new Stage().start().client();
    for (let n = 0; n < 5; n++) client.send('orders', `m${n}`);
    const answer = client.pull('orders', Number(offset));
    expect([answer.code, answer.remark, answer.fields.get('nextBeginOffset')]).toEqual([Number(code), remark, next]);
    expect([answer.fields.get('minOffset'), answer.fields.get('maxOffset'), answer.fields.get('suggestWhichBrokerId')]).toEqual([
      '0',
      '5',
      '0',
    ]);
  });

  it('of an empty queue finds nothing at 0 and moves any other offset to 0', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x', { queueId: 1 });
    expect(client.pull('orders', 0)).toMatchObject({ code: 19 });
    const moved = client.pull('orders', 7);
    expect([moved.code, moved.fields.get('nextBeginOffset')]).toEqual([21, '0']);
  });

  it('filters by tag and passes over what does not match', () => {
    const client = new Stage().start().client();
    for (const tag of ['A', 'B', 'A', 'C']) client.send('orders', tag, { props: { TAGS: tag } });
    expect(messagesOf(client.pull('orders', 0, { subscription: 'A || C' })).map((message) => message.body.toString())).toEqual([
      'A',
      'A',
      'C',
    ]);
    const none = client.pull('orders', 0, { subscription: 'Z' });
    expect([none.code, none.remark, none.fields.get('nextBeginOffset')]).toEqual([20, 'NO_MATCHED_MESSAGE', '4']);
  });

  it('gives at most as many messages as asked for', () => {
    const client = new Stage().start().client();
    for (let n = 0; n < 5; n++) client.send('orders', `m${n}`);
    const answer = client.pull('orders', 1, { maxMsgNums: 2 });
    expect(messagesOf(answer)).toHaveLength(2);
    expect(answer.fields.get('nextBeginOffset')).toBe('3');
  });

  it.each([
    ['an unknown topic', { topic: 'none' }, 17, 'topic[none] not exist'],
    ['a queue that is not there', { queueId: 9 }, 29, 'queueId[9] is illegal'],
    ['the half topic', { topic: 'RMQ_SYS_TRANS_HALF_TOPIC' }, 16, 'forbidden'],
    ['a group that sent no heartbeat', { sysFlag: 0 }, 24, "the consumer's group info not exist"],
    ['a filter in SQL', { expressionType: 'SQL92' }, 1, 'The broker does not support consumer to filter message by SQL92'],
  ])('of %s is refused', (_what, more, code, text) => {
    const client = new Stage().start().client();
    client.send('orders', 'x');
    const answer = client.pull('orders', 0, more);
    expect(answer.code).toBe(code);
    expect(answer.remark).toContain(text);
  });

  it('goes by the heartbeat when it brings no subscription', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x', { props: { TAGS: 'A' } });
    client.heartbeat({ consumers: ['readers'], topic: 'orders', expression: 'B' });
    expect(client.pull('orders', 0, { sysFlag: 0 }).code).toBe(20);
    expect(client.pull('orders', 0, { sysFlag: 0, subVersion: 2 })).toMatchObject({ code: 25 });
    expect(client.pull('BenchmarkTest', 0, { sysFlag: 0 })).toMatchObject({
      code: 24,
      remark: "the consumer's subscription not exist",
    });
  });
});

describe('a pull that may wait', () => {
  const WAIT = { sysFlag: 2 | 4 };

  it('is answered as soon as a message arrives', () => {
    const stage = new Stage().start();
    const [reader, writer] = [stage.client(), stage.client()];
    writer.send('orders', 'first');
    const waiting = reader.begin('PULL_MESSAGE', reader.pullHeader('orders', 1, WAIT));
    stage.run(5000);
    expect(waiting.answer).toBeUndefined();
    const sentMs = stage.world.timeMs;
    writer.send('orders', 'second');
    stage.until(() => waiting.answer !== undefined);
    expect(messagesOf(waiting.answer!).map((message) => message.body.toString())).toEqual(['second']);
    expect(stage.world.timeMs - sentMs).toBeLessThan(100);
  });

  it('is answered empty when its time is up', () => {
    const stage = new Stage().start();
    const reader = stage.client();
    reader.send('orders', 'first');
    const waiting = reader.begin('PULL_MESSAGE', reader.pullHeader('orders', 1, { ...WAIT, suspendTimeoutMillis: 3000 }));
    stage.run(2990);
    expect(waiting.answer).toBeUndefined();
    stage.run(100);
    expect(waiting.answer).toMatchObject({ code: 19 });
  });

  it('waits in a queue that never had a message', () => {
    const stage = new Stage().start();
    const reader = stage.client();
    reader.send('orders', 'elsewhere', { queueId: 1 });
    const waiting = reader.begin('PULL_MESSAGE', reader.pullHeader('orders', 0, WAIT));
    stage.run(100);
    expect(waiting.answer).toBeUndefined();
    reader.send('orders', 'here');
    stage.until(() => waiting.answer !== undefined);
    expect(waiting.answer!.code).toBe(0);
  });

  it('answers what does not match its tags with where to go on', () => {
    const stage = new Stage().start();
    const reader = stage.client();
    reader.send('orders', 'x');
    const waiting = reader.begin('PULL_MESSAGE', reader.pullHeader('orders', 1, { ...WAIT, subscription: 'B' }));
    stage.run(10);
    reader.send('orders', 'y', { props: { TAGS: 'A' } });
    stage.until(() => waiting.answer !== undefined);
    expect([waiting.answer!.code, waiting.answer!.fields.get('nextBeginOffset')]).toEqual([20, '2']);
  });

  it('ends with its connection', () => {
    const stage = new Stage().start();
    const reader = stage.client();
    reader.send('orders', 'x');
    reader.begin('PULL_MESSAGE', reader.pullHeader('orders', 1, WAIT));
    stage.run(10);
    reader.peer.close(false);
    stage.run(10);
    const writer = stage.client();
    expect(writer.send('orders', 'y').code).toBe(0);
    expect(stage.core.counters.connections).toBe(1);
  });

  it('is answered when the broker stops', () => {
    const stage = new Stage().start();
    const reader = stage.client();
    reader.send('orders', 'x');
    const waiting = reader.begin('PULL_MESSAGE', reader.pullHeader('orders', 1, WAIT));
    stage.run(10);
    stage.stop();
    stage.until(() => waiting.answer !== undefined || waiting.error !== undefined);
    expect(waiting.answer).toMatchObject({ code: 19 });
  });
});
