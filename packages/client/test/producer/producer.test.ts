import { describe, expect, it } from 'vitest';
import type { ProducerRecord } from '../../src/producer/record.ts';
import { type Told, send, stageWith } from './sent.ts';

describe('producer', () => {
  it('sends one record alone and several of a turn as one batch per queue', () => {
    const stage = stageWith({ t: 2 });
    const producer = stage.client().producer();
    send(producer, { topic: 't', value: 'a', queueId: 0 });
    stage.time.settle();
    for (const value of ['b', 'c', 'd']) send(producer, { topic: 't', value, queueId: 1 });
    send(producer, { topic: 't', value: 'e', queueId: 0 });
    stage.time.settle();
    expect(stage.broker.sends).toEqual(['310', '310', '320x3']);
    expect(stage.broker.arrived.map(({ body, queueId }) => `${body}${queueId}`)).toEqual(['a0', 'e0', 'b1', 'c1', 'd1']);
  });

  it('tells each record its own offset and ids', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    const told = ['x', 'y', 'z'].map((value) => send(producer, { topic: 't', value }));
    stage.time.settle();
    expect(told.map(({ receipt }) => receipt?.offset)).toEqual([0, 1, 2]);
    expect(told.map(({ receipt }) => receipt?.messageId)).toEqual(
      stage.broker.arrived.map(({ properties }) => properties.get('UNIQ_KEY')),
    );
    expect(told[2]!.receipt!.offsetMessageId).toBe('0A000001000026940000000000000002');
    expect(told[1]!.receipt!.toJSON()).toMatchObject({ topic: 't', queueId: 0, offset: 1, status: 'SEND_OK' });
  });

  it('keeps the order of sends that waited for the route', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    const order: string[] = [];
    for (const value of ['1', '2', '3']) producer.send({ topic: 't', value }, () => order.push(value));
    stage.time.endTurn();
    producer.send({ topic: 't', value: '4' }, () => order.push('4'));
    stage.time.settle();
    expect(stage.broker.arrived.map(({ body }) => body)).toEqual(['1', '2', '3', '4']);
    expect(order).toEqual(['1', '2', '3', '4']);
  });

  it('keeps the order of sends that waited for memory, and lets nobody overtake them', () => {
    const stage = stageWith({ t: 1, u: 1 });
    const producer = stage.client().producer({ bufferMemoryBytes: 2048, batchSizeBytes: 1024 });
    send(producer, { topic: 't', value: 'warm' });
    send(producer, { topic: 'u', value: 'warm' });
    stage.time.settle();
    const values = Array.from({ length: 12 }, (_, n) => `${n}`.padStart(300, '.'));
    for (const value of values) send(producer, { topic: 't', value });
    expect(producer.waiting).toBeGreaterThan(0);
    send(producer, { topic: 'u', value: 'small' });
    stage.time.settle();
    const bodies = stage.broker.arrived.slice(2).map(({ body }) => body);
    expect(bodies).toEqual([...values, 'small']);
    expect(producer.pending).toBe(0);
  });

  it('refuses at once the send that is one too many to wait', () => {
    const stage = stageWith({});
    const producer = stage.client().producer({ maxPendingRecords: 2 });
    const told = ['1', '2', '3'].map((value) => send(producer, { topic: 't', value }));
    expect(told.map(({ error }) => error?.code)).toEqual([undefined, undefined, 'TOO_MANY_WAITING']);
    expect(told[2]!.error).toMatchObject({ outcome: 'unavailable', retry: 'later' });
  });

  it('gives up a send that waits for a route longer than maxBlockMs', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.refuses = true;
    const producer = stage.client().producer({ maxBlockMs: 500 });
    const told = send(producer, { topic: 't', value: '1' });
    stage.time.advance(499);
    expect(told.times).toBe(0);
    stage.time.advance(2);
    expect(told.error).toMatchObject({ code: 'NO_ROUTE', outcome: 'unavailable' });
  });

  it('says at once that a topic is unroutable when neither it nor a default topic exists', () => {
    const stage = stageWith({});
    const told = send(stage.client().producer(), { topic: 'nowhere', value: '1' });
    stage.time.settle();
    expect(told.error).toMatchObject({ code: 'TOPIC_UNKNOWN', outcome: 'unroutable' });
  });

  it('sends to a topic that a broker will make, with as many queues as it asks for', () => {
    const stage = stageWith({ TBW102: 8 });
    const producer = stage.client().producer({ defaultQueues: 4 });
    const told = [0, 3, 4].map((queueId) => send(producer, { topic: 'new', value: 'v', queueId }));
    stage.time.advance(60_000);
    expect(told.map(({ error }) => error?.code)).toEqual([undefined, undefined, 'NO_QUEUE']);
  });

  it('sends a key always to the same queue and spreads records without one', () => {
    const stage = stageWith({ t: 12 });
    const producer = stage.client().producer();
    for (let n = 0; n < 24; n++) {
      send(producer, { topic: 't', key: '21', value: 'keyed' });
      send(producer, { topic: 't', value: 'plain' });
      stage.time.settle();
    }
    const queues = (body: string): Set<number> =>
      new Set(stage.broker.arrived.filter((one) => one.body === body).map((one) => one.queueId));
    expect([...queues('keyed')]).toEqual([(-973932308 & 0x7fffffff) % 12]);
    expect(queues('plain').size).toBe(12);
  });

  it.each([
    [{ topic: 't', value: '' }, 'ILLEGAL_RECORD'],
    [{ topic: 't', value: undefined as unknown as string }, 'ILLEGAL_RECORD'],
    [{ topic: 'with space', value: 'v' }, 'ILLEGAL_RECORD'],
    [{ topic: 't', value: 'v', id: 'short' }, 'ILLEGAL_RECORD'],
    [{ topic: 't', value: 'v', key: '' }, 'ILLEGAL_RECORD'],
    [{ topic: 't', value: 'v', delayLevel: 19 }, 'ILLEGAL_RECORD'],
    [{ topic: 't', value: 'v', headers: { UNIQ_KEY: 'x' } }, 'ILLEGAL_RECORD'],
    [{ topic: 't', value: 'v', headers: { TS_SEQ: 'x' } }, 'ILLEGAL_RECORD'],
    [{ topic: 't', value: 'v', headers: { h: '' } }, 'ILLEGAL_RECORD'],
    [{ topic: 't', value: 'v', headers: { h: 'x'.repeat(40_000) } }, 'ILLEGAL_RECORD'],
    [{ topic: 't', value: 'v'.repeat(101) }, 'RECORD_TOO_LARGE'],
  ] as [ProducerRecord, string][])('refuses record %# before it is sent', (record, code) => {
    const stage = stageWith({ t: 1 });
    const told = send(stage.client().producer({ maxMessageBytes: 100 }), record);
    expect(told.error).toMatchObject({ code, outcome: 'rejected', retry: 'never' });
  });

  it('sends delayed and compressed records alone, in their place', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ compressOverBytes: 1000 });
    send(producer, { topic: 't', value: 'a' });
    send(producer, { topic: 't', value: 'b' });
    send(producer, { topic: 't', value: 'later', delayLevel: 3 });
    send(producer, { topic: 't', value: 'z'.repeat(2000) });
    send(producer, { topic: 't', value: 'c' });
    stage.time.settle();
    expect(stage.broker.sends).toEqual(['320x2', '310', '310', '310']);
    const [, , delayed, compressed] = stage.broker.arrived;
    expect(delayed!.properties.get('DELAY')).toBe('3');
    expect([compressed!.sysFlag, compressed!.raw.length < 100]).toEqual([0x301, true]);
  });

  it('sends every record alone when batching is off', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ batchSizeBytes: 0 });
    for (const value of ['a', 'b', 'c']) send(producer, { topic: 't', value });
    stage.time.settle();
    expect(stage.broker.sends).toEqual(['310', '310', '310']);
  });

  it('keeps a record with its own timestamp apart, for a batch has one', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    send(producer, { topic: 't', value: 'now' });
    send(producer, { topic: 't', value: 'then', timestamp: 5 });
    send(producer, { topic: 't', value: 'then too', timestamp: 5 });
    stage.time.settle();
    expect(stage.broker.sends).toEqual(['310', '320x2']);
    expect(stage.broker.arrived.map(({ born }) => born)).toEqual([stage.time.now(), 5, 5]);
  });

  it('lingers until a batch is full or old enough, and does not linger for a flush', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ lingerMs: 10, batchSizeBytes: 1024 });
    send(producer, { topic: 't', value: 'first' });
    stage.time.advance(9);
    expect(stage.broker.sends).toEqual([]);
    stage.time.advance(2);
    expect(stage.broker.sends).toEqual(['310']);
    for (let n = 0; n < 12; n++) send(producer, { topic: 't', value: 'x'.repeat(50) });
    stage.time.settle();
    expect(stage.broker.sends.length).toBeGreaterThan(1);
    let flushed = false;
    producer.flush(() => (flushed = true));
    stage.time.settle();
    expect([flushed, stage.broker.arrived.length]).toEqual([true, 13]);
  });

  it('works with JSON headers too', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client({ header: 'json' }).producer();
    const told = ['a', 'b'].map((value) => send(producer, { topic: 't', key: 'k', value, headers: { h: '"ü\\' } }));
    stage.time.settle();
    expect(told.map(({ receipt }) => receipt?.offset)).toEqual([0, 1]);
    send(producer, { topic: 't', value: 'alone', headers: { h: '"ü\\' } });
    stage.time.settle();
    expect(stage.broker.arrived.map(({ properties }) => properties.get('h'))).toEqual(['"ü\\', '"ü\\', '"ü\\']);
  });

  it('takes no more after close, which waits for what is on its way', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    const before = send(producer, { topic: 't', value: 'before' });
    let closed = false;
    producer.close(1000, () => (closed = true));
    const after = send(producer, { topic: 't', value: 'after' });
    stage.time.settle();
    expect([closed, before.receipt?.offset, after.error?.code]).toEqual([true, 0, 'CLOSED']);
  });

  it('tells at the end of a close in vain what was sent and what was not', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.script = (code) => (code === 310 || code === 320 ? 'silent' : 'ok');
    const producer = stage.client().producer({ maxInFlightPerQueue: 1, batchSizeBytes: 0, requestTimeoutMs: 30_000 });
    const told = ['flying', 'grounded'].map((value) => send(producer, { topic: 't', value }));
    stage.time.settle();
    producer.close(100, () => {});
    stage.time.advance(101);
    expect(told.map(({ error }) => error?.outcome)).toEqual(['unknown', 'unavailable']);
  });

  it('survives a callback that throws, and one that sends again', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    const again: Told[] = [];
    producer.send({ topic: 't', value: '1' }, () => {
      again.push(send(producer, { topic: 't', value: '3' }));
      throw new Error('user');
    });
    const second = send(producer, { topic: 't', value: '2' });
    stage.time.settle();
    expect([second.receipt?.offset, again[0]?.receipt?.offset]).toEqual([1, 2]);
    expect(stage.reports).toEqual(["a send's callback threw"]);
  });
});
