import { describe, expect, it } from 'vitest';
import type { SendError } from '../../src/errors.ts';
import type { ProducerInterceptor, SendPlace } from '../../src/producer/interceptors.ts';
import { SendReceipt } from '../../src/producer/receipt.ts';
import type { ProducerRecord } from '../../src/producer/record.ts';
import { SENDS, bodies, send, stageWith } from './sent.ts';

/** An interceptor that notes what it hears and adds its name to each value. */
function noting(name: string, heard: string[]): ProducerInterceptor<string, string> {
  return {
    onSend(record) {
      heard.push(`${name} send ${record.value}`);
      return { ...record, value: `${record.value}${name}` };
    },
    onAcknowledgement(place, error) {
      heard.push(`${name} ack ${place.topic} ${place.queueId} ${place.offset} ${error?.code ?? 'ok'}`);
    },
    close() {
      heard.push(`${name} close`);
    },
  };
}

const throwing: ProducerInterceptor = {
  onSend() {
    throw new Error('on send');
  },
  onAcknowledgement() {
    throw new Error('on ack');
  },
  close() {
    throw new Error('on close');
  },
};

describe('interceptors', () => {
  it('change the record one after the other and hear of its end in the same order, before the callback', () => {
    const stage = stageWith({ t: 1 });
    const heard: string[] = [];
    const producer = stage.client().producer({ interceptors: [noting('A', heard), noting('B', heard)] });
    producer.send({ topic: 't', value: 'v' }, () => heard.push('callback'));
    stage.time.settle();
    expect(heard).toEqual(['A send v', 'B send vA', 'A ack t 0 0 ok', 'B ack t 0 0 ok', 'callback']);
    expect(bodies(stage)).toEqual(['vAB']);
  });

  it('get the last good record when one before them throws, and still hear of the end', () => {
    const stage = stageWith({ t: 1 });
    const heard: string[] = [];
    const producer = stage.client().producer({ interceptors: [noting('A', heard), throwing, noting('B', heard)] });
    const told = send(producer, { topic: 't', value: 'v' });
    stage.time.settle();
    expect(bodies(stage)).toEqual(['vAB']);
    expect(heard.filter((line) => line.includes('ack'))).toEqual(['A ack t 0 0 ok', 'B ack t 0 0 ok']);
    expect([told.times, told.receipt?.offset]).toEqual([1, 0]);
    expect(stage.reports).toHaveLength(2);
  });

  it('that all throw, or give no record, leave the record as it was', () => {
    const stage = stageWith({ t: 1 });
    const giving = { onSend: () => undefined as unknown as ProducerRecord };
    const producer = stage.client().producer({ interceptors: [throwing, giving, throwing] });
    send(producer, { topic: 't', value: 'v' });
    stage.time.settle();
    expect(bodies(stage)).toEqual(['v']);
  });

  it('may send the record to another topic and queue', () => {
    const stage = stageWith({ t: 1, other: 4 });
    const elsewhere: ProducerInterceptor = { onSend: (record) => ({ ...record, topic: 'other', queueId: 3 }) };
    send(stage.client().producer({ interceptors: [elsewhere] }), { topic: 't', value: 'v' });
    stage.time.settle();
    expect(stage.broker.arrived.map(({ topic, queueId }) => `${topic} ${queueId}`)).toEqual(['other 3']);
  });

  it('get the receipt with the end of a send that went well', () => {
    const stage = stageWith({ t: 1 });
    let place: SendPlace | undefined;
    const producer = stage.client().producer({ interceptors: [{ onAcknowledgement: (told) => (place = told) }] });
    const told = send(producer, { topic: 't', value: 'v' });
    stage.time.settle();
    expect(place).toBeInstanceOf(SendReceipt);
    expect(place).toBe(told.receipt);
  });

  it.each([
    [
      'a late failure keeps the queue that was chosen',
      { topic: 't', value: 'v', queueId: 1 },
      'onAcknowledgement t 1 -1 MESSAGE_ILLEGAL',
    ],
    [
      'a record too large keeps the queue that was chosen',
      { topic: 't', value: 'v'.repeat(2000), queueId: 1 },
      'onSendError t 1 -1 RECORD_TOO_LARGE',
    ],
    [
      'a failure before the choice knows the queue that was named',
      { topic: 't', value: '', queueId: 1 },
      'onSendError t 1 -1 ILLEGAL_RECORD',
    ],
    ['and none when none was named', { topic: 't', value: '' }, 'onSendError t -1 -1 ILLEGAL_RECORD'],
  ])('are told once where a failed send was going: %s', (_, record, wanted) => {
    const stage = stageWith({ t: 2 });
    stage.broker.script = (code) => (SENDS.includes(code) ? { code: 13 } : 'ok');
    const heard: string[] = [];
    const note =
      (what: string) =>
      ({ topic, queueId, offset }: SendPlace, error: SendError | undefined): void =>
        void heard.push(`${what} ${topic} ${queueId} ${offset} ${error?.code}`);
    const interceptor = { onSendError: note('onSendError'), onAcknowledgement: note('onAcknowledgement') };
    const producer = stage.client().producer({ interceptors: [interceptor], maxRequestSizeBytes: 1500, batchSizeBytes: 1024 });
    stage.time.settle();
    const told = send(producer, record);
    stage.time.settle();
    expect(heard).toEqual([wanted]);
    expect(told.times).toBe(1);
  });

  it.each([
    ['that its key chooses', { key: 'k2' }, {}],
    ['that its key chooses by the hash of Java', { key: 'k2' }, { keyHash: 'java' }],
    [
      'that its serialized key chooses',
      { key: 2 },
      { keySerializer: { serialize: (_topic: string, _headers: unknown, key: unknown) => Buffer.from(`k${String(key)}`) } },
    ],
    ['that it names', { key: 'k2', queueId: 6 }, {}],
    ['of none without a key', {}, {}, -1],
    ['of none when keys do not count', { key: 'k2' }, { partitionerIgnoreKeys: true }, -1],
    ['of none when a partitioner chooses, which is not asked', { key: 'k2' }, { partitioner: 'throws' }, -1],
  ])('hear with a body that is too large of the queue %s', (_, record, options, wanted?: number) => {
    const stage = stageWith({ t: 8 });
    const heard: number[] = [];
    let asked = 0;
    const partition = (): number => {
      asked++;
      return 3;
    };
    const producer = stage.client().producer({
      ...(options as object),
      ...('partitioner' in options ? { partitioner: { partition } } : {}),
      maxMessageBytes: 10,
      interceptors: [{ onSendError: ({ queueId }) => void heard.push(queueId) }],
    });
    const small = send(producer, { topic: 't', value: 'v', ...record });
    stage.time.settle();
    const askedBefore = asked;
    send(producer, { topic: 't', value: 'v'.repeat(11), ...record });
    expect(heard).toEqual([wanted ?? small.receipt!.queueId]);
    expect(asked).toBe(askedBefore);
  });

  it('hear of no queue while the route of the topic is not known', () => {
    const stage = stageWith({ t: 8 });
    const heard: number[] = [];
    const interceptors = [{ onSendError: ({ queueId }: SendPlace) => void heard.push(queueId) }];
    const producer = stage.client().producer({ maxMessageBytes: 10, interceptors });
    send(producer, { topic: 't', key: 'k2', value: 'v'.repeat(11) });
    expect(heard).toEqual([-1]);
  });

  it('without onSendError hear of every failure by onAcknowledgement', () => {
    const stage = stageWith({ t: 1 });
    const heard: string[] = [];
    send(stage.client().producer({ interceptors: [noting('A', heard)] }), { topic: 't', value: 'v', timestamp: -1 });
    expect(heard).toEqual(['A send v', 'A ack t -1 -1 ILLEGAL_RECORD']);
  });

  it('see also what is sent after close, and run before that is found out', () => {
    const stage = stageWith({ t: 1 });
    const heard: string[] = [];
    const producer = stage.client().producer({ interceptors: [noting('A', heard)] });
    producer.close(0, () => heard.push('closed'));
    send(producer, { topic: 't', value: 'v' });
    stage.time.settle();
    expect(heard).toEqual(['A close', 'closed', 'A send v', 'A ack t -1 -1 CLOSED']);
  });

  it('are closed once, all of them, whatever one throws', () => {
    const stage = stageWith({});
    const heard: string[] = [];
    const producer = stage.client().producer({ interceptors: [noting('A', heard), throwing, noting('B', heard)] });
    producer.close(100, () => {});
    producer.close(0, () => {});
    stage.time.settle();
    expect(heard).toEqual(['A close', 'B close']);
    expect(stage.reports).toEqual(['closing an interceptor failed']);
  });

  it('run once per send, however often it is tried', () => {
    const stage = stageWith({ t: 1 });
    let attempts = 0;
    stage.broker.script = (code) => (SENDS.includes(code) && attempts++ === 0 ? { code: 2 } : 'ok');
    const heard: string[] = [];
    send(stage.client().producer({ interceptors: [noting('A', heard)] }), { topic: 't', value: 'v' });
    stage.time.advance(1000);
    expect([attempts, heard]).toEqual([2, ['A send v', 'A ack t 0 1 ok']]);
  });

  it('follow half messages too', () => {
    const stage = stageWith({ t: 1 });
    const heard: string[] = [];
    const listener = { check: () => {} };
    const producer = stage.client().transactionProducer({ group: 'g', listener, interceptors: [noting('A', heard)] });
    producer.half({ topic: 't', value: 'v' }, (error) => heard.push(`half ${error?.code ?? 'ok'}`));
    stage.time.settle();
    expect(heard).toEqual(['A send v', 'A ack t 0 0 ok', 'half ok']);
    expect(bodies(stage)).toEqual(['vA']);
  });
});
