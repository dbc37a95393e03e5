import { viewOf } from '@tallystick/base';
import { PropertyLocator } from '@tallystick/remoting';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HotRun } from '../../src/store/queue-entries.ts';
import { SlotTable } from '../../src/store/queue-slots.ts';
import { QueueTable } from '../../src/store/queue-table.ts';
import { tagsCodeAt } from '../../src/store/tags-code.ts';

describe('the tag field of a record that is read back', () => {
  const piece = fc.constantFrom('TAGS', 'TAG', 'TAGSX', 'KEYS', '\u0001', '\u0002', 'a', 'order-17', '\u00e9', '\u0003', '');

  it('is what the property locator finds, wherever the block lies', () => {
    const locator = new PropertyLocator(['TAGS']);
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), fc.integer({ min: 0, max: 9 }), (pieces, before) => {
        const block = Buffer.from(pieces.join(''));
        const bytes = Buffer.concat([Buffer.alloc(before, 'TAGS\u0001'), block, Buffer.from('TAGS\u0001behind\u0002')]);
        const end = before + block.length;
        locator.locate(bytes, before, end);
        expect(tagsCodeAt(bytes, viewOf(bytes), before, end)).toBe(locator.hash(0));
      }),
      { numRuns: 3000 },
    );
  });

  it('is that of the last TAGS with a value', () => {
    const code = (text: string): number => tagsCodeAt(Buffer.from(text), viewOf(Buffer.from(text)), 0, Buffer.byteLength(text));
    expect(code('A\u0001TAGS\u0001b\u0002')).toBe(0);
    expect(code('TAGS\u0001a\u0002TAGS\u0001b\u0002TAGS\u0001\u0002')).toBe('b'.charCodeAt(0));
    expect(code('KEYS\u0001k\u0002TAGS\u0001TagA')).toBe(2598919);
  });
});

describe('the queues of a log that is read back', () => {
  it('are told apart by topic and number, whatever the topics look like', () => {
    const queues = new QueueTable();
    const slots = new SlotTable(
      queues,
      (topic) => topic === 't1',
      (topic) => topic === 't2',
    );
    const topics = ['', 't', 't1', 't2', 'tä', ...Array.from({ length: 300 }, (_, n) => `topic-${n}-of-many`), 'x'.repeat(255)];
    const seen = new Map<unknown, string>();
    for (let round = 0; round < 2; round++) {
      for (const topic of topics) {
        for (const queueId of [0, 1, 7]) {
          const name = Buffer.from(topic);
          const bytes = Buffer.concat([Buffer.from('before'), name, Buffer.from('behind')]);
          const slot = slots.of(bytes, viewOf(bytes), 6, 6 + name.length, queueId);
          expect([slot.queue.topic, slot.queue.queueId]).toEqual([topic, queueId]);
          expect([slot.isTold, slot.asksTags]).toEqual([topic === 't1', topic === 't2']);
          if (round === 1) expect(seen.get(slot)).toBe(`${topic}:${queueId}`);
          seen.set(slot, `${topic}:${queueId}`);
        }
      }
    }
    expect(seen.size).toBe(topics.length * 3);
    expect([...queues]).toHaveLength(topics.length * 3);
  });
});

describe('the entries of a segment that is read back', () => {
  it('move a few times only until there is room for as many as the segment has', () => {
    const segmentBytes = 64 * 1024 * 1024;
    const recordBytes = 1400;
    const count = Math.floor((segmentBytes - 4096) / recordBytes);
    const run = new HotRun(0, 7, undefined, segmentBytes);
    const memories = new Set<ArrayBuffer>();
    for (let n = 0; n < count; n++) {
      run.push(4096 + n * recordBytes, n, -n);
      memories.add(run.tags.buffer);
    }
    expect(memories.size).toBeLessThanOrEqual(6);
    expect(run.tags.length).toBeLessThanOrEqual(count * 1.06);
    for (let n = 0; n < count; n += 97)
      expect([run.relative[n], run.sizes[n], run.tags[n]]).toEqual([4096 + n * recordBytes, n, -n]);
  });

  it('never have room for more than eight times as many, however few the queue goes on to get', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 8192, max: 1 << 30 }), (count, segmentBytes) => {
        const run = new HotRun(0, 0, undefined, segmentBytes);
        for (let n = 0; n < count; n++) run.push(4096 + n, 1, 0);
        expect(run.count).toBe(count);
        expect(run.tags.length).toBeLessThanOrEqual(8 * Math.max(count, 16));
      }),
      { numRuns: 100 },
    );
  });
});
