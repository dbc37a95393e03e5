/** What a program may do while a send is under way: use its record again, close, withdraw, flush or send from a partitioner or a callback. */
import { describe, expect, it } from 'vitest';
import type { ProducerCore } from '../../src/producer/producer-core.ts';
import type { ProducerRecord } from '../../src/producer/record.ts';
import type { WaitingSend } from '../../src/producer/waiting-sends.ts';
import { bodies, send, stageWith, warmUp } from './sent.ts';

/** A producer whose partitioner does something once; a send with it, cold or warm. */
function partitioned(isWarm: boolean, act: (producer: ProducerCore, waiting: WaitingSend | undefined) => void) {
  const stage = stageWith({ t: 2 });
  const log: string[] = [];
  let isArmed = false;
  const waits: { send?: WaitingSend | undefined } = {};
  const partition = (): number => {
    if (isArmed) {
      isArmed = false;
      act(producer, waits.send);
    }
    return 0;
  };
  const producer: ProducerCore = stage.client().producer({ partitioner: { partition } });
  if (isWarm) warmUp(stage, producer);
  isArmed = true;
  waits.send = producer.send({ topic: 't', value: 'v' }, (error) => log.push(error?.code ?? 'ok'));
  stage.time.advance(100);
  return { stage, producer, log };
}

describe('a partitioner', () => {
  it.each([
    [true, ['CLOSED']],
    [false, ['NOT_SENT']],
  ])('may close the producer: the send that asked it fails once (warm: %s)', (isWarm, told) => {
    const { stage, producer, log } = partitioned(isWarm, (closing) => closing.close(0, () => {}));
    expect([log, bodies(stage), producer.pending]).toEqual([told, [], 0]);
  });

  it('may withdraw the send that asked it, which is not sent then', () => {
    const { stage, producer, log } = partitioned(false, (withdrawing, waiting) => void withdrawing.withdraw(waiting!, 'enough'));
    expect([log, bodies(stage), producer.pending]).toEqual([['WITHDRAWN'], [], 0]);
  });

  it('may flush: that waits for the send too', () => {
    const events: string[] = [];
    const { log } = partitioned(false, (flushing) => flushing.flush(() => events.push('flushed')));
    expect([log, events]).toEqual([['ok'], ['flushed']]);
  });

  it.each([true, false])('may send a record of its own in between (warm: %s)', (isWarm) => {
    const { stage, log } = partitioned(isWarm, (sending) => void sending.send({ topic: 't', value: 'inner' }, () => {}));
    expect([log, bodies(stage).toSorted()]).toEqual([['ok'], ['inner', 'v']]);
  });
});

describe('a record', () => {
  it.each([true, false])('may be used again at once (warm: %s)', (isWarm) => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    if (isWarm) warmUp(stage, producer);
    const record: { topic: string; value: string } = { topic: 't', value: '' };
    const told = ['1', '2', '3'].map((value) => {
      record.value = value;
      return send(producer, record);
    });
    record.topic = 'nowhere';
    stage.time.settle();
    expect(bodies(stage)).toEqual(['1', '2', '3']);
    expect(told.every(({ receipt, times }) => receipt !== undefined && times === 1)).toBe(true);
    expect(stage.reports).toEqual([]);
  });

  it('may have accessors, and waits with what they say', () => {
    class Order {
      get topic(): string {
        return 't';
      }
      get value(): string {
        return 'order';
      }
    }
    const stage = stageWith({ t: 1 });
    const told = send(stage.client().producer(), new Order());
    stage.time.settle();
    expect([told.error, bodies(stage)]).toEqual([undefined, ['order']]);
  });

  it.each([true, false])('with headers that are none is refused, not thrown (warm: %s)', (isWarm) => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ valueSerializer: 'json' });
    if (isWarm) warmUp(stage, producer);
    const told = send(producer, { topic: 't', value: 1, headers: null as unknown as Map<string, string> });
    stage.time.settle();
    expect([told.error?.code, told.times]).toEqual(['ILLEGAL_RECORD', 1]);
  });
});

describe('a callback', () => {
  /** Sends again from each refusal, up to `most` times; how often it was told. */
  function insistent(producer: ProducerCore, record: ProducerRecord, most: number): () => number {
    let told = 0;
    const again = (error: unknown): void => {
      if (error !== undefined && ++told < most) producer.send(record, again);
    };
    producer.send(record, again);
    return () => told;
  }

  it('may send again for ever when too many wait: no stack overflows and the turn ends', () => {
    const stage = stageWith({ t: 1 });
    stage.broker.refuses = true;
    const producer = stage.client().producer({ maxPendingRecords: 1 });
    send(producer, { topic: 't', value: 'first' });
    const told = insistent(producer, { topic: 't', value: 'v' }, 50_000);
    expect(told()).toBe(1);
    stage.time.endTurn();
    expect(told()).toBeLessThan(10);
    stage.time.settle();
    expect([told(), stage.reports]).toEqual([50_000, []]);
  });

  it('may send again when there is no such topic: that waits for the next answer', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    const told = insistent(producer, { topic: 'nowhere', value: 'v' }, 1000);
    stage.time.settle();
    expect(told()).toBe(1);
    stage.time.advance(60_000);
    expect(told()).toBeGreaterThan(1);
    expect(told()).toBeLessThan(1000);
  });

  it('is waited for by a flush although it is told at the end of the turn', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer();
    const events: string[] = [];
    producer.send({ topic: 't', value: '' }, () => {
      producer.send({ topic: 't', value: '' }, () => events.push('second'));
      producer.flush(() => events.push('flushed'));
    });
    stage.time.settle();
    expect(events).toEqual(['second', 'flushed']);
  });
});
