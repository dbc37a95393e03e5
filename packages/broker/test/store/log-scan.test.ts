import { run, type DiskFile } from '@tallystick/base';
import { expect, it } from 'vitest';
import { GROUP_HEADER_BYTES, GROUP_IS_MARKER, GROUP_MAGIC, groupBytes, sealGroup } from '../../src/store/group-header.ts';
import { inspectRest, type Rest } from '../../src/store/log-scan.ts';
import { ScanRing } from '../../src/store/log-window.ts';
import { Segment } from '../../src/store/segment.ts';

const PIECE = 4096;
const BASE = 64 * PIECE;

/** What is found in a segment of these bytes, behind its header, and how many bytes were read for it. */
function inspect(bytes: Buffer): { rest: Rest; read: number } {
  let read = 0;
  const file: Partial<DiskFile> = {
    read: (into, position, done) => {
      read += into.length;
      into.set(bytes.subarray(position, position + into.length));
      done(undefined, into.length);
    },
  };
  let result: { rest: Rest; read: number } | undefined;
  run(
    () => inspectRest(new Segment(BASE, bytes.length, file as DiskFile), PIECE, new ScanRing(0, 3)),
    (error, rest) => {
      if (error !== undefined) throw error;
      result = { rest, read };
    },
  );
  return result!;
}

it('a marker behind the end bears witness wherever it lies', () => {
  for (let at = 2 * PIECE - 128; at <= 2 * PIECE + 64; at += 8) {
    const bytes = Buffer.alloc(4 * PIECE);
    const header = { previousCrc: 7, position: BASE + at, sequence: 3, epoch: 1, records: 0, flags: GROUP_IS_MARKER };
    sealGroup(bytes, at, at + GROUP_HEADER_BYTES, { ...header, durableUpTo: BASE + at });
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
