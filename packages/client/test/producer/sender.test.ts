import { describe, expect, it } from 'vitest';
import type { SendError } from '../../src/errors.ts';
import type { GivenProducerOptions } from '../../src/options.ts';
import type { SendReceipt } from '../../src/producer/receipt.ts';
import { type Reaction, Stage } from '../fake-broker.ts';

const SENDS = [310, 320];

/** Reacts to the n-th send request as listed, then as usual. */
function reactions(list: readonly Reaction[]): (code: number) => Reaction {
  let at = 0;
  return (code) => (SENDS.includes(code) ? (list[at++] ?? 'ok') : 'ok');
}

function run(list: readonly Reaction[], options: GivenProducerOptions = {}, ms = 20_000) {
  const stage = new Stage();
  stage.broker.topics.set('t', 1);
  stage.broker.script = reactions(list);
  const producer = stage.client().producer({ retryBackoffMs: 10, ...options });
  const told: { error?: SendError; receipt?: SendReceipt }[] = [];
  producer.send({ topic: 't', value: 'v' }, (error, receipt) => told.push(error === undefined ? { receipt } : { error }));
  stage.time.advance(ms);
  return {
    stage,
    told,
    verdict: told[0]?.error?.outcome ?? (told[0]?.receipt === undefined ? 'none' : 'sent'),
    attempts: stage.broker.sends.length,
    code: told[0]?.error?.code,
  };
}

const BUSY: Reaction = { code: 2, remark: '[OVERLOAD]system busy, start flow control for a while' };

describe('sender', () => {
  it('pauses between two busy brokers, but not before it has tried the other one', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    const other = stage.addBroker('10.0.0.2:9876', 'broker-b');
    const producer = stage.client().producer({ retries: 5, retryBackoffMs: 100 });
    producer.send({ topic: 't', value: 'warm' }, () => {});
    stage.time.settle();
    const busy = (code: number): Reaction => (SENDS.includes(code) ? BUSY : 'ok');
    stage.broker.script = other.script = busy;
    const tried = (): number => stage.broker.sends.length + other.sends.length - before;
    const before = stage.broker.sends.length + other.sends.length;
    producer.send({ topic: 't', value: 'v' }, () => {});
    stage.time.settle();
    expect(tried()).toBe(2);
    stage.time.advance(10_000);
    expect(tried()).toBe(6);
  });

  it.each([
    // the broker's reactions, verdict, attempts, code
    [['ok'], 'sent', 1, undefined],
    [[BUSY, 'ok'], 'sent', 2, undefined],
    [[BUSY, BUSY, 'ok'], 'sent', 3, undefined],
    [[BUSY, BUSY, BUSY], 'unavailable', 3, 'SYSTEM_BUSY'],
    [[{ code: 14 }, 'ok'], 'sent', 2, undefined],
    [[{ code: 14 }, { code: 14 }, { code: 14 }], 'unavailable', 3, 'SERVICE_NOT_AVAILABLE'],
    [[{ code: 17 }, 'ok'], 'sent', 2, undefined],
    [[{ code: 17 }, { code: 17 }, { code: 17 }], 'unroutable', 3, 'TOPIC_NOT_EXIST'],
    [[{ code: 16 }, { code: 16 }, { code: 16 }], 'rejected', 3, 'NO_PERMISSION'],
    [[{ code: 13 }], 'rejected', 1, 'MESSAGE_ILLEGAL'],
    [[{ code: 29 }], 'rejected', 1, 'INVALID_PARAMETER'],
    [[{ code: 26 }], 'rejected', 1, 'SUBSCRIPTION_GROUP_NOT_EXIST'],
    [[{ code: 1 }], 'unknown', 1, 'SYSTEM_ERROR'],
    [[{ code: 10 }], 'unknown', 1, 'FLUSH_DISK_TIMEOUT'],
    [[{ code: 12 }], 'unknown', 1, 'FLUSH_SLAVE_TIMEOUT'],
    [[{ code: 777 }], 'unknown', 1, 'UNKNOWN_CODE'],
    [['silent'], 'unknown', 1, 'TIMEOUT'],
    [['cut'], 'unknown', 1, 'CONNECTION_LOST'],
    [[BUSY, 'cut'], 'unknown', 2, 'CONNECTION_LOST'],
  ] as [Reaction[], string, number, string | undefined][])('%j: %s after %i attempts', (list, verdict, attempts, code) => {
    const got = run(list);
    expect([got.verdict, got.attempts, got.code]).toEqual([verdict, attempts, code]);
    expect(got.told.length).toBe(1);
  });

  it('tells where the broker has put a message whose disk was late', () => {
    const { told } = run([{ code: 10 }]);
    expect(told[0]!.error).toMatchObject({ name: 'IndefiniteError', retry: 'later', receipt: { offset: 0, queueId: 0 } });
  });

  it('waits for a connection that cannot be opened yet, and sends once it can', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    const producer = stage.client().producer();
    producer.send({ topic: 't', value: 'first' }, () => {});
    stage.time.settle();
    stage.broker.refuses = true;
    stage.broker.cut();
    stage.time.settle();
    const told: string[] = [];
    producer.send({ topic: 't', value: 'second' }, (error) => told.push(error?.code ?? 'sent'));
    stage.time.advance(2000);
    expect(told).toEqual([]);
    stage.broker.refuses = false;
    stage.time.advance(6000);
    expect(told).toEqual(['sent']);
    expect(stage.broker.arrived.map(({ body }) => body)).toEqual(['first', 'second']);
  });

  it('fails what never left as not sent when its delivery time is over', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    const producer = stage.client().producer({ deliveryTimeoutMs: 1000 });
    producer.send({ topic: 't', value: 'first' }, () => {});
    stage.time.settle();
    stage.broker.refuses = true;
    stage.broker.cut();
    const told: SendError[] = [];
    producer.send({ topic: 't', value: 'second' }, (error) => told.push(error!));
    stage.time.advance(1001);
    expect(told[0]).toMatchObject({ code: 'NOT_SENT', outcome: 'unavailable' });
  });

  it('takes no longer in flight than the delivery time allows', () => {
    const { told, verdict } = run(['silent'], { deliveryTimeoutMs: 700 }, 701);
    expect([told.length, verdict]).toEqual([1, 'unknown']);
  });

  it('keeps the order of a queue over a retry when one request per queue is in flight', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    stage.broker.script = reactions([BUSY, 'ok', BUSY, BUSY]);
    const producer = stage.client().producer({ maxInFlightPerQueue: 1, batchSizeBytes: 0, retryBackoffMs: 10 });
    const done: string[] = [];
    for (const value of ['1', '2', '3', '4']) producer.send({ topic: 't', value }, (error) => done.push(error?.code ?? value));
    stage.time.advance(5000);
    expect(done).toEqual(['1', '2', '3', '4']);
    expect(stage.broker.arrived.map(({ body }) => body).join('')).toBe('11222' + '34');
  });

  it('keeps no more messages in flight on a connection than allowed', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 4);
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    const producer = stage.client().producer({ maxInFlightMessages: 5, batchSizeBytes: 0 });
    for (let n = 0; n < 20; n++) producer.send({ topic: 't', value: 'v' }, () => {});
    stage.time.settle();
    expect(stage.broker.arrived.length).toBe(5);
    stage.time.advance(3001);
    expect(stage.broker.arrived.length).toBe(10);
  });

  it('moves a batch that a broker refused to another broker, but not one whose key chose the queue', () => {
    const stage = new Stage();
    const other = stage.addBroker('10.0.0.2:9876', 'broker-b');
    stage.broker.topics.set('t', 1);
    stage.broker.script = (code) => (SENDS.includes(code) ? BUSY : 'ok');
    other.script = (code) => (SENDS.includes(code) ? 'ok' : 'ok');
    const producer = stage.client().producer({ retryBackoffMs: 10 });
    const told: string[] = [];
    for (let n = 0; n < 2; n++) {
      producer.send({ topic: 't', value: `plain${n}` }, (error) => told.push(error?.code ?? 'sent'));
      stage.time.advance(100);
    }
    producer.send({ topic: 't', value: 'fixed', queueId: 0, brokerName: 'broker-a' }, (error) =>
      told.push(error?.code ?? 'sent'),
    );
    stage.time.advance(5000);
    expect(told).toEqual(['sent', 'sent', 'SYSTEM_BUSY']);
    expect(other.arrived.map(({ body }) => body)).toEqual(['plain0', 'plain1']);
  });

  it('ignores an answer that comes after its time', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    const producer = stage.client().producer({ requestTimeoutMs: 100 });
    const told: string[] = [];
    producer.send({ topic: 't', value: 'v' }, (error) => told.push(error!.code));
    stage.time.settle();
    stage.time.advance(101);
    // Whichever opaque the send had: answers to all of them come too late.
    for (let opaque = 0; opaque < 10; opaque++) {
      stage.broker.peers[0]!.answer({ opaque, kind: 1, oneway: false }, 0, undefined, { msgId: 'X', queueId: 0, queueOffset: 0 });
    }
    stage.time.settle();
    expect(told).toEqual(['TIMEOUT']);
  });
});
