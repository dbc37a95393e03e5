import { describe, expect, it } from 'vitest';
import { LatencyTable, avoidanceMs } from '../../src/producer/latency-table.ts';
import { SENDS, bodies, send, stageWith, warmUp } from './sent.ts';

describe('latency table', () => {
  it.each([
    [0, 0],
    [49, 0],
    [50, 0],
    [549, 0],
    [550, 2000],
    [1799, 2000],
    [1800, 5000],
    [3000, 6000],
    [5000, 10_000],
    [14_999, 10_000],
    [15_000, 30_000],
  ])('an answer after %i ms leaves its broker out for %i ms', (latencyMs, avoidMs) => {
    expect(avoidanceMs(latencyMs)).toBe(avoidMs);
  });

  it('leaves a broker that refused or said nothing out for ten seconds', () => {
    const table = new LatencyTable();
    table.answered('a', 3, 'refused', 0);
    table.answered('b', 3, 'lost', 0);
    expect([table.isAvoided('a', 9999), table.isAvoided('b', 9999), table.isAvoided('c', 0)]).toEqual([true, true, false]);
    expect(table.avoided(4000)).toEqual([
      { brokerName: 'a', forMs: 6000 },
      { brokerName: 'b', forMs: 6000 },
    ]);
    expect([table.isAvoided('a', 10_000), table.avoided(10_000)]).toEqual([false, []]);
  });

  it('uses a broker again as soon as it answers quickly', () => {
    const table = new LatencyTable();
    table.answered('a', 20_000, 'answered', 0);
    table.answered('a', 20, 'answered', 1);
    expect(table.isAvoided('a', 2)).toBe(false);
  });
});

describe('avoidance', () => {
  it.each([
    ['in batches', 32 * 1024],
    ['one by one', 0],
  ])('keeps records that may go anywhere, %s, from a broker that cannot be reached while another can', (_, batchSizeBytes) => {
    const stage = stageWith({ t: 2 });
    const other = stage.addBroker('10.0.0.2:9876', 'broker-b');
    const producer = stage.client().producer({ batchSizeBytes });
    for (let n = 0; n < 8; n++) {
      send(producer, { topic: 't', value: `before ${n}` });
      stage.time.settle();
    }
    expect([other.arrived.length, stage.broker.arrived.length]).toEqual([4, 4]);
    other.refuses = true;
    other.cut();
    stage.time.settle();
    send(producer, { topic: 't', key: 'warm', value: 'opens the connection again, in vain', queueId: 0 });
    const told = Array.from({ length: 8 }, (_, n) => {
      const one = send(producer, { topic: 't', value: `after ${n}` });
      stage.time.advance(1);
      return one;
    });
    stage.time.settle();
    expect(told.filter(({ receipt }) => receipt !== undefined).length).toBe(8);
  });

  it('picks a broker anyway when all of them are left out', () => {
    const stage = stageWith({ t: 2 });
    const producer = stage.client().producer();
    warmUp(stage, producer);
    producer.answered('broker-a', 1, 'refused');
    const told = send(producer, { topic: 't', value: 'v' });
    stage.time.settle();
    expect(told.receipt?.brokerName).toBe('broker-a');
  });

  it.each([
    [true, ['broker-b', 'broker-b', 'broker-b', 'broker-b']],
    [false, ['broker-a', 'broker-a', 'broker-b', 'broker-b']],
  ])('of a slow broker (latencyAvoidance %s) goes by where records without a key go', (latencyAvoidance, wanted) => {
    const stage = stageWith({ t: 2 });
    stage.addBroker('10.0.0.2:9876', 'broker-b');
    const producer = stage.client().producer({ latencyAvoidance });
    warmUp(stage, producer);
    producer.answered('broker-a', 2000, 'answered');
    const told = [1, 2, 3, 4].map(() => {
      const one = send(producer, { topic: 't', value: 'v' });
      stage.time.settle();
      return one;
    });
    expect(told.map(({ receipt }) => receipt!.brokerName).toSorted()).toEqual(wanted);
  });

  it.each([
    [{ code: 2 }, true],
    [{ code: 14 }, true],
    [{ code: 13 }, false],
    [{ code: 16 }, false],
    ['silent' as const, true],
    ['cut' as const, true],
  ])('is caused by the broker and not by a message: %j: %s', (reaction, isAvoided) => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ retries: 0 });
    warmUp(stage, producer);
    stage.broker.script = (code) => (SENDS.includes(code) ? reaction : 'ok');
    send(producer, { topic: 't', value: 'v' });
    stage.time.advance(3000);
    expect(producer.inspect().avoided.map(({ brokerName }) => brokerName)).toEqual(isAvoided ? ['broker-a'] : []);
  });

  it('is caused by the worst answer to a run, not by its last one', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ retries: 0, batchSizeBytes: 0 });
    warmUp(stage, producer);
    let sends = 0;
    stage.broker.script = (code) => (SENDS.includes(code) ? { code: sends++ === 0 ? 2 : 13 } : 'ok');
    for (const value of ['1', '2']) send(producer, { topic: 't', value });
    stage.time.settle();
    expect([sends, producer.inspect().avoided.map(({ brokerName }) => brokerName)]).toEqual([2, ['broker-a']]);
  });

  it('does not move a record whose key or caller chose the queue', () => {
    const stage = stageWith({ t: 1 });
    stage.addBroker('10.0.0.2:9876', 'broker-b');
    const producer = stage.client().producer();
    warmUp(stage, producer);
    producer.answered('broker-a', 1, 'lost');
    const told = send(producer, { topic: 't', queueId: 0, brokerName: 'broker-a', value: 'named' });
    stage.time.settle();
    expect([told.receipt?.brokerName, bodies(stage)]).toEqual(['broker-a', ['named']]);
  });

  it('makes the second attempt at another broker when the first one is busy', () => {
    const stage = stageWith({ t: 1 });
    const other = stage.addBroker('10.0.0.2:9876', 'broker-b');
    const busy = (code: number) => (SENDS.includes(code) ? { code: 2, remark: '[OVERLOAD]' } : 'ok');
    stage.broker.script = busy;
    const producer = stage.client().producer();
    const told = [1, 2, 3].map((n) => {
      const one = send(producer, { topic: 't', value: `${n}` });
      stage.time.advance(200);
      return one;
    });
    expect(told.map(({ receipt }) => receipt?.brokerName)).toEqual(['broker-b', 'broker-b', 'broker-b']);
    expect(other.arrived.length).toBe(3);
  });
});
