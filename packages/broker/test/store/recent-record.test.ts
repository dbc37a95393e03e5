import { describe, expect, it } from 'vitest';
import { AppendMessage } from '../../src/store/append-message.ts';
import { RecentRecord } from '../../src/store/recent-record.ts';
import { RecordView } from '../../src/store/record-view.ts';
import { NO_SINK } from '../../src/store/store-types.ts';
import { hashOf, Machine, messageOf } from './machine.ts';

describe('a record looked for in memory', () => {
  it('is found by offset and position once it is visible, with its tag, and is lost when the tail has gone on', () => {
    const machine = new Machine(3, { segmentBytes: 64 * 1024, tailBytes: 8 * 1024, blockBytes: 4096, groupBytes: 4096 });
    machine.open();
    const { store } = machine;
    const queue = store.queue('halves', 0);
    const record = new RecentRecord();
    machine.put('halves', 0, 'before');
    const half = machine.append('halves', 0, 'half', { tag: 'paid' });
    expect(store.recentRecord(queue, 1, half.position, record)).toBe(false);
    machine.until(() => half.outcome === 'ok');
    expect(store.recentRecord(queue, 1, half.position, record)).toBe(true);
    const view = new RecordView().move(record.bytes, record.at, record.end, half.position);
    expect([view.body.toString(), view.queueOffset, record.tagsCode]).toEqual(['half', 1, hashOf('paid')]);

    for (const [offset, position] of [
      [0, half.position],
      [2, half.position],
      [1, half.position + 1],
      [-1, half.position],
    ] as const)
      expect(store.recentRecord(queue, offset, position, record)).toBe(false);
    expect(store.recentRecord(store.queue('orders', 0), 1, half.position, record)).toBe(false);

    for (let n = 0; n < 20; n++) machine.put('bulk', 0, 'x'.repeat(2000));
    expect(store.recentRecord(queue, 1, half.position, record)).toBe(false);
  });
});

describe('a record of a store that syncs', () => {
  it('is not found while it is written and not synced', () => {
    const machine = new Machine(5, { flush: 'sync' });
    machine.disk.writesThrough = false;
    machine.open();
    const half = machine.append('halves', 0, 'half');
    const record = new RecentRecord();
    const queue = machine.store.queue('halves', 0);
    machine.until(() => machine.store.info().writtenEnd > half.position);
    expect(half.outcome).toBe('waiting');
    expect(machine.store.recentRecord(queue, 0, half.position, record)).toBe(false);
    machine.until(() => half.outcome === 'ok');
    expect(machine.store.recentRecord(queue, 0, half.position, record)).toBe(true);
  });
});

describe('a message taken over from a record', () => {
  it.each([
    [8, 8, 'orders'],
    [20, 8, 'orders'],
    [8, 20, 't'.repeat(200)],
    [20, 20, ''],
  ])('is the same with hosts of %i and %i bytes and topic "%s"', (bornBytes, storeBytes, topic) => {
    const machine = new Machine(4, {}, { storeHost: new Uint8Array(storeBytes).fill(7) });
    machine.open();
    const first = messageOf(machine.store, topic, 3, 'body', 'tag');
    first.flag = -5;
    first.sysFlag = 0x103;
    first.bornTimestamp = 1_790_000_000_123;
    first.bornHost = Uint8Array.from({ length: bornBytes }, (_, n) => n + 1);
    first.reconsumeTimes = 2;
    machine.store.append(first, 'flush', NO_SINK, 0);
    machine.run(100);
    const record = new RecentRecord();
    expect(machine.store.recentRecord(first.queue, 0, first.position, record)).toBe(true);

    const second = new AppendMessage();
    second.queue = first.queue;
    second.setExtra(Buffer.from('forgotten'));
    second.setFromRecord(record.bytes, record.at, record.end);
    const bodyCrc = second.bodyCrc;
    machine.store.append(second, 'flush', NO_SINK, 0);
    machine.run(100);
    const copy = new RecentRecord();
    expect(machine.store.recentRecord(second.queue, 1, second.position, copy)).toBe(true);
    const before = Buffer.from(record.bytes.subarray(record.at, record.end));
    const after = Buffer.from(copy.bytes.subarray(copy.at, copy.end));
    expect(bodyCrc).toBe(before.readInt32BE(8));
    // All but queue offset, position and store time.
    const storedAt = 48 + bornBytes;
    for (const bytes of [before, after]) bytes.fill(0, 20, 36).fill(0, storedAt, storedAt + 8);
    expect(after).toEqual(before);
  });
});
