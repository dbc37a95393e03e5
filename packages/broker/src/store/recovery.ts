import { attempt, call, toHex, writeI32, type Disk, type DiskFile, type Random, type Steps } from '@tallystick/base';
import type { Checkpoint, CheckpointFile } from './checkpoint.ts';
import { loadIndex } from './index-file.ts';
import { cleanBeyond, judge, lookBeyond, type LogEnd, type Witnesses } from './log-end.ts';
import { openLogFolder, type FoundSegment } from './log-folder.ts';
import { scanGroups, type Chain } from './log-scan.ts';
import { AHEAD_AT_START, ScanRing } from './log-window.ts';
import { findMarker, writeMarker } from './markers.ts';
import type { QueueTable } from './queue-table.ts';
import { RecordIntake } from './record-intake.ts';
import type { RecordView } from './record-view.ts';
import { Segment } from './segment.ts';
import { SEGMENT_HEADER_BYTES } from './segment-header.ts';
import type { Segments } from './segments.ts';
import { loadSnapshot, snapshotPositions, type Snapshot } from './snapshot.ts';
import { StoreError, type Derived } from './store-types.ts';

export interface RecoveryParts {
  readonly disk: Disk;
  readonly random: Random;
  readonly segments: Segments;
  readonly queues: QueueTable;
  readonly checkpoint: CheckpointFile;
  readonly derived: readonly Derived[];
  /** The tag field of a record's queue entry. */
  readonly tagsCodeOf: (record: RecordView) => number;
  /** Topics for which that is not the hash of the TAGS property; undefined: it may be so for any. */
  readonly tagsCodeTopics: readonly string[] | undefined;
  /** Newest store time seen, ms. */
  readonly sawTime: (ms: number) => void;
}

export interface Recovered {
  readonly isNew: boolean;
  readonly isClean: boolean;
  readonly end: number;
  readonly chain: Chain;
  readonly epoch: number;
  readonly snapshotPosition: number;
  /** Positions of all sound and unsound snapshot files, newest first. */
  readonly snapshots: readonly number[];
  readonly scannedBytes: number;
  readonly rewrittenBytes: number;
  readonly tornBytes: number;
  readonly rebuiltIndexes: number;
  readonly notes: readonly string[];
}

/**
 * From files to a running store, by rules R0 to R9: finds the log's valid end, tells a torn tail from rot, refuses rather than loses,
 * brings derived state and queues up to the end, and leaves a new epoch and a checkpoint behind. May be cut short at any disk call
 * and started again.
 */
export function* recover(parts: RecoveryParts): Steps<Recovered> {
  const recovery = new Recovery(parts);
  try {
    return yield* recovery.run();
  } catch (error) {
    yield* recovery.closeFiles();
    throw error;
  }
}

class Recovery {
  readonly #parts: RecoveryParts;
  readonly #disk: Disk;
  readonly #notes: string[] = [];
  readonly #intake: RecordIntake;
  #ring = new ScanRing(0, AHEAD_AT_START);
  readonly #found: FoundSegment[] = [];
  #scannedBytes = 0;
  #rewrittenBytes = 0;
  #rebuiltIndexes = 0;
  /** Records from here on are news to the derived parts. */
  #replayFrom = 0;

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
    this.#disk = parts.disk;
    this.#intake = new RecordIntake(parts);
  }

  *run(): Steps<Recovered> {
    const { checkpoint: file, segments } = this.#parts;
    const names = yield* this.#folders();
    const marker = yield* findMarker(this.#disk, names);
    if (marker !== undefined) throw new StoreError('refused', `R2: ${marker}`, 'R2');
    const checkpoint = yield* this.#checkpoint(names);
    const found = this.#found;
    const log = yield* openLogFolder(this.#disk, segments.reserveBytes, found);
    const most = found.reduce((bytes, { segment }) => Math.max(bytes, segment.size), 0);
    this.#ring = new ScanRing(most, AHEAD_AT_START);
    this.#notes.push(...log.notes);
    segments.hasReserve = log.hasReserve;
    this.#checkStoreId(checkpoint, found);
    const snapshots = yield* snapshotPositions(this.#disk);
    const isNew = checkpoint === undefined && found.length === 0 && snapshots.length === 0;
    const snapshot = yield* this.#snapshot(snapshots);
    this.#restore(snapshot);
    const end = yield* this.#scan(found, snapshot, checkpoint);
    const witnesses = this.#witnesses(checkpoint, snapshot);
    const isClean = witnesses.cleanEnd === end.position;
    const tornBytes = yield* this.#settleEnd(end, witnesses);
    yield* this.#adopt(found, end);
    if (!isClean && !isNew) yield* this.#rewriteSuffix(checkpoint?.durableEnd ?? 0, end.position);
    yield* this.#closeOthers(found);
    const epoch = 1 + Math.max(checkpoint?.epoch ?? 0, ...found.map(({ header }) => header?.epoch ?? 0));
    const snapshotPosition = snapshot?.position ?? -1;
    const { storeId } = segments;
    yield* file.save({
      storeId,
      isClean: false,
      durableEnd: end.position,
      end: end.position,
      snapshotPosition,
      epoch,
      bootId: this.#disk.bootId(),
    });
    const { chain, position } = end;
    const done = {
      scannedBytes: this.#scannedBytes,
      rewrittenBytes: this.#rewrittenBytes,
      tornBytes,
      rebuiltIndexes: this.#rebuiltIndexes,
    };
    return {
      isNew,
      isClean: isClean || isNew,
      end: position,
      chain,
      epoch,
      snapshotPosition,
      snapshots,
      ...done,
      notes: this.#notes,
    };
  }

  /** Of a store that does not open. */
  *closeFiles(): Steps<void> {
    yield* this.#parts.checkpoint.close();
    for (const { segment } of this.#found) {
      const { file } = segment;
      segment.file = undefined;
      if (file !== undefined) yield* attempt((done) => file.close(done));
    }
  }

  /**
   * Makes what is missing, and syncs all folders before anything in them is believed: a killed process may have renamed a segment or
   * a snapshot into place without living to sync its name, and the next power cut would take back what was built upon it.
   */
  *#folders(): Steps<readonly string[]> {
    for (const folder of FOLDERS) yield* call((done) => this.#disk.makeFolder(folder, done));
    for (const folder of [...FOLDERS, '']) yield* call((done) => this.#disk.syncFolder(folder, done));
    return yield* call<readonly string[]>((done) => this.#disk.list('', done));
  }

  *#checkpoint(names: readonly string[]): Steps<Checkpoint | undefined> {
    const { newest, faults } = yield* this.#parts.checkpoint.load(names);
    const unknown = faults.find((fault) => fault.includes('unknown-format'));
    if (unknown !== undefined) throw new StoreError('refused', `R0: ${unknown}`, 'R0');
    this.#notes.push(...faults.map((fault) => `R9: ${fault}; the other slot is used`));
    return newest;
  }

  #checkStoreId(checkpoint: Checkpoint | undefined, found: readonly FoundSegment[]): void {
    const first = found.find((segment) => segment.header !== undefined)?.header;
    const storeId = checkpoint?.storeId ?? first?.storeId ?? randomId(this.#parts.random);
    for (const { header, segment } of found) {
      if (header !== undefined && header.storeId !== storeId) {
        throw new StoreError(
          'refused',
          `R0: ${segment.path} belongs to store ${header.storeId}, the checkpoint to ${storeId}; do not mix the files of two stores`,
          'R0',
        );
      }
    }
    this.#parts.segments.storeId = storeId;
  }

  /** The newest sound generation. */
  *#snapshot(positions: readonly number[]): Steps<Snapshot | undefined> {
    for (const position of positions) {
      const snapshot = yield* loadSnapshot(this.#disk, position);
      const fault =
        typeof snapshot === 'string'
          ? snapshot
          : snapshot.storeId === this.#parts.segments.storeId
            ? undefined
            : 'of another store';
      if (fault === undefined) return snapshot as Snapshot;
      this.#notes.push(`R9: snapshot ${position}: ${fault}; an older one is used`);
    }
    return undefined;
  }

  #restore(snapshot: Snapshot | undefined): void {
    if (snapshot === undefined) return;
    this.#replayFrom = snapshot.position;
    for (const { topic, queueId, nextOffset } of snapshot.queues)
      this.#parts.queues.intern(topic, queueId).nextOffset = nextOffset;
    for (const part of this.#parts.derived) {
      const saved = snapshot.parts.find((other) => other.name === part.name);
      if (saved !== undefined) part.restore(saved.bytes);
      else this.#notes.push(`the snapshot knows nothing of "${part.name}": it starts empty there`);
    }
  }

  /** Follows the chain from the snapshot's segment to its end. */
  *#scan(found: readonly FoundSegment[], snapshot: Snapshot | undefined, checkpoint: Checkpoint | undefined): Steps<LogEnd> {
    const from = this.#startOfScan(found, snapshot, checkpoint);
    if (from < 0)
      return yield* lookBeyond(undefined, SEGMENT_HEADER_BYTES, { previousCrc: 0, sequence: 0 }, found, false, this.#ring);
    yield* this.#loadIndexes(found, from);
    this.#intake.newsFrom = this.#replayFrom;
    const first = found[from]!.header!;
    const chain = { previousCrc: first.previousCrc, sequence: first.sequence };
    for (let at = from; ; at++) {
      const { segment } = found[at]!;
      const stop = yield* scanGroups(segment, chain, this.#ring, this.#intake);
      this.#scannedBytes += stop.bytes;
      const next = found[at + 1];
      if (
        next?.segment.isActive === true &&
        next.header!.previousCrc === chain.previousCrc &&
        next.header!.sequence === chain.sequence
      )
        continue;
      const isClosed = checkpoint?.isClean === true && checkpoint.end === stop.position;
      return yield* lookBeyond(found[at], stop.position, chain, found.slice(at + 1), isClosed, this.#ring);
    }
  }

  /** Index of the segment to scan first; -1 when none was ever in use. */
  #startOfScan(found: readonly FoundSegment[], snapshot: Snapshot | undefined, checkpoint: Checkpoint | undefined): number {
    const start = found[0]?.segment.base;
    if (start === undefined && (snapshot !== undefined || checkpoint !== undefined)) {
      throw new StoreError('refused', 'R6: there is a checkpoint or a snapshot but no log; restore the files in log/', 'R6');
    }
    if (start === undefined) return -1;
    if (snapshot === undefined && start > 0) {
      throw new StoreError(
        'refused',
        `R6: the log begins at ${start} and no sound snapshot says what was before; restore log/ or snapshot/ from a backup`,
        'R6',
      );
    }
    if (snapshot !== undefined && snapshot.position < start) {
      throw new StoreError(
        'refused',
        `R6: the newest sound snapshot is of ${snapshot.position}, the log begins at ${start}; restore the missing files`,
        'R6',
      );
    }
    const limit = snapshot?.position ?? 0;
    let from = -1;
    found.forEach(({ segment }, at) => {
      if (segment.isActive && segment.base <= limit) from = at;
    });
    if (from < 0 && start > 0)
      throw new StoreError('refused', `R6: no sound segment from ${start} to ${limit}; restore the files in log/`, 'R6');
    return from;
  }

  /** Sealed segments before the scan are not read: their index files say what is in them. */
  *#loadIndexes(found: readonly FoundSegment[], until: number): Steps<void> {
    const { segments, queues } = this.#parts;
    for (const { segment, headerFault } of found.slice(0, until)) {
      if (segment.isActive) continue;
      yield* this.#refuseRotten(
        segment.path,
        0,
        segment.base,
        segment.firstGroup,
        `segments in use follow it (${headerFault || 'its header says that it was never used'})`,
      );
    }
    for (let at = 0; at < until; at++) {
      const { segment, header } = found[at]!;
      segment.lastCrc = found[at + 1]!.header!.previousCrc;
      const index = yield* loadIndex(this.#disk, segment.base, segments.storeId, segment.lastCrc);
      if (typeof index === 'string') yield* this.#rebuildIndex(segment, header!, segment.lastCrc, index);
      else {
        segment.isIndexed = true;
        segment.writtenEnd = segment.end;
        segment.newestMs = index.newestMs;
        for (const queue of index.queues)
          queues.intern(queue.topic, queue.queueId).entries.sealed.add(segment.base, queue.first, queue.count, queue.at);
      }
    }
  }

  *#rebuildIndex(
    segment: Segment,
    header: { readonly previousCrc: number; readonly sequence: number },
    lastCrc: number,
    fault: string,
  ): Steps<void> {
    this.#notes.push(`R9: index of ${segment.path}: ${fault}; made again`);
    this.#rebuiltIndexes++;
    const chain = { previousCrc: header.previousCrc, sequence: header.sequence };
    this.#intake.newsFrom = Number.POSITIVE_INFINITY;
    const stop = yield* scanGroups(segment, chain, this.#ring, this.#intake);
    this.#scannedBytes += stop.bytes;
    if (chain.previousCrc !== lastCrc) {
      yield* this.#refuseRotten(
        segment.path,
        stop.position - segment.base,
        stop.position,
        segment.end,
        `later segments follow it (${stop.fault})`,
      );
    }
  }

  #witnesses(checkpoint: Checkpoint | undefined, snapshot: Snapshot | undefined): Witnesses {
    const durableEnds = [];
    if (checkpoint !== undefined) durableEnds.push({ end: checkpoint.durableEnd, source: 'the checkpoint' });
    if (snapshot !== undefined) durableEnds.push({ end: snapshot.end, source: 'a snapshot' });
    const isSameBoot = checkpoint === undefined || checkpoint.bootId === this.#disk.bootId();
    return { durableEnds, isSameBoot, cleanEnd: checkpoint?.isClean === true ? checkpoint.end : -1 };
  }

  *#settleEnd(end: LogEnd, witnesses: Witnesses): Steps<number> {
    const verdict = yield* judge(end, witnesses);
    const path = end.last?.segment.path ?? end.later[0]?.found.segment.path ?? 'log/';
    const offset = end.position - (end.last?.segment.base ?? end.later[0]?.found.segment.base ?? 0);
    if (verdict.kind === 'rotten')
      yield* this.#refuseRotten(path, offset, end.position, end.position + verdict.bytes, verdict.evidence);
    if (verdict.kind === 'torn')
      this.#notes.push(
        `R5: ${verdict.bytes} bytes after ${end.position} (${path}) were never synced and are torn; a copy is in quarantine/`,
      );
    if (verdict.kind === 'cut')
      this.#notes.push(
        `${end.later.some((other) => !other.isEmpty) ? 'R7' : 'R4'}: the write of ${verdict.bytes} bytes at ${end.position} (${path}) was cut off and is dropped`,
      );
    const moved = yield* cleanBeyond(this.#disk, end, verdict.kind === 'torn');
    for (const target of moved)
      this.#notes.push(`a segment file behind the end of the log, ${end.position}, was moved to ${target}`);
    return verdict.bytes;
  }

  *#refuseRotten(path: string, offset: number, position: number, until: number, evidence: string): Steps<never> {
    const sentence = `acknowledged data is damaged: ${path} at byte ${offset} (positions ${position} to ${until}); ${evidence}`;
    yield* writeMarker(this.#disk, 'QUARANTINE', {
      rule: 'R3',
      file: path,
      offset,
      position,
      until,
      evidence,
      storeId: this.#parts.segments.storeId,
    });
    throw new StoreError('refused', `R3: ${sentence}`, 'R3');
  }

  /** Hands the sound segments over, makes the first one of a new store. */
  *#adopt(found: readonly FoundSegment[], end: LogEnd): Steps<void> {
    const { segments, queues } = this.#parts;
    for (const queue of queues) queue.maxOffset = queue.nextOffset;
    const emptyLater = end.later.every((other) => other.isEmpty) ? end.later : [];
    if (end.last === undefined) {
      // Nothing was ever written: the first prepared file, or a new one, begins the log.
      const first = emptyLater[0]?.found.segment ?? new Segment(0, segments.segmentBytes, yield* segments.prepare(0));
      segments.add(first);
      if (emptyLater[1] !== undefined) segments.next = emptyLater[1].found.segment;
      return;
    }
    for (const { segment } of found) {
      if (segment.base <= end.last.segment.base) segments.add(segment);
    }
    const next = emptyLater[0];
    if (next?.isUnread === true) segments.unreadBase = next.found.segment.base;
    else segments.next = next?.found.segment;
  }

  /** Only the segment in use and the one after it stay open; readers open what they need. */
  *#closeOthers(found: readonly FoundSegment[]): Steps<void> {
    const { segments } = this.#parts;
    for (const { segment } of found) {
      const { file } = segment;
      if (file === undefined || segment === segments.last || segment === segments.next) continue;
      segment.file = undefined;
      yield* call((done) => file.close(done));
    }
  }

  /**
   * What a killed process wrote may be in the page cache only, or, after a sync that failed unseen, look written without being so.
   * Everything after the checkpoint is written again, byte for byte in its place, and synced before anybody is served.
   */
  *#rewriteSuffix(from: number, end: number): Steps<void> {
    for (const segment of this.#parts.segments.all) {
      if (segment.end <= from || !segment.isActive) continue;
      const start = from <= segment.firstGroup ? segment.base : from;
      const file = segment.file as DiskFile;
      const until = Math.min(end, segment.lastEnd);
      for (let at = start; at < until; at += REWRITE_BYTES) {
        const chunk = Buffer.alloc(Math.min(REWRITE_BYTES, until - at));
        yield* call<number>((done) => file.read(chunk, at - segment.base, done));
        yield* call((done) => file.write([chunk], at - segment.base, done));
        this.#rewrittenBytes += chunk.length;
      }
      yield* call((done) => file.sync(done));
    }
  }
}

const FOLDERS = ['log', 'index', 'snapshot', 'quarantine'];
const REWRITE_BYTES = 1024 * 1024;

function randomId(random: Random): string {
  const bytes = new Uint8Array(16);
  for (let at = 0; at < 16; at += 4) writeI32(bytes, at, random.u32());
  return toHex(bytes).toLowerCase();
}
