import { describe, expect, it } from 'vitest';
import { SENDS, bodies, send, stageWith, warmUp } from './sent.ts';

describe('flush', () => {
  it('waits for everything sent before it and not for what comes after', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ lingerMs: 1000 });
    warmUp(stage, producer);
    stage.time.advance(1001);
    const before = Array.from({ length: 50 }, (_, n) => send(producer, { topic: 't', value: `${n}` }));
    let flushed = false;
    stage.broker.script = (code, { body }) => (SENDS.includes(code) && body.includes('after') ? 'silent' : 'ok');
    producer.flush(() => (flushed = true));
    const after = send(producer, { topic: 't', value: 'after' });
    expect(flushed).toBe(false);
    stage.time.settle();
    expect([flushed, before.every(({ receipt }) => receipt !== undefined)]).toEqual([true, true]);
    expect([bodies(stage).at(-1), after.times]).toEqual(['after', 0]);
  });

  it('waits for sends without a route, and does not fail when they do', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.refuses = true;
    const producer = stage.client().producer({ maxBlockMs: 500 });
    const told = send(producer, { topic: 't', value: 'v' });
    let flushed = false;
    producer.flush(() => (flushed = true));
    stage.time.advance(499);
    expect(flushed).toBe(false);
    stage.time.advance(2);
    expect([flushed, told.error?.code]).toEqual([true, 'NO_ROUTE']);
  });

  it.each([
    ['a success', 'ok'],
    ['a failure', { code: 29 }],
  ] as const)('from inside a callback waits for the other callbacks of that batch, after %s', (_, reaction) => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    warmUp(stage, producer);
    stage.broker.script = (code) => (SENDS.includes(code) ? reaction : 'ok');
    const told: string[] = [];
    producer.send({ topic: 't', value: '1' }, () => {
      told.push('1');
      producer.flush(() => told.push('flushed'));
      producer.close(1000, () => told.push('closed'));
    });
    for (const value of ['2', '3']) producer.send({ topic: 't', value }, () => told.push(value));
    stage.time.settle();
    expect(told).toEqual(['1', '2', '3', 'flushed', 'closed']);
  });

  it('of an idle producer is over at once', () => {
    let flushed = false;
    stageWith({})
      .client()
      .producer()
      .flush(() => (flushed = true));
    expect(flushed).toBe(true);
  });
});

describe('close', () => {
  it('does nothing twice and tells all who asked', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    warmUp(stage, producer);
    send(producer, { topic: 't', value: 'v' });
    const told: string[] = [];
    producer.close(1000, () => told.push('first'));
    producer.close(1000, () => told.push('second'));
    stage.time.settle();
    producer.close(0, () => told.push('third'));
    stage.time.settle();
    expect(told).toEqual(['first', 'second', 'third']);
  });

  it.each([-1, NaN])('refuses to wait %d ms', (timeoutMs) => {
    expect(() =>
      stageWith({})
        .client()
        .producer()
        .close(timeoutMs, () => {}),
    ).toThrow('timeoutMs must be 0 or more');
  });

  it('with 0 fails everything at once: unknown what is on its way, not sent what is not', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    const producer = stage.client().producer({ maxInFlightPerQueue: 1, batchSizeBytes: 1024 });
    const told = Array.from({ length: 3 }, () => send(producer, { topic: 't', value: 'v'.repeat(800) }));
    stage.time.settle();
    told.push(send(producer, { topic: 'unknown-yet', value: 'v' }));
    producer.close(0, () => {});
    expect(told.map(({ error, times }) => [error?.outcome, times])).toEqual([
      ['unknown', 1],
      ['unavailable', 1],
      ['unavailable', 1],
      ['unavailable', 1],
    ]);
    expect(producer.pending).toBe(0);
  });

  it('with 0 ends the wait of a close before it', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    const producer = stage.client().producer();
    const told = send(producer, { topic: 't', value: 'v' });
    stage.time.settle();
    const closed: string[] = [];
    producer.close(10_000, () => closed.push('patient'));
    stage.time.settle();
    expect(closed).toEqual([]);
    producer.close(0, () => closed.push('now'));
    stage.time.settle();
    expect([closed, told.error?.outcome]).toEqual([['patient', 'now'], 'unknown']);
  });

  it('with Infinity waits without a timer until the last verdict', () => {
    const stage = stageWith({ t: 1 });
    const times: number[] = [];
    const after = stage.time.after.bind(stage.time);
    stage.time.after = (ms, run) => {
      times.push(ms);
      return after(ms, run);
    };
    const producer = stage.client().producer();
    warmUp(stage, producer);
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    let closed = false;
    const told = send(producer, { topic: 't', value: 'v' });
    producer.close(Infinity, () => (closed = true));
    stage.time.advance(1000);
    expect(times.every((ms) => ms < 2 ** 31)).toBe(true);
    expect([closed, told.times]).toEqual([false, 0]);
    stage.time.advance(60_000);
    expect([closed, told.times]).toEqual([true, 1]);
  });

  it('works from inside a callback', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ batchSizeBytes: 0 });
    const told: string[] = [];
    producer.send({ topic: 't', value: '1' }, () => producer.close(0, () => told.push('closed')));
    producer.send({ topic: 't', value: '2' }, (error) => told.push(error?.code ?? 'ok'));
    stage.time.settle();
    expect(told.toSorted()).toHaveLength(2);
    expect(told).toContain('closed');
    expect(producer.pending).toBe(0);
  });

  it('with 0 from the callback of one that expired sends nothing more, in whichever lane it waits', () => {
    const stage = stageWith({ t: 6 });
    const options = { deliveryTimeoutMs: 1000, requestTimeoutMs: 500, lingerMs: 100 };
    const producer = stage.client().producer({ ...options, retryBackoffMs: 60_000, retryBackoffMaxMs: 60_000 });
    warmUp(stage, producer);
    stage.time.advance(200);
    stage.broker.arrived.length = 0;
    stage.broker.script = (code) => (SENDS.includes(code) ? { code: 2, remark: 'busy' } : 'ok');
    const told: string[] = [];
    producer.send({ topic: 't', value: 'first', queueId: 0 }, (error) => {
      told.push(`first ${error?.code}`);
      producer.close(0, () => told.push('closed'));
    });
    stage.time.advance(899);
    stage.broker.script = () => 'ok';
    stage.broker.arrived.length = 0;
    stage.time.advance(1);
    for (const queueId of [0, 1, 2, 3, 4, 5]) {
      producer.send({ topic: 't', value: 'late', queueId }, (error) => told.push(error?.code ?? 'ok'));
    }
    stage.time.advance(5000);
    expect([told[0], told[7], told.length, producer.pending]).toEqual(['first NOT_SENT', 'closed', 8, 0]);
    // A round begins with any lane: one may have gone out before.
    const gone = told.filter((code) => code === 'CONNECTION_LOST').length;
    expect([gone <= 1, stage.broker.arrived.length]).toEqual([true, gone]);
    expect(told.filter((code) => code === 'NOT_SENT')).toHaveLength(6 - gone);
  });

  it('ignores an answer that comes after it', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    warmUp(stage, producer);
    const told = send(producer, { topic: 't', value: 'v' });
    stage.time.endTurn();
    producer.close(0, () => {});
    stage.time.settle();
    expect(told.times).toBe(1);
  });
});
