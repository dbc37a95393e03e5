import { PullFlag } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import type { GivenBrokerOptions } from '../../src/options.ts';
import { Stage, type Answer, type TestClient } from '../broker-stage.ts';

const FOLLOWS = PullFlag.SUSPEND | PullFlag.SUBSCRIPTION;
const READS = PullFlag.SUBSCRIPTION;

/** A pull of group `readers` as a consumer makes it; with `commitOffset` it commits, too. */
function follow(
  client: TestClient,
  queueOffset: number,
  more: { group?: string; commitOffset?: number; sysFlag?: number } = {},
): Answer {
  const { group = 'readers', commitOffset = 0, sysFlag = FOLLOWS } = more;
  return client.pull('orders', queueOffset, {
    consumerGroup: group,
    commitOffset,
    sysFlag: sysFlag | (commitOffset > 0 ? PullFlag.COMMIT_OFFSET : 0),
    suspendTimeoutMillis: 10,
    subscription: '*',
    expressionType: 'TAG',
  });
}

const next = (answer: Answer): number => Number(answer.fields.get('nextBeginOffset'));

function committed(client: TestClient, group = 'readers'): number {
  const fields = { consumerGroup: group, topic: 'orders', queueId: 0, setZeroIfNotFound: false };
  return Number(client.call('QUERY_CONSUMER_OFFSET', fields).fields.get('offset') ?? -1);
}

/** An asynchronous broker that kept 5 of 10 messages over a power cut, and has 8 new ones. */
function shortened(more: GivenBrokerOptions = {}): { stage: Stage; client: TestClient } {
  const stage = new Stage({ flush: 'async', ...more }).start();
  const before = stage.client();
  for (let n = 0; n < 5; n++) before.send('orders', `kept ${n}`);
  stage.run(500);
  for (let n = 0; n < 5; n++) before.send('orders', `lost ${n}`);
  expect(next(follow(before, 0))).toBe(10);
  stage.powerCut();
  const client = stage.client();
  expect(Number(client.call('GET_MAX_OFFSET', { topic: 'orders', queueId: 0 }).fields.get('offset'))).toBe(5);
  for (let n = 0; n < 8; n++) client.send('orders', `new ${n}`);
  return { stage, client: stage.client() };
}

describe('after a power cut that took the end of an asynchronous log', () => {
  it('a consumer that has read what is gone is sent back to the end that was left, and misses nothing', () => {
    const { client } = shortened();
    const answer = follow(client, 10);
    expect(answer).toMatchObject({ code: 21, remark: 'OFFSET_OVERFLOW_BADLY' });
    expect(next(answer)).toBe(5);
    expect(next(follow(client, 5))).toBe(13);
    expect(follow(client, 13, { commitOffset: 12 }).code).toBe(19);
    expect(committed(client)).toBe(12);
  });

  it('what it commits beyond that end does not count', () => {
    const { client } = shortened();
    follow(client, 10, { commitOffset: 9 });
    expect(committed(client)).toBe(5);
    const fields = { consumerGroup: 'readers', topic: 'orders', queueId: 0, commitOffset: 10 };
    expect(client.call('UPDATE_CONSUMER_OFFSET', fields)).toMatchObject({
      code: 29,
      remark: expect.stringContaining('cannot have read beyond 5, which is taken instead'),
    });
    expect(committed(client)).toBe(5);
  });

  it('an operator may commit the end it was told', () => {
    const { client } = shortened();
    client.call('GET_MAX_OFFSET', { topic: 'orders', queueId: 0 });
    const fields = { consumerGroup: 'readers', topic: 'orders', queueId: 0, commitOffset: 13 };
    expect(client.call('UPDATE_CONSUMER_OFFSET', fields).code).toBe(0);
    expect(committed(client)).toBe(13);
  });

  it('a consumer that commits nothing goes on where it was led by a new connection, and another of its group does not', () => {
    const { stage, client } = shortened();
    const join = (from: TestClient, clientId: string): TestClient => {
      from.heartbeat({ consumers: ['readers'], topic: 'orders', clientId });
      return from;
    };
    join(client, 'one');
    expect(next(follow(client, 5))).toBe(13);
    client.peer.close(false, 'the cable');
    expect(follow(join(stage.client(), 'one'), 12).code).toBe(0);
    expect(next(follow(join(stage.client(), 'two'), 12))).toBe(5);
  });

  it('invented groups are not remembered without end', () => {
    const { client } = shortened({ groupsMax: 3 });
    expect(next(follow(client, 5))).toBe(13);
    for (const group of ['a', 'b']) follow(client, 5, { group });
    expect(follow(client, 12).code).toBe(0);
    follow(client, 5, { group: 'c' });
    expect(next(follow(client, 12))).toBe(5);
  });

  it('ends an hour after new messages were first met: whoever was ahead has come back by then', () => {
    const { stage } = shortened();
    const pause = (ms: number): TestClient => {
      stage.stalledMs += ms;
      return stage.client();
    };
    expect(next(follow(pause(7_200_000), 12))).toBe(5);
    expect(next(follow(pause(3_590_000), 12))).toBe(5);
    expect(follow(pause(20_000), 12).code).toBe(0);
  });

  it('nor does it help that another member of its group has been led further', () => {
    const { stage, client } = shortened();
    expect(next(follow(client, 5))).toBe(13);
    const ahead = stage.client();
    expect(next(follow(ahead, 10))).toBe(5);
    follow(client, 13, { commitOffset: 7 });
    expect(next(follow(ahead, 10))).toBe(7);
  });

  it('a consumer that was led by this broker goes on by its connection, and from what it committed by any', () => {
    const { stage, client } = shortened();
    follow(client, 5);
    expect(follow(client, 13, { commitOffset: 13 }).code).toBe(19);
    expect(follow(stage.client(), 13).code).toBe(19);
  });

  it('a new group may begin at the end it was told, and a tool may read anywhere', () => {
    const { client } = shortened();
    const end = Number(client.call('GET_MAX_OFFSET', { topic: 'orders', queueId: 0 }).fields.get('offset'));
    expect(end).toBe(13);
    expect(follow(client, end, { group: 'newcomers' }).code).toBe(19);
    expect(follow(client, 11, { group: 'tools', sysFlag: READS }).code).toBe(0);
    expect(next(follow(client, 11, { group: 'tools' }))).toBe(5);
  });

  it('a synchronous broker, and one that was stopped in order, take consumers at their word', () => {
    for (const flush of ['sync', 'async'] as const) {
      const stage = new Stage({ flush }).start();
      const before = stage.client();
      for (let n = 0; n < 5; n++) before.send('orders', `${n}`);
      if (flush === 'sync') stage.powerCut();
      else {
        stage.stop();
        stage.start();
      }
      const client = stage.client();
      for (let n = 0; n < 5; n++) client.send('orders', `new ${n}`);
      expect(next(follow(client, 7))).toBe(10);
    }
  });
});
