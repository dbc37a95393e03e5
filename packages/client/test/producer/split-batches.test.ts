import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GivenProducerOptions } from '../../src/options.ts';
import { type Reaction, Stage } from '../fake-broker.ts';

/** A broker that takes no request of more than `most` records, or with a record that it finds illegal. */
function stageWith(most: number, illegal?: string) {
  const stage = new Stage();
  const { broker } = stage;
  broker.topics.set('t', 1);
  broker.script = (code, { body }): Reaction => {
    if (code !== 310 && code !== 320) return 'ok';
    let count = 0;
    for (let at = 0; code === 320 && at < body.length; at += body.readInt32BE(at)) count++;
    const bad = illegal !== undefined && body.includes(illegal);
    return count > most || bad ? { code: 13, remark: 'the message is illegal' } : 'ok';
  };
  return stage;
}

function sendAll(stage: Stage, values: readonly string[], options: GivenProducerOptions = {}) {
  const producer = stage.client().producer({ batchSizeBytes: 64 * 1024, ...options });
  const told: string[] = [];
  for (const value of values) {
    producer.send({ topic: 't', value, queueId: 0 }, (error, receipt) =>
      told.push(error === undefined ? `${value}@${receipt.offset}` : `${value} ${error.code}`),
    );
  }
  return { producer, told };
}

const LETTERS = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];

describe('a batch that the broker finds too large', () => {
  it('is cut in two until the pieces are taken, in order, each record with its own offset', () => {
    const stage = stageWith(2);
    const { producer, told } = sendAll(stage, LETTERS);
    stage.time.settle();
    expect(stage.broker.sends[0]).toBe('320x7');
    expect(told.map((line) => line[0])).toEqual(LETTERS);
    expect(new Set(told.map((line) => line.split('@')[1])).size).toBe(7);
    expect(producer.metrics().splits).toBeGreaterThanOrEqual(3);
    expect(producer.metrics().records).toBe(7);
  });

  it('fails only the record that is illegal by itself', () => {
    const stage = stageWith(99, 'd');
    const { told } = sendAll(stage, LETTERS);
    stage.time.settle();
    expect(told.filter((line) => line.includes('MESSAGE_ILLEGAL'))).toEqual(['d MESSAGE_ILLEGAL']);
    expect(told.length).toBe(7);
  });

  it('is waited for, with all its pieces, by a flush', () => {
    const stage = stageWith(1);
    const { producer, told } = sendAll(stage, LETTERS);
    let flushed = -1;
    producer.flush(() => (flushed = told.length));
    stage.time.settle();
    expect(flushed).toBe(7);
  });

  it('leaves its memory to its pieces until they are done', () => {
    const stage = stageWith(3);
    const script = stage.broker.script;
    stage.broker.script = (code, ask) => (script(code, ask) === 'ok' && code > 300 ? 'silent' : script(code, ask));
    const { producer, told } = sendAll(stage, LETTERS, { maxInFlightPerQueue: 1 });
    stage.time.settle();
    const { bufferTotalBytes, bufferAvailableBytes, pendingRecords } = producer.metrics();
    expect([told.length, pendingRecords, bufferAvailableBytes]).toEqual([0, 7, bufferTotalBytes - 1024]);
    producer.close(0, () => {});
    expect([told.length, producer.metrics().bufferAvailableBytes]).toEqual([7, bufferTotalBytes]);
  });

  it('fails instead of being cut when its delivery time is over', () => {
    const stage = stageWith(2);
    const script = stage.broker.script;
    let held: (() => void) | undefined;
    stage.broker.script = (code, ask) => {
      if (code !== 320) return script(code, ask);
      held = () =>
        stage.broker.peers[0]!.answer({ opaque: opaqueOf(stage), kind: 1, oneway: false }, 13, 'the message is illegal');
      return 'silent';
    };
    const { told } = sendAll(stage, LETTERS, { deliveryTimeoutMs: 3000, requestTimeoutMs: 3000 });
    stage.time.settle();
    stage.time.advance(3001);
    held!();
    stage.time.settle();
    expect(told).toEqual(LETTERS.map((letter) => `${letter} TIMEOUT`));
    expect(stage.broker.sends.length).toBe(1);
  });

  it('delivers every record once whatever the sizes and the limit', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 1, max: 9 }),
        fc.boolean(),
        (sizes, most, idempotence) => {
          const stage = stageWith(most);
          stage.broker.deduplicates = true;
          const values = sizes.map((bytes, n) => `${n}:`.padEnd(bytes, 'x'));
          const { producer, told } = sendAll(stage, values, { idempotence });
          stage.time.advance(20_000);
          expect(told.length).toBe(values.length);
          expect(told.every((line) => line.includes('@'))).toBe(true);
          const { pendingRecords, bufferTotalBytes, bufferAvailableBytes } = producer.metrics();
          expect([pendingRecords, bufferTotalBytes - bufferAvailableBytes]).toEqual([0, 0]);
        },
      ),
      { numRuns: 40 },
    );
  });
});

/** The opaque of the last send: opaques of a connection ascend by one. */
function opaqueOf(stage: Stage): number {
  return 0x40000000 + stage.broker.asked.length - 1;
}
