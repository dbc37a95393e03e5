import { describe, expect, it } from 'vitest';
import type { GivenClientOptions, GivenProducerOptions } from '../../src/options.ts';
import type { Stage } from '../fake-broker.ts';
import { SENDS, bodies, send, stageWith, warmUp } from './sent.ts';

const ROUTE = 105;
const MINUTE = 60_000;

/** A broker that makes no topics by itself. */
function start(topics: Record<string, number>, options: GivenProducerOptions = {}, client: GivenClientOptions = {}) {
  const stage = stageWith(topics);
  const core = stage.client(client);
  return { stage, core, producer: core.producer(options) };
}

/** Lookups of a topic while time passes. */
function lookups(stage: Stage, topic: string, ms: number): number {
  const before = asked(stage, topic);
  stage.time.advance(ms);
  return asked(stage, topic) - before;
}

function asked(stage: Stage, topic: string): number {
  return stage.broker.asks(ROUTE).filter(({ fields }) => fields.get('topic') === topic).length;
}

/** `<producer id> <epoch>:<number>` of each message that has arrived. */
function numbers(stage: Stage): string[] {
  return stage.broker.arrived.map(({ properties }) => {
    const [id, epoch, number] = properties.get('TS_SEQ')!.split(':');
    return `${id} ${Number(epoch)}:${Number(number)}`;
  });
}

describe('a topic that nothing is sent to', () => {
  it('is forgotten after metadataMaxIdleMs: no lookups, no queues', () => {
    const { stage, producer } = start({ t: 2 });
    warmUp(stage, producer);
    expect(lookups(stage, 't', 5 * MINUTE - 1)).toBeGreaterThan(5);
    expect(producer.inspect().topics.length).toBe(1);
    stage.time.advance(1000);
    expect(producer.inspect().topics.length).toBe(0);
    expect(lookups(stage, 't', 60 * MINUTE)).toBe(0);
  });

  it('is looked up again when it is sent to again', () => {
    const { stage, producer } = start({ t: 1 }, { metadataMaxIdleMs: 5000 });
    warmUp(stage, producer);
    stage.time.advance(10_000);
    stage.broker.topics.set('t', 3);
    const before = asked(stage, 't');
    const told = send(producer, { topic: 't', value: 'again', queueId: 2 });
    stage.time.settle();
    expect([told.receipt?.queueId, asked(stage, 't') - before]).toEqual([2, 1]);
  });

  it('stays as long as it is sent to from time to time', () => {
    const { stage, producer } = start({ t: 1 }, { metadataMaxIdleMs: 5000 }, { routeIntervalMs: MINUTE * 60 });
    warmUp(stage, producer);
    for (let n = 0; n < 10; n++) {
      stage.time.advance(4000);
      send(producer, { topic: 't', value: `${n}` });
      stage.time.settle();
    }
    expect([asked(stage, 't'), stage.broker.arrived.length]).toEqual([1, 10]);
  });

  it('stays while a message of it is on its way, and goes soon after', () => {
    const { stage, producer } = start({ t: 1 }, { metadataMaxIdleMs: 5000, requestTimeoutMs: 20_000 });
    warmUp(stage, producer);
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    const told = send(producer, { topic: 't', value: 'v' });
    stage.time.advance(19_000);
    expect([told.times, producer.inspect().topics.length]).toEqual([0, 1]);
    stage.time.advance(3000);
    expect([told.error?.code, producer.inspect().topics.length]).toEqual(['TIMEOUT', 0]);
  });

  it('stays while a send of it waits for memory, and that send goes out in its place', () => {
    const { stage, producer } = start(
      { t: 1, u: 1 },
      { metadataMaxIdleMs: 5000, bufferMemoryBytes: 1024, batchSizeBytes: 1024, requestTimeoutMs: 20_000 },
    );
    warmUp(stage, producer, 't');
    warmUp(stage, producer, 'u');
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    send(producer, { topic: 'u', value: 'holds all memory' });
    stage.time.settle();
    const told = send(producer, { topic: 't', value: 'waits' });
    let flushed = false;
    producer.flush(() => (flushed = true));
    stage.time.advance(15_000);
    expect([told.times, producer.inspect().topics.map(({ topic }) => topic)]).toEqual([0, ['t', 'u']]);
    stage.broker.script = () => 'ok';
    stage.time.advance(5000);
    expect([told.receipt?.topic, flushed]).toEqual(['t', true]);
  });

  it('is still followed for a consumer of the same client', () => {
    const { stage, core, producer } = start({ t: 1 }, { metadataMaxIdleMs: 5000 });
    const seen: string[] = [];
    const consumer = core.consumer({
      group: 'g',
      topics: { t: '*' },
      from: 'first',
      handler: (message, done) => {
        seen.push(message.value.toString());
        done();
      },
    });
    consumer.start(() => {});
    warmUp(stage, producer);
    stage.time.advance(MINUTE);
    expect(producer.inspect().topics.length).toBe(0);
    expect(lookups(stage, 't', 5 * MINUTE)).toBeGreaterThan(5);
    stage.broker.store({ topic: 't', queueId: 0, body: Buffer.from('late'), properties: {} });
    stage.time.advance(1000);
    expect(seen).toEqual(['late']);
  });
});

describe('numbers of a queue whose topic was forgotten', () => {
  it('begin in a later epoch of the same producer: none is used twice', () => {
    const { stage, producer } = start({ t: 1 }, { metadataMaxIdleMs: 5000, idempotence: true });
    stage.broker.deduplicates = true;
    const rounds = 3;
    for (let n = 0; n < rounds; n++) {
      for (const value of ['a', 'b']) {
        send(producer, { topic: 't', value: `${value}${n}` });
        stage.time.settle();
      }
      stage.time.advance(10_000);
    }
    const id = numbers(stage)[0]!.split(' ')[0];
    expect(numbers(stage)).toEqual(['0:0', '0:1', '1:0', '1:1', '2:0', '2:1'].map((number) => `${id} ${number}`));
    expect(bodies(stage)).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b2']);
  });

  it('do not disturb those of queues that stay', () => {
    const { stage, producer } = start({ t: 1, stays: 1 }, { metadataMaxIdleMs: 5000, idempotence: true });
    stage.broker.deduplicates = true;
    for (let n = 0; n < 3; n++) {
      for (const topic of n === 1 ? ['stays'] : ['t', 'stays']) send(producer, { topic, value: topic + n });
      stage.time.advance(4000);
    }
    const of = numbers(stage).map((text, at) => `${bodies(stage)[at]} ${text.split(' ')[1]}`);
    expect(of.sort()).toEqual(['stays0 0:0', 'stays1 0:1', 'stays2 0:2', 't0 0:0', 't2 1:0']);
  });
});

describe('a topic that does not exist', () => {
  it('is not asked for while nobody waits for it', () => {
    const { stage, producer } = start({});
    const told = send(producer, { topic: 'mispelt', value: 'v' });
    stage.time.settle();
    expect(told.error?.code).toBe('TOPIC_UNKNOWN');
    expect(lookups(stage, 'mispelt', 10 * MINUTE)).toBe(0);
  });

  it('is asked for again by the next send, though not at any rate', () => {
    const { stage, producer } = start({}, {}, { routeRetryMs: 500, routeRetryMaxMs: 5000 });
    const told = send(producer, { topic: 'later', value: 'v' });
    stage.time.settle();
    let times = told.times;
    for (let ms = 0; ms < MINUTE; ms += 10) {
      producer.send({ topic: 'later', value: 'v' }, () => times++);
      stage.time.advance(10);
    }
    // 0.5, 1.5, 3.5, 7.5, then every 5 s.
    expect(asked(stage, 'later')).toBe(1 + 4 + 10);
    expect(times).toBeGreaterThan(5000);
    stage.time.advance(MINUTE);
    stage.broker.topics.set('later', 1);
    const found = send(producer, { topic: 'later', value: 'v' });
    stage.time.settle();
    expect(found.receipt?.topic).toBe('later');
  });
});

describe('a producer with as many topics as it may have', () => {
  it('forgets the one that was used least recently for a new one', () => {
    const { stage, producer } = start({ a: 1, b: 1, c: 1, d: 1 }, { topicsMax: 3 });
    for (const topic of ['a', 'b', 'c', 'a']) {
      warmUp(stage, producer, topic);
      stage.time.advance(10);
    }
    const told = send(producer, { topic: 'd', value: 'v' });
    stage.time.settle();
    expect(told.receipt?.topic).toBe('d');
    expect(producer.inspect().topics.map(({ topic }) => topic)).toEqual(['a', 'c', 'd']);
  });

  it('takes any number of topics one after another', () => {
    const names = Array.from({ length: 300 }, (_, n) => `t${n}`);
    const { stage, producer } = start(Object.fromEntries(names.map((name) => [name, 1])), { topicsMax: 5, idempotence: true });
    stage.broker.deduplicates = true;
    const told = names.map((topic) => {
      const one = send(producer, { topic, value: 'v' });
      stage.time.advance(1);
      return one;
    });
    stage.time.settle();
    expect(told.every(({ receipt }, at) => receipt?.topic === names[at])).toBe(true);
    expect(producer.inspect().topics.length).toBe(5);
  });

  it('refuses a further one, with a reason that is not the record, while none is idle', () => {
    const { stage, producer } = start({ a: 1, b: 1, c: 1 }, { topicsMax: 2 });
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    for (const topic of ['a', 'b']) send(producer, { topic, value: 'on its way' });
    stage.time.advance(100);
    const told = send(producer, { topic: 'c', value: 'v' });
    expect(told.error).toMatchObject({ code: 'TOO_MANY_TOPICS', outcome: 'unavailable', retry: 'later' });
    expect(told.error!.message).toContain('2 (topicsMax)');
    stage.broker.script = () => 'ok';
    stage.time.advance(5000);
    const later = send(producer, { topic: 'c', value: 'v' });
    stage.time.settle();
    expect(later.receipt?.topic).toBe('c');
  });

  it('keeps the topic of a record that a partitioner looks at, whatever that sends meanwhile', () => {
    const stage = stageWith({ a: 1, b: 1 });
    const inner: (string | undefined)[] = [];
    const producer = stage.client().producer({
      topicsMax: 1,
      partitioner: {
        partition({ topic }) {
          if (topic === 'a') producer.send({ topic: 'b', value: 'inner', queueId: 0 }, (error) => inner.push(error?.code));
          return 0;
        },
      },
    });
    // The first waits for its route, the second goes straight to the partitioner.
    for (const value of ['waits', 'goes on']) {
      const told = send(producer, { topic: 'a', value });
      stage.time.advance(100);
      expect([told.receipt?.topic, inner.splice(0)]).toEqual(['a', ['TOO_MANY_TOPICS']]);
    }
  });
});
