import { describe, expect, it } from 'vitest';
import type { ProducerCore } from '../../src/producer/producer-core.ts';
import type { FakeBroker, Stage } from '../fake-broker.ts';
import { send, stageWith, warmUp } from './sent.ts';

/** Two brokers that have two queues of t each; `later` joins when it is called. */
function twoBrokers(): { stage: Stage; producer: ProducerCore; later: () => FakeBroker } {
  const stage = stageWith({ t: 2 });
  const producer = stage.client({ routeIntervalMs: 1000 }).producer({ maxBlockMs: 5000 });
  const later = (): FakeBroker => {
    const other = stage.addBroker('10.0.0.2:9876', 'broker-0');
    other.topics.set('t', 2);
    stage.time.advance(1001);
    return other;
  };
  return { stage, producer, later };
}

function values({ arrived }: FakeBroker): string[] {
  return arrived.map(({ body, queueId }) => `${body}@${queueId}`).sort();
}

describe('a queue that a record names', () => {
  it('is on the broker that it names, and on no other', () => {
    const { stage, producer, later } = twoBrokers();
    warmUp(stage, producer);
    const other = later();
    for (const [brokerName, value] of Object.entries({ 'broker-a': 'a', 'broker-0': 'b' })) {
      for (const queueId of [0, 1]) send(producer, { topic: 't', value, queueId, brokerName });
    }
    stage.time.settle();
    expect([values(stage.broker), values(other)]).toEqual([
      ['a@0', 'a@1'],
      ['b@0', 'b@1'],
    ]);
  });

  it('stays on the broker that was used, whoever joins', () => {
    const { stage, producer, later } = twoBrokers();
    warmUp(stage, producer);
    send(producer, { topic: 't', value: '1', queueId: 0 });
    stage.time.settle();
    const other = later();
    send(producer, { topic: 't', value: 'x', queueId: 0, brokerName: 'broker-0' });
    send(producer, { topic: 't', value: '2', queueId: 0 });
    stage.time.settle();
    expect([values(stage.broker), values(other)]).toEqual([['1@0', '2@0'], ['x@0']]);
  });

  it('is refused at once when it may be on either broker and none was used', () => {
    const { stage, producer, later } = twoBrokers();
    later();
    warmUp(stage, producer);
    const told = send(producer, { topic: 't', value: '1', queueId: 0 });
    expect(told.error).toMatchObject({ code: 'ILLEGAL_RECORD', outcome: 'rejected' });
    expect(told.error!.message).toContain('several brokers have a queue 0 of t: broker-0, broker-a; give brokerName too');
    const parked = twoBrokers();
    parked.later();
    const early = send(parked.producer, { topic: 't', value: '1', queueId: 0 });
    parked.stage.time.settle();
    expect([early.error?.code, parked.producer.waiting]).toEqual(['ILLEGAL_RECORD', 0]);
  });

  it('of a broker that does not have it is waited for, and the failure says who has what', () => {
    const { stage, producer, later } = twoBrokers();
    warmUp(stage, producer);
    later();
    const told = send(producer, { topic: 't', value: '1', queueId: 2, brokerName: 'broker-0' });
    const nowhere = send(producer, { topic: 't', value: '1', queueId: 0, brokerName: 'broker-9' });
    stage.time.advance(5001);
    expect(told.error?.code).toBe('NO_QUEUE');
    expect(told.error!.message).toContain('queue 2 on broker-0 of t, which has 2 on broker-0, 2 on broker-a');
    expect(nowhere.error!.message).toContain('queue 0 on broker-9 of t');
  });

  it('needs its number when its broker is named', () => {
    const { producer } = twoBrokers();
    const told = send(producer, { topic: 't', value: '1', brokerName: 'broker-0' });
    expect(told.error?.code).toBe('ILLEGAL_RECORD');
  });
});
