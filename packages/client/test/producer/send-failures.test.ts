/** Each row of the table of failures, as it happens: the code, whether it is thrown, told or reported, when, and what interceptors hear. */
import { describe, expect, it } from 'vitest';
import type { GivenProducerOptions } from '../../src/options.ts';
import type { ProducerCore } from '../../src/producer/producer-core.ts';
import type { ProducerRecord } from '../../src/producer/record.ts';
import { SEND_FAILURES } from '../../src/producer/send-failures.ts';
import type { Reaction, Stage } from '../fake-broker.ts';
import { SENDS, noMemoryOnce, send, stageWith, warmUp } from './sent.ts';

interface Scenario {
  readonly options?: GivenProducerOptions;
  /** What the record has beyond topic t and value v; null: there is none. */
  readonly record?: Partial<ProducerRecord> | null;
  /** Before the send. */
  readonly before?: (stage: Stage, producer: ProducerCore) => void;
  readonly after?: (stage: Stage, producer: ProducerCore) => void;
  /** The callback throws. */
  readonly throws?: boolean;
}

const onSends =
  (reaction: Reaction) =>
  (stage: Stage): void => {
    stage.broker.script = (code) => (SENDS.includes(code) ? reaction : 'ok');
  };
const noNames = (stage: Stage): void => {
  stage.broker.refuses = true;
  stage.broker.cut();
};
const close = (_: Stage, producer: ProducerCore): void => producer.close(0, () => {});

/** By the row's sentence. */
const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'the record is no object or the callback no function': { record: null },
  'an interceptor throws, or gives no record': {
    options: {
      interceptors: [
        {
          onSend: () => {
            throw new Error('user');
          },
        },
      ],
    },
  },
  'the producer is closed': { before: close },
  'topic, timestamp, queue or delay is impossible': { record: { timestamp: -5 } },
  'topicsMax topics are in use, none of them idle': { options: { topicsMax: 1 }, record: { topic: 'other' } },
  'too many sends or bytes wait already': { options: { maxPendingRecords: 0 }, record: { topic: 'other' } },
  'no name server answered within maxBlockMs': { before: noNames, record: { topic: 'other' } },
  'the name server knows neither the topic nor a way to make it': { record: { topic: 'nowhere' } },
  'the signal was aborted while the send waited': { record: { topic: 'other' } },
  'the producer was closed while the send waited': { record: { topic: 'other' }, after: close },
  'a serializer throws or gives something else': {
    options: {
      valueSerializer: {
        serialize(_topic, _headers, data) {
          if (data === 'v') throw new Error('user');
          return String(data);
        },
      },
    },
  },
  'key, tag, headers or body cannot be a message': { record: { tag: 'a||b' } },
  'the body is longer than maxMessageBytes; no partitioner is asked': {
    options: { maxMessageBytes: 10 },
    record: { value: 'v'.repeat(11) },
  },
  'the partitioner throws or gives no index': {
    options: { partitioner: { partition: ({ value }) => (value === 'v' ? -1 : 0) } },
  },
  'the topic has no writable queue': {
    before(stage, producer) {
      stage.broker.topics.set('none', 0);
      warmUp(stage, producer, 'none');
    },
    record: { topic: 'none' },
  },
  'the queue it names did not appear within maxBlockMs': { record: { queueId: 9 } },
  'larger than maxRequestSizeBytes or than bufferMemoryBytes': {
    options: { maxRequestSizeBytes: 2000 },
    record: { value: 'v'.repeat(2000) },
  },
  'none became free in what was left of maxBlockMs': {
    options: { bufferMemoryBytes: 1024, batchSizeBytes: 1024, maxBlockMs: 300 },
    before(stage, producer) {
      onSends('silent')(stage);
      send(producer, { topic: 't', value: 'v'.repeat(500) });
    },
    record: { value: 'v'.repeat(500) },
  },
  'bufferMemoryBytes allow a buffer for which the process has no memory': {
    options: { compressOverBytes: 0 },
    before: () => noMemoryOnce(16 * 1024),
    record: { value: 'v'.repeat(5000) },
  },
  'no attempt could be made within deliveryTimeoutMs, or the producer was closed': { before: noNames },
  'the broker says "not stored" more often than retries': { before: onSends({ code: 2 }) },
  'the broker does not answer within requestTimeoutMs': { before: onSends('silent') },
  'the connection breaks before the answer, or the producer is closed': { before: onSends('cut') },
  'the answer cannot be read': { before: onSends('garbled') },
  "an interceptor's onAcknowledgement or onSendError, or the callback, throws": { throws: true },
};

describe('the failure of a send', () => {
  it('has a scenario for each row of its table', () => {
    expect(SEND_FAILURES.map(({ failure }) => failure).toSorted()).toEqual(Object.keys(SCENARIOS).toSorted());
  });

  it.each([...SEND_FAILURES])(
    '$step: $failure: $code, $reaches, $when, $interceptors',
    ({ failure, code, reaches, when, interceptors }) => {
      const { options, record = {}, before, after, throws } = SCENARIOS[failure]!;
      const stage = stageWith({ t: 1, other: 1 });
      const heard: string[] = [];
      const noting = {
        onSendError: () => void heard.push('onSendError'),
        onAcknowledgement: () => void heard.push('onAcknowledgement'),
      };
      const times = { maxBlockMs: 1000, requestTimeoutMs: 500, deliveryTimeoutMs: 2000, batchSizeBytes: 1024 };
      const producer = stage
        .client()
        .producer({ ...times, ...options, interceptors: [...(options?.interceptors ?? []), noting] });
      warmUp(stage, producer);
      before?.(stage, producer);
      heard.length = 0;
      stage.reports.length = 0;

      const told: string[] = [];
      const given = record === null ? (undefined as unknown as ProducerRecord) : { topic: 't', value: 'v', ...record };
      let returned = false;
      const call = () =>
        producer.send(given, (error) => {
          told.push(`${error?.code ?? 'none'} ${returned ? 'later' : 'at once'} after ${heard.join()}`);
          if (throws === true) throw new Error('user');
        });
      if (reaches === 'thrown') {
        expect(call).toThrow(TypeError);
        expect([told, heard]).toEqual([[], []]);
        return;
      }
      const waiting = call();
      returned = true;
      if (code === 'WITHDRAWN') producer.withdraw(waiting!, 'aborted');
      after?.(stage, producer);
      stage.time.advance(5000);
      if (reaches === 'report') {
        expect(stage.reports).toHaveLength(1);
        expect(told).toEqual(['none later after onAcknowledgement']);
        return;
      }
      const wanted = code === 'answer' ? 'SYSTEM_BUSY' : code;
      expect(told).toEqual([`${wanted} ${when} after ${interceptors}`]);
    },
  );
});
