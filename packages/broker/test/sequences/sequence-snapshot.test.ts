import { expect, it } from 'vitest';
import { ByteWriter } from '../../src/byte-pages.ts';
import { ProducerSequences } from '../../src/sequences/producer-sequences.ts';
import type { RecordView } from '../../src/store/record-view.ts';
import { mark } from './numbered.ts';

const LIMITS = { sequenceProducersMax: 1000, sequenceWindowsMax: 1500, sequenceKeepMs: 1000 };

function producer(n: number): string {
  return n.toString(16).padStart(32, '0');
}

/** Judges a request and, when it is new, notes it; a duplicate's place comes with the verdict. */
function request(
  sequences: ProducerSequences,
  n: number,
  queueId: number,
  sequence: number,
  nowMs: number,
  topic = 'orders',
): string {
  const bytes = Buffer.from(`TS_SEQ\u0001${mark(sequence, 0, producer(n))}\u0002`);
  const verdict = sequences.judge(bytes, 0, bytes.length, topic, queueId);
  if (verdict === 'duplicate') return `${verdict} ${sequences.queueOffset} ${sequences.position} ${sequences.storeTimestamp}`;
  const record = { storeTimestamp: nowMs, queueOffset: sequence + 7, position: n * 1000 + sequence };
  sequences.apply(record as RecordView, true);
  sequences.settle();
  return verdict;
}

/** What it says of repeats and of the next request of every producer. */
function answers(sequences: ProducerSequences): string[] {
  const all: string[] = [];
  for (let n = 0; n < 700; n++)
    for (const [topic, queueId] of [
      ['orders', 0],
      ['orders', 3],
      ['bills', 0],
    ] as const)
      for (const sequence of [0, 1, 5, 6, 8]) {
        const bytes = Buffer.from(`TS_SEQ\u0001${mark(sequence, 0, producer(n))}\u0002`);
        const verdict = sequences.judge(bytes, 0, bytes.length, topic, queueId);
        all.push(
          verdict === 'duplicate' ? `${sequences.queueOffset} ${sequences.position} ${sequences.storeTimestamp}` : verdict,
        );
        sequences.settle();
      }
  return all;
}

it('comes back from its snapshot, also with places of forgotten producers in between, and goes on alike', () => {
  const one = new ProducerSequences(LIMITS);
  for (let n = 0; n < 700; n++) {
    for (let sequence = 0; sequence < (n % 7) + 1; sequence++) request(one, n, 0, sequence, n * 3);
    request(one, n, 3, 0, n * 3);
    if (n % 50 === 0) request(one, n, 0, 0, n * 3, 'bills');
  }
  expect(one.size.producers).toBeLessThan(700);
  const two = new ProducerSequences(LIMITS);
  two.restore(one.snapshot());
  expect(two.size).toEqual(one.size);
  expect(answers(two)).toEqual(answers(one));
  for (const each of [one, two]) for (let n = 600; n < 900; n++) request(each, n, 3, 1, 2500 + n, 'orders');
  expect(two.size).toEqual(one.size);
  expect(answers(two)).toEqual(answers(one));
});

it('is not changed afterwards by requests that come while the snapshot is on its way to the disk', () => {
  const one = new ProducerSequences(LIMITS);
  request(one, 1, 0, 0, 1);
  const bytes = one.snapshot();
  const before = Buffer.from(bytes);
  for (let sequence = 1; sequence < 9; sequence++) request(one, 1, 0, sequence, 2);
  expect(Buffer.from(bytes)).toEqual(before);
});

it('reads snapshots of its first version', () => {
  const writer = new ByteWriter().u16(1).u32(1).text(producer(5)).i64(90).u32(1).text('orders').u32(3).u32(2).i64(4).i64(6);
  writer.i64(40).i64(400).i64(90).i64(41).i64(410).i64(91);
  const one = new ProducerSequences(LIMITS);
  one.restore(writer.view());
  const judge = (sequence: number): string => {
    const bytes = Buffer.from(`TS_SEQ\u0001${mark(sequence, 2, producer(5))}\u0002`);
    const verdict = one.judge(bytes, 0, bytes.length, 'orders', 3);
    return verdict === 'duplicate' ? `${one.queueOffset} ${one.position} ${one.storeTimestamp}` : verdict;
  };
  expect([3, 4, 5, 6, 7].map(judge)).toEqual(['too-old', '40 400 90', '41 410 91', 'new', 'gap']);
});

it('refuses a snapshot whose windows belong to nobody', () => {
  const one = new ProducerSequences(LIMITS);
  request(one, 1, 0, 0, 1);
  const bytes = Buffer.from(one.snapshot());
  bytes.writeUInt32BE(9, bytes.indexOf(producer(1)) - 14);
  expect(() => new ProducerSequences(LIMITS).restore(bytes)).toThrow('a window of nobody');
});
