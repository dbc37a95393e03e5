import { describe, expect, it, vi } from 'vitest';
import type { GivenProducerOptions } from '../../src/options.ts';
import type { Reaction } from '../fake-broker.ts';
import { SENDS, bodies, send, stageWith, warmUp } from './sent.ts';

/** 1 and 2 are sent to one queue, of which 1 gets the reaction; time goes on until 1 has timed out. */
function firstTimesOut(reaction: Reaction, options: GivenProducerOptions = {}) {
  const stage = stageWith({ t: 1 });
  const times = { requestTimeoutMs: 500, deliveryTimeoutMs: 5000 };
  const producer = stage.client().producer({ maxInFlightPerQueue: 1, ...times, ...options });
  warmUp(stage, producer);
  stage.broker.script = (code) => {
    if (!SENDS.includes(code)) return 'ok';
    stage.broker.script = () => 'ok';
    return reaction;
  };
  const told: string[] = [];
  const one = (value: string): void =>
    void producer.send({ topic: 't', value, queueId: 0 }, (error) => told.push(`${value} ${error?.code ?? 'ok'}`));
  one('1');
  stage.time.settle();
  one('2');
  stage.time.advance(600);
  return { stage, producer, told, one };
}

describe('order over failures', () => {
  it.each([[{}], [{ batchSizeBytes: 0 }]])('keeps a queue still until a request that timed out is answered, %j', (options) => {
    const { stage, producer, told } = firstTimesOut('late', options);
    expect([told, bodies(stage)]).toEqual([['1 TIMEOUT'], ['1']]);
    stage.broker.late.pop()!();
    stage.time.settle();
    expect([told, bodies(stage)]).toEqual([
      ['1 TIMEOUT', '2 ok'],
      ['1', '2'],
    ]);
    expect(producer.metrics()).toMatchObject({ errors: 1, requestsInFlight: 0, pendingRecords: 0 });
    expect(producer.inspect().brokers).toMatchObject([{ messagesInFlight: 0, bytesInFlight: 0 }]);
  });

  it('goes on over a new connection when the old one breaks, or has not brought the answer for as long again', () => {
    for (const cut of [true, false]) {
      const { stage, told } = firstTimesOut('silent');
      if (cut) stage.broker.cut();
      stage.time.advance(cut ? 300 : 390);
      expect([cut, told.length]).toEqual([cut, cut ? 2 : 1]);
      stage.time.advance(1000);
      expect([told, bodies(stage), stage.broker.peers.length]).toEqual([['1 TIMEOUT', '2 ok'], ['1', '2'], 2]);
    }
  });

  it('goes on over a new connection also when the program stood still until the answer was twice too late', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ maxInFlightPerQueue: 1, requestTimeoutMs: 500, deliveryTimeoutMs: 5000 });
    warmUp(stage, producer);
    let sends = 0;
    stage.broker.script = (code) => (SENDS.includes(code) && sends++ === 0 ? 'silent' : 'ok');
    const told = [send(producer, { topic: 't', value: '1' })];
    stage.time.settle();
    told.push(send(producer, { topic: 't', value: '2' }));
    stage.time.settle();
    // Timers fire and no turn ends: what looks for late requests at the end of turns comes after the connection's own timeout.
    const stalled = vi.spyOn(stage.time, 'settle').mockImplementation(() => {});
    stage.time.advance(1001);
    stalled.mockRestore();
    stage.time.advance(1000);
    expect(told.map(({ error }) => error?.code)).toEqual(['TIMEOUT', undefined]);
    const connections = stage.broker.asked.filter(({ code }) => SENDS.includes(code)).map(({ connection }) => connection);
    expect(connections.slice(-2)).toEqual([0, 1]);
    expect([told[1]!.times, bodies(stage)]).toEqual([1, ['1', '2']]);
  });

  it('holds up neither a flush nor the end of the producer', () => {
    const { stage, producer, told } = firstTimesOut('silent');
    producer.flush(() => told.push('flushed'));
    stage.time.advance(1500);
    expect(told).toEqual(['1 TIMEOUT', '2 ok', 'flushed']);
    const closing = firstTimesOut('silent', { deliveryTimeoutMs: 600 });
    closing.producer.close(0, () => closing.told.push('closed'));
    closing.stage.time.advance(2000);
    expect(closing.told).toEqual(['1 TIMEOUT', '2 NOT_SENT', 'closed']);
    expect(closing.producer.metrics().bufferAvailableBytes).toBe(closing.producer.metrics().bufferTotalBytes);
  });

  it('is not paid for by those who did not ask for it', () => {
    const { told } = firstTimesOut('silent', { maxInFlightPerQueue: 2 });
    expect(told).toEqual(['2 ok', '1 TIMEOUT']);
  });
});

describe('a queue that pauses before it sends again', () => {
  it('holds up no other one', () => {
    const stage = stageWith({ t: 2 });
    const producer = stage.client().producer({ retryBackoffMs: 1000, retryBackoffMaxMs: 1000 });
    warmUp(stage, producer);
    stage.broker.script = (code, { fields }) => (SENDS.includes(code) && fields.get('e') === '0' ? { code: 2 } : 'ok');
    const paused = send(producer, { topic: 't', value: 'busy', queueId: 0 });
    stage.time.settle();
    const told = ['a', 'b', 'c'].map((value) => {
      const one = send(producer, { topic: 't', value, queueId: 1 });
      stage.time.settle();
      return one.receipt?.queueId;
    });
    expect([told, paused.times]).toEqual([[1, 1, 1], 0]);
    stage.broker.script = () => 'ok';
    stage.time.advance(1500);
    expect(paused.receipt?.queueId).toBe(0);
  });
});
