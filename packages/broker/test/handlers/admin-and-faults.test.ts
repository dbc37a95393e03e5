import { decodeClusterInfo, decodeQueueTable, decodeStoredMessage, decodeTopicList, RequestCode } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { messagesOf, Stage, type Answer, type TestClient } from '../broker-stage.ts';

const jsonOf = (answer: Answer): Record<string, unknown> => JSON.parse(answer.body.toString()) as Record<string, unknown>;

describe("the name server's part", () => {
  it.each([
    ['TBW102', 8, 7],
    ['DefaultCluster', 16, 7],
    ['BenchmarkTest', 1024, 6],
  ])('answers for %s with %i queues and permission %i', (topic, queues, perm) => {
    const client = new Stage({ advertise: '127.0.0.1:9876' }).start().client();
    const route = jsonOf(client.call('GET_ROUTEINFO_BY_TOPIC', { topic }));
    expect(route['brokerDatas']).toEqual([
      { brokerAddrs: { 0: '127.0.0.1:9876' }, brokerName: 'broker-a', cluster: 'DefaultCluster', enableActingMaster: false },
    ]);
    expect(route['queueDatas']).toEqual([
      { brokerName: 'broker-a', readQueueNums: queues, writeQueueNums: queues, perm, topicSysFlag: 0 },
    ]);
  });

  it('knows no topic that is not there, and not TBW102 when none are made by themselves', () => {
    const client = new Stage({ autoCreateTopics: false }).start().client();
    for (const topic of ['none', 'TBW102']) {
      expect(client.call('GET_ROUTEINFO_BY_TOPIC', { topic })).toMatchObject({
        code: 17,
        remark: expect.stringContaining(`No topic route info in name server for the topic: ${topic}`),
      });
    }
  });

  it('lists brokers and topics', () => {
    const client = new Stage({ advertise: '127.0.0.1:9876' }).start().client();
    client.send('orders', 'x');
    const info = decodeClusterInfo(client.raw(RequestCode.GET_BROKER_CLUSTER_INFO, undefined).body);
    expect(typeof info === 'string' ? info : info.brokers[0]?.brokerAddrs.get('0')).toBe('127.0.0.1:9876');
    expect(decodeTopicList(client.raw(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, undefined).body)).toContain('orders');
  });
});

describe('topics', () => {
  const CREATE = {
    topic: 'ledger',
    defaultTopic: 'TBW102',
    readQueueNums: 2,
    writeQueueNums: 3,
    perm: 6,
    topicFilterType: 'SINGLE_TAG',
    order: true,
  };

  it('are made, changed and outlive a power cut', () => {
    const stage = new Stage().start();
    const client = stage.client();
    expect(client.call('UPDATE_AND_CREATE_TOPIC', CREATE).code).toBe(0);
    expect(client.call('UPDATE_AND_CREATE_TOPIC', { ...CREATE, readQueueNums: 5, attributes: '+a=b' }).code).toBe(0);
    const config = jsonOf(stage.powerCut().client().call('GET_TOPIC_CONFIG', { topic: 'ledger' }));
    expect(config).toEqual({
      topicName: 'ledger',
      readQueueNums: 5,
      writeQueueNums: 3,
      perm: 6,
      topicFilterType: 'SINGLE_TAG',
      topicSysFlag: 0,
      order: true,
      attributes: { a: 'b' },
    });
  });

  it("give their messages the broker's time when they are told to, alone and after a restart", () => {
    const stage = new Stage().start();
    const client = stage.client();
    client.call('UPDATE_AND_CREATE_TOPIC', { ...CREATE, attributes: '+message.timestamp.type=LogAppendTime' });
    client.send('ledger', 'alone');
    client.call('UPDATE_AND_CREATE_TOPIC', CREATE);
    const again = stage.powerCut().client();
    again.send('ledger', 'again');
    const messages = again.read('ledger');
    expect(messages.map(({ body }) => body.toString())).toEqual(['alone', 'again']);
    for (const { bornTimestamp, storeTimestamp } of messages) expect(bornTimestamp).toBe(storeTimestamp);
    again.call('UPDATE_AND_CREATE_TOPIC', { ...CREATE, attributes: '+message.timestamp.type=CreateTime' });
    again.send('ledger', 'its own');
    expect(again.read('ledger').at(-1)!.bornTimestamp).toBe(1_700_000_000_000);
    const refused = again.call('UPDATE_AND_CREATE_TOPIC', { ...CREATE, attributes: '+message.timestamp.type=Append' });
    expect(refused.remark).toBe('message.timestamp.type is CreateTime or LogAppendTime, not Append');
  });

  it("are exported in RocketMQ's shape, and taken in by a new store only", () => {
    const stage = new Stage().start();
    stage.client().call('UPDATE_AND_CREATE_TOPIC', CREATE);
    stage.run(500);
    const disk = stage.disk.mount(stage.world.process('looker'));
    let text = '';
    disk.open('config/topics.json', 'open', (_error, file) => {
      file.size((_sizeError, bytes) => {
        const into = Buffer.alloc(bytes);
        file.read(into, 0, () => {
          text = into.toString();
        });
      });
    });
    stage.until(() => text !== '');
    const table = (JSON.parse(text) as { topicConfigTable: Record<string, { readQueueNums: number }> }).topicConfigTable;
    expect(table['ledger']).toMatchObject({ readQueueNums: 2, writeQueueNums: 3, order: true });

    const edited = Buffer.from(
      JSON.stringify({ topicConfigTable: { moved: { topicName: 'moved', readQueueNums: 7, writeQueueNums: 7, perm: 6 } } }),
    );
    const put = (target: Stage): void => {
      let done = false;
      const port = target.disk.mount(target.world.process('editor'));
      port.makeFolder('config', () =>
        port.open('config/topics.json', 'create', (_error, file) =>
          file.write([edited], 0, () => {
            done = true;
          }),
        ),
      );
      target.until(() => done);
    };
    put(stage);
    expect(
      stage
        .restart()
        .core.topicList()
        .some(({ name }) => name === 'moved'),
    ).toBe(false);
    const fresh = new Stage();
    put(fresh);
    fresh.start();
    expect(fresh.core.topicList().find(({ name }) => name === 'moved')).toMatchObject({ readQueues: 7 });
    expect(
      fresh
        .powerCut()
        .core.topicList()
        .some(({ name }) => name === 'moved'),
    ).toBe(true);
  });

  it.each([
    ['a system topic', { topic: 'TBW102' }, 'The topic[TBW102] is conflict with system topic.'],
    ['an illegal name', { topic: 'a/b' }, 'illegal characters'],
    ['no queues', { readQueueNums: 0, writeQueueNums: 0 }, 'a topic needs queues'],
    ['too many queues', { readQueueNums: 5000 }, 'a topic has at most 1024 queues (queuesPerTopicMax), not 5000'],
  ])('with %s are refused', (_what, more, text) => {
    const answer = new Stage()
      .start()
      .client()
      .call('UPDATE_AND_CREATE_TOPIC', { ...CREATE, ...more });
    expect(answer).toMatchObject({ code: 29, remark: expect.stringContaining(text) });
  });

  it('do not lose sight of messages by a change to fewer queues', () => {
    const client = new Stage().start().client();
    client.call('UPDATE_AND_CREATE_TOPIC', { ...CREATE, readQueueNums: 4, writeQueueNums: 4 });
    expect(client.call('UPDATE_AND_CREATE_TOPIC', { ...CREATE, readQueueNums: 2, writeQueueNums: 2 })).toMatchObject({
      code: 29,
      remark: expect.stringContaining('with 2 the messages of the others would be out of reach'),
    });
    expect(client.call('UPDATE_AND_CREATE_TOPIC', { ...CREATE, readQueueNums: 4, writeQueueNums: 2 }).code).toBe(0);
  });

  it('are limited in number', () => {
    const client = new Stage({ topicsMax: 12 }).start().client();
    expect(client.send('one-more', 'x').code).toBe(0);
    expect(client.send('too-many', 'x').code).toBe(17);
    expect(client.call('UPDATE_AND_CREATE_TOPIC', CREATE)).toMatchObject({
      code: 1,
      remark: expect.stringContaining('topicsMax'),
    });
  });

  it('show the ends of their queues', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x', { queueId: 1 });
    const rows = decodeQueueTable(client.call('GET_TOPIC_STATS_INFO', { topic: 'orders' }).body, 'offsetTable');
    if (typeof rows === 'string') throw new Error(rows);
    expect(rows.map(([queue, ends]) => [queue.queueId, (ends as Map<string, number>).get('maxOffset')])).toEqual([
      [0, 0],
      [1, 1],
      [2, 0],
      [3, 0],
    ]);
  });

  it('say who consumes them', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x');
    client.heartbeat({ consumers: ['online'] });
    client.call('UPDATE_CONSUMER_OFFSET', { consumerGroup: 'offline', topic: 'orders', queueId: 0, commitOffset: 1 });
    expect(jsonOf(client.call('QUERY_TOPIC_CONSUME_BY_WHO', { topic: 'orders' }))).toEqual({ groupList: ['offline', 'online'] });
  });
});

describe('a message', () => {
  it('is shown by its place in the log', () => {
    const client = new Stage().start().client();
    const id = client.send('orders', 'x').fields.get('msgId')!;
    const message = decodeStoredMessage(client.call('VIEW_MESSAGE_BY_ID', { offset: Number.parseInt(id.slice(16), 16) }).body);
    expect(typeof message === 'string' ? message : message.body.toString()).toBe('x');
    expect(client.call('VIEW_MESSAGE_BY_ID', { offset: 1 })).toMatchObject({
      code: 1,
      remark: 'can not find message by the offset, 1',
    });
  });

  it('is not shown out of the inside of another', () => {
    const client = new Stage().start().client();
    const id = client.send('orders', 'x').fields.get('msgId')!;
    const record = client.call('VIEW_MESSAGE_BY_ID', { offset: Number.parseInt(id.slice(16), 16) }).body;
    const forged = Buffer.from(record);
    const outer = client.stage.core.store.info().appendedEnd + 48;
    forged.writeUInt32BE(outer + 88, 32);
    client.call('SEND_MESSAGE_V2', client.sendHeader('orders'), forged);
    expect(client.read('orders')[1]!.physicalOffset).toBe(outer);
    expect(client.call('VIEW_MESSAGE_BY_ID', { offset: outer + 88 }).code).toBe(1);
  });

  it('is not found by key: there is no such index', () => {
    const client = new Stage().start().client();
    const answer = client.call('QUERY_MESSAGE', { topic: 'orders', key: 'k', maxNum: 1, beginTimestamp: 0, endTimestamp: 1 });
    expect(answer).toMatchObject({ code: 22, remark: expect.stringContaining('can not find message') });
  });
});

describe('the broker about itself', () => {
  it('gives its counters and its half messages', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x');
    client.half('orders', 'y', 'K1');
    const { table } = jsonOf(client.raw(RequestCode.GET_BROKER_RUNTIME_INFO, undefined)) as { table: Record<string, string> };
    expect(table).toMatchObject({ brokerActive: 'true', 'ts.sends': '2', 'ts.halves.open': '1', 'ts.store.state': 'open' });
    // What it does not know it says, and what it has measured is measured.
    expect(table).toMatchObject({ earliestMessageTimeStamp: '-1', commitLogDiskRatio: '-1', putTps: '2.0 2.0 2.0' });
    client.stage.run(10_000);
    const later = jsonOf(client.raw(RequestCode.GET_BROKER_RUNTIME_INFO, undefined)) as { table: Record<string, string> };
    expect(later.table['putTps']).toBe('0.2 0.2 0.2');
    expect(JSON.parse(table['ts.halves']!)).toMatchObject([
      { id: 'K1', group: 'pay', topic: 'orders', state: 'open', checks: 0 },
    ]);
    expect(client.stage.core.halves()).toMatchObject([{ id: 'K1', group: 'pay', topic: 'orders' }]);
  });

  it('lists groups and what they have read', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x');
    client.call('UPDATE_CONSUMER_OFFSET', { consumerGroup: 'g', topic: 'orders', queueId: 0, commitOffset: 1 });
    const rows = decodeQueueTable(client.call('GET_CONSUME_STATS', { consumerGroup: 'g' }).body, 'offsetTable');
    expect(
      typeof rows === 'string'
        ? rows
        : rows.map(([queue, row]) => [queue.topic, (row as Map<string, number>).get('consumerOffset')]),
    ).toEqual([['orders', 1]]);
    const groups = jsonOf(client.raw(RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG, undefined))['subscriptionGroupTable'];
    expect(Object.keys(groups as object)).toEqual(['g']);
  });
});

describe('the progress of a group', () => {
  interface Progress {
    readonly consumeTps: number;
    /** Queue, end of the queue, offset, time. */
    readonly rows: readonly (readonly [string, number, number, number])[];
  }

  function progress(client: TestClient, fields: { consumerGroup: string; topic?: string }): Progress {
    const { body } = client.call('GET_CONSUME_STATS', fields);
    const table = decodeQueueTable(body, 'offsetTable');
    if (typeof table === 'string') throw new Error(table);
    const rows = table.map(([{ topic, queueId }, row]) => {
      const { brokerOffset, consumerOffset, lastTimestamp } = Object.fromEntries(row as Map<string, number>);
      return [`${topic}@${queueId}`, brokerOffset!, consumerOffset!, lastTimestamp!] as const;
    });
    return { consumeTps: Number(/"consumeTps":([\d.]+)/.exec(body.toString())![1]), rows };
  }

  const commit = (client: TestClient, topic: string, commitOffset: number): void =>
    void client.call('UPDATE_CONSUMER_OFFSET', { consumerGroup: 'g', topic, queueId: 0, commitOffset });

  it('tells when the message that it has read last was stored, also when that lies on the disk only', () => {
    const stage = new Stage().start();
    let client = stage.client();
    client.send('orders', 'first');
    stage.run(5000);
    client.send('orders', 'second');
    stage.run(5000);
    client.send('orders', 'third');
    const times = messagesOf(client.pull('orders', 0)).map(({ storeTimestamp }) => storeTimestamp);
    expect(times[2]! - times[0]!).toBeGreaterThanOrEqual(10_000);
    commit(client, 'orders', 2);
    client.send('other', 'x');
    commit(client, 'other', 0);
    const wanted = [
      ['orders@0', 3, 2, times[1]],
      ['other@0', 1, 0, 0],
    ];
    expect(progress(client, { consumerGroup: 'g' }).rows).toEqual(wanted);
    expect(progress(client, { consumerGroup: 'g', topic: 'orders' }).rows).toEqual(wanted.slice(0, 1));
    stage.stop();
    stage.start();
    client = stage.client();
    const reads = stage.core.store.info().diskReads;
    expect(progress(client, { consumerGroup: 'g' }).rows).toEqual(wanted);
    expect(stage.core.store.info().diskReads).toBeGreaterThan(reads);
  });

  it('tells how many messages it has been handed per second in the last minute', () => {
    const stage = new Stage().start();
    const client = stage.client();
    stage.run(60_000);
    for (const topic of ['orders', 'other']) for (let n = 0; n < 30; n++) client.send(topic, `${n}`);
    expect(progress(client, { consumerGroup: 'g' }).consumeTps).toBe(0);
    for (const topic of ['orders', 'other']) client.pull(topic, 0, { consumerGroup: 'g', maxMsgNums: 30 });
    expect(progress(client, { consumerGroup: 'g' }).consumeTps).toBeCloseTo(1, 1);
    expect(progress(client, { consumerGroup: 'g', topic: 'orders' }).consumeTps).toBeCloseTo(0.5, 1);
    expect(progress(client, { consumerGroup: 'another' }).consumeTps).toBe(0);
    stage.run(80_000);
    expect(progress(client, { consumerGroup: 'g' }).consumeTps).toBe(0);
  });
});

describe('a request', () => {
  it.each([1, 999, 25, 46_000, -5])('with the unknown code %i is answered 3', (code) => {
    const client = new Stage().start().client('c', { kind: 'json' });
    expect(client.raw(code, { a: 'b' })).toMatchObject({ code: 3, remark: ` request type ${code} not supported` });
  });

  it.each([
    ['a send without a topic', 310, { a: 'g', c: 'TBW102', d: 4, e: 0, f: 0, g: 1, h: 0 }, 'field topic is missing'],
    [
      'a send with a queue that is no number',
      310,
      { a: 'g', b: 't', c: 'TBW102', d: 4, e: 'x', f: 0, g: 1, h: 0 },
      'field queueId',
    ],
    ['a pull without anything', 11, {}, 'field consumerGroup is missing'],
    ['a confirmation without a group', 37, {}, 'field producerGroup is missing'],
    ['an offset question with a bad queue', 14, { consumerGroup: 'g', topic: 't', queueId: '1.5' }, 'field queueId'],
    ['an offset that is no number', 15, { consumerGroup: 'g', topic: 't', queueId: 0, commitOffset: 'z' }, 'field commitOffset'],
    ['a send-back without a place', 36, { group: 'g', delayLevel: 0 }, 'field offset is missing'],
    ['a lock that is no JSON', 41, {}, 'LOCK_BATCH_MQ: '],
  ])('that is %s is answered with what is wrong, and the connection goes on', (_what, code, fields, text) => {
    const client = new Stage().start().client();
    expect(client.raw(code, fields as never)).toMatchObject({ code: 1, remark: expect.stringContaining(text) });
    expect(client.send('orders', 'x').code).toBe(0);
  });

  it('that comes one-way is never answered, whatever is wrong with it', () => {
    const stage = new Stage().start();
    const client = stage.client();
    client.peer.oneway(310, {});
    client.peer.oneway(4711, {});
    client.peer.oneway(37, {});
    stage.run(100);
    expect(client.closed).toBeUndefined();
    expect(client.send('orders', 'x').code).toBe(0);
  });
});

describe('a broker', () => {
  it('refuses a store that began under another name', () => {
    const stage = new Stage().start();
    stage.stop();
    expect(stage.tryStart({ brokerName: 'broker-b' })?.message).toContain(
      'this store belongs to broker broker-a of cluster DefaultCluster',
    );
    expect(stage.tryStart()).toBeUndefined();
  });

  it('stops in order: what was accepted is answered and is there again', () => {
    const stage = new Stage().start();
    const client = stage.client();
    const waiting = [1, 2, 3].map((n) => client.begin('SEND_MESSAGE_V2', client.sendHeader('orders'), Buffer.from(`m${n}`)));
    stage.run(0.2);
    stage.stop();
    stage.run(100);
    const acked = waiting.filter(({ answer }) => answer?.code === 0).length;
    stage.start();
    expect(stage.client().bodies('orders').length).toBeGreaterThanOrEqual(acked);
    expect(stage.core.recovery.clean).toBe(true);
    expect(client.closed).toBeDefined();
  });

  it('never acknowledges again after a failed sync, closes its connections and says so', () => {
    const stage = new Stage().start();
    const client = stage.client();
    client.send('orders', 'before');
    stage.disk.onCall = (call) => (call.kind === 'sync' ? 'EIO' : undefined);
    const waiting = client.begin('SEND_MESSAGE_V2', client.sendHeader('orders'), Buffer.from('lost'));
    stage.until(() => waiting.answer !== undefined || waiting.error !== undefined);
    expect(waiting.answer?.code).not.toBe(0);
    stage.until(() => client.closed !== undefined);
    expect(stage.failures).toHaveLength(1);
    const refused = stage.client();
    stage.run(10);
    expect(refused.closed).toBeDefined();
  });

  it.each([
    ['a plain send', 1, {}],
    ['a half message', 10, { props: { TRAN_MSG: 'true', PGROUP: 'pay', UNIQ_KEY: 'K' } }],
  ])('answers %s whose sync does not come in time with %i', (_what, code, more) => {
    const stage = new Stage({ syncFlushTimeoutMs: 500 }).start();
    const client = stage.client();
    client.send('orders', 'before');
    stage.syncDelayMs = 5000;
    const answer = client.send('orders', 'late', more);
    expect(answer.code).toBe(code);
    if (code === 10) expect(answer.fields.get('queueOffset')).toBe('0');
  });

  it('gives way when the disk is full: sends are refused, verdicts and offsets are taken, and it goes on by itself', () => {
    const stage = new Stage({ segmentBytes: 64 * 1024, groupBytes: 4096, fullRetryMs: 100 }).start();
    const client = stage.client();
    const half = client.half('orders', 'pay me', 'K1');
    stage.disk.full = true;
    let answer: Answer | undefined;
    for (let n = 0; n < 500 && answer?.code !== 14; n++) answer = client.send('orders', 'x'.repeat(1000), { queueId: 1 });
    expect(answer).toMatchObject({ code: 14, remark: expect.stringContaining('service not available now') });
    expect(() => client.half('orders', 'x'.repeat(1000), 'K2')).toThrow('half refused: 14');
    expect(client.call('END_TRANSACTION', client.end(half, 'commit')).code).toBe(0);
    expect(client.call('UPDATE_CONSUMER_OFFSET', { consumerGroup: 'g', topic: 'orders', queueId: 1, commitOffset: 1 }).code).toBe(
      0,
    );
    expect(client.bodies('orders')).toEqual(['pay me']);
    stage.disk.full = false;
    stage.run(1000);
    expect(client.send('orders', 'y', { queueId: 2 }).code).toBe(0);
  });
});
