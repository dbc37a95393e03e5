import { describe, expect, it } from 'vitest';
import type { GivenProducerOptions } from '../../../src/options.ts';
import type { Partitioner } from '../../../src/producer/partitioning/partitioner.ts';
import type { ProducerRecord } from '../../../src/producer/record.ts';
import { send, stageWith, warmUp } from '../sent.ts';

/** The queues that records go to, one per turn. */
function queuesOf(
  options: GivenProducerOptions,
  records: readonly Partial<ProducerRecord>[],
  queues = 4,
): (number | undefined)[] {
  const stage = stageWith({ t: queues });
  const producer = stage.client().producer(options);
  warmUp(stage, producer);
  return records.map((record) => {
    const told = send(producer, { topic: 't', value: 'v', ...record });
    stage.time.settle();
    return told.receipt?.queueId;
  });
}

const keyed = (...keys: string[]): Partial<ProducerRecord>[] => keys.map((key) => ({ key }));

describe('partitioner', () => {
  it('sends a key where Kafka would, whatever the partitioner for records without', () => {
    const wanted = [-973932308, -790332482, 479470107].map((hash) => (hash & 0x7fffffff) % 12);
    for (const partitioner of ['sticky', 'uniform', 'round-robin'] as const) {
      expect(queuesOf({ partitioner }, keyed('21', 'foobar', 'abc'), 12)).toEqual(wanted);
    }
  });

  it('sends the same key as text and as bytes to the same queue', () => {
    const keys = ['a', 'bc', 'def', 'ghij', '订单'];
    const asText = queuesOf({}, keyed(...keys), 12);
    const asBytes = queuesOf(
      {},
      keys.map((key) => ({ key: Buffer.from(key) })),
      12,
    );
    expect(asBytes).toEqual(asText);
  });

  it('sends a key where RocketMQ’s selector by hash would, if told so', () => {
    expect(queuesOf({ keyHash: 'java' }, keyed('abc', 'polygenelubricants'), 7)).toEqual([96_354 % 7, 2_147_483_648 % 7]);
  });

  it('takes queues in turn, keys ignored or not', () => {
    const inTurn = (queues: (number | undefined)[]) => queues.map((queue) => (queue! - queues[0]! + 4) % 4);
    const records = [{}, { key: 'k' }, {}, { key: 'k' }, {}];
    const ignoring = queuesOf({ partitioner: 'round-robin', partitionerIgnoreKeys: true }, records);
    expect(inTurn(ignoring)).toEqual([0, 1, 2, 3, 0]);
    const article = queuesOf({ partitioner: 'round-robin' }, records);
    expect(article[1]).toBe(article[3]);
    expect(inTurn([article[0], article[2], article[4]])).toEqual([0, 1, 2]);
  });

  it('still sends the ignored key with the message', () => {
    const stage = stageWith({ t: 1 });
    send(stage.client().producer({ partitionerIgnoreKeys: true }), { topic: 't', value: 'v', key: 'k' });
    stage.time.settle();
    expect(stage.broker.arrived[0]!.properties.get('KEYS')).toBe('k');
  });

  it('of the user’s own sees the record as it travels and all queues, and decides for all that name none', () => {
    const seen: unknown[] = [];
    const partitioner: Partitioner = {
      partition(record, queues) {
        seen.push([record.topic, record.key, record.value, queues.length, queues[2]!.queueId]);
        return 2;
      },
    };
    const queues = queuesOf({ partitioner, valueSerializer: 'json' }, [{ key: 'k', value: 'v' }, { queueId: 1 }]);
    expect(queues).toEqual([2, 1]);
    expect(seen.slice(1)).toEqual([['t', 'k', '"v"', 4, 2]]);
  });

  it.each([
    [() => -1, 'it gave -1 for a record of t, which has 2 queues: 0 to 1'],
    [() => 2, 'it gave 2 for a record of t, which has 2 queues'],
    [() => 0.5, 'it gave 0.5'],
    [() => undefined as never, 'it gave undefined'],
    [
      () => {
        throw new Error('no idea');
      },
      'it threw Error: no idea for a record of t',
    ],
  ])('of the user’s own that gives no queue fails the send: %#', (partition, text) => {
    const stage = stageWith({ t: 2 });
    const told = send(stage.client().producer({ partitioner: { partition } }), { topic: 't', value: 'v' });
    stage.time.settle();
    expect(told.error).toMatchObject({ code: 'PARTITIONER_FAILED', outcome: 'rejected' });
    expect(told.error!.message).toContain(text);
  });

  it('of the user’s own may send something itself', () => {
    const stage = stageWith({ t: 2, log: 1 });
    const partitioner: Partitioner = {
      partition({ topic, key }) {
        if (topic === 't') producer.send({ topic: 'log', value: `choosing for ${String(key)}` }, () => {});
        return 0;
      },
    };
    const producer = stage.client().producer({ partitioner });
    warmUp(stage, producer, 't');
    send(producer, { topic: 't', key: 'k', value: 'v'.repeat(100) });
    stage.time.settle();
    const arrived = stage.broker.arrived.map(({ topic, body, properties }) => [topic, body, properties.get('KEYS')]);
    expect(arrived).toContainEqual(['t', 'v'.repeat(100), 'k']);
    expect(arrived).toContainEqual(['log', 'choosing for k', undefined]);
  });

  it('starts at a queue by lot, so that many short-lived producers do not all meet at the first', () => {
    const starts = new Set<number>();
    const stage = stageWith({ t: 8 });
    const client = stage.client();
    for (let n = 0; n < 20; n++) {
      const told = send(client.producer(), { topic: 't', value: 'v' });
      stage.time.settle();
      starts.add(told.receipt!.queueId);
    }
    expect(starts.size).toBeGreaterThan(3);
  });
});
