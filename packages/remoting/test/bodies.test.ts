import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeClusterInfo,
  decodeConsumerList,
  decodeHeartbeat,
  decodeLockedQueues,
  decodeLockRequest,
  decodeQueueTable,
  decodeTopicConfig,
  decodeTopicList,
  decodeTopicRoute,
  encodeClusterInfo,
  encodeConsumerList,
  encodeHeartbeat,
  encodeLockedQueues,
  encodeLockRequest,
  encodeQueueTable,
  encodeTopicConfig,
  encodeTopicList,
  encodeTopicRoute,
  parseFastJson,
  type FastJson,
  type HeartbeatData,
} from '../src/index.ts';

/** As JSON.parse would have it. */
function plain(value: FastJson): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, member]) => [key as string, plain(member)]));
  return Array.isArray(value) ? value.map(plain) : typeof value === 'bigint' ? Number(value) : value;
}

describe('the fastjson reader', () => {
  it('reads all standard JSON', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const parsed = parseFastJson(text);
        if ('error' in parsed) expect.unreachable(parsed.error);
        const wanted = JSON.parse(text) as unknown;
        expect(JSON.stringify(plain(parsed.value))).toBe(JSON.stringify(JSON.parse(JSON.stringify(wanted))));
      }),
    );
  });

  it('reads numbers and whole objects as keys', () => {
    const parsed = parseFastJson('{"addrs":{0:"a:1",-1:"b:2"},"table":{{"topic":"T","queueId":3}:{"x":1},{"topic":"U"}:null}}');
    if ('error' in parsed) expect.unreachable(parsed.error);
    const root = parsed.value as Map<string, Map<unknown, unknown>>;
    expect([...root.get('addrs')!]).toEqual([
      ['0', 'a:1'],
      ['-1', 'b:2'],
    ]);
    expect([...root.get('table')!]).toEqual([
      [
        new Map<string, unknown>([
          ['topic', 'T'],
          ['queueId', 3],
        ]),
        new Map([['x', 1]]),
      ],
      [new Map([['topic', 'U']]), null],
    ]);
  });

  it('keeps integers beyond 2^53 exactly', () => {
    expect(parseFastJson('[9223372036854775807,-9007199254740993,9007199254740991]')).toEqual({
      value: [9223372036854775807n, -9007199254740993n, 9007199254740991],
    });
  });

  it('keeps keys from outside away from prototypes', () => {
    const parsed = parseFastJson('{"__proto__":{"polluted":true},"constructor":1}');
    if ('error' in parsed) expect.unreachable(parsed.error);
    expect((parsed.value as Map<string, unknown>).get('constructor')).toBe(1);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it.each(['', '{', '[1', '{"a"}', '{"a":1 "b":2}', '"open', '{"a":1}}', 'tru', '[,]x', `${'['.repeat(100)}1`, '{{}:1'])(
    'gives a sentence for %j',
    (text) => {
      expect(parseFastJson(text)).toHaveProperty('error', expect.stringMatching(/^JSON: /));
    },
  );

  it('never throws, whatever the bytes', () => {
    const junk = fc.oneof(fc.string(), fc.stringMatching(/^[{}[\]",:0a\\ ]{0,40}$/));
    fc.assert(
      fc.property(junk, (text) => {
        parseFastJson(text);
        for (const decode of [decodeHeartbeat, decodeTopicRoute, decodeLockRequest, decodeClusterInfo, decodeTopicConfig])
          decode(Buffer.from(text));
        decodeQueueTable(Buffer.from(`{"t":${text}}`), 't');
      }),
      { numRuns: 500 },
    );
  });
});

describe('bodies', () => {
  const heartbeat: HeartbeatData = {
    clientID: '127.0.0.1@7#1',
    producerDataSet: [{ groupName: 'p' }],
    consumerDataSet: [
      {
        groupName: 'c',
        consumeType: 'CONSUME_PASSIVELY',
        messageModel: 'CLUSTERING',
        consumeFromWhere: 'CONSUME_FROM_LAST_OFFSET',
        subscriptionDataSet: [
          {
            topic: 'T',
            subString: 'a||b',
            expressionType: 'TAG',
            tagsSet: ['a', 'b'],
            codeSet: [97, 98],
            subVersion: 5,
            classFilterMode: false,
          },
        ],
        unitMode: false,
      },
    ],
    heartbeatFingerprint: 0,
    withoutSub: false,
  };

  it("of a heartbeat read back; a Go client's nanosecond version is rounded", () => {
    expect(decodeHeartbeat(encodeHeartbeat(heartbeat))).toEqual(heartbeat);
    const fromGo = encodeHeartbeat(heartbeat).toString().replace('"subVersion":5', '"subVersion":1700000000000000001');
    const decoded = decodeHeartbeat(Buffer.from(fromGo));
    expect(decoded).toMatchObject({ consumerDataSet: [{ subscriptionDataSet: [{ subVersion: 1.7e18 }] }] });
  });

  it("of a heartbeat with almost nothing in it get RocketMQ's defaults", () => {
    expect(
      decodeHeartbeat(
        Buffer.from('{"clientID":"x","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"topic":"T"}]}]}'),
      ),
    ).toEqual({
      clientID: 'x',
      producerDataSet: [],
      consumerDataSet: [
        {
          groupName: 'g',
          consumeType: 'CONSUME_PASSIVELY',
          messageModel: 'CLUSTERING',
          consumeFromWhere: 'CONSUME_FROM_LAST_OFFSET',
          subscriptionDataSet: [
            {
              topic: 'T',
              subString: '*',
              expressionType: 'TAG',
              tagsSet: [],
              codeSet: [],
              subVersion: 0,
              classFilterMode: false,
            },
          ],
          unitMode: false,
        },
      ],
      heartbeatFingerprint: 0,
      withoutSub: false,
    });
  });

  const broker = { cluster: 'DefaultCluster', brokerName: 'broker-a', brokerAddrs: new Map([['0', '127.0.0.1:9876']]) };

  it('of routes read back, and in the legacy form of old name servers too', () => {
    const route = {
      brokerDatas: [broker],
      queueDatas: [{ brokerName: 'broker-a', readQueueNums: 4, writeQueueNums: 4, perm: 6, topicSysFlag: 0 }],
      orderTopicConf: undefined,
    };
    expect(decodeTopicRoute(encodeTopicRoute(route))).toEqual(route);
    const legacy = encodeTopicRoute(route).toString().replace('"0":', '0:');
    expect(decodeTopicRoute(Buffer.from(legacy))).toEqual(route);
    expect(decodeClusterInfo(encodeClusterInfo({ brokers: [broker] }))).toEqual({ brokers: [broker] });
    expect(JSON.parse(encodeClusterInfo({ brokers: [broker] }).toString())).toMatchObject({
      clusterAddrTable: { DefaultCluster: ['broker-a'] },
    });
  });

  const queues = [
    { topic: 'T', brokerName: 'broker-a', queueId: 0 },
    { topic: 'T"x', brokerName: 'broker-a', queueId: 1 },
  ];

  it('of locks, lists and topics read back', () => {
    const lock = { consumerGroup: 'g', clientId: 'c', mqSet: queues };
    expect(decodeLockRequest(encodeLockRequest(lock))).toEqual(lock);
    expect(decodeLockedQueues(encodeLockedQueues(queues))).toEqual(queues);
    expect(decodeConsumerList(encodeConsumerList(['a@1', 'b@2']))).toEqual(['a@1', 'b@2']);
    expect(decodeTopicList(encodeTopicList(['A', 'B']))).toEqual(['A', 'B']);
    const config = {
      topicName: 'T',
      readQueueNums: 8,
      writeQueueNums: 4,
      perm: 6,
      topicFilterType: 'SINGLE_TAG',
      topicSysFlag: 0,
      order: false,
    };
    expect(decodeTopicConfig(encodeTopicConfig(config))).toEqual(config);
  });

  it('keyed by queues have the queues inlined as keys, as Java wants them', () => {
    const bytes = encodeQueueTable(
      'offsetTable',
      [
        [queues[0]!, 5],
        [queues[1]!, { minOffset: 1 }],
      ],
      { consumeTps: 0 },
    );
    expect(bytes.toString()).toBe(
      '{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:5,{"brokerName":"broker-a","queueId":1,"topic":"T\\"x"}:{"minOffset":1}},"consumeTps":0}',
    );
    expect(decodeQueueTable(bytes, 'offsetTable')).toEqual([
      [queues[0], 5],
      [queues[1], new Map([['minOffset', 1]])],
    ]);
  });
});
