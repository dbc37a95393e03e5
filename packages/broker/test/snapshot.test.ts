import { describe, expect, it } from 'vitest';
import { Stage } from './broker-stage.ts';

/** Everything the broker keeps beside the messages, as a restart must bring it back. */
function stateOf(stage: Stage): unknown {
  const client = stage.client();
  const offset = (group: string, topic: string): string | undefined =>
    client
      .call('QUERY_CONSUMER_OFFSET', { consumerGroup: group, topic, queueId: 0, setZeroIfNotFound: false })
      .fields.get('offset');
  return {
    topics: stage.core.topicList(),
    halves: stage.core
      .halves()
      .map(({ id, group, topic, position, offset: at, checks, state }) => ({ id, group, topic, position, at, checks, state })),
    offsets: [offset('g', 'orders'), offset('h', 'orders'), offset('g', 'ledger')],
    orders: client.bodies('orders'),
  };
}

function busyStage(): Stage {
  const stage = new Stage({
    delayLevelsMs: [30, 60_000],
    checkMax: 2,
    checkIntervalMs: 50,
    checkAfterMs: 20,
    segmentBytes: 64 * 1024,
    groupBytes: 4096,
  }).start();
  const client = stage.client();
  client.heartbeat({ producers: ['pay'], consumers: ['g'] });
  for (let n = 0; n < 4; n++) client.send('orders', `m${n}`);
  client.send('ledger', 'x', { queueId: 3 });
  client.half('orders', 'parked', 'K-parked');
  stage.run(400);
  client.heartbeat({ producers: [] });
  client.call('UNREGISTER_CLIENT', { clientID: client.name, producerGroup: 'pay' });
  const settled = client.half('orders', 'committed', 'K-committed');
  client.half('orders', 'open', '0190A1B2C3D4E5F60718293A4B5C6D7E');
  client.half('ledger', 'rolled back', 'K-rolled-back', 'other');
  client.call('END_TRANSACTION', client.end(settled, 'commit'));
  client.call('UPDATE_CONSUMER_OFFSET', { consumerGroup: 'g', topic: 'orders', queueId: 0, commitOffset: 2 });
  client.call('UPDATE_CONSUMER_OFFSET', { consumerGroup: 'h', topic: 'orders', queueId: 0, commitOffset: 4 });
  client.send('orders', 'soon', { props: { DELAY: '1' } });
  client.send('orders', 'much later', { props: { DELAY: '2' } });
  stage.run(200);
  return stage;
}

describe('the state beside the messages', () => {
  it.each(['restart', 'powerCut'] as const)('comes back from a snapshot over a %s', (how) => {
    const stage = busyStage();
    const before = stateOf(stage);
    let written: string | undefined | null = null;
    stage.core.snapshot((error) => {
      written = error;
    });
    stage.until(() => written !== null);
    expect(written).toBeUndefined();
    stage[how]();
    expect(stage.core.recovery.snapshotPosition).toBeGreaterThan(0);
    expect(stateOf(stage)).toEqual(before);
  });

  it('is the same from a snapshot and from the whole log', () => {
    const stage = busyStage();
    const before = stateOf(stage);
    stage.restart();
    expect(stage.core.recovery.snapshotPosition).toBe(-1);
    expect(stateOf(stage)).toEqual(before);
  });

  it('goes on after a snapshot: verdicts, delays and offsets of before still count', () => {
    const stage = busyStage();
    stage.stop();
    stage.start();
    const client = stage.client();
    const halves = stage.core.halves();
    expect(halves.map(({ id, state }) => `${id} ${state}`)).toEqual([
      'K-parked parked',
      '0190A1B2C3D4E5F60718293A4B5C6D7E open',
      'K-rolled-back open',
    ]);
    for (const { id, group, offset, position } of halves)
      expect(client.call('END_TRANSACTION', client.end({ id, group, offset, position }, 'commit')).code).toBe(0);
    const committed = {
      id: 'K-committed',
      group: 'pay',
      offset: 1,
      position: client.read('orders').find(({ body }) => body.toString() === 'committed')!.preparedTransactionOffset,
    };
    expect(client.call('END_TRANSACTION', client.end(committed, 'rollback')).remark).toContain('decided otherwise: committed');
    expect(client.call('END_TRANSACTION', client.end(committed, 'commit')).code).toBe(0);
    stage.run(61_000);
    expect(client.bodies('orders').sort()).toEqual(['committed', 'm0', 'm1', 'm2', 'm3', 'much later', 'open', 'parked', 'soon']);
    expect(client.bodies('ledger')).toEqual(['rolled back']);
    expect(stage.core.halves()).toEqual([]);
  });

  it('outlives many segments of which the oldest are deleted, and holds the log only where it is needed', () => {
    const stage = new Stage({
      segmentBytes: 64 * 1024,
      groupBytes: 4096,
      storeMaxBytes: 256 * 1024,
      retentionIntervalMs: 20,
    }).start();
    const client = stage.client();
    const fill = (): void => {
      for (let n = 0; n < 60; n++) {
        for (let one = 0; one < 15; one++) client.begin('SEND_MESSAGE_V2', client.sendHeader('bulk'), Buffer.alloc(1000));
        stage.run(10);
      }
      stage.run(1000);
    };
    const half = client.half('orders', 'kept', 'K1');
    fill();
    expect(stage.core.store.info().start).toBe(0);
    expect(client.call('END_TRANSACTION', client.end(half, 'commit')).code).toBe(0);
    fill();
    expect(stage.core.store.info().start).toBeGreaterThan(half.position);
    const min = Number(client.call('GET_MIN_OFFSET', { topic: 'bulk', queueId: 0 }).fields.get('offset'));
    expect(min).toBeGreaterThan(0);
    expect(client.pull('bulk', 0)).toMatchObject({ code: 21, remark: 'OFFSET_TOO_SMALL' });
    stage.restart();
    const again = stage.client();
    expect(again.call('END_TRANSACTION', again.end(half, 'rollback')).code).toBe(1);
    expect(Number(again.call('GET_MIN_OFFSET', { topic: 'bulk', queueId: 0 }).fields.get('offset'))).toBeGreaterThanOrEqual(min);
    expect(again.half('orders', 'next', 'K2').offset).toBe(1);
  });

  it('keeps a delayed message until it has fired, however old its segment is', () => {
    const stage = new Stage({
      segmentBytes: 64 * 1024,
      groupBytes: 4096,
      storeMaxBytes: 128 * 1024,
      retentionIntervalMs: 20,
      delayLevelsMs: [60_000],
    }).start();
    const client = stage.client();
    client.send('orders', 'later', { props: { DELAY: '1' } });
    for (let n = 0; n < 30; n++) {
      for (let one = 0; one < 15; one++) client.begin('SEND_MESSAGE_V2', client.sendHeader('bulk'), Buffer.alloc(1000));
      stage.run(10);
    }
    stage.run(1000);
    expect(stage.core.store.info().start).toBe(0);
    stage.run(60_000);
    expect(client.bodies('orders')).toEqual(['later']);
    stage.run(1000);
    expect(stage.core.store.info().start).toBeGreaterThan(0);
  });

  it('keeps what a protected group has not read, and nothing for others', () => {
    const stage = new Stage({
      segmentBytes: 64 * 1024,
      groupBytes: 4096,
      storeMaxBytes: 128 * 1024,
      retentionIntervalMs: 20,
      protectedGroups: 'ledger,audit',
    }).start();
    const client = stage.client();
    const commit = (consumerGroup: string, commitOffset: number): void => {
      const fields = { consumerGroup, topic: 'bulk', queueId: 0, commitOffset };
      expect(client.call('UPDATE_CONSUMER_OFFSET', fields).code).toBe(0);
    };
    const fill = (): void => {
      for (let n = 0; n < 30; n++) {
        for (let one = 0; one < 15; one++) client.begin('SEND_MESSAGE_V2', client.sendHeader('bulk'), Buffer.alloc(1000));
        stage.run(10);
      }
      stage.run(1000);
    };
    const min = (): number => Number(client.call('GET_MIN_OFFSET', { topic: 'bulk', queueId: 0 }).fields.get('offset'));
    client.send('bulk', 'first');
    commit('ledger', 0);
    commit('other', 0);
    fill();
    expect(min()).toBe(0);
    commit('ledger', 200);
    fill();
    expect(min()).toBeGreaterThan(0);
    expect(min()).toBeLessThanOrEqual(200);
    expect(client.pull('bulk', 200).code).toBe(0);
  });
});
