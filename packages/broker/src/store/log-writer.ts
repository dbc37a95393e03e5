import type { Clock, DiskError, Timer, Timers } from '@tallystick/base';
import { withNextStep } from './disk-trouble.ts';
import type { GroupBuilder } from './group-builder.ts';
import type { Segment } from './segment.ts';
import { encodeSegmentHeader, SEGMENT_ACTIVE } from './segment-header.ts';
import type { Block } from './tail.ts';

export interface LogWriterOptions {
  readonly flush: 'sync' | 'async';
  readonly syncIntervalMs: number;
  readonly syncMarkerMs: number;
  readonly unsyncedBytesMax: number;
  /** So much is gathered before it is written, unless somebody waits for it or its time is up; 0: everything is written at once. */
  readonly commitBytes: number;
  /** After so long whatever has been gathered is written. */
  readonly commitIntervalMs: number;
}

/** What the writer asks of, and tells, the store. */
export interface LogWriterOwner {
  readonly storeId: string;
  /** Address up to which someone waits for a sync; Infinity: nobody. */
  syncWantedFrom(): number;
  /** Address up to which someone waits for a write or a sync; 0: nobody. Asked only while writes are gathered. */
  writeWantedTo(): number;
  /** The segment has to be written but has no file yet: call `pump` when it has. */
  needFile(segment: Segment): void;
  written(end: number): void;
  durable(end: number): void;
  failed(reason: string): void;
}

/**
 * Brings closed groups to the disk: at most one write of the log in flight, and at most one fdatasync beside it. The durable end
 * moves to where the written end was when the sync began; a small write with nothing unsynced before it may carry its own sync. With a
 * transient store pool what is appended is gathered before it is written, else it is written at once. Syncs are begun when someone waits
 * for one, in synchronous mode always, else every `syncIntervalMs`; writing waits while too much is unsynced. After an error nothing is
 * ever written again.
 */
export class LogWriter {
  readonly #builder: GroupBuilder;
  readonly #timers: Timers;
  readonly #clock: Clock;
  readonly #options: LogWriterOptions;
  readonly #owner: LogWriterOwner;
  writtenEnd = 0;
  durableEnd = 0;
  writes = 0;
  syncs = 0;
  #block: Block | undefined;
  #blockAt = 0;
  #isWriting = false;
  /** Monotonic ms at which the write in flight was begun; undefined when none is, or one that carries its sync. */
  writeStartedMs: number | undefined;
  #isSyncing = false;
  #isStopped = false;
  #onIdle = (): void => {};
  /** A sync was asked for up to here, whoever waits. */
  #forcedEnd = 0;
  /** What was appended up to here has been gathered long enough. */
  #commitEnd = 0;
  #commitTimer: Timer | undefined;
  /** Segments with written but unsynced bytes, in order. */
  readonly #unsynced: Segment[] = [];
  #intervalTimer: Timer | undefined;
  #markerTimer: Timer | undefined;
  #whenDurable: { readonly end: number; readonly run: () => void }[] = [];

  constructor(
    builder: GroupBuilder,
    ports: { readonly timers: Timers; readonly clock: Clock },
    options: LogWriterOptions,
    owner: LogWriterOwner,
  ) {
    this.#builder = builder;
    this.#timers = ports.timers;
    this.#clock = ports.clock;
    this.#options = options;
    this.#owner = owner;
  }

  /** Everything up to `end` is on the disk. */
  start(end: number): void {
    this.writtenEnd = end;
    this.durableEnd = end;
  }

  get unsyncedBytes(): number {
    return this.writtenEnd - this.durableEnd;
  }

  /** Calls back once no write or sync is on its way; for a writer that was stopped. */
  whenIdle(run: () => void): void {
    if (!this.#isWriting && !this.#isSyncing) run();
    else this.#onIdle = run;
  }

  /** No write is on its way. */
  get isIdle(): boolean {
    return !this.#isWriting;
  }

  /** Starts what can be started. Called whenever something has changed. */
  pump(): void {
    this.#write();
    this.#sync();
  }

  /** Syncs all that is appended by now, however nobody waits for it. */
  force(): void {
    this.#forcedEnd = this.#builder.closedEnd;
    this.pump();
  }

  /** Calls back when the log is durable up to `end`, perhaps at once; never when the writer fails. */
  whenDurable(end: number, run: () => void): void {
    if (this.durableEnd >= end) run();
    else this.#whenDurable.push({ end, run });
  }

  /** Starts nothing more. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelTimers();
  }

  #write(): void {
    if (this.#isWriting || this.#isStopped) return;
    if (this.unsyncedBytes >= this.#options.unsyncedBytesMax) return;
    if (this.#options.commitBytes > 0 && !this.#isCommitDue()) return;
    const block = this.#currentBlock();
    if (block === undefined) return;
    const segment = block.segment;
    if (!segment.isReady) return this.#owner.needFile(segment);
    const chunks: Uint8Array[] = [];
    let from = block.base + this.#blockAt;
    if (!segment.isActive) {
      chunks.push(this.#activeHeader(block));
      from = segment.base;
    }
    let last = block;
    let bytes = block.closed - this.#blockAt;
    chunks.push(block.bytes.subarray(this.#blockAt, block.closed));
    for (
      let next = block.next;
      next !== undefined && next.segment === segment && next.closed > 0 && bytes < WRITE_BYTES_MAX;
      next = next.next
    ) {
      chunks.push(next.bytes.subarray(0, next.closed));
      bytes += next.closed;
      last = next;
    }
    const lastAt = last.closed;
    const file = segment.file!;
    const isThrough = file.writeThrough !== undefined && this.#maySyncAtOnce(bytes);
    const done = (error: DiskError | undefined): void => {
      this.#isWriting = false;
      this.writeStartedMs = undefined;
      if (this.#isStopped) return this.#ended();
      if (error !== undefined) return this.#fail('write', segment, error);
      this.#block = last;
      this.#blockAt = lastAt;
      this.#wrote(segment, last.base + lastAt, isThrough);
    };
    this.#isWriting = true;
    this.writes++;
    if (isThrough) {
      // It waits for the device as a sync does: how long says nothing about the page cache.
      this.syncs++;
      file.writeThrough!(chunks, from - segment.base, done);
    } else {
      this.writeStartedMs = this.#clock.monotonic();
      file.write(chunks, from - segment.base, done);
    }
  }

  /**
   * Little to write, nothing unsynced before it, and everybody waits for the sync: write and sync are one call then, which spares a way to
   * the pool of threads and back. More is written while the sync before it is still on its way.
   */
  #maySyncAtOnce(bytes: number): boolean {
    return (
      this.#options.flush === 'sync' && bytes <= THROUGH_BYTES_MAX && !this.#isSyncing && this.durableEnd === this.writtenEnd
    );
  }

  /** Whether what has been gathered should be written now; if not, its time is running. */
  #isCommitDue(): boolean {
    const { writtenEnd } = this;
    const { closedEnd } = this.#builder;
    if (closedEnd <= writtenEnd) return false;
    if (closedEnd - writtenEnd >= this.#options.commitBytes) return true;
    if (Math.max(this.#forcedEnd, this.#commitEnd, this.#owner.writeWantedTo()) > writtenEnd) return true;
    this.#commitTimer ??= this.#timers.after(this.#options.commitIntervalMs, () => {
      this.#commitTimer = undefined;
      this.#commitEnd = this.#builder.closedEnd;
      this.pump();
    });
    return false;
  }

  #wrote(segment: Segment, end: number, isDurable: boolean): void {
    segment.isActive = true;
    segment.writtenEnd = end;
    this.writtenEnd = end;
    if (isDurable) this.#setDurable(end);
    else if (this.#unsynced[this.#unsynced.length - 1] !== segment) this.#unsynced.push(segment);
    // The next write and the sync go first: what the listeners do takes its time.
    this.pump();
    if (this.#options.flush === 'async') {
      this.#intervalTimer ??= this.#timers.after(this.#options.syncIntervalMs, () => {
        this.#intervalTimer = undefined;
        this.#forcedEnd = Math.max(this.#forcedEnd, this.writtenEnd);
        this.#sync();
      });
    }
    this.#owner.written(end);
    if (isDurable) this.#tellDurable(end);
  }

  #sync(): void {
    if (this.#isSyncing || this.#isStopped || this.durableEnd >= this.writtenEnd) return;
    const isWanted =
      this.#options.flush === 'sync' ||
      this.durableEnd < this.#forcedEnd ||
      this.#owner.syncWantedFrom() <= this.writtenEnd ||
      this.unsyncedBytes >= this.#options.unsyncedBytesMax;
    if (!isWanted) return;
    while (this.#unsynced.length > 1 && this.#unsynced[0]!.writtenEnd <= this.durableEnd) this.#unsynced.shift();
    const segment = this.#unsynced[0]!;
    const end = segment.writtenEnd;
    this.#isSyncing = true;
    this.syncs++;
    segment.file!.sync((error) => {
      this.#isSyncing = false;
      if (this.#isStopped) return this.#ended();
      if (error !== undefined) return this.#fail('sync', segment, error);
      this.#setDurable(end);
      this.pump();
      this.#tellDurable(end);
    });
  }

  #setDurable(end: number): void {
    this.durableEnd = end;
    this.#builder.durableEnd = end;
  }

  #tellDurable(end: number): void {
    this.#armMarker();
    this.#owner.durable(end);
    this.#runWhenDurable();
  }

  #runWhenDurable(): void {
    if (this.#whenDurable.length === 0) return;
    const due = this.#whenDurable.filter((wait) => wait.end <= this.durableEnd);
    this.#whenDurable = this.#whenDurable.filter((wait) => wait.end > this.durableEnd);
    for (const wait of due) wait.run();
  }

  /**
   * Whether the last group that was synced has rotted or was torn can only be told when something later says that it was synced.
   * When no later group comes by itself, an empty one says so. Looks twice per `syncMarkerMs`, so that it stands in time.
   */
  #armMarker(): void {
    if (this.#markerTimer !== undefined || !this.#lacksMarker()) return;
    const { groups } = this.#builder;
    this.#markerTimer = this.#timers.after(this.#options.syncMarkerMs / 2, () => {
      this.#markerTimer = undefined;
      if (this.#isStopped || !this.#lacksMarker()) return;
      const isIdle = this.#builder.groups === groups && this.durableEnd >= this.#builder.lastDataEnd;
      if (!isIdle) this.#armMarker();
      else if (this.#builder.appendMarker()) this.force();
    });
  }

  #lacksMarker(): boolean {
    return this.#builder.carriedDurableEnd < this.#builder.lastDataEnd;
  }

  /** The block of the first closed and unwritten byte. */
  #currentBlock(): Block | undefined {
    this.#block ??= this.#builder.firstBlock;
    let block = this.#block;
    while (block !== undefined && this.#blockAt === block.closed) {
      if (block.next === undefined) return undefined;
      block = block.next;
      this.#block = block;
      this.#blockAt = 0;
    }
    return block;
  }

  /** The chain's state at a segment's base stands in its first group. */
  #activeHeader(block: Block): Buffer {
    const segment = block.segment;
    const first = block.bytes;
    return encodeSegmentHeader({
      state: SEGMENT_ACTIVE,
      size: segment.size,
      storeId: this.#owner.storeId,
      base: segment.base,
      epoch: first.readUInt32BE(40),
      previousCrc: first.readUInt32BE(12),
      sequence: first.readUInt32BE(32) * 4294967296 + first.readUInt32BE(36),
      madeAtMs: segment.newestMs,
    });
  }

  #fail(what: string, segment: Segment, error: DiskError): void {
    this.stop();
    this.#owner.failed(`${what} of ${segment.path} failed: ${withNextStep(error)}`);
  }

  #ended(): void {
    if (!this.#isWriting && !this.#isSyncing) this.#onIdle();
  }

  #cancelTimers(): void {
    for (const timer of [this.#intervalTimer, this.#markerTimer, this.#commitTimer])
      if (timer !== undefined) this.#timers.cancel(timer);
    this.#intervalTimer = undefined;
    this.#markerTimer = undefined;
    this.#commitTimer = undefined;
  }
}

/** One write call carries about this much at most: it holds the disk, and the copy into the page cache, for some 2 ms. */
const WRITE_BYTES_MAX = 4 * 1024 * 1024;

/** Of a write that is synced in the same call. */
const THROUGH_BYTES_MAX = 16 * 1024;
