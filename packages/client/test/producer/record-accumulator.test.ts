import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualTime, seededRandom } from '@tallystick/base/testing';
import { FrameReader, SendLocator, decodeProperties } from '@tallystick/remoting';
import { fail } from '../../src/errors.ts';
import { BufferPool } from '../../src/producer/buffer-pool.ts';
import type { ProducerBatch } from '../../src/producer/producer-batch.ts';
import { QueueLane } from '../../src/producer/queue-lane.ts';
import { RecordAccumulator } from '../../src/producer/record-accumulator.ts';
import { RecordEncoder } from '../../src/producer/record-encoder.ts';
import { SendRequest } from '../../src/producer/send-request.ts';
import { UniqueIds, idText } from '../../src/producer/unique-ids.ts';
import { noMemoryOnce } from './sent.ts';

const WALL_MS = 1_700_000_000_000;
/** The largest buffer that one record of this test can need: a JSON frame of long text, rounded up to a size of the pool. */
const NEED_BYTES_MAX = 8192;
const time = new ManualTime();

function accumulator(batchSizeBytes: number, memoryBytes: number, header: 'binary' | 'json' = 'binary') {
  const encoder = new RecordEncoder(
    { maxMessageBytes: 1e6, compressOverBytes: 0, idempotence: false },
    new UniqueIds(time, seededRandom(1)),
  );
  const pool = new BufferPool(memoryBytes, Math.max(batchSizeBytes, 1024));
  return {
    encoder,
    pool,
    accumulator: new RecordAccumulator(
      encoder,
      pool,
      { batchSizeBytes, maxInFlightPerQueue: 100, maxInFlightMessages: 100, idempotence: false },
      new SendRequest({ group: 'g', defaultQueues: 4 }, header),
    ),
  };
}

/** Bodies and properties of a run's frames. */
function framesOf(batch: ProducerBatch): { body: string; properties: Map<string, string> }[] {
  const list: { body: string; properties: Map<string, string> }[] = [];
  const send = new SendLocator();
  const reader = new FrameReader({ frameBytesMax: 1e6, headerBytesMax: 1e6 }, (frame) => {
    expect(send.locate(frame)).toBe(true);
    expect([send.topic(), send.queueId(), send.bornTimestamp()]).toEqual(['t', batch.lane.queueId, WALL_MS]);
    const properties = decodeProperties(send.propertiesBytes, send.propertiesStart, send.propertiesEnd);
    list.push({ body: frame.body().toString(), properties });
  });
  expect(reader.read(batch.buffer.subarray(0, batch.end))).toBeUndefined();
  expect(reader.heldBytes).toBe(0);
  return list;
}

/** Bodies and properties of the elements in a batch's buffer. */
function elements(batch: ProducerBatch): { body: string; properties: Map<string, string> }[] {
  if (batch.frames !== undefined) return framesOf(batch);
  const list = [];
  for (let at = 0; at < batch.end; at += batch.buffer.readInt32BE(at)) {
    const bodyEnd = at + 20 + batch.buffer.readInt32BE(at + 16);
    const end = bodyEnd + 2 + batch.buffer.readUInt16BE(bodyEnd);
    expect(end).toBe(at + batch.buffer.readInt32BE(at));
    list.push({
      body: batch.buffer.toString('utf8', at + 20, bodyEnd),
      properties: decodeProperties(batch.buffer, bodyEnd + 2, end),
    });
  }
  return list;
}

/** What happens to a batch of a lane, or to one of those in flight. */
interface Touch {
  readonly act: string;
  readonly which: number;
  readonly lane: number;
  readonly stored: readonly boolean[];
}

const record = fc.record({
  lane: fc.integer({ min: 0, max: 2 }),
  value: fc.string({ minLength: 1, maxLength: 400, unit: 'grapheme' }),
  key: fc.option(fc.oneof(fc.string({ minLength: 1, maxLength: 20 }), fc.uint8Array({ minLength: 1, maxLength: 20 })), {
    nil: undefined,
  }),
  single: fc.integer({ min: 0, max: 15 }).map((n) => n === 0),
});
const step = fc.oneof({ weight: 20, arbitrary: record }, { weight: 1, arbitrary: fc.constant('drain' as const) });

describe('record accumulator', () => {
  it('keeps every record, in order per queue, within its memory, as a naive model does', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 150, size: 'max' }),
        fc.constantFrom(0, 1024, 4096),
        fc.constantFrom('binary', 'json'),
        (steps, batchSizeBytes, header) => {
          const { encoder, pool, accumulator: under } = accumulator(batchSizeBytes, 16 * 1024, header);
          const lanes = [0, 1, 2].map((queueId) => new QueueLane<ProducerBatch>('t', 'b', queueId));
          const expected: string[][] = [[], [], []];
          const drained: string[][] = [[], [], []];
          let records = 0;
          const drain = (): void => {
            for (const lane of under.lanes.splice(0)) {
              lane.listed = false;
              for (const batch of lane.batches.splice(0)) {
                const list = elements(batch);
                expect(list.length).toBe(batch.count);
                if (batch.single && batch.frames === undefined) expect(batch.count).toBe(1);
                if (batchSizeBytes === 0) expect(batch.frames).toBeDefined();
                drained[lane.queueId]!.push(...list.map(({ body }) => body));
                records -= batch.count;
                under.release(batch);
              }
            }
          };
          for (const one of steps) {
            if (one === 'drain') drain();
            else {
              const lane = lanes[one.lane]!;
              const wanted = { topic: 't', value: one.value, key: one.key, delayLevel: one.single ? 1 : undefined };
              expect(encoder.prepare(wanted, undefined)).toBeUndefined();
              if (under.append(lane, wanted, undefined, false, () => {}, 0, WALL_MS)) {
                expected[one.lane]!.push(Buffer.from(one.value).toString());
                records++;
              } else expect(pool.lentBytes).toBeGreaterThan(pool.totalBytes - NEED_BYTES_MAX);
            }
            expect(under.records).toBe(records);
            expect(pool.lentBytes).toBeLessThanOrEqual(pool.totalBytes);
          }
          drain();
          expect(drained).toEqual(expected);
          expect([under.records, pool.lentBytes]).toEqual([0, 0]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('loses and mixes up nothing, and holds no more than its memory, while batches leave, come back, move and are cut', () => {
    const touch = fc.record({
      act: fc.constantFrom('leave', 'leave', 'leave', 'back', 'move', 'some refused', 'cut', 'done'),
      which: fc.nat(20),
      lane: fc.integer({ min: 0, max: 2 }),
      stored: fc.array(fc.boolean(), { minLength: 100, maxLength: 100 }),
    });
    const steps = fc.array(fc.oneof({ weight: 3, arbitrary: record }, { weight: 2, arbitrary: touch }), {
      maxLength: 150,
      size: 'max',
    });
    fc.assert(
      fc.property(steps, fc.constantFrom(0, 1024, 4096), fc.constantFrom('binary', 'json'), (list, batchSizeBytes, header) => {
        const { encoder, pool, accumulator: under } = accumulator(batchSizeBytes, 16 * 1024, header);
        const lanes = ['b', 'b-of-a-longer-name', 'b'].map(
          (broker, queueId) => new QueueLane<ProducerBatch>('t', broker, queueId),
        );
        /** What each batch must hold. */
        const model = new Map<ProducerBatch, string[]>();
        const flying: ProducerBatch[] = [];
        let count = 0;
        const check = (): void => {
          let [records, charged, held] = [0, 0, 0];
          for (const [batch, bodies] of model) {
            const found = elements(batch);
            expect(found.map(({ body }) => body)).toEqual(bodies);
            expect([batch.count, batch.left]).toEqual([bodies.length, bodies.length]);
            for (const [n, { properties }] of found.entries())
              expect(idText(batch.idPrefix(n), batch.idLows[n]!)).toBe(properties.get('UNIQ_KEY'));
            records += bodies.length;
            charged += batch.pooled ? batch.buffer.length : batch.chargedBytes;
            held += batch.buffer.length;
          }
          expect([under.records, pool.lentBytes]).toEqual([records, charged]);
          expect(charged).toBeLessThanOrEqual(pool.totalBytes);
          expect(held).toBeLessThanOrEqual(pool.totalBytes);
          for (const { batches } of lanes) {
            for (let n = 1; n < batches.length; n++) expect(batches[n]!.sequence).toBeGreaterThan(batches[n - 1]!.sequence);
            const origins = batches.flatMap((batch) => model.get(batch)!).map((body) => body.split(' ').slice(0, 2).map(Number));
            for (const lane of [0, 1, 2]) {
              const numbers = origins.filter(([from]) => from === lane).map(([, n]) => n!);
              expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
            }
          }
        };
        const done = (batch: ProducerBatch): void => {
          under.release(batch);
          model.delete(batch);
        };
        const change = ({ act, which, lane, stored }: Touch): void => {
          if (act === 'leave') {
            const batch = lanes[lane]!.batches.shift();
            if (batch === undefined) return;
            batch.closed = true;
            flying.push(batch);
            return;
          }
          const batch = flying.splice(which % Math.max(1, flying.length), 1)[0];
          if (batch === undefined) return;
          const bodies = model.get(batch)!;
          if (act === 'done') return done(batch);
          if (act === 'cut' && batch.frames === undefined && batch.count > 1) {
            const halves = batch.halves(false);
            model.delete(batch);
            model.set(halves[0], bodies.slice(0, halves[0].count)).set(halves[1], bodies.slice(halves[0].count));
            return under.replace(batch, halves);
          }
          if (act === 'move') {
            const to = lanes[lane]!;
            if (to !== batch.lane) expect(under.move(batch, to)).toBe(batch.lane === to);
          }
          if (act === 'some refused' && batch.frames !== undefined) {
            for (let n = bodies.length - 1; n >= 0; n--) {
              if (!stored[n]!) batch.refuse(n, fail('NO_CONNECTION'));
              else {
                batch.settle(n);
                under.settled();
              }
            }
            const kept = bodies.filter((_, n) => !stored[n]!);
            if (kept.length === 0) return done(batch);
            batch.keepRefused();
            model.set(batch, kept);
          }
          under.requeue(batch);
        };
        for (const one of list) {
          if ('act' in one) change(one);
          else {
            const lane = lanes[one.lane]!;
            const value = `${one.lane} ${count++} ${Buffer.from(one.value).toString()}`;
            const wanted = { topic: 't', value, key: one.key, delayLevel: one.single ? 1 : undefined };
            expect(encoder.prepare(wanted, undefined)).toBeUndefined();
            if (under.append(lane, wanted, undefined, false, () => {}, 0, WALL_MS)) {
              const batch = lane.batches.at(-1)!;
              model.set(batch, [...(model.get(batch) ?? []), value]);
            }
          }
          check();
        }
        for (const { batches } of lanes) batches.length = 0;
        for (const batch of [...model.keys()]) done(batch);
        expect([under.records, pool.lentBytes]).toEqual([0, 0]);
      }),
      { numRuns: 20 },
    );
  });

  it.each([
    // timestamps of records in a row, and where a new batch begins
    ['its own time is not for records without one', [5, undefined, undefined, 5], '|5|--|5'],
    ['one without a time does not keep others of that time out', [undefined, WALL_MS, undefined], '-N-'],
    ['records of one time are together', [5, 5, 6, 6, undefined], '|55|66|-'],
  ] as [string, (number | undefined)[], string][])(
    'gives every record the time it was born: %s',
    (_name, timestamps, batches) => {
      const { encoder, accumulator: under } = accumulator(4096, 16 * 1024);
      const lane = new QueueLane<ProducerBatch>('t', 'b', 0);
      for (const timestamp of timestamps) {
        const value = timestamp === undefined ? '-' : timestamp === WALL_MS ? 'N' : `${timestamp}`;
        encoder.prepare({ topic: 't', value }, undefined);
        under.append(lane, { topic: 't', value, timestamp }, undefined, false, () => {}, 0, WALL_MS);
      }
      const texts = lane.batches.map((batch) => elements(batch).map(({ body }) => body));
      expect(texts.map((list) => list.join('')).join('|')).toBe(batches.replace(/^\|/, ''));
      for (const [n, batch] of lane.batches.entries())
        expect(batch.bornTimestamp).toBe(/[-N]/.test(texts[n]![0]!) ? WALL_MS : Number(texts[n]![0]));
    },
  );

  it('writes keys, headers, tag and delay as the properties that every client reads', () => {
    const { encoder, accumulator: under } = accumulator(4096, 16 * 1024);
    const lane = new QueueLane<ProducerBatch>('t', 'b', 0);
    const add = (more: object): Map<string, string> => {
      const whole = { topic: 't', value: 'v', ...more };
      expect(encoder.prepare(whole, undefined)).toBeUndefined();
      under.append(lane, whole, undefined, false, () => {}, 0, 0);
      return elements(lane.batches.at(-1)!).at(-1)!.properties;
    };
    const without = (properties: Map<string, string>): object => {
      properties.delete('UNIQ_KEY');
      return Object.fromEntries(properties);
    };
    const id = '0123456789ABCDEF0123456789ABCDEF';
    expect(add({ id }).get('UNIQ_KEY')).toBe(id);
    expect(without(add({ key: 'ann' }))).toEqual({ __SHARDINGKEY: 'ann', KEYS: 'ann' });
    expect(without(add({ key: 'ann lee' }))).toEqual({ __SHARDINGKEY: 'ann lee' });
    expect(without(add({ key: Buffer.from('bytes') }))).toEqual({ __SHARDINGKEY: 'bytes', KEYS: 'bytes' });
    expect(without(add({ key: Buffer.from([0xff, 0]) }))).toEqual({ __SHARDINGKEY: '/wA=', KEYS: '/wA=', TS_KEY: 'b64' });
    expect(without(add({ key: 'a\u0001b' }))).toEqual({ __SHARDINGKEY: 'YQFi', KEYS: 'YQFi', TS_KEY: 'b64' });
    expect(without(add({ tag: 'TagA', delayLevel: 3 }))).toEqual({ TAGS: 'TagA', DELAY: '3' });
    const headers = new Map<string, string | Uint8Array>([
      ['plain', 'ü'],
      ['raw', Buffer.from([1, 2])],
      ['raw2', Buffer.from([3])],
    ]);
    expect(without(add({ headers }))).toEqual({ plain: 'ü', raw: 'AQI=', raw2: 'Aw==', TS_B64: 'raw raw2' });
  });

  it('begins a new batch when the process has no memory for a larger one', () => {
    const { encoder, accumulator: under } = accumulator(4096, 16 * 1024);
    const lane = new QueueLane<ProducerBatch>('t', 'b', 0);
    const values = ['a', 'b'.repeat(1500)];
    for (const value of values) {
      noMemoryOnce(4096);
      encoder.prepare({ topic: 't', value }, undefined);
      expect(under.append(lane, { topic: 't', value }, undefined, false, () => {}, 0, WALL_MS)).toBe(true);
    }
    expect(lane.batches.map((batch) => elements(batch).map(({ body }) => body))).toEqual(values.map((value) => [value]));
  });

  it('hashes a key the same as text and as bytes', () => {
    const { encoder } = accumulator(4096, 16 * 1024);
    encoder.prepare({ topic: 't', value: 'v', key: 'foobar' }, undefined);
    expect(encoder.keyHash).toBe(-790332482);
    encoder.prepare({ topic: 't', value: 'v', key: Buffer.from('foobar') }, undefined);
    expect(encoder.keyHash).toBe(-790332482);
  });
});
