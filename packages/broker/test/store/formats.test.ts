import { crc32 as native } from 'node:zlib';
import { decodeStoredMessage, encodeProperties } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { AppendMessage } from '../../src/store/append-message.ts';
import { decodeCheckpoint, encodeCheckpoint } from '../../src/store/checkpoint.ts';
import { ControlType } from '../../src/store/control-records.ts';
import { emptyGroup, groupBytes, isCutGroup, readGroup, sealGroup } from '../../src/store/group-header.ts';
import { encodeIndex } from '../../src/store/index-file.ts';
import { HotRun, QueueEntries } from '../../src/store/queue-entries.ts';
import { QueueRef } from '../../src/store/queue-ref.ts';
import {
  controlRecordBytes,
  encodeControlRecord,
  encodeMessageRecord,
  messageRecordBytes,
} from '../../src/store/record-encode.ts';
import { recordFault, RecordView } from '../../src/store/record-view.ts';
import { decodeSegmentHeader, encodeSegmentHeader } from '../../src/store/segment-header.ts';
import { decodeSnapshot, encodeSnapshot, snapshotWrites } from '../../src/store/snapshot.ts';

const STORE_ID = '00112233445566778899aabbccddeeff';
const HEADER = {
  previousCrc: 0x01020304,
  position: 0x1_0000_1000,
  durableUpTo: 0x1_0000_0800,
  sequence: 7,
  epoch: 3,
  records: 1,
  flags: 0,
};

function group(): Buffer {
  const bytes = Buffer.alloc(80);
  const end = encodeControlRecord(ControlType.ROLLBACK, 1, Buffer.from('abc'), bytes, 48);
  sealGroup(bytes, 0, end, HEADER);
  return bytes.subarray(0, groupBytes(end - 48));
}

describe('the write group', () => {
  it('has this header, byte for byte', () => {
    const bytes = group();
    expect(bytes.toString('hex', 0, 8)).toBe('5453475200000040');
    expect(bytes.toString('hex', 12, 48)).toBe(
      '01020304' + '0000000100001000' + '0000000100000800' + '0000000000000007' + '00000003' + '0001' + '0000',
    );
    expect(bytes.toString('hex', 48)).toBe('0000000f' + '54534352' + '0001' + '0001' + '616263' + 'f1');
    expect(bytes.readUInt32BE(8)).toBe(native(bytes.subarray(12), native(bytes.subarray(0, 8))));
  });

  it('is always a multiple of eight long and ends with a byte that is not zero', () => {
    for (let size = 0; size < 40; size++) {
      const bytes = Buffer.alloc(200);
      sealGroup(bytes, 0, 48 + size, HEADER);
      const total = groupBytes(size);
      expect(total % 8).toBe(0);
      expect(total - 48 - size).toBeGreaterThanOrEqual(1);
      expect(total - 48 - size).toBeLessThanOrEqual(8);
      expect(bytes[total - 1]).not.toBe(0);
    }
  });

  it('is read back, and nothing else is', () => {
    const bytes = group();
    const found = emptyGroup();
    expect(readGroup(bytes, 0, bytes.length, HEADER.position, found)).toBeUndefined();
    expect(found).toMatchObject({ ...HEADER, total: 64, recordsEnd: 63 });
    expect(readGroup(bytes, 0, bytes.length, HEADER.position + 8, found)).toMatch('position');
    expect(readGroup(bytes, 0, bytes.length - 8, HEADER.position, found)).toMatch('beyond');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(readGroup(flipped, 0, flipped.length, HEADER.position, found), `bit ${bit}`).toBeDefined();
    }
  });

  it('cut off anywhere is known as cut, complete or altered it is not', () => {
    const bytes = group();
    const { position, previousCrc, sequence } = HEADER;
    const lastUsed = (cut: Buffer): number => {
      let end = cut.length;
      while (end > 0 && cut[end - 1] === 0) end--;
      return end;
    };
    for (let length = 1; length < bytes.length; length++) {
      const cut = Buffer.concat([bytes.subarray(0, length), Buffer.alloc(100)]);
      expect(isCutGroup(cut, lastUsed(cut), 1000, position, previousCrc, sequence), `length ${length}`).toBe(true);
    }
    expect(isCutGroup(bytes, bytes.length, 1000, position, previousCrc, sequence)).toBe(false);
    expect(isCutGroup(bytes, 60, 1000, position, previousCrc, sequence + 1)).toBe(false);
    expect(isCutGroup(bytes, 60, 1000, position + 8, previousCrc, sequence)).toBe(false);
  });
});

describe('the message record', () => {
  const fill = (topic: string): AppendMessage => {
    const m = new AppendMessage();
    m.queue = new QueueRef(topic, 3, new QueueEntries());
    m.flag = 5;
    m.sysFlag = 8;
    m.bornTimestamp = 1_700_000_000_123;
    m.bornHost = Uint8Array.of(10, 0, 0, 1, 0, 0, 0x1f, 0x90);
    m.reconsumeTimes = 2;
    m.preparedTransactionOffset = 0x1_0000_0010;
    m.setBody(Buffer.from('the body of the message, long enough to be copied natively'));
    m.setProperties(Buffer.from(encodeProperties([['TAGS', 'A']])));
    m.setExtra(Buffer.from(encodeProperties([['UNIQ_KEY', '0A']])));
    m.position = 0x1_0000_1030;
    m.queueOffset = 42;
    m.storeTimestamp = 1_700_000_000_456;
    return m;
  };
  const STORE_HOST = Uint8Array.of(127, 0, 0, 1, 0, 0, 0x26, 0x94);

  it.each([['orders'], ['a-topic-of-more-than-127-bytes-'.repeat(5)]])('is what a client decodes (%s)', (topic) => {
    const m = fill(topic);
    m.recordBytes = messageRecordBytes(m, STORE_HOST.length);
    const bytes = Buffer.alloc(m.recordBytes + 10);
    expect(encodeMessageRecord(m, STORE_HOST, bytes, 5)).toBe(5 + m.recordBytes);
    expect(recordFault(bytes, 5, bytes.length, m.position)).toBeUndefined();
    const message = decodeStoredMessage(bytes, 5, 5 + m.recordBytes);
    expect(message).toMatchObject({
      topic,
      queueId: 3,
      flag: 5,
      queueOffset: 42,
      physicalOffset: m.position,
      sysFlag: 8,
      bornTimestamp: m.bornTimestamp,
      bornHost: '10.0.0.1:8080',
      storeTimestamp: m.storeTimestamp,
      storeHost: '127.0.0.1:9876',
      reconsumeTimes: 2,
      preparedTransactionOffset: m.preparedTransactionOffset,
      bodyCrc: native(m.body) & 0x7fffffff,
    });
    if (typeof message === 'string') throw new Error(message);
    expect(message.body.toString()).toBe('the body of the message, long enough to be copied natively');
    expect(Buffer.from(message.properties).equals(Buffer.concat([m.properties, m.extra]))).toBe(true);
  });

  it('carries IPv6 hosts and says so in sysFlag', () => {
    const m = fill('orders');
    const host = Buffer.alloc(20, 1);
    m.bornHost = host;
    m.recordBytes = messageRecordBytes(m, host.length);
    const bytes = Buffer.alloc(m.recordBytes);
    encodeMessageRecord(m, host, bytes, 0);
    const view = new RecordView().move(bytes, 0, bytes.length, m.position);
    expect(view.sysFlag).toBe(8 | 0x10 | 0x20);
    expect([view.storeTimestamp, view.reconsumeTimes, view.preparedTransactionOffset]).toEqual([
      m.storeTimestamp,
      2,
      m.preparedTransactionOffset,
    ]);
    expect(view.topic()).toBe('orders');
    expect(recordFault(bytes, 0, bytes.length, m.position)).toBeUndefined();
  });

  it('is refused with any length that does not add up', () => {
    const m = fill('orders');
    m.recordBytes = messageRecordBytes(m, STORE_HOST.length);
    const bytes = Buffer.alloc(m.recordBytes);
    encodeMessageRecord(m, STORE_HOST, bytes, 0);
    for (const at of [0, 84]) {
      for (const wrong of [-1, 0, 1, 0x7fffffff, m.recordBytes + 1]) {
        const other = Buffer.from(bytes);
        other.writeInt32BE(wrong, at);
        expect(recordFault(other, 0, other.length, m.position), `${wrong} at ${at}`).toBeDefined();
      }
    }
  });
});

describe('the control record', () => {
  it('has this layout, and these numbers for ever', () => {
    const bytes = Buffer.alloc(controlRecordBytes(2));
    encodeControlRecord(ControlType.TOPICS, 1, Uint8Array.of(9, 8), bytes, 0);
    expect(bytes.toString('hex')).toBe('0000000e' + '54534352' + '0004' + '0001' + '0908');
    expect(ControlType).toEqual({
      ROLLBACK: 1,
      DELAYED_FIRED: 2,
      CONSUMER_OFFSETS: 3,
      TOPICS: 4,
      CHECK_COUNTS: 5,
      HALF_ALIAS: 6,
      HOLE: 7,
    });
  });
});

describe('the segment header', () => {
  const header = {
    state: 1,
    size: 67_108_864,
    storeId: STORE_ID,
    base: 0x2_0000_0000,
    epoch: 2,
    previousCrc: 0xdeadbeef,
    sequence: 99,
    madeAtMs: 1_700_000_000_000,
  };

  it('has this layout', () => {
    const bytes = encodeSegmentHeader(header);
    expect(bytes.length).toBe(4096);
    expect(bytes.toString('hex', 0, 64)).toBe(
      '54535347' +
        '0001' +
        '0001' +
        '0000000004000000' +
        STORE_ID +
        '0000000200000000' +
        '00000002' +
        'deadbeef' +
        '0000000000000063' +
        '0000018bcfe56800',
    );
    expect(bytes.subarray(68).every((byte) => byte === 0)).toBe(true);
    expect(decodeSegmentHeader(bytes)).toEqual(header);
  });

  it('tells another format from damage', () => {
    const bytes = encodeSegmentHeader(header);
    bytes[5] = 2;
    expect(decodeSegmentHeader(bytes)).toBe('segment header checksum differs');
    bytes.writeUInt32BE(native(bytes.subarray(0, 64)), 64);
    expect(decodeSegmentHeader(bytes)).toMatch('unknown-format: segment format 2');
  });
});

describe('checkpoint, snapshot and index', () => {
  const checkpoint = {
    sequence: 5,
    storeId: STORE_ID,
    isClean: true,
    durableEnd: 4096,
    end: 8192,
    snapshotPosition: -1,
    epoch: 4,
    bootId: 'b00t',
  };
  const snapshot = {
    storeId: STORE_ID,
    position: 8192,
    end: 8000,
    queues: [{ topic: 'orders', queueId: 1, nextOffset: 17 }],
    parts: [{ name: 'topics', bytes: Buffer.from('state') }],
  };

  it('a checkpoint is read back, and no altered one is', () => {
    const bytes = encodeCheckpoint(checkpoint);
    expect(decodeCheckpoint(bytes)).toEqual(checkpoint);
    for (let at = 0; at < 100; at++) {
      const other = Buffer.from(bytes);
      other[at]! ^= 4;
      expect(typeof decodeCheckpoint(other), `byte ${at}`).toBe('string');
    }
  });

  it('a snapshot is read back, and none cut off at any length is', () => {
    const bytes = Buffer.concat([...snapshotWrites(encodeSnapshot(snapshot))].flat());
    expect(decodeSnapshot(Buffer.from(bytes))).toEqual(snapshot);
    for (let length = 0; length < bytes.length; length++)
      expect(typeof decodeSnapshot(Buffer.from(bytes.subarray(0, length))), `length ${length}`).toBe('string');
  });

  it('a snapshot with large parts is written in portions and read back', () => {
    const large = Buffer.alloc(2_500_000, 'halves');
    const parts = [
      { name: 'halves', bytes: large },
      { name: 'topics', bytes: Buffer.from('state') },
      { name: 'sequences', bytes: large.subarray(0, 70_000) },
    ];
    for (const some of [parts, parts.slice(0, 1), []]) {
      const writes = [...snapshotWrites(encodeSnapshot({ ...snapshot, parts: some }))];
      for (const pieces of writes) expect(pieces.reduce((bytes, piece) => bytes + piece.length, 0)).toBeLessThan(1_048_600);
      const read = decodeSnapshot(Buffer.concat(writes.flat()));
      if (typeof read === 'string') throw new Error(read);
      expect(read.parts.map(({ name }) => name)).toEqual(some.map(({ name }) => name));
      expect(some.every(({ bytes }, n) => bytes.equals(read.parts[n]!.bytes))).toBe(true);
    }
  });

  it('an index has 20-byte entries in blocks with a checksum each', () => {
    const run = new HotRun(0, 10);
    run.push(4144, 100, -7);
    run.push(4244, 120, 1_700_000_000_000);
    const { bytes, queues } = encodeIndex({ storeId: STORE_ID, base: 0, lastCrc: 1, newestMs: 2 }, [
      { topic: 't', queueId: 0, run },
    ]);
    expect(queues).toEqual([{ topic: 't', queueId: 0, first: 10, count: 2, at: 56 + 27 }]);
    const entries = '0000000000001030' + '00000064' + 'fffffffffffffff9' + '0000000000001094' + '00000078' + '0000018bcfe56800';
    expect(bytes.toString('hex', 83, 123)).toBe(entries);
    expect(bytes.readUInt32BE(123)).toBe(native(Buffer.from(entries, 'hex')));
    expect(bytes.length).toBe(127);
  });
});
