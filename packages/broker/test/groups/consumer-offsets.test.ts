import { ManualTime } from '@tallystick/base/testing';
import { describe, expect, it } from 'vitest';
import { ConsumerOffsets } from '../../src/groups/consumer-offsets.ts';
import { ByteReader } from '../../src/byte-pages.ts';
import type { RecordView } from '../../src/store/record-view.ts';
import type { AppendOutcome } from '../../src/store/store-types.ts';

/** A journal that applies records at append, as the store does, and acknowledges when told. */
function stage() {
  const time = new ManualTime();
  const waiting: ((outcome: AppendOutcome) => void)[] = [];
  const records: string[] = [];
  const bodies: Uint8Array[] = [];
  const offsets: ConsumerOffsets = new ConsumerOffsets(
    {
      control(type, body, level, done) {
        const copy = Uint8Array.from(body);
        const reader = new ByteReader(copy);
        records.push(`${reader.text()} ${reader.text()} ${reader.u32()} ${reader.i64()} ${level}`);
        bodies.push(copy);
        offsets.apply({ controlType: type, body: copy } as unknown as RecordView);
        waiting.push(done);
      },
    },
    time,
  );
  const ack = (outcome: AppendOutcome = 'ok'): void => waiting.shift()!(outcome);
  return { time, offsets, records, bodies, ack, waiting };
}

describe('consumer offsets', () => {
  it('write one record per queue and turn, however often the offset moved', () => {
    const { time, offsets, records } = stage();
    for (const offset of [1, 2, 3]) offsets.update('g', 't', 0, offset);
    offsets.update('g', 't', 1, 9);
    time.settle();
    expect(records).toEqual(['g t 0 3 flush', 'g t 1 9 flush']);
  });

  it('write nothing when the offset did not move', () => {
    const { time, offsets, records, ack } = stage();
    offsets.update('g', 't', 0, 5);
    time.settle();
    ack();
    offsets.update('g', 't', 0, 5);
    time.settle();
    expect(records).toHaveLength(1);
  });

  it('let an answered update wait for its sync', () => {
    const { time, offsets, records, ack } = stage();
    const told: string[] = [];
    offsets.update('g', 't', 0, 5, (outcome) => told.push(outcome));
    time.settle();
    expect(records).toEqual(['g t 0 5 synced']);
    expect(told).toEqual([]);
    ack();
    expect(told).toEqual(['ok']);
  });

  it('let a read of an unsynced value wait until the value is synced', () => {
    const { time, offsets, records, ack } = stage();
    offsets.update('g', 't', 0, 5);
    time.settle();
    ack();
    const told: unknown[] = [];
    offsets.query('g', 't', 0, (outcome, offset) => told.push([outcome, offset]));
    expect(told).toEqual([]);
    time.settle();
    expect(records).toEqual(['g t 0 5 flush', 'g t 0 5 synced']);
    ack();
    expect(told).toEqual([['ok', 5]]);
    offsets.query('g', 't', 0, (outcome, offset) => told.push([outcome, offset]));
    expect(told).toHaveLength(2);
  });

  it('answer a read that comes while a newer value is on its way with the newer value', () => {
    const { time, offsets, ack } = stage();
    offsets.update('g', 't', 0, 5, () => {});
    time.settle();
    const told: unknown[] = [];
    offsets.query('g', 't', 0, (_outcome, offset) => told.push(offset));
    offsets.update('g', 't', 0, 6);
    time.settle();
    ack();
    expect(told).toEqual([]);
    ack();
    expect(told).toEqual([6]);
  });

  it('tell a reader the value that is synced, not one that came meanwhile', () => {
    const { time, offsets, ack } = stage();
    const told: unknown[] = [];
    offsets.update('g', 't', 0, 5);
    offsets.query('g', 't', 0, (_outcome, offset) => told.push(offset));
    time.settle();
    offsets.update('g', 't', 0, 6);
    ack();
    expect(told).toEqual([5]);
  });

  it('never go back when a former owner of the queue commits late', () => {
    const { time, offsets, records } = stage();
    offsets.update('g', 't', 0, 7);
    offsets.update('g', 't', 0, 5);
    time.settle();
    offsets.update('g', 't', 0, 6, () => {});
    time.settle();
    expect(offsets.peek('g', 't', 0)).toBe(7);
    expect(records).toEqual(['g t 0 7 flush', 'g t 0 7 synced']);
  });

  it('answer a group without an offset at once', () => {
    const { offsets } = stage();
    const told: unknown[] = [];
    offsets.query('g', 't', 0, (outcome, offset) => told.push([outcome, offset]));
    expect(told).toEqual([['ok', undefined]]);
  });

  it('pass a failure of the store on and try again at the next question', () => {
    const { time, offsets, ack, records } = stage();
    const told: string[] = [];
    offsets.update('g', 't', 0, 5, (outcome) => told.push(outcome));
    time.settle();
    ack('timeout');
    expect(told).toEqual(['timeout']);
    offsets.query('g', 't', 0, (outcome) => told.push(outcome));
    time.settle();
    ack();
    expect(told).toEqual(['timeout', 'ok']);
    expect(records).toHaveLength(2);
  });

  it('come back from a snapshot and the records after it', () => {
    const { time, offsets, bodies } = stage();
    offsets.update('g', 't', 0, 5);
    offsets.update('h', 't', 3, 7);
    time.settle();
    const snapshot = Uint8Array.from(offsets.snapshot());
    offsets.update('g', 't', 0, 8);
    time.settle();
    const again = stage().offsets;
    again.restore(snapshot);
    expect(again.peek('g', 't', 0)).toBe(5);
    again.apply({ controlType: 3, body: bodies.at(-1) } as unknown as RecordView);
    expect([again.peek('g', 't', 0), again.peek('h', 't', 3), again.peek('h', 't', 4)]).toEqual([8, 7, -1]);
  });

  it('keep what the log does not hold yet out of snapshots', () => {
    const { offsets } = stage();
    offsets.update('g', 't', 0, 5);
    const again = stage().offsets;
    again.restore(Uint8Array.from(offsets.snapshot()));
    expect(again.peek('g', 't', 0)).toBe(-1);
  });
});
