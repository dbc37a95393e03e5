import { call, type DiskFile, type Steps } from '@tallystick/base';
import { emptyGroup, GROUP_HEADER_BYTES, GROUP_MAGIC, readGroup, type FoundGroup } from './group-header.ts';
import { recordFault, type RecordView } from './record-view.ts';
import type { Segment } from './segment.ts';

/** What the next group has to say to belong to the log. */
export interface Chain {
  previousCrc: number;
  sequence: number;
}

/** Where a scan stopped: the first position without a sound group that continues the chain, and why. */
export interface ScanStop {
  readonly position: number;
  readonly fault: string;
  readonly bytes: number;
}

/**
 * Reads a segment group by group from its start, as far as checksums, addresses and the chain hold; advances `chain`. Each record is
 * shown through `view`, in place.
 */
export function* scanSegment(
  segment: Segment,
  chain: Chain,
  view: RecordView,
  onRecord: (view: RecordView) => void,
): Steps<ScanStop> {
  const window = new Window(segment.file!, segment.size);
  const group = emptyGroup();
  let offset = segment.firstGroup - segment.base;
  let fault: string | undefined;
  for (;;) {
    yield* window.show(offset, GROUP_HEADER_BYTES);
    const total = window.u32(offset + 4);
    if (window.u32(offset) === GROUP_MAGIC && total <= segment.size - offset) yield* window.show(offset, total);
    const position = segment.base + offset;
    fault =
      readGroup(window.bytes, offset - window.start, window.end - window.start, position, group) ?? chainFault(group, chain);
    fault ??= showRecords(window.bytes, offset - window.start, group, view, onRecord);
    if (fault !== undefined) break;
    chain.previousCrc = group.crc;
    chain.sequence++;
    offset += group.total;
    segment.lastEnd = segment.base + offset;
    segment.lastCrc = group.crc;
  }
  segment.writtenEnd = segment.lastEnd;
  return { position: segment.base + offset, fault, bytes: offset };
}

/** What lies in a segment after the end of the chain. */
export interface Rest {
  /** Offset in the file after the last byte that is not zero; `from` when all are zero. */
  readonly usedEnd: number;
  /** Highest "durable up to" of any sound group in there; -1 without one. */
  readonly durableUpTo: number;
  /** Sound groups in there, whether or not they continue a chain. */
  readonly groups: number;
}

/** Looks at the bytes of a segment from offset `from` on: anything there, and does any sound group among it bear witness? */
export function* inspectRest(segment: Segment, from: number): Steps<Rest> {
  const window = new Window(segment.file!, segment.size);
  const group = emptyGroup();
  let usedEnd = from;
  let durableUpTo = -1;
  let groups = 0;
  for (let start = from; start < segment.size; start += INSPECT_BYTES) {
    const end = Math.min(segment.size, start + INSPECT_BYTES);
    yield* window.show(start, end - start);
    const used = lastUsed(window.bytes, start - window.start, end - window.start);
    if (used < 0) continue;
    usedEnd = window.start + used + 1;
    for (let offset = start; offset + GROUP_HEADER_BYTES < end; offset += 8) {
      if (window.u32(offset) !== GROUP_MAGIC) continue;
      const total = window.u32(offset + 4);
      if (total > segment.size - offset) continue;
      yield* window.show(offset, Math.max(total, end - offset));
      if (readGroup(window.bytes, offset - window.start, window.end - window.start, segment.base + offset, group) === undefined) {
        groups++;
        durableUpTo = Math.max(durableUpTo, group.durableUpTo);
      }
    }
  }
  return { usedEnd, durableUpTo, groups };
}

function chainFault(group: FoundGroup, chain: Chain): string | undefined {
  if (group.previousCrc !== chain.previousCrc) return 'group does not continue the chain';
  return group.sequence === chain.sequence ? undefined : `group sequence ${group.sequence} instead of ${chain.sequence}`;
}

/** All frames are checked before the first record is shown: a group counts as a whole or not at all. */
function showRecords(
  bytes: Buffer,
  at: number,
  group: FoundGroup,
  view: RecordView,
  onRecord: (view: RecordView) => void,
): string | undefined {
  const base = group.position - at;
  const first = at + GROUP_HEADER_BYTES;
  let record = first;
  for (let left = group.records; left > 0; left--) {
    const fault = recordFault(bytes, record, group.recordsEnd, base + record);
    if (fault !== undefined) return fault;
    record += bytes.readInt32BE(record);
  }
  if (record !== group.recordsEnd) return 'group has more bytes than records';
  for (record = first; record < group.recordsEnd;) {
    const end = record + bytes.readInt32BE(record);
    onRecord(view.move(bytes, record, end, base + record));
    record = end;
  }
  return undefined;
}

/** Index of the last byte that is not zero; -1 when all are. */
function lastUsed(bytes: Buffer, start: number, end: number): number {
  if (bytes.compare(NOTHING, 0, end - start, start, end) === 0) return -1;
  let at = end - 1;
  while (bytes[at] === 0) at--;
  return at;
}

/** A part of a file in RAM that moves forward. Bytes after the end of a file that was cut short read as zeros. */
class Window {
  readonly #file: DiskFile;
  readonly #limit: number;
  bytes = Buffer.alloc(0);
  start = 0;
  end = 0;

  constructor(file: DiskFile, limit: number) {
    this.#file = file;
    this.#limit = limit;
  }

  /** Sees to it that `count` bytes from `offset` on are in RAM, as far as the segment goes. */
  *show(offset: number, count: number): Steps<void> {
    const wanted = Math.min(offset + count, this.#limit);
    if (offset >= this.start && wanted <= this.end) return;
    const length = Math.max(0, Math.min(Math.max(count, WINDOW_BYTES), this.#limit - offset));
    if (this.bytes.length < length) this.bytes = Buffer.allocUnsafeSlow(length);
    this.start = offset;
    this.end = offset + length;
    if (length === 0) return;
    const into = this.bytes.subarray(0, length);
    const read = yield* call<number>((done) => this.#file.read(into, offset, done));
    into.fill(0, read);
  }

  /** 0 beyond the end of the segment. */
  u32(offset: number): number {
    const at = offset - this.start;
    return offset + 4 <= this.end ? this.bytes.readUInt32BE(at) : 0;
  }
}

const WINDOW_BYTES = 1024 * 1024;
const INSPECT_BYTES = 1024 * 1024;
const NOTHING = Buffer.alloc(INSPECT_BYTES);
