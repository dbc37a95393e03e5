import type nodeZlib from 'node:zlib';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { seededRandom } from '@tallystick/base/testing';
import { SENDS, bodies, noMemoryOnce, send, stageWith, warmUp } from './sent.ts';

const zlib = vi.hoisted(() => ({ deflates: 0 }));
vi.mock('node:zlib', async (original) => {
  const real = await original<typeof nodeZlib>();
  const deflateSync: typeof nodeZlib.deflateSync = (...given) => {
    zlib.deflates++;
    return real.deflateSync(...given);
  };
  return { ...real, deflateSync };
});

/** Random bytes with values up to `most`: with 63, they deflate to three quarters, with 255 not at all. */
function noise(bytes: number, most: number): Buffer {
  const random = seededRandom(5);
  return Buffer.from(Array.from({ length: bytes }, () => random.u32() & most));
}

describe('a record that waits for memory', () => {
  beforeEach(() => void (zlib.deflates = 0));

  it.each([
    ['that shrinks', noise(60_000, 63)],
    ['that does not', noise(60_000, 255)],
  ])('is deflated once however long it waits, one %s', (_name, value) => {
    const stage = stageWith({ t: 1 });
    const memory = { bufferMemoryBytes: 64 * 1024, batchSizeBytes: 1024, maxBlockMs: 10_000 };
    const producer = stage.client().producer({ ...memory, requestTimeoutMs: 5000 });
    warmUp(stage, producer);
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    const first = send(producer, { topic: 't', value });
    stage.time.endTurn();
    expect([zlib.deflates, producer.waiting]).toEqual([1, 0]);
    const second = send(producer, { topic: 't', value });
    for (let round = 0; round < 5; round++) {
      send(producer, { topic: 't', value: 'x' });
      stage.time.endTurn();
      stage.time.advance(1);
    }
    expect([producer.waiting, second.times]).toEqual([6, 0]);
    stage.broker.script = () => 'ok';
    stage.time.advance(6000);
    expect([first.error?.code, second.error, zlib.deflates]).toEqual(['TIMEOUT', undefined, 2]);
    const arrived = stage.broker.arrived.filter(({ raw }) => raw.length > 1);
    expect(arrived[1]!.raw).toEqual(arrived[0]!.raw);
    expect(arrived[1]!.sysFlag).toBe(arrived[0]!.sysFlag);
  });

  it('is refused at once when it would never get any, with the number that idempotence adds', () => {
    const stage = stageWith({ t: 1 });
    const memory = { bufferMemoryBytes: 4096, batchSizeBytes: 1024, compressOverBytes: 0 };
    const producer = stage.client().producer({ ...memory, idempotence: true });
    warmUp(stage, producer);
    const fixedBytes = 22 + 'UNIQ_KEY..'.length + 32;
    const over = send(producer, { topic: 't', value: 'v'.repeat(4096 - fixedBytes - 58) });
    const fits = send(producer, { topic: 't', value: 'v'.repeat(4096 - fixedBytes - 59) });
    stage.time.settle();
    expect([over.error?.code, producer.waiting, fits.receipt?.offset]).toEqual(['RECORD_TOO_LARGE', 0, 0]);
    expect(over.error!.message).toContain('4097 bytes; all memory is 4096 (bufferMemoryBytes)');
  });

  it('is shown to the partitioner once', () => {
    const stage = stageWith({ t: 2 });
    const asked: string[] = [];
    const partition = ({ value }: { value: unknown }): number => asked.push(String(value).split(' ')[0]!) % 2;
    const producer = stage.client().producer({ bufferMemoryBytes: 4096, batchSizeBytes: 1024, partitioner: { partition } });
    warmUp(stage, producer);
    asked.length = 0;
    const values = Array.from({ length: 60 }, (_, n) => `${n} `.repeat(250));
    const told = values.map((value) => send(producer, { topic: 't', value }));
    stage.time.settle();
    expect(told.every(({ receipt }) => receipt !== undefined)).toBe(true);
    expect(asked).toEqual(values.map((_, n) => `${n}`));
  });

  it('is shown to the partitioner again when the topic has lost the queue meanwhile', () => {
    const stage = stageWith({ t: 2 });
    let at = 1;
    const memory = { bufferMemoryBytes: 1024, batchSizeBytes: 1024 };
    const producer = stage
      .client({ routeIntervalMs: 1000 })
      .producer({ ...memory, requestTimeoutMs: 3000, partitioner: { partition: () => at } });
    warmUp(stage, producer);
    stage.broker.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    send(producer, { topic: 't', value: 'x'.repeat(700) });
    const waits = send(producer, { topic: 't', value: 'y'.repeat(700) });
    stage.time.endTurn();
    stage.broker.topics.set('t', 1);
    at = 0;
    stage.time.advance(2500);
    stage.broker.script = () => 'ok';
    stage.time.advance(2000);
    expect([waits.receipt?.queueId, waits.error?.code]).toEqual([0, undefined]);
  });

  it('does not use up a turn of its queues: round-robin stays one', () => {
    const stage = stageWith({ t: 2 });
    const producer = stage
      .client()
      .producer({ bufferMemoryBytes: 1024, batchSizeBytes: 1024, partitioner: 'round-robin', latencyAvoidance: false });
    warmUp(stage, producer);
    const told = Array.from({ length: 100 }, () => send(producer, { topic: 't', value: 'v'.repeat(700) }));
    stage.time.settle();
    expect(told.every(({ receipt }) => receipt !== undefined)).toBe(true);
    const queues = stage.broker.arrived.map(({ queueId }) => queueId);
    for (let n = 1; n < queues.length; n++) expect(queues[n]).toBe(1 - queues[n - 1]!);
  });
});

describe('the memory of a producer', () => {
  it('has all its bytes again when the process had none for one of the records, and goes on with the others', () => {
    const stage = stageWith({ t: 1 });
    const producer = stage.client().producer({ bufferMemoryBytes: 64 * 1024, compressOverBytes: 0 });
    const told = ['1', '2', '3'].map((value) => send(producer, { topic: 't', value }));
    noMemoryOnce(1024);
    stage.time.settle();
    expect(told.map(({ error, times }) => [error?.code, times])).toEqual([
      ['OUT_OF_MEMORY', 1],
      [undefined, 1],
      [undefined, 1],
    ]);
    expect([bodies(stage), producer.metrics().errors]).toEqual([['2', '3'], 1]);
    expect(told[0]!.error!.cause).toBeInstanceOf(RangeError);
    expect(producer.metrics().bufferAvailableBytes).toBe(64 * 1024);
  });

  it('holds runs too that were made anew for another broker', () => {
    const stage = stageWith({ t: 1 });
    const other = stage.addBroker('10.0.0.2:9876', 'broker-b-with-a-longer-name');
    const memory = { bufferMemoryBytes: 64 * 1024, compressOverBytes: 0, batchSizeBytes: 0 };
    const producer = stage.client().producer({
      ...memory,
      maxInFlightMessages: 4,
      latencyAvoidance: false,
      partitionerAdaptive: false,
      requestTimeoutMs: 2000,
    });
    warmUp(stage, producer);
    stage.broker.script = (code) => (SENDS.includes(code) ? { code: 2, remark: 'busy' } : 'ok');
    other.script = (code) => (SENDS.includes(code) ? 'silent' : 'ok');
    let most = 0;
    for (let n = 0; n < 400; n++) {
      for (let k = 0; k < 4; k++) send(producer, { topic: 't', value: 'x'.repeat(4000) });
      stage.time.advance(5);
      most = Math.max(
        most,
        producer.inspect().queues.reduce((sum, { bytes }) => sum + bytes, 0),
      );
      expect(producer.metrics().bufferAvailableBytes).toBeGreaterThanOrEqual(0);
    }
    expect(most).toBeGreaterThan(8000);
    expect(most).toBeLessThanOrEqual(64 * 1024);
    producer.close(0, () => {});
    expect(producer.metrics().bufferAvailableBytes).toBe(64 * 1024);
  });
});
