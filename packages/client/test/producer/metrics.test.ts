import { describe, expect, it } from 'vitest';
import { SENDS, send, stageWith, warmUp } from './sent.ts';

describe('metrics', () => {
  it('of a new producer are all zero but its memory', () => {
    const { bufferTotalBytes, bufferAvailableBytes, ...rest } = stageWith({}).client().producer().metrics();
    expect([bufferTotalBytes, bufferAvailableBytes]).toEqual([32 * 1024 * 1024, 32 * 1024 * 1024]);
    expect(Object.values(rest).every((value) => value === 0)).toBe(true);
  });

  it('count records, bytes, batches and their sizes, times, retries and errors', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ lingerMs: 10, retryBackoffMs: 5 });
    warmUp(stage, producer);
    stage.time.advance(20);
    const before = producer.metrics();
    expect(before).toMatchObject({ records: 1, batches: 1, acknowledged: 1, queueTimeMsMax: 10 });
    let refusals = 1;
    stage.broker.script = (code) => (SENDS.includes(code) && refusals-- > 0 ? { code: 2 } : 'ok');
    for (let n = 0; n < 9; n++) send(producer, { topic: 't', key: 'k', value: 'v'.repeat(100) });
    stage.time.advance(1000);
    const after = producer.metrics();
    expect(after).toMatchObject({
      records: 10,
      batches: 2,
      acknowledged: 10,
      retries: 9,
      requests: 3,
      errors: 0,
      pendingRecords: 0,
    });
    expect([after.batchRecordsAverage, after.batchRecordsMax]).toEqual([5, 9]);
    expect(after.batchBytesMax).toBeGreaterThan(900);
    expect(after.bytes).toBe(after.batchBytesAverage * 2);
    expect(after.bufferAvailableBytes).toBe(after.bufferTotalBytes);
  });

  it('count each single send of a run as a request, and none that has its verdict as in flight', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ batchSizeBytes: 0 });
    warmUp(stage, producer);
    let sends = 0;
    stage.broker.script = (code) => (SENDS.includes(code) && ++sends > 3 ? 'silent' : 'ok');
    for (let n = 0; n < 10; n++) send(producer, { topic: 't', value: 'v' });
    stage.time.settle();
    expect(producer.metrics()).toMatchObject({ pendingRecords: 7, requestsInFlight: 7, recordsInFlight: 7 });
    expect(producer.inspect().queues[0]).toMatchObject({ recordsInFlight: 7 });
  });

  it('tell what waits, for how long it did, and what was refused', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ bufferMemoryBytes: 1024, batchSizeBytes: 1024, maxBlockMs: 100 });
    warmUp(stage, producer);
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    const errors = producer.metrics().errors;
    for (let n = 0; n < 3; n++) send(producer, { topic: 't', value: 'v'.repeat(700) });
    send(producer, { topic: 't', value: '' });
    const before = producer.metrics();
    expect(before).toMatchObject({ waitingRecords: 2, pendingRecords: 3, bufferAvailableBytes: 0 });
    expect(before.waitingBytes).toBeGreaterThan(1400);
    stage.time.advance(101);
    const after = producer.metrics();
    expect(after).toMatchObject({ waitingRecords: 0, waitMsMax: 100, requestsInFlight: 1, recordsInFlight: 1 });
    expect(after.waits - before.waits).toBe(2);
    expect(after.errors - errors).toBe(3);
    expect(after.routeAgeMs).toBeGreaterThan(100);
  });
});

describe('inspect', () => {
  it('shows what waits where, why and for how long', () => {
    const stage = stageWith({ t: 2 });
    const producer = stage.client().producer({ maxInFlightPerQueue: 1, batchSizeBytes: 1024, bufferMemoryBytes: 4096 });
    warmUp(stage, producer);
    stage.broker.script = (code, ask) => (SENDS.includes(code) || ask.fields.get('topic') === 'slow' ? 'silent' : 'ok');
    for (let n = 0; n < 6; n++) send(producer, { topic: 't', queueId: 1, value: 'v'.repeat(700) });
    send(producer, { topic: 'slow', value: 'no route yet' });
    stage.time.settle();
    producer.answered('broker-a', 600, 'answered');
    stage.time.advance(20);
    const state = producer.inspect();
    expect(state.waiting.map(({ topic, reason, sends, oldestMs }) => [topic, reason, sends, oldestMs])).toEqual([
      ['t', 'memory', 2, 20],
      ['slow', 'route', 1, 20],
    ]);
    expect(state.queues).toMatchObject([
      {
        topic: 't',
        queueId: 1,
        brokerName: 'broker-a',
        batches: 3,
        records: 3,
        repeated: 0,
        oldestMs: 20,
        requestsInFlight: 1,
        recordsInFlight: 1,
      },
    ]);
    expect(state.brokers).toMatchObject([
      { brokerName: 'broker-a', address: '10.0.0.1:9876', connection: 'open', messagesInFlight: 1 },
    ]);
    expect(state.avoided).toEqual([{ brokerName: 'broker-a', forMs: 1980 }]);
  });

  it('names the queue that a send waits for as its reason', () => {
    const stage = stageWith({ t: 2 });
    const producer = stage.client().producer();
    warmUp(stage, producer);
    send(producer, { topic: 't', queueId: 9, value: 'v' });
    expect(producer.inspect().waiting).toMatchObject([{ topic: 't', reason: 'queue', sends: 1 }]);
  });
});
