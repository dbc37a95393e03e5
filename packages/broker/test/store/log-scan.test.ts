import { run, type DiskFile, type Steps } from '@tallystick/base';
import fc from 'fast-check';
import { expect, it, vi } from 'vitest';
import { emptyGroup, GROUP_IS_MARKER, GROUP_MAGIC, groupBytes, readGroup, sealGroup } from '../../src/store/group-header.ts';
import { inspectRest, scanGroups, type Rest, type ScanStop } from '../../src/store/log-scan.ts';
import { ScanRing } from '../../src/store/log-window.ts';
import { Segment } from '../../src/store/segment.ts';

const PIECE = 4096;
const BASE = 64 * PIECE;

const sums = vi.hoisted(() => ({ bytes: 0 }));

vi.mock(import('@tallystick/base'), async (original) => {
  const base = await original();
  return {
    ...base,
    crc32: (...of: Parameters<typeof base.crc32>) => {
      const [bytes, start = 0, end = bytes.length] = of;
      sums.bytes += end - start;
      return base.crc32(...of);
    },
  };
});

interface Seen<T> {
  readonly value: T;
  /** Bytes that were read, and that were checksummed. */
  readonly read: number;
  readonly summed: number;
}

/** What comes of a walk through a segment of these bytes. */
function walk<T>(bytes: Buffer, steps: (segment: Segment, ring: ScanRing) => Steps<T>): Seen<T> {
  let read = 0;
  const file: Partial<DiskFile> = {
    read: (into, position, done) => {
      read += into.length;
      into.set(bytes.subarray(position, position + into.length));
      done(undefined, into.length);
    },
  };
  sums.bytes = 0;
  let seen: Seen<T> | undefined;
  run(
    () => steps(new Segment(BASE, bytes.length, file as DiskFile), new ScanRing(0, 3)),
    (error, value) => {
      if (error !== undefined) throw error;
      seen = { value, read, summed: sums.bytes };
    },
  );
  return seen!;
}

/** What is found behind the segment's header, and how many bytes were read for it. */
function inspect(bytes: Buffer): { rest: Rest; read: number; summed: number } {
  const { value, read, summed } = walk(bytes, (segment, ring) => inspectRest(segment, PIECE, ring));
  return { rest: value, read, summed };
}

/** Makes bytes [at, at + total) look like a group that lies just there and says how far the log was durable. */
function seal(bytes: Buffer, at: number, total: number, durableUpTo: number): void {
  const header = { previousCrc: 7, position: BASE + at, sequence: 3, epoch: 1, records: 0, flags: GROUP_IS_MARKER };
  sealGroup(bytes, at, at + total - 8, { ...header, durableUpTo });
}

it('a marker behind the end bears witness wherever it lies', () => {
  for (let at = 2 * PIECE - 128; at <= 2 * PIECE + 64; at += 8) {
    const bytes = Buffer.alloc(4 * PIECE);
    seal(bytes, at, groupBytes(0), BASE + at);
    const { rest } = inspect(bytes);
    expect(rest).toEqual({ usedEnd: at + groupBytes(0), durableUpTo: BASE + at, groups: 1 });
  }
});

it.each(['another position', 'a length that no group has'])('bytes that look like groups at %s are read once', (lie) => {
  const size = 64 * PIECE;
  const bytes = Buffer.alloc(size);
  for (let at = PIECE; at < size; at += 24) {
    bytes.writeUInt32BE(GROUP_MAGIC, at);
    bytes.writeUInt32BE(((size - at) & ~7) - (lie === 'another position' ? 0 : 4), at + 4);
    bytes.writeBigUInt64BE(BigInt(BASE + at + (lie === 'another position' ? 8 : 0)), at + 16);
  }
  const { rest, read } = inspect(bytes);
  expect(rest).toMatchObject({ durableUpTo: -1, groups: 0 });
  expect(read).toBe(size - PIECE);
});

it('bytes that look like groups in their places, each of them with a claim on all that follows, are summed once', () => {
  const size = 64 * PIECE;
  const bytes = Buffer.alloc(size, 0xf1);
  let claims = 0;
  for (let at = PIECE; at + groupBytes(0) <= size; at += 24, claims++) {
    bytes.writeUInt32BE(GROUP_MAGIC, at);
    bytes.writeUInt32BE((size - at) & ~7, at + 4);
    bytes.writeBigUInt64BE(BigInt(BASE + at), at + 16);
  }
  // A real group among them is still heard, and so is one at the very end.
  seal(bytes, PIECE + 24 * 100, 4000, BASE + 1);
  seal(bytes, size - groupBytes(0), groupBytes(0), BASE + 2);
  const { rest, read, summed } = inspect(bytes);
  expect(claims).toBeGreaterThan(10_000);
  expect(rest).toEqual({ usedEnd: size, durableUpTo: BASE + 2, groups: 2 });
  expect(summed).toBeLessThan(2 * size);
  expect(read).toBe(size - PIECE);
});

it('finds just the groups that are found one by one, whether they lie in one another, overlap or are damaged', () => {
  const offset = fc.integer({ min: PIECE / 8, max: (6 * PIECE) / 8 - 7 }).map((eighth) => eighth * 8);
  const group = fc.record({ offset, eighths: fc.integer({ min: 7, max: 700 }), durable: fc.integer({ min: 0, max: 2 ** 40 }) });
  const damage = fc.record({ at: fc.integer({ min: PIECE, max: 6 * PIECE - 1 }), bit: fc.integer({ min: 0, max: 7 }) });
  let found = 0;
  fc.assert(
    fc.property(fc.array(group, { maxLength: 12 }), fc.array(damage, { maxLength: 3 }), (groups, damages) => {
      const bytes = Buffer.alloc(6 * PIECE);
      for (const { offset: at, eighths, durable } of groups)
        if (at + eighths * 8 <= bytes.length) seal(bytes, at, eighths * 8, durable);
      for (const { at, bit } of damages) bytes[at]! ^= 1 << bit;
      let [count, durableUpTo] = [0, -1];
      for (let at = PIECE; at < bytes.length; at += 8) {
        const one = emptyGroup();
        if (readGroup(bytes, at, bytes.length, BASE + at, one) !== undefined) continue;
        count++;
        durableUpTo = Math.max(durableUpTo, one.durableUpTo);
      }
      found += count;
      const usedEnd = bytes.findLastIndex((byte) => byte !== 0) + 1;
      expect(inspect(bytes).rest).toEqual({ usedEnd: Math.max(PIECE, usedEnd), durableUpTo, groups: count });
    }),
  );
  expect(found).toBeGreaterThan(50);
});

it('nothing is read for the length of a group that does not know its place', () => {
  const size = 256 * PIECE;
  const bytes = Buffer.alloc(size);
  bytes.writeUInt32BE(GROUP_MAGIC, PIECE);
  bytes.writeUInt32BE(size - PIECE, PIECE + 4);
  bytes.writeBigUInt64BE(BigInt(BASE), PIECE + 16);
  const chain = { previousCrc: 0, sequence: 0 };
  const { value, read } = walk<ScanStop>(bytes, (segment, ring) => scanGroups(segment, chain, ring, { group: () => undefined }));
  expect(value).toEqual({ position: BASE + PIECE, fault: `group of position ${BASE}`, bytes: PIECE });
  expect(read).toBeLessThanOrEqual(8 * 2 * PIECE);
});
