import { describe, expect, it } from 'vitest';
import { SENDS, bodies, send, stageWith, warmUp } from './sent.ts';

const ROUTE = 105;

describe('the wait for a route', () => {
  it('happens once per topic: later sends need no lookup', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    for (let n = 0; n < 5; n++) {
      send(producer, { topic: 't', value: `${n}` });
      stage.time.settle();
    }
    expect([stage.broker.asks(ROUTE).length, stage.broker.arrived.length]).toEqual([1, 5]);
  });

  it('goes on over lookups that fail, until one succeeds', () => {
    const stage = stageWith({ t: 1 });
    let lookups = 0;
    stage.broker.script = (code) => (code === ROUTE && ++lookups < 4 ? { code: 1 } : 'ok');
    const told = send(stage.client().producer(), { topic: 't', value: 'v' });
    stage.time.advance(1000);
    expect(told.times).toBe(0);
    stage.time.advance(2000);
    expect([told.receipt?.offset, lookups]).toEqual([0, 4]);
  });

  it('ends at once for the sends of a topic that the name server does not know, and for these only', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    const told = [send(producer, { topic: 'nowhere', value: 'v' }), send(producer, { topic: 't', value: 'v' })];
    stage.time.settle();
    expect([told[0]!.error?.code, told[1]!.receipt?.offset]).toEqual(['TOPIC_UNKNOWN', 0]);
  });

  it('leaves only its rest for the wait for memory', () => {
    const stage = stageWith({ t: 1, u: 1 });
    const producer = stage.client().producer({ bufferMemoryBytes: 1024, batchSizeBytes: 1024, maxBlockMs: 2000 });
    warmUp(stage, producer, 'u');
    let isKnown = false;
    stage.broker.script = (code, ask) => {
      if (code === ROUTE && ask.fields.get('topic') === 't' && !isKnown) return { code: 1 };
      return SENDS.includes(code) ? 'silent' : 'ok';
    };
    send(producer, { topic: 'u', value: 'holds all memory' });
    stage.time.settle();
    const told = send(producer, { topic: 't', value: 'v' });
    const waitsFor = (): (string | undefined)[] => producer.inspect().waiting.map(({ reason }) => reason);
    stage.time.advance(500);
    expect(waitsFor()).toEqual(['route']);
    isKnown = true;
    stage.time.advance(1499);
    expect([told.times, waitsFor()]).toEqual([0, ['memory']]);
    stage.time.advance(2);
    expect(told.error).toMatchObject({ code: 'BUFFER_EXHAUSTED', outcome: 'unavailable', retry: 'later' });
    expect(told.error!.message).toMatch(/2000 ms \(maxBlockMs\), \d+ bytes of 1024 \(bufferMemoryBytes\)/);
  });

  it('does not keep a send behind one of another topic', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.script = (code, ask) => (code === ROUTE && ask.fields.get('topic') === 'slow' ? 'silent' : 'ok');
    const producer = stage.client().producer();
    send(producer, { topic: 'slow', value: 'v' });
    const told = send(producer, { topic: 't', value: 'v' });
    stage.time.settle();
    expect(told.receipt?.offset).toBe(0);
  });

  it('ends with the producer', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.refuses = true;
    const producer = stage.client().producer();
    const told = send(producer, { topic: 't', value: 'v' });
    producer.close(0, () => {});
    expect(told.error).toMatchObject({ code: 'NOT_SENT', outcome: 'unavailable' });
  });
});

describe('a queue that the route does not have', () => {
  it('is waited for, with lookups, and sent to when it appears, in order', () => {
    const stage = stageWith({ t: 2 });
    const producer = stage.client().producer();
    warmUp(stage, producer);
    const told = ['1', '2', '3'].map((value) => send(producer, { topic: 't', value, queueId: 3 }));
    stage.time.advance(5000);
    expect(told.map(({ times }) => times)).toEqual([0, 0, 0]);
    expect(stage.broker.asks(ROUTE).length).toBeGreaterThan(5);
    stage.broker.topics.set('t', 4);
    stage.time.advance(600);
    expect(told.map(({ receipt }) => receipt?.queueId)).toEqual([3, 3, 3]);
    expect(bodies(stage)).toEqual(['1', '2', '3']);
  });

  it('fails after maxBlockMs, naming both numbers', () => {
    const stage = stageWith({ t: 2 });
    const producer = stage.client().producer({ maxBlockMs: 2000 });
    const told = send(producer, { topic: 't', value: 'v', queueId: 7 });
    stage.time.advance(1999);
    expect(told.times).toBe(0);
    stage.time.advance(2);
    expect(told.error).toMatchObject({ code: 'NO_QUEUE', outcome: 'unroutable' });
    expect(told.error!.message).toContain('queue 7 of t, which has 2 on broker-a, also after 2000 ms (maxBlockMs)');
  });

  it('holds up nobody who goes to another queue', () => {
    const stage = stageWith({ t: 2 });
    const producer = stage.client().producer();
    send(producer, { topic: 't', value: 'waits', queueId: 7 });
    const told = [send(producer, { topic: 't', value: 'a', queueId: 1 }), send(producer, { topic: 't', value: 'b' })];
    stage.time.settle();
    expect(told.map(({ times, error }) => [times, error])).toEqual([
      [1, undefined],
      [1, undefined],
    ]);
    expect(producer.waiting).toBe(1);
  });
});

describe('a running producer', () => {
  it('uses added queues within one route poll', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client({ routeIntervalMs: 30_000 }).producer();
    warmUp(stage, producer);
    stage.broker.topics.set('t', 4);
    stage.time.advance(30_000);
    for (let n = 0; n < 8; n++) {
      send(producer, { topic: 't', value: 'v' });
      stage.time.settle();
    }
    expect(new Set(stage.broker.arrived.map(({ queueId }) => queueId))).toEqual(new Set([0, 1, 2, 3]));
  });
});
