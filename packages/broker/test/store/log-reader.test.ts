import { run, type Clock, type Disk, type DiskFile } from '@tallystick/base';
import { expect, it } from 'vitest';
import { LogReader } from '../../src/store/log-reader.ts';
import { storeOptions } from '../../src/store/options.ts';
import { Segment } from '../../src/store/segment.ts';
import { Segments } from '../../src/store/segments.ts';
import { Tail } from '../../src/store/tail.ts';

const MIB = 1024 * 1024;
const QUEUES = 16;
/** Of the log that one answer of a queue reaches over. */
const STEP_BYTES = MIB;

it('consumers of sixteen queues who are up to 24 MiB apart have the disk read once for all of them', () => {
  const { segmentBytes, spanBytes, spanCacheBytes, blockBytes, tailBytes } = storeOptions({});
  const positions: number[] = [];
  const file = {
    read(into: Uint8Array, position: number, done: (error: undefined, bytesRead: number) => void): void {
      positions.push(position);
      done(undefined, into.length);
    },
  } as unknown as DiskFile;
  const segments = new Segments({} as Disk, {} as Clock, segmentBytes, segmentBytes, () => {});
  const segment = new Segment(0, segmentBytes, file);
  segment.writtenEnd = segment.end;
  segments.add(segment);
  const log = new LogReader({} as Disk, new Tail(blockBytes, tailBytes), segments, spanBytes, spanCacheBytes);
  const read = (from: number): void => {
    for (let at = from; at < from + STEP_BYTES; at += spanBytes) {
      if (log.inMemory(at, 100) !== undefined) continue;
      run(
        () => log.readSpan(at, 100),
        (error, span) => expect([error, typeof span]).toEqual([undefined, 'object']),
      );
    }
  };
  // The first is ahead of the last by 24 MiB: queues take turns, but each at its consumer's pace.
  const distance = (24 * MIB) / (QUEUES - 1);
  for (let front = 0; front < segmentBytes + 24 * MIB; front += STEP_BYTES) {
    for (let queue = 0; queue < QUEUES; queue++) {
      const at = Math.floor((front - queue * distance) / spanBytes) * spanBytes;
      if (at >= 0 && at + STEP_BYTES <= segmentBytes) read(at);
    }
  }
  expect(new Set(positions).size).toBe(segmentBytes / spanBytes);
  expect(positions.length).toBe(segmentBytes / spanBytes);
});
