import { describe, expect, expectTypeOf, it } from 'vitest';
import { MockProducer, MockTransactionProducer } from '@tallystick/client/testing';
import { type Producer, type ProducerInterceptor, SendError, type TransactionProducer } from '../../src/index.ts';
import { stageWith } from '../producer/sent.ts';

const text = (value: unknown): string => Buffer.from(value as string).toString();

describe('a mock producer', () => {
  it('is a producer for whoever takes one', () => {
    expectTypeOf<MockProducer>().toExtend<Producer>();
    expectTypeOf<MockProducer<number, { n: number }>>().toExtend<Producer<number, { n: number }>>();
    expectTypeOf<MockTransactionProducer<string>>().toExtend<TransactionProducer<string>>();
    expectTypeOf<MockProducer['send']>().toEqualTypeOf<Producer['send']>();
  });

  it('completes sends by itself, after the call, with offsets that ascend per queue', async () => {
    const producer = new MockProducer();
    let isTold = false;
    producer.sendWith({ topic: 't', value: '0', queueId: 1 }, () => (isTold = true));
    expect(isTold).toBe(false);
    const places = [];
    for (const queueId of [1, 2, 1]) places.push(await producer.send({ topic: 't', value: 'v', queueId }));
    expect([isTold, ...places.map(({ topic, queueId, offset }) => `${topic} ${queueId} ${offset}`)]).toEqual([
      true,
      't 1 1',
      't 2 0',
      't 1 2',
    ]);
    const { messageId, position, storeTimestamp } = places[0]!;
    expect(messageId).toMatch(/^[0-9A-F]{32}$/);
    expect(producer.history()[1]!.messageId).toBe(messageId);
    expect([position, storeTimestamp > 0]).toEqual([1, true]);
  });

  it('leaves verdicts to the test when told so, oldest first', async () => {
    const producer = new MockProducer({ autoComplete: false });
    const first = producer.append({ topic: 't', value: 'a' });
    const second = producer.append({ topic: 't', value: 'b' });
    await Promise.resolve();
    expect([first.isDone, second.isDone, producer.pending]).toEqual([false, false, 2]);
    expect(producer.completeNext()).toBe(true);
    expect([first.isDone, second.isDone]).toEqual([true, false]);
    expect(producer.errorNext('TIMEOUT')).toBe(true);
    expect(second.error).toMatchObject({ code: 'TIMEOUT', outcome: 'unknown' });
    expect([producer.completeNext(), producer.errorNext('TIMEOUT')]).toEqual([false, false]);
  });

  it('fails a send with the very error it is given', async () => {
    const producer = new MockProducer({ autoComplete: false });
    const error = new SendError('SYSTEM_BUSY', 'unavailable', 'later', 'busy');
    const send = producer.send({ topic: 't', value: 'a' });
    producer.errorNext(error);
    await expect(send).rejects.toBe(error);
  });

  it('keeps what was sent until it is cleared', async () => {
    const producer = new MockProducer({ autoComplete: false });
    const left = producer.append({ topic: 't', key: 'k', value: 'a', headers: { h: '1' } });
    expect(producer.history()).toMatchObject([{ record: { topic: 't', key: 'k', value: 'a', headers: { h: '1' } } }]);
    producer.clear();
    expect([producer.history(), producer.pending, left.error?.code]).toEqual([[], 0, 'CONNECTION_LOST']);
    const again = producer.append({ topic: 't', value: 'b', queueId: 0 });
    producer.completeNext();
    expect(again.receipt?.offset).toBe(0);
  });

  it('completes everything at a flush and at a close', async () => {
    const producer = new MockProducer({ autoComplete: false });
    const sends = [1, 2].map((n) => producer.append({ topic: 't', value: `${n}` }));
    await producer.flush();
    expect(sends.map(({ isDone }) => isDone)).toEqual([true, true]);
    const last = producer.append({ topic: 't', value: '3' });
    await producer.close();
    expect([last.receipt?.topic, producer.closed]).toEqual(['t', true]);
  });

  it('fails what has no verdict at a close without waiting, and everything after it', async () => {
    const producer = new MockProducer({ autoComplete: false });
    const left = producer.append({ topic: 't', value: 'a' });
    await producer.close({ timeoutMs: 0 });
    await producer.close();
    expect(left.error).toMatchObject({ code: 'CONNECTION_LOST', outcome: 'unknown' });
    await expect(producer.send({ topic: 't', value: 'b' })).rejects.toMatchObject({ code: 'CLOSED' });
    expect(producer.history().length).toBe(1);
  });

  it('applies interceptors, serializers and the partitioner, and closes them once', async () => {
    const heard: string[] = [];
    const interceptor: ProducerInterceptor = {
      onSend: (record) => ({ ...record, topic: `${record.topic}2` }),
      onAcknowledgement: ({ topic, queueId, offset }, error) => void heard.push(`${topic} ${queueId} ${offset} ${error?.code}`),
      onSendError: ({ topic, queueId }, error) => void heard.push(`${topic} ${queueId} ${error.code}`),
      close: () => void heard.push('interceptor closed'),
    };
    const producer = new MockProducer<number, { n: number }>({
      interceptors: [interceptor],
      keySerializer: { serialize: (_topic, _headers, key) => `key ${key}`, close: () => void heard.push('serializer closed') },
      valueSerializer: 'json',
      partitioner: {
        partition: (record, queues) => queues.length - record.key!.length,
        close: () => void heard.push('partitioner closed'),
      },
      queues: 7,
    });
    await producer.send({ topic: 't', key: 4, value: { n: 1 } });
    expect(producer.history()).toMatchObject([{ queueId: 2, record: { topic: 't2', key: 'key 4', value: '{"n":1}' } }]);
    await expect(producer.send({ topic: 't', key: 12345, value: { n: 1 } })).rejects.toMatchObject({
      code: 'PARTITIONER_FAILED',
    });
    await producer.close();
    await producer.close();
    expect(heard).toEqual([
      't2 2 0 undefined',
      't2 -1 PARTITIONER_FAILED',
      'interceptor closed',
      'serializer closed',
      'partitioner closed',
    ]);
  });

  it('refuses what a producer refuses', async () => {
    const producer = new MockProducer({ queues: 2, maxMessageBytes: 10 });
    const refused = async (record: object): Promise<string> =>
      producer.send({ topic: 't', value: 'v', ...record }).then(
        () => 'sent',
        (error: SendError) => error.code,
      );
    expect(
      await Promise.all(
        [{ topic: 'a b' }, { value: 5 }, { timestamp: -1 }, { id: 'x' }, { value: 'x'.repeat(11) }, { queueId: 2 }, {}].map(
          refused,
        ),
      ),
    ).toEqual(['ILLEGAL_RECORD', 'ILLEGAL_RECORD', 'ILLEGAL_RECORD', 'ILLEGAL_RECORD', 'RECORD_TOO_LARGE', 'NO_QUEUE', 'sent']);
    expect(() => producer.sendWith(undefined as never, () => {})).toThrow(TypeError);
    expect(() => new MockProducer({ lingerMs: -1 })).toThrow(/lingerMs/);
  });

  it('puts a key into the queue that a producer puts it into', async () => {
    const stage = stageWith({ t: 5 });
    const real = stage.client().producer();
    const mock = new MockProducer({ queues: 5 });
    for (let n = 0; n < 20; n++) {
      real.send({ topic: 't', key: `k${n}`, value: 'v' }, () => {});
      await mock.send({ topic: 't', key: `k${n}`, value: 'v' });
    }
    stage.time.settle();
    const queues = new Map(stage.broker.arrived.map(({ properties, queueId }) => [properties.get('KEYS')!, queueId]));
    expect(mock.history().map(({ record, queueId }) => [text(record.key), queueId])).toEqual([...queues].toSorted(byNumber));
  });

  it('reports a callback that throws, and goes on', () => {
    const producer = new MockProducer({ autoComplete: false });
    producer.sendWith({ topic: 't', value: 'a' }, () => {
      throw new Error('user');
    });
    producer.completeNext();
    expect(producer.reports()).toMatchObject([{ sentence: "a send's callback threw", thrown: { message: 'user' } }]);
  });

  it('serves an outbox relay: one outcome per message', async () => {
    const producer = new MockProducer({ autoComplete: false });
    const body = Buffer.from('v');
    const outcomes = producer.publish(['0', '1'].map((digit) => ({ id: digit.repeat(32), topic: 't', body })));
    producer.completeNext();
    producer.errorNext('NO_CONNECTION');
    expect((await outcomes).map(({ outcome }) => outcome)).toEqual(['confirmed', 'unavailable']);
  });
});

describe('a mock transaction producer', () => {
  const make = (settings: { readonly autoComplete?: boolean } = {}) =>
    new MockTransactionProducer({
      ...settings,
      listener: {
        check: () => 'unknown',
        execute: (_record, argument: 'commit' | 'rollback' | 'unknown' | 'throw') => {
          if (argument === 'throw') throw new Error('user');
          return argument;
        },
      },
    });
  const values = (sent: MockTransactionProducer['history'] extends () => infer S ? S : never): string[] =>
    sent.map(({ record }) => text(record.value));

  it('shows a half message when it is committed, not before', async () => {
    const producer = make();
    await producer.start();
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((value) => producer.half({ topic: 't', value })));
    expect([values(producer.uncommitted()), values(producer.committed())]).toEqual([['a', 'b', 'c'], []]);
    await b!.commit({ confirmed: true });
    await a!.rollback();
    await a!.commit();
    expect([producer.uncommitted(), producer.committed(), producer.rolledBack()].map(values)).toEqual([['c'], ['b'], ['a']]);
    expect(c!.messageId).toBe(producer.uncommitted()[0]!.messageId);
  });

  it('runs the listener between half message and confirmation', async () => {
    const producer = make();
    for (const argument of ['commit', 'rollback', 'unknown', 'throw'] as const)
      await producer.sendInTransaction({ topic: 't', value: argument }, argument);
    expect([producer.uncommitted(), producer.committed(), producer.rolledBack()].map(values)).toEqual([
      ['unknown', 'throw'],
      ['commit'],
      ['rollback'],
    ]);
  });

  it('executes nothing for a half message that fails', async () => {
    const producer = make({ autoComplete: false });
    const sending = producer.sendInTransaction({ topic: 't', value: 'a' }, 'commit');
    producer.errorNext('TIMEOUT');
    await expect(sending).rejects.toMatchObject({ code: 'TIMEOUT', outcome: 'unknown' });
    expect(producer.committed()).toEqual([]);
    await producer.close();
    await expect(producer.half({ topic: 't', value: 'b' })).rejects.toMatchObject({ code: 'CLOSED' });
  });
});

function byNumber([a]: readonly [string, number], [b]: readonly [string, number]): number {
  return Number(a.slice(1)) - Number(b.slice(1));
}
