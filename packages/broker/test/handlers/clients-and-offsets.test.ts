import { decodeConsumerList, decodeLockedQueues, encodeLockRequest, RequestCode } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { Stage, type Answer, type TestClient } from '../broker-stage.ts';

const jsonOf = (answer: Answer): unknown => JSON.parse(answer.body.toString());

describe('a heartbeat', () => {
  it('is answered with what the broker can, under a version of RocketMQ 5', () => {
    const client = new Stage().start().client();
    let version = 0;
    client.peer.request(RequestCode.HEART_BEAT, undefined, Buffer.from('{"clientID":"c"}'), undefined, (_error, reply) => {
      version = reply.version;
    });
    client.stage.until(() => version > 0);
    expect(version).toBe(479);
    const answer = client.heartbeat({ consumers: ['readers'], producers: ['writers'] });
    expect([answer.code, Object.fromEntries(answer.fields)]).toEqual([
      0,
      { IS_SUPPORT_HEART_BEAT_V2: 'true', IS_SUB_CHANGE: 'true', TS_DEDUP: '1' },
    ]);
  });

  it('makes the retry topic of its consumer group', () => {
    const client = new Stage().start().client();
    client.heartbeat({ consumers: ['readers'] });
    const route = jsonOf(client.call('GET_ROUTEINFO_BY_TOPIC', { topic: '%RETRY%readers' })) as { queueDatas: unknown };
    expect(route.queueDatas).toEqual([{ brokerName: 'broker-a', readQueueNums: 1, writeQueueNums: 1, perm: 6, topicSysFlag: 0 }]);
  });

  it.each([
    ['no JSON', 'x{'],
    ['no object', '[1]'],
    ['no client id', '{"producerDataSet":[]}'],
    ['an illegal group', '{"clientID":"c","producerDataSet":[{"groupName":"a b"}]}'],
    ['a group of 121 letters', `{"clientID":"c","producerDataSet":[{"groupName":"${'g'.repeat(121)}"}]}`],
  ])('of %s is refused', (_what, body) => {
    const answer = new Stage().start().client().raw(RequestCode.HEART_BEAT, undefined, Buffer.from(body));
    expect(answer).toMatchObject({ code: 1, remark: expect.stringContaining('HEART_BEAT: ') });
  });
});

describe('members of a consumer group', () => {
  const members = (client: TestClient): readonly string[] | string =>
    decodeConsumerList(client.call('GET_CONSUMER_LIST_BY_GROUP', { consumerGroup: 'readers' }).body);

  const notices = (client: TestClient): number =>
    client.told.filter(({ code }) => code === RequestCode.NOTIFY_CONSUMER_IDS_CHANGED).length;

  it('are told when one joins, leaves by word, or loses its connection', () => {
    const stage = new Stage().start();
    const [a, b, c] = [stage.client('a'), stage.client('b'), stage.client('c')];
    a.heartbeat({ consumers: ['readers'] });
    b.heartbeat({ consumers: ['readers'] });
    stage.run(10);
    expect([notices(a), notices(b)]).toEqual([2, 1]);
    c.heartbeat({ consumers: ['readers'] });
    stage.run(10);
    expect(members(a)).toEqual(['a', 'b', 'c']);
    expect([notices(a), notices(b), notices(c)]).toEqual([3, 2, 1]);
    c.call('UNREGISTER_CLIENT', { clientID: 'c', consumerGroup: 'readers' });
    b.peer.close(false);
    stage.run(10);
    expect(members(a)).toEqual(['a']);
    expect(notices(a)).toBe(5);
    a.heartbeat({ consumers: ['readers'] });
    stage.run(10);
    expect(notices(a)).toBe(5);
  });

  it('are not told when each consumes everything', () => {
    const stage = new Stage().start();
    const [a, b] = [stage.client('a'), stage.client('b')];
    a.heartbeat({ consumers: ['readers'], model: 'BROADCASTING' });
    b.heartbeat({ consumers: ['readers'], model: 'BROADCASTING' });
    stage.run(10);
    expect(a.told).toEqual([]);
  });

  it('are out when they have been silent too long', () => {
    const stage = new Stage({ clientExpiryMs: 1000, clientScanMs: 100 }).start();
    const [a, b] = [stage.client('a'), stage.client('b')];
    a.heartbeat({ consumers: ['readers'] });
    b.heartbeat({ consumers: ['readers'] });
    stage.run(700);
    a.heartbeat({ consumers: ['readers'] });
    stage.run(700);
    expect(members(a)).toEqual(['a']);
  });

  it("that are none are an error, in RocketMQ's words", () => {
    const answer = new Stage().start().client().call('GET_CONSUMER_LIST_BY_GROUP', { consumerGroup: 'nobody' });
    expect(answer).toMatchObject({ code: 1, remark: 'no consumer for this group, nobody' });
  });
});

describe('queue locks', () => {
  const queue = (queueId: number) => ({ topic: 'orders', brokerName: 'broker-a', queueId });
  const lock = (client: TestClient, clientId: string, ...ids: number[]): number[] => {
    const answer = client.raw(
      RequestCode.LOCK_BATCH_MQ,
      undefined,
      encodeLockRequest({ consumerGroup: 'g', clientId, mqSet: ids.map(queue) }),
    );
    const queues = decodeLockedQueues(answer.body);
    if (typeof queues === 'string') throw new Error(queues);
    return queues.map(({ queueId }) => queueId);
  };

  it('go to the first who asks, queue by queue, until given back', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x');
    expect(lock(client, 'a', 0, 1)).toEqual([0, 1]);
    expect(lock(client, 'b', 1, 2)).toEqual([2]);
    expect(
      client.raw(
        RequestCode.UNLOCK_BATCH_MQ,
        undefined,
        encodeLockRequest({ consumerGroup: 'g', clientId: 'a', mqSet: [queue(1)] }),
      ).code,
    ).toBe(0);
    expect(lock(client, 'b', 0, 1)).toEqual([1]);
  });

  it('run out when they are not renewed', () => {
    const stage = new Stage({ lockLeaseMs: 500 }).start();
    const client = stage.client();
    client.send('orders', 'x');
    lock(client, 'a', 0);
    stage.run(400);
    expect(lock(client, 'b', 0)).toEqual([]);
    stage.run(200);
    expect(lock(client, 'b', 0)).toEqual([0]);
  });

  it('are not given on queues that do not exist', () => {
    const client = new Stage().start().client();
    client.send('orders', 'x');
    expect(lock(client, 'a', 0, 77, -1)).toEqual([0]);
  });
});

describe('a committed offset', () => {
  const OFFSET = { consumerGroup: 'readers', topic: 'orders', queueId: 0 };

  function filled(messages = 5, options = {}): { stage: Stage; client: TestClient } {
    const stage = new Stage(options).start();
    const client = stage.client();
    for (let n = 0; n < messages; n++) client.send('orders', `m${n}`);
    return { stage, client };
  }

  it('that was answered or shown survives a power cut', () => {
    const { stage, client } = filled();
    expect(client.call('UPDATE_CONSUMER_OFFSET', { ...OFFSET, commitOffset: 3 }).code).toBe(0);
    expect(client.call('QUERY_CONSUMER_OFFSET', OFFSET).fields.get('offset')).toBe('3');
    expect(stage.powerCut().client().call('QUERY_CONSUMER_OFFSET', OFFSET).fields.get('offset')).toBe('3');
  });

  it('that was told one-way and then shown survives a power cut, also when messages are not synced', () => {
    const { stage, client } = filled(5, { flush: 'async', syncIntervalMs: 60_000 });
    stage.run(100);
    client.peer.oneway(RequestCode.UPDATE_CONSUMER_OFFSET, { ...OFFSET, commitOffset: 4 });
    expect(client.call('QUERY_CONSUMER_OFFSET', OFFSET).fields.get('offset')).toBe('4');
    expect(stage.powerCut().client().call('QUERY_CONSUMER_OFFSET', OFFSET).fields.get('offset')).toBe('4');
  });

  it('comes along with a pull', () => {
    const { stage, client } = filled();
    client.pull('orders', 2, { sysFlag: 5, commitOffset: 2 });
    expect(client.call('QUERY_CONSUMER_OFFSET', OFFSET).fields.get('offset')).toBe('2');
    expect(stage.core.counters.offsetCommits).toBe(1);
  });

  it('beyond the end becomes the end, so that nothing is skipped', () => {
    const { client } = filled(5);
    expect(client.call('UPDATE_CONSUMER_OFFSET', { ...OFFSET, commitOffset: 99 }).remark).toContain('cannot have read beyond');
    expect(client.call('QUERY_CONSUMER_OFFSET', OFFSET).fields.get('offset')).toBe('5');
  });

  it.each([
    ['an unknown topic', { topic: 'none' }, 17, 'Topic none not exist!'],
    ['a queue that is not there', { queueId: 9 }, 29, 'queueId[9]'],
    ['a negative number', { commitOffset: -1 }, 29, 'offset[-1] is illegal'],
  ])('of %s is refused', (_what, more, code, text) => {
    const { client } = filled(1);
    const answer = client.call('UPDATE_CONSUMER_OFFSET', { ...OFFSET, commitOffset: 0, ...more });
    expect(answer).toMatchObject({ code, remark: expect.stringContaining(text) });
  });

  it('of a new group is 0 on a small queue, unless the client will not have a zero', () => {
    const { client } = filled();
    expect(client.call('QUERY_CONSUMER_OFFSET', OFFSET)).toMatchObject({ code: 0 });
    const refused = client.call('QUERY_CONSUMER_OFFSET', { ...OFFSET, setZeroIfNotFound: false });
    expect(refused).toMatchObject({ code: 22, remark: 'Not found, do not set to zero, maybe this group boot first' });
  });

  it('of a new group is not found when the first message lies far back', () => {
    const { client } = filled(5, { newGroupFromStartBytes: 300 });
    expect(client.call('QUERY_CONSUMER_OFFSET', OFFSET)).toMatchObject({
      code: 22,
      remark: 'Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first',
    });
  });
});

describe('the ends of a queue', () => {
  it('are asked by number and by time', () => {
    const stage = new Stage().start();
    const client = stage.client();
    const times: number[] = [];
    for (let n = 0; n < 4; n++) {
      client.send('orders', `m${n}`);
      stage.run(1000);
    }
    for (const message of client.read('orders')) times.push(message.storeTimestamp);
    const where = { topic: 'orders', queueId: 0 };
    const offset = (answer: Answer): string | undefined => answer.fields.get('offset');
    expect(offset(client.call('GET_MAX_OFFSET', where))).toBe('4');
    expect(offset(client.call('GET_MIN_OFFSET', where))).toBe('0');
    expect(client.call('GET_EARLIEST_MSG_STORETIME', where).fields.get('timestamp')).toBe(String(times[0]));
    const byTime = (timestamp: number, boundaryType?: string): string | undefined =>
      offset(client.call('SEARCH_OFFSET_BY_TIMESTAMP', { ...where, timestamp, boundaryType }));
    expect([byTime(times[2]!), byTime(times[1]! + 1), byTime(0), byTime(times[3]! + 1)]).toEqual(['2', '2', '0', '4']);
    expect([byTime(times[2]! + 1, 'UPPER'), byTime(times[2]!, 'UPPER')]).toEqual(['2', '2']);
  });

  it('of a queue that is not there are an error', () => {
    const client = new Stage().start().client();
    expect(client.call('GET_MAX_OFFSET', { topic: 'none', queueId: 0 }).code).toBe(17);
    expect(client.call('GET_MIN_OFFSET', { topic: 'BenchmarkTest', queueId: 2000 }).code).toBe(29);
  });
});
