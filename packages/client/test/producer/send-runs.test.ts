import { describe, expect, it } from 'vitest';
import type { GivenProducerOptions } from '../../src/options.ts';
import { type Arrived, type Reaction, Stage } from '../fake-broker.ts';

const BUSY: Reaction = { code: 2, remark: '[OVERLOAD]system busy' };

/** Sends each letter alone in one turn; the n-th request of all gets the n-th reaction. */
function run(
  letters: string,
  reactions: readonly Reaction[],
  options: GivenProducerOptions = {},
  header: 'binary' | 'json' = 'binary',
) {
  const stage = new Stage();
  stage.broker.topics.set('t', 1);
  let at = 0;
  stage.broker.script = (code) => (code === 310 || code === 320 ? (reactions[at++] ?? 'ok') : 'ok');
  const producer = stage.client({ header }).producer({ batchSizeBytes: 0, retryBackoffMs: 10, ...options });
  const told: string[] = [];
  for (const value of letters) {
    producer.send({ topic: 't', value, key: `k ${value}`, headers: { h: value } }, (error) =>
      told.push(value + (error?.code ?? '')),
    );
  }
  stage.time.settle();
  return { stage, producer, told, bodies: () => stage.broker.arrived.map(({ body }) => body).join('') };
}

describe('single sends in a run', () => {
  it.each(['binary', 'json'] as const)('arrive as messages of their own, with their properties, by %s headers', (header) => {
    const { stage, told } = run('abc', [], {}, header);
    expect(stage.broker.sends).toEqual(['310', '310', '310']);
    expect(told).toEqual(['a', 'b', 'c']);
    const [first] = stage.broker.arrived as [Arrived];
    expect(Object.fromEntries(first.properties)).toMatchObject({ __SHARDINGKEY: 'k a', h: 'a' });
    expect(new Set(stage.broker.arrived.map(({ properties }) => properties.get('UNIQ_KEY'))).size).toBe(3);
  });

  it('get their verdicts at once; the refused ones go again together, in their order', () => {
    const { stage, told, bodies } = run('abcde', ['ok', BUSY, 'ok', BUSY]);
    expect(told).toEqual(['a', 'c', 'e']);
    stage.time.advance(1000);
    expect(told).toEqual(['a', 'c', 'e', 'b', 'd']);
    expect(bodies()).toBe('abcde' + 'bd');
  });

  it('fail one by one when attempts are used up, while the others succeed', () => {
    const { stage, told } = run('abc', ['ok', BUSY, 'ok', BUSY, BUSY]);
    stage.time.advance(5000);
    expect(told).toEqual(['a', 'c', 'bSYSTEM_BUSY']);
  });

  it('are unknown, each alone, when their answer does not come', () => {
    const { stage, producer, told } = run('abc', ['ok', 'silent', { code: 1 }]);
    expect(told).toEqual(['a', 'cSYSTEM_ERROR']);
    stage.time.advance(3001);
    expect(told).toEqual(['a', 'cSYSTEM_ERROR', 'bTIMEOUT']);
    const { unknown, acknowledged, pendingRecords, bufferTotalBytes, bufferAvailableBytes } = producer.metrics();
    expect([unknown, acknowledged, pendingRecords, bufferTotalBytes - bufferAvailableBytes]).toEqual([2, 1, 0, 0]);
  });

  it('are never repeated when the connection breaks', () => {
    const { stage, told, bodies } = run('abc', ['ok', 'cut']);
    stage.time.advance(10_000);
    expect(told).toEqual(['aCONNECTION_LOST', 'bCONNECTION_LOST', 'cCONNECTION_LOST']);
    expect(bodies().match(/a/g)!.length).toBe(1);
  });

  it('move to another broker with the header that is right there', () => {
    const stage = new Stage();
    const other = stage.addBroker('10.0.0.2:9876', 'broker-b');
    stage.broker.topics.set('t', 1);
    stage.broker.script = (code) => (code === 310 ? BUSY : 'ok');
    const producer = stage.client().producer({ batchSizeBytes: 0, retryBackoffMs: 10, partitioner: 'round-robin' });
    const told: string[] = [];
    for (const value of 'abcd')
      producer.send({ topic: 't', value, headers: { h: value } }, (error) => told.push(error?.code ?? 'sent'));
    stage.time.advance(2000);
    expect(told).toEqual(['sent', 'sent', 'sent', 'sent']);
    expect(other.arrived.map(({ body, properties }) => body + properties.get('h')).toSorted()).toEqual(['aa', 'bb', 'cc', 'dd']);
    expect(other.asks(310).map(({ fields }) => fields.get('n'))).toEqual(['broker-b', 'broker-b', 'broker-b', 'broker-b']);
  });

  it('leave in the middle of a turn once there is much of them, and no more than may be in flight', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    const producer = stage.client().producer({ batchSizeBytes: 0, maxInFlightMessages: 100 });
    producer.send({ topic: 't', value: 'first' }, () => {});
    stage.time.settle();
    for (let n = 0; n < 300; n++) producer.send({ topic: 't', value: 'x'.repeat(1000) }, () => {});
    expect(producer.metrics().recordsInFlight).toBeGreaterThan(20);
    expect(producer.metrics().recordsInFlight).toBeLessThanOrEqual(100);
    stage.time.settle();
    expect([producer.pending, stage.broker.arrived.length]).toEqual([0, 301]);
  });

  it('may be of any size one after the other, up to all the memory', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    const options = { batchSizeBytes: 0, bufferMemoryBytes: 100_000, compressOverBytes: 0 };
    const producer = stage.client().producer(options);
    const sizes = [50_000, 40_000, 10, 99_700, 33_000, 32_000, 5, 70_000, 60_000];
    const told: string[] = [];
    for (const bytes of sizes)
      producer.send({ topic: 't', value: 'x'.repeat(bytes) }, (error) => told.push(error?.message ?? `${bytes}`));
    stage.time.settle();
    expect(told).toEqual(sizes.map(String));
    expect(stage.broker.arrived.map(({ body }) => body.length)).toEqual(sizes);
  });

  it('may be followed, from inside a callback, by others and by the end of the producer', () => {
    const stage = new Stage();
    stage.broker.topics.set('t', 1);
    const producer = stage.client().producer({ batchSizeBytes: 0 });
    const told: string[] = [];
    for (const value of 'abc') {
      producer.send({ topic: 't', value }, (error) => {
        told.push(value + (error?.code ?? ''));
        if (value === 'a') producer.send({ topic: 't', value: 'again' }, (late) => told.push(`again${late?.code ?? ''}`));
        if (value === 'b') producer.close(0, () => told.push('closed'));
      });
    }
    stage.time.advance(5000);
    expect(told.slice(0, 2)).toEqual(['a', 'b']);
    expect(told.slice(2).toSorted()).toEqual(['againNOT_SENT', 'cCONNECTION_LOST', 'closed']);
  });
});
