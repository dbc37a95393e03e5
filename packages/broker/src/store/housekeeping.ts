import { call, type Clock, type Steps, type Timer } from '@tallystick/base';
import type { CheckpointFile } from './checkpoint.ts';
import { Chores } from './chores.ts';
import type { IndexCache } from './index-cache.ts';
import { indexPath, type IndexHead } from './index-file.ts';
import { writeIndex } from './index-sealer.ts';
import type { LogReader } from './log-reader.ts';
import { scanSegment } from './log-scan.ts';
import { LogSpace, type LogSpaceParts } from './log-space.ts';
import { QueueTable } from './queue-table.ts';
import { RecordView } from './record-view.ts';
import { Segment } from './segment.ts';
import { encodeSnapshot, removeIfThere, saveSnapshot, snapshotPath } from './snapshot.ts';
import type { Derived } from './store-types.ts';
import type { Tail } from './tail.ts';

export interface HousekeepingParts extends LogSpaceParts {
  readonly clock: Clock;
  readonly tail: Tail;
  readonly queues: QueueTable;
  readonly log: LogReader;
  readonly index: IndexCache;
  readonly checkpoint: CheckpointFile;
  readonly derived: readonly Derived[];
  readonly floor: () => number;
  readonly tagsCodeOf: (record: RecordView) => number;
}

/**
 * What the store does beside appending and reading: keeps files ready for the log to go on in ({@link LogSpace}), takes snapshots and
 * writes index files when a segment is full, deletes old segments. All of it one thing at a time, but for index files: until it has one
 * each full segment keeps its queue entries in memory, and making a segment ready can take as long as filling one. So they do not wait for
 * that, and a log that outruns them waits for them.
 */
export class Housekeeping {
  readonly #parts: HousekeepingParts;
  readonly #chores = new Chores();
  readonly #indexing = new Chores();
  readonly space: LogSpace;
  #isStopped = false;
  #isRetiring = false;
  #retentionTimer: Timer | undefined;
  /** Segments whose index file is written and whose entries are still in RAM, oldest first. */
  readonly #sealed: Segment[] = [];
  /** Segments whose index file found no space: tried again with each look at what may be deleted, which they must not hold up for ever. */
  #unindexed: Segment[] = [];
  /** Positions of the generations on the disk, oldest first. */
  #snapshots: number[] = [];
  /** Position of the snapshot that was taken last when a segment was filled, and by how much the log grows until the next one. */
  #notedAt = 0;
  #noteEveryBytes = 0;

  constructor(parts: HousekeepingParts) {
    this.#parts = parts;
    this.space = new LogSpace(parts, this.#chores, () => this.#indexing.waiting + this.#unindexed.length > UNINDEXED_MAX);
  }

  /** Begins after recovery. */
  start(snapshots: readonly number[]): void {
    const { segments } = this.#parts;
    this.#snapshots = [...snapshots].reverse();
    for (const segment of segments.all) if (segment !== segments.last && !segment.isIndexed) this.#sealIndex(segment);
    this.#armRetention();
    this.space.start();
  }

  /** `done` when no disk call of the housekeeping is on its way. */
  stop(done: () => void): void {
    this.#isStopped = true;
    this.space.stop();
    if (this.#retentionTimer !== undefined) this.#parts.timers.cancel(this.#retentionTimer);
    let lanes = 2;
    const ended = (): void => {
      if (--lanes === 0) done();
    };
    this.#chores.stop(ended);
    this.#indexing.stop(ended);
  }

  // Snapshots and index files.

  /** A segment was filled: notes what the log amounts to at the base of the next one, if the log has grown enough since the last note. */
  rolled(from: Segment, to: Segment): void {
    const { writer } = this.#parts;
    const end = from.lastEnd;
    const chunks = to.base - this.#notedAt >= this.#noteEveryBytes ? this.#note(to.base, end) : undefined;
    writer.whenDurable(end, () => {
      if (chunks !== undefined) {
        this.#chores.add(
          () => this.#saveSnapshot(to.base, chunks),
          (error) => {
            if (error === undefined) return;
            this.#noteEveryBytes = 0;
            this.space.troubled('a snapshot', error);
          },
        );
      }
      this.#sealIndex(from);
    });
  }

  /**
   * What the log amounts to now. The next one is due when the log has grown by four times as much, so that snapshots are at most a
   * fifth of what is written. A restart after a crash reads so much log, and two segments beside it. Never so much that the
   * generations, which keep the log after the oldest of them, take more than a fourth of the store.
   */
  #note(position: number, end: number): Uint8Array[] {
    const { snapshotsKept, storeMaxBytes } = this.#parts.options;
    const chunks = this.#snapshotChunks(position, end);
    let bytes = 0;
    for (const chunk of chunks) bytes += chunk.length;
    this.#notedAt = position;
    this.#noteEveryBytes = Math.min(bytes * LOG_PER_SNAPSHOT, storeMaxBytes / (4 * snapshotsKept));
    return chunks;
  }

  /** A snapshot of everything in closed groups. */
  snapshotNow(done: (error: string | undefined) => void): void {
    const { builder, writer } = this.#parts;
    const end = builder.closedEnd;
    const chunks = this.#snapshotChunks(end, end);
    writer.whenDurable(end, () => {
      this.#chores.add(
        () => this.#saveSnapshot(end, chunks),
        (error) => {
          if (error !== undefined) this.space.troubled('a snapshot', error);
          done(error?.message);
        },
      );
    });
    writer.force();
  }

  /** The last words of a store that is closed: missing index files, its state, the clean flag. The log is durable, nothing else runs. */
  *conclude(): Steps<void> {
    const { builder, disk, queues, segments } = this.#parts;
    for (const segment of segments.all) {
      if (!segment.isIndexed && segment.end <= builder.segment.base) yield* writeIndex(disk, this.#indexHead(segment), queues);
    }
    const end = builder.closedEnd;
    yield* this.#saveSnapshot(end, this.#snapshotChunks(end, end), true);
  }

  #indexHead(segment: Segment): IndexHead {
    return { storeId: this.#parts.segments.storeId, base: segment.base, lastCrc: segment.lastCrc, newestMs: segment.newestMs };
  }

  #snapshotChunks(position: number, end: number): Uint8Array[] {
    const { segments, queues, derived } = this.#parts;
    const parts = derived.map((part) => ({ name: part.name, bytes: part.snapshot() }));
    return encodeSnapshot({ storeId: segments.storeId, position, end, queues: [...queues], parts });
  }

  *#saveSnapshot(position: number, chunks: readonly Uint8Array[], isClean = false): Steps<void> {
    const { disk, checkpoint, segments, writer, builder, options } = this.#parts;
    yield* saveSnapshot(disk, position, chunks);
    this.#snapshots = [...this.#snapshots.filter((other) => other !== position), position];
    const { storeId } = segments;
    const { durableEnd } = writer;
    yield* checkpoint.save({
      storeId,
      isClean,
      durableEnd,
      end: builder.closedEnd,
      snapshotPosition: position,
      epoch: builder.epoch,
      bootId: disk.bootId(),
    });
    while (this.#snapshots.length > options.snapshotsKept) {
      const oldest = Math.min(...this.#snapshots);
      this.#snapshots = this.#snapshots.filter((other) => other !== oldest);
      yield* removeIfThere(disk, snapshotPath(oldest));
    }
  }

  #sealIndex(segment: Segment): void {
    const { disk, queues, log } = this.#parts;
    const sealed = this.#sealed;
    const head = this.#indexHead(segment);
    const steps = function* (): Steps<void> {
      segment.places = yield* writeIndex(disk, head, queues);
      segment.isIndexed = true;
      sealed.push(segment);
      yield* log.takeOver(segment);
    };
    this.#indexing.add(steps, (error) => {
      if (error === undefined) {
        this.coolIndexes();
        this.space.keepAhead();
        return this.#retireOldest(false);
      }
      if (!segment.isIndexed) this.#unindexed.push(segment);
      this.space.troubled('an index file', error);
    });
  }

  /** Queue entries of segments that have left the tail leave the RAM, too. */
  coolIndexes(): void {
    const { tail, queues } = this.#parts;
    for (let oldest = this.#sealed[0]; oldest !== undefined && oldest.end <= tail.start; oldest = this.#sealed[0]) {
      this.#sealed.shift();
      for (const { topic, queueId, at } of oldest.places ?? []) queues.find(topic, queueId)?.entries.seal(oldest.base, at);
      oldest.places = undefined;
    }
  }

  /** For the reader who met a damaged index file: makes it again out of its segment. False when the segment is damaged too. */
  *rebuildIndex(segmentBase: number): Steps<boolean> {
    let isMade = false;
    const steps = function* (this: Housekeeping): Steps<void> {
      isMade = yield* this.#makeIndexAgain(segmentBase);
    }.bind(this);
    // In both lanes, so that no other index file is written and no segment deleted meanwhile; in this order, because nothing may wait for the
    // index files in hand while it keeps segments from being made ready.
    const alone = (): Steps<void> => call((done) => this.#chores.add(steps, done));
    yield* call((done) => this.#indexing.add(alone, done));
    this.space.keepAhead();
    return isMade;
  }

  *#makeIndexAgain(segmentBase: number): Steps<boolean> {
    const { disk, segments, queues, index, tagsCodeOf } = this.#parts;
    const segment = segments.of(segmentBase);
    if (segment === undefined) return false;
    const copy = new Segment(segment.base, segment.size, yield* call((done) => disk.open(segment.path, 'open', done)));
    const fresh = new QueueTable();
    const first = Buffer.alloc(8);
    yield* call<number>((done) => copy.file!.read(first, copy.firstGroup - copy.base + 32, done));
    const head = Buffer.alloc(4);
    yield* call<number>((done) => copy.file!.read(head, copy.firstGroup - copy.base + 12, done));
    const chain = { previousCrc: head.readUInt32BE(0), sequence: first.readUInt32BE(0) * 4294967296 + first.readUInt32BE(4) };
    yield* scanSegment(copy, chain, new RecordView(), (view) => {
      if (view.isControl) return;
      const queue = fresh.ofBytes(view.bytes, view.topicStart, view.topicEnd, view.queueId);
      queue.entries.push(copy.base, view.position, view.size, tagsCodeOf(view), view.queueOffset);
    });
    yield* call((done) => copy.file!.close(done));
    if (chain.previousCrc !== segment.lastCrc) return false;
    const places = yield* writeIndex(
      disk,
      { storeId: segments.storeId, base: copy.base, lastCrc: segment.lastCrc, newestMs: segment.newestMs },
      fresh,
    );
    index.forget(segmentBase);
    for (const place of places) {
      const { sealed } = queues.intern(place.topic, place.queueId).entries;
      if (!sealed.segmentBase.includes(segmentBase)) continue;
      sealed.drop(segmentBase);
      sealed.add(segmentBase, place.first, place.count, place.at);
    }
    return true;
  }

  // Retention.

  #armRetention(): void {
    this.#retentionTimer = this.#parts.timers.after(this.#parts.options.retentionIntervalMs, () => {
      if (this.#isStopped) return;
      this.#armRetention();
      const unindexed = this.#unindexed;
      this.#unindexed = [];
      for (const segment of unindexed) this.#sealIndex(segment);
      const { segments, clock, options } = this.#parts;
      const isOld = clock.now() - segments.first.newestMs > options.reservedHours * 3_600_000;
      this.#retireOldest(isOld);
    });
  }

  /**
   * Deletes the oldest segment if it may go, then the next ones that are too much, a chore each. Looked at by the clock and whenever a
   * segment was filled, so that deleting keeps up with any rate of writing. By age one goes per look: a clock that was set wrong
   * must not cost everything at once.
   */
  #retireOldest(isOld: boolean): void {
    const { segments, builder, writer } = this.#parts;
    const oldest = segments.first;
    if (this.#isStopped || this.#isRetiring || !this.#mayGo(oldest, isOld)) return;
    this.#isRetiring = true;
    // That nobody needs it is what the log says up to now, such as the verdict on a half message. It must not be forgotten after it
    // has been acted upon: the half would be open again and its record gone.
    writer.whenDurable(builder.end, () => {
      if (!this.#isStopped) this.#retire(oldest);
    });
  }

  /** Old enough or too much, and nobody needs it: no open half, no protected offset, no snapshot generation. */
  #mayGo(segment: Segment, isOld: boolean): boolean {
    const { builder, options, floor, segments } = this.#parts;
    if (segment === segments.last || !segment.isIndexed || segment.end > builder.segment.base) return false;
    const isTooMuch = builder.closedEnd - segment.base > options.storeMaxBytes;
    if (!isOld && !isTooMuch) return false;
    if (this.#snapshots.length === 0 || Math.min(...this.#snapshots) < segment.end) return false;
    return floor() >= segment.end;
  }

  #retire(segment: Segment): void {
    const { disk, segments, queues, log, index } = this.#parts;
    for (const queue of queues) queue.entries.drop(segment.base);
    segment.places = undefined;
    log.forget(segment.base, segment.end);
    index.forget(segment.base);
    const steps = function* (): Steps<void> {
      yield* segments.retire(segment);
      yield* removeIfThere(disk, indexPath(segment.base));
    };
    // The chore may have to wait for others; until it is done the segment is still the oldest one, and is being retired.
    this.#chores.add(steps, (error) => {
      this.#isRetiring = false;
      if (error !== undefined) return this.space.troubled('deleting a segment', error);
      this.#retireOldest(false);
    });
  }
}

/** Bytes of log between two snapshots, per byte of snapshot. */
const LOG_PER_SNAPSHOT = 4;
/** Index files that may wait, for their turn or for space, before the log waits for them. */
const UNINDEXED_MAX = 8;
