import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GivenProducerOptions } from '../../src/options.ts';
import { WaitingCount, WaitingLine, WaitingSend } from '../../src/producer/waiting-sends.ts';
import { SENDS, bodies, send, stageWith, warmUp } from './sent.ts';

const TOPIC = { waiting: 0 };

function waiting(value: string, untilMs: number, bytes = 1): WaitingSend {
  return new WaitingSend(TOPIC, { topic: 't', value }, value, undefined, () => {}, undefined, bytes, 0, untilMs);
}

describe('a line of waiting sends', () => {
  it('behaves like a list under any joins, leaves and expiries', () => {
    const step = fc.oneof(
      fc.record({ act: fc.constant('join' as const), n: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ act: fc.constant('leave' as const), n: fc.nat(20) }),
      fc.record({ act: fc.constant('expire' as const), n: fc.integer({ min: 0, max: 60 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const count = new WaitingCount(1000, 1000);
        const line = new WaitingLine('memory', count);
        let model: WaitingSend[] = [];
        for (const { act, n } of steps) {
          if (act === 'join') {
            const one = waiting(`${model.length}`, n, n);
            line.join(one);
            model.push(one);
          } else if (act === 'leave') {
            const one = model[n];
            if (one === undefined) continue;
            line.leave(one);
            model = model.filter((other) => other !== one);
          } else {
            expect(line.expired(n)).toEqual(model.filter(({ untilMs }) => untilMs <= n));
            model = model.filter(({ untilMs }) => untilMs > n);
          }
          expect([...line.all()]).toEqual(model);
          expect([line.length, line.first, count.records]).toEqual([model.length, model[0], model.length]);
          expect(count.bytes).toBe(model.reduce((sum, { bytes }) => sum + bytes, 0));
        }
      }),
    );
  });

  it('takes over another one behind its own, and those who may only', () => {
    const count = new WaitingCount(10, 10);
    const [one, two] = [new WaitingLine('memory', count), new WaitingLine('route', count)];
    one.join(waiting('a', 9));
    for (const value of ['b', 'c', 'd']) two.join(waiting(value, 5));
    one.takeOver(two, ({ record }) => record.value !== 'c');
    const values = (line: WaitingLine) => [...line.all()].map(({ record }) => record.value);
    expect([values(one), values(two), count.records]).toEqual([['a', 'b', 'd'], ['c'], 4]);
    expect([one.earliestMs, one.expired(5).length]).toEqual([5, 2]);
  });
});

describe('sends that wait', () => {
  it('are refused at once beyond maxPendingBytes, with all three numbers', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.refuses = true;
    const producer = stage.client().producer({ maxPendingBytes: 1000 });
    const told = [1, 2, 3].map(() => send(producer, { topic: 't', value: 'v'.repeat(300) }));
    expect(told.map(({ error }) => error?.code)).toEqual([undefined, undefined, 'TOO_MANY_WAITING']);
    expect(told[2]!.error!.message).toMatch(/\d+ bytes, this one has \d+ and the limit is 1000 \(maxPendingBytes\)/);
    expect(producer.waiting).toBe(2);
  });

  it.each([
    ['objects', { valueSerializer: 'json' }, { value: { text: 'v'.repeat(2998) } }],
    ['text that is no ASCII', { valueSerializer: 'string' }, { value: '订'.repeat(1000) }],
    ['keys', { keySerializer: 'json' }, { key: 'k'.repeat(1450), value: 'v' }],
    ['headers', { valueSerializer: 'string' }, { headers: { h: 'v'.repeat(2900) }, value: 'v' }],
  ] as [string, GivenProducerOptions, object][])('count with the bytes that will travel: %s', (_name, options, record) => {
    const stage = stageWith({ t: 1 });
    stage.broker.refuses = true;
    const producer = stage.client().producer({ maxPendingBytes: 7000, compressOverBytes: 0, ...options });
    const told = [1, 2, 3].map(() => send(producer, { topic: 't', value: '', ...record }));
    expect(told.map(({ error }) => error?.code)).toEqual([undefined, undefined, 'TOO_MANY_WAITING']);
    expect(producer.metrics().waitingBytes).toBeGreaterThan(5800);
  });

  it('count with their body twice while both forms of a compressed one are kept, and ask for memory for one', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.refuses = true;
    const producer = stage.client().producer({ maxPendingBytes: 7000, compressOverBytes: 100, maxBlockMs: 1000 });
    const told = [1, 2, 3].map(() => send(producer, { topic: 't', value: '订'.repeat(1000) }));
    expect(told.map(({ error }) => error?.code)).toEqual([undefined, undefined, 'TOO_MANY_WAITING']);
    expect(producer.metrics().waitingBytes).toBeGreaterThan(6000);
    const { needBytes, bytes } = new WaitingSend(
      TOPIC,
      { topic: 't', value: 'vvv' },
      Buffer.alloc(1),
      undefined,
      () => {},
      undefined,
      9,
      0,
      0,
    );
    expect([needBytes, bytes]).toEqual([9, 12]);
  });

  it('can be withdrawn from anywhere in their line, and are not sent then', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    const ends: string[] = [];
    const sends = ['1', '2', '3'].map((value) =>
      producer.send({ topic: 't', value }, (error) => ends.push(`${value} ${error?.code ?? 'ok'}`)),
    );
    expect(producer.withdraw(sends[1]!, 'enough')).toBe(true);
    expect(producer.withdraw(sends[1]!, 'enough')).toBe(false);
    stage.time.settle();
    expect([ends, bodies(stage)]).toEqual([
      ['2 WITHDRAWN', '1 ok', '3 ok'],
      ['1', '3'],
    ]);
    expect(producer.withdraw(sends[0]!, 'too late')).toBe(false);
  });

  it('give back their places when they give up', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.refuses = true;
    const producer = stage.client().producer({ maxPendingRecords: 2, maxBlockMs: 100 });
    const first = [1, 2, 3].map(() => send(producer, { topic: 't', value: 'v' }));
    stage.time.advance(101);
    expect(first.map(({ error }) => error?.code)).toEqual(['NO_ROUTE', 'NO_ROUTE', 'TOO_MANY_WAITING']);
    expect(producer.waiting).toBe(0);
    expect(send(producer, { topic: 't', value: 'v' }).times).toBe(0);
  });

  it('try again when others have left, and none when told beforehand', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ bufferMemoryBytes: 1024, batchSizeBytes: 1024 });
    warmUp(stage, producer);
    const big = 'v'.repeat(700);
    let taken = 0;
    while (producer.trySend({ topic: 't', value: big }, () => {})) taken++;
    // One is in a batch, one waits for its memory; the next one is not taken.
    expect([taken, producer.waiting]).toEqual([2, 1]);
    let isReady = false;
    producer.whenReady(() => (isReady = true));
    expect(isReady).toBe(false);
    stage.time.settle();
    expect([isReady, producer.trySend({ topic: 't', value: big }, () => {})]).toEqual([true, true]);
    producer.whenReady(() => (taken = -1));
    expect(taken).toBe(-1);
  });

  it('go on when batches expire and leave their memory', () => {
    const stage = stageWith({ t: 1 });
    const times = { deliveryTimeoutMs: 5000, requestTimeoutMs: 1000 };
    const producer = stage.client().producer({ bufferMemoryBytes: 2048, batchSizeBytes: 1024, ...times });
    warmUp(stage, producer);
    stage.broker.refuses = true;
    stage.broker.cut();
    stage.time.settle();
    for (let n = 0; n < 4; n++) send(producer, { topic: 't', value: 'v'.repeat(900) });
    expect(producer.waiting).toBe(2);
    stage.time.advance(5001);
    expect(producer.waiting).toBe(0);
  });

  it('go on when the one before them, which needed more memory, is withdrawn', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ bufferMemoryBytes: 4096, batchSizeBytes: 1024, compressOverBytes: 0 });
    warmUp(stage, producer);
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    send(producer, { topic: 't', value: 'v'.repeat(900) });
    const large = producer.send({ topic: 't', value: 'v'.repeat(3900) }, () => {});
    send(producer, { topic: 't', value: 'v'.repeat(900) });
    stage.time.settle();
    expect(producer.waiting).toBe(2);
    producer.withdraw(large!, 'enough');
    stage.time.settle();
    expect(producer.waiting).toBe(0);
  });

  it('are told in the order of the sends although they went through two lines', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ bufferMemoryBytes: 2048, batchSizeBytes: 1024 });
    const values = Array.from({ length: 20 }, (_, n) => `${n}`.padStart(500, '.'));
    const ends: string[] = [];
    for (const value of values) producer.send({ topic: 't', value }, () => ends.push(value));
    stage.time.settle();
    expect([bodies(stage), ends]).toEqual([values, values]);
  });
});
