import { call, type Disk, type DiskFile, type Steps } from '@tallystick/base';
import { GROUP_HEADER_BYTES, isCutGroup, isWholeButForLength } from './group-header.ts';
import type { FoundSegment } from './log-folder.ts';
import { inspectRest, type Chain, type Rest } from './log-scan.ts';
import type { ScanRing } from './log-window.ts';
import { copyAside, moveSegmentAside } from './quarantine.ts';
import { SEGMENT_HEADER_BYTES } from './segment-header.ts';

/**
 * Judges what lies after the last group that continues the chain, and puts it out of the way if that may be done.
 *
 *   end      nothing but zeros and files that were prepared ahead
 *   rotten   something says that the log was durable beyond this point: acknowledged data is damaged (R3)
 *   cut      the machine has not gone down, so only the write in flight may be missing, and only its last part: dropped (R4, R7)
 *   torn     the machine has gone down, any unsynced sector may be missing: kept aside and dropped (R5)
 */
export interface Verdict {
  readonly kind: 'end' | 'rotten' | 'cut' | 'torn';
  /** For `rotten`: what gives it away. */
  readonly evidence: string;
  /** Bytes from the end of the chain to the last one that is not zero. */
  readonly bytes: number;
}

/** What is known from outside the log. */
export interface Witnesses {
  readonly durableEnds: readonly { readonly end: number; readonly source: string }[];
  /** No reboot since the last owner, or nobody knows. */
  readonly isSameBoot: boolean;
  /** The last owner closed the store with its log ending here; -1: it did not. */
  readonly cleanEnd: number;
}

/** The end of the chain, and what was found behind it. */
export interface LogEnd {
  readonly position: number;
  readonly chain: Chain;
  /** The segment with the end; undefined when no segment was ever in use. */
  readonly last: FoundSegment | undefined;
  readonly rest: Rest;
  readonly later: readonly LaterSegment[];
}

export interface LaterSegment {
  readonly found: FoundSegment;
  readonly rest: Rest;
  /** Prepared ahead and never written. */
  readonly isEmpty: boolean;
  /** That it is empty is believed, because nothing was being written when its owner left. */
  readonly isUnread: boolean;
}

/** With `isClosed`, that the last owner closed the store with its log ending here, files that say they were never used are not read. */
export function* lookBeyond(
  last: FoundSegment | undefined,
  position: number,
  chain: Chain,
  after: readonly FoundSegment[],
  isClosed: boolean,
  ring: ScanRing,
): Steps<LogEnd> {
  const rest =
    last === undefined
      ? { usedEnd: 0, durableUpTo: -1, groups: 0 }
      : yield* inspectRest(last.segment, position - last.segment.base, ring);
  const later: LaterSegment[] = [];
  for (const found of after) {
    const head = Math.min(SEGMENT_HEADER_BYTES, found.segment.size);
    const isPrepared = found.header !== undefined && !found.segment.isActive && found.fileBytes === found.segment.size;
    const isUnread = isClosed && isPrepared;
    const content = isUnread ? { usedEnd: head, durableUpTo: -1, groups: 0 } : yield* inspectRest(found.segment, head, ring);
    later.push({ found, rest: content, isEmpty: isPrepared && content.usedEnd === head, isUnread });
  }
  return { position, chain, last, rest, later };
}

export function* judge(end: LogEnd, witnesses: Witnesses): Steps<Verdict> {
  const { position, last, rest } = end;
  const tailBytes = last === undefined ? 0 : rest.usedEnd - (position - last.segment.base);
  const used = end.later.filter((other) => !other.isEmpty);
  const bytes = used.reduce((sum, other) => sum + other.rest.usedEnd, tailBytes);
  const verdict = (kind: Verdict['kind'], evidence = ''): Verdict => ({ kind, evidence, bytes });
  for (const witness of witnesses.durableEnds) {
    if (witness.end > position) return verdict('rotten', `${witness.source} says that the log was durable up to ${witness.end}`);
  }
  const durableUpTo = Math.max(rest.durableUpTo, ...end.later.map((other) => other.rest.durableUpTo));
  if (durableUpTo > position) return verdict('rotten', `a later group says that the log was durable up to ${durableUpTo}`);
  if (tailBytes === 0 && used.length === 0) return verdict('end');
  if (witnesses.cleanEnd === position || !witnesses.isSameBoot) return verdict('torn');
  const isCut =
    used.length === 0 ? yield* isCutTail(end, tailBytes) : tailBytes === 0 && used.length === 1 && isCutHeader(used[0]!);
  return isCut ? verdict('cut') : verdict('rotten', 'the machine has not been restarted since, so this is no torn write');
}

/**
 * Zeros the tail and moves used files to `quarantine/`; a copy of the tail goes there too if asked for. Durable when the steps end. Answers
 * where files were moved.
 */
export function* cleanBeyond(disk: Disk, end: LogEnd, keepsCopy: boolean): Steps<readonly string[]> {
  const { position, last, rest } = end;
  const moved: string[] = [];
  // Newest file first: a crash in between must not leave a gap.
  for (const other of [...end.later].reverse()) {
    if (other.isEmpty && end.later.every((any) => any.isEmpty)) continue;
    // The first segment of all stays in its place until a new one is renamed over it: a log without files would be a lost log.
    if (last === undefined && other === end.later[0])
      yield* copyAside(disk, other.found.segment.file!, 0, other.rest.usedEnd, other.found.segment.base);
    else {
      const target = yield* moveAside(disk, other);
      if (target !== undefined) moved.push(target);
    }
  }
  if (last === undefined) return moved;
  const file = last.segment.file!;
  const from = position - last.segment.base;
  if (rest.usedEnd > from) {
    if (keepsCopy) yield* copyAside(disk, file, from, rest.usedEnd, position);
    // The header last: should this be cut short, what is left must still look like a write that was cut short.
    const body = Math.min(from + GROUP_HEADER_BYTES, rest.usedEnd);
    yield* zero(file, body, rest.usedEnd);
    yield* zero(file, from, body);
  }
  if (last.fileBytes < last.segment.size) yield* zero(file, Math.max(from, last.fileBytes), last.segment.size);
  yield* call((done) => file.sync(done));
  return moved;
}

/** The tail is the first part of the group that was being written. */
function* isCutTail(end: LogEnd, tailBytes: number): Steps<boolean> {
  const { last, position, chain } = end;
  // Behind a write that was cut off lies nothing, and no group reaches beyond its segment.
  if (last === undefined || !last.segment.isActive || end.rest.groups > 0) return false;
  const bytes = Buffer.alloc(tailBytes);
  yield* call<number>((done) => last.segment.file!.read(bytes, position - last.segment.base, done));
  return (
    isCutGroup(bytes, tailBytes, last.segment.end - position, position, chain.previousCrc, chain.sequence) &&
    !isWholeButForLength(bytes)
  );
}

/** The first write into a segment was cut off within its header. */
function isCutHeader(other: LaterSegment): boolean {
  const { found, rest } = other;
  return found.header === undefined && rest.usedEnd === Math.min(SEGMENT_HEADER_BYTES, found.segment.size);
}

/** Answers where the file lies now; undefined for an empty one, which is removed. */
function* moveAside(disk: Disk, other: LaterSegment): Steps<string | undefined> {
  const { segment } = other.found;
  const file = segment.file;
  segment.file = undefined;
  if (file !== undefined) yield* call((done) => file.close(done));
  let target: string | undefined;
  if (other.isEmpty && !other.isUnread) yield* call((done) => disk.remove(segment.path, done));
  else target = yield* moveSegmentAside(disk, segment.path, segment.base);
  yield* call((done) => disk.syncFolder('log', done));
  return target;
}

function* zero(file: DiskFile, from: number, end: number): Steps<void> {
  for (let at = from; at < end; at += ZEROS_BYTES) {
    const zeros = Buffer.alloc(Math.min(ZEROS_BYTES, end - at));
    yield* call((done) => file.write([zeros], at, done));
  }
}

const ZEROS_BYTES = 1024 * 1024;
