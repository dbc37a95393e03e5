import { type Steps } from '@tallystick/base';
import { ClaimedGroups } from './claimed-groups.ts';
import { emptyGroup, GROUP_HEADER_BYTES, GROUP_MAGIC, groupBytes, readGroup, type FoundGroup } from './group-header.ts';
import { AHEAD_AT_WORK, LogWindow, ScanRing } from './log-window.ts';
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

/** Takes the groups of a scan one by one. */
export interface GroupSink {
  /**
   * The group, whose checksum and link to the chain are right, lies at `at`; bytes and view, the same ones, are valid during the call
   * only. Gives a sentence when its records are not in order: then nothing of it may have been taken, and the log ends before it.
   */
  group(bytes: Buffer, view: DataView, at: number, group: FoundGroup, segment: Segment): string | undefined;
}

/**
 * Reads a segment group by group from its start, as far as checksums, addresses and the chain hold; advances `chain`. The next pieces
 * of the file are on their way while the groups of the present one are taken.
 */
export function* scanGroups(segment: Segment, chain: Chain, ring: ScanRing, sink: GroupSink): Steps<ScanStop> {
  const window = new LogWindow(segment.file!, segment.size, ring);
  const group = emptyGroup();
  let offset = segment.firstGroup - segment.base;
  let fault: string | undefined;
  try {
    for (;;) {
      if (!window.holds(offset, GROUP_HEADER_BYTES)) yield* window.show(offset, GROUP_HEADER_BYTES);
      const total = claimedTotal(window, offset, segment);
      if (!window.holds(offset, total)) yield* window.show(offset, total);
      const at = offset - window.start;
      fault =
        readGroup(window.bytes, at, window.end - window.start, segment.base + offset, group) ??
        chainFault(group, chain) ??
        sink.group(window.bytes, window.view, at, group, segment);
      if (fault !== undefined) break;
      chain.previousCrc = group.crc;
      chain.sequence++;
      offset += group.total;
      segment.lastEnd = segment.base + offset;
      segment.lastCrc = group.crc;
    }
  } finally {
    yield* window.rest();
  }
  segment.writtenEnd = segment.lastEnd;
  return { position: segment.base + offset, fault, bytes: offset };
}

/** As {@link scanGroups}, beside a broker at work; each record is shown through `view`, in place. */
export function* scanSegment(
  segment: Segment,
  chain: Chain,
  view: RecordView,
  onRecord: (view: RecordView) => void,
): Steps<ScanStop> {
  return yield* scanGroups(segment, chain, new ScanRing(segment.size, AHEAD_AT_WORK), {
    group: (bytes, _view, at, group) => showRecords(bytes, at, group, view, onRecord),
  });
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
export function* inspectRest(segment: Segment, from: number, ring: ScanRing): Steps<Rest> {
  const window = new LogWindow(segment.file!, segment.size, ring);
  const claimed = new ClaimedGroups();
  let usedEnd = from;
  try {
    for (let start = from; start < segment.size; start += ring.pieceBytes) {
      const end = Math.min(segment.size, start + ring.pieceBytes);
      // With the whole header of a group that begins at the end of the piece.
      yield* window.show(start, end - start + GROUP_HEADER_BYTES);
      const used = lastUsed(window.bytes, start - window.start, end - window.start);
      if (used >= 0) usedEnd = window.start + used + 1;
      for (let offset = start; offset < usedEnd; offset += 8) {
        if (window.u32(offset) !== GROUP_MAGIC) continue;
        const total = claimedTotal(window, offset, segment);
        if (total > 0) claimed.add(window.bytes, offset - window.start, offset, total);
      }
      claimed.pass(window.bytes, window.start, end);
    }
  } finally {
    yield* window.rest();
  }
  return { usedEnd, durableUpTo: claimed.durableUpTo, groups: claimed.count };
}

/**
 * The length that a group at `offset`, whose header is in the window, says it has; 0 unless it can have it and knows its place, which a
 * message made of such words seldom does.
 */
function claimedTotal(window: LogWindow, offset: number, { base, size }: Segment): number {
  if (window.u32(offset) !== GROUP_MAGIC) return 0;
  if (window.u32(offset + 16) * 2 ** 32 + window.u32(offset + 20) !== base + offset) return 0;
  const total = window.u32(offset + 4);
  return total >= groupBytes(0) && total % 8 === 0 && total <= size - offset ? total : 0;
}

function chainFault(group: FoundGroup, chain: Chain): string | undefined {
  if (group.previousCrc !== chain.previousCrc) return 'group does not continue the chain';
  return group.sequence === chain.sequence ? undefined : `group sequence ${group.sequence} instead of ${chain.sequence}`;
}

/** What is wrong with the frames of a group's records; undefined when they fill it exactly. */
export function recordsFault(bytes: Buffer, at: number, group: FoundGroup): string | undefined {
  const base = group.position - at;
  let record = at + GROUP_HEADER_BYTES;
  for (let left = group.records; left > 0; left--) {
    const fault = recordFault(bytes, record, group.recordsEnd, base + record);
    if (fault !== undefined) return fault;
    record += bytes.readInt32BE(record);
  }
  return record === group.recordsEnd ? undefined : 'group has more bytes than records';
}

/** All frames are checked before the first record is shown: a group counts as a whole or not at all. */
function showRecords(
  bytes: Buffer,
  at: number,
  group: FoundGroup,
  view: RecordView,
  onRecord: (view: RecordView) => void,
): string | undefined {
  const fault = recordsFault(bytes, at, group);
  if (fault !== undefined) return fault;
  const base = group.position - at;
  for (let record = at + GROUP_HEADER_BYTES; record < group.recordsEnd;) {
    const end = record + bytes.readInt32BE(record);
    onRecord(view.move(bytes, record, end, base + record));
    record = end;
  }
  return undefined;
}

/** Index of the last byte that is not zero; -1 when all are. */
function lastUsed(bytes: Buffer, start: number, end: number): number {
  // Zero, and each the same as the one before it.
  if (bytes[start] === 0 && bytes.compare(bytes, start, end - 1, start + 1, end) === 0) return -1;
  let at = end - 1;
  while (bytes[at] === 0) at--;
  return at;
}
