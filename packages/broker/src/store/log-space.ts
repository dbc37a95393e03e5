import type { Disk, Steps, Timer, Timers } from '@tallystick/base';
import type { ChoreError, Chores } from './chores.ts';
import { isShortOfFiles, withNextStep } from './disk-trouble.ts';
import type { GroupBuilder } from './group-builder.ts';
import type { LogWriter } from './log-writer.ts';
import type { StoreOptions } from './options.ts';
import { Segment } from './segment.ts';
import type { Segments } from './segments.ts';

export interface LogSpaceParts {
  readonly disk: Disk;
  readonly timers: Timers;
  readonly options: StoreOptions;
  readonly segments: Segments;
  readonly builder: GroupBuilder;
  readonly writer: LogWriter;
  readonly onFull: (isFull: boolean) => void;
  /** Work has to wait because the process may open no more files. */
  readonly onShortOfFiles: (sentence: string) => void;
  readonly onFailed: (reason: string) => void;
}

/**
 * Where the log goes on: keeps a segment and the reserve ready, notices a full disk, and a process with too many open files, and their
 * end. Says what a trouble of the housekeeping's means: most are the end of all appends.
 *
 *   enough       everything is taken
 *   scarce       the disk is nearly full: only what settles earlier promises is taken
 *   exhausted    a file could not be made: the same, and the reserve takes the place of the next segment
 */
export class LogSpace {
  readonly #parts: LogSpaceParts;
  readonly #chores: Chores;
  readonly #mustWait: () => boolean;
  /** A file could not be prepared for want of space or of a descriptor. */
  isExhausted = false;
  /** Used share of the file system, 0 to 1, as it was last seen. */
  usedRatio: number | undefined;
  /** So little space is left that only what settles earlier promises may have it. */
  #isScarce = false;
  #isPreparing = false;
  #isTakingReserve = false;
  #isStopped = false;
  #fullTimer: Timer | undefined;
  #spaceTimer: Timer | undefined;
  /** The reserve could not be opened; until then it is not tried again. */
  #reserveTimer: Timer | undefined;

  /** `mustWait`: whether the log has outrun what follows it, and gets no new file until `keepAhead` is called again. */
  constructor(parts: LogSpaceParts, chores: Chores, mustWait: () => boolean) {
    this.#parts = parts;
    this.#chores = chores;
    this.#mustWait = mustWait;
  }

  start(): void {
    this.#lookAtSpace();
    this.keepAhead();
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of [this.#fullTimer, this.#spaceTimer, this.#reserveTimer])
      if (timer !== undefined) this.#parts.timers.cancel(timer);
  }

  /** Called when the log has grown: prepares what will be needed next. */
  keepAhead(): void {
    if (this.#isStopped || this.#isPreparing || this.#fullTimer !== undefined || this.#mustWait()) return;
    const work = this.#spaceWork();
    if (work === undefined) return this.#setFull(false, this.#isScarce);
    this.#isPreparing = true;
    // Before snapshots and retention, which nobody waits for: sends wait for a segment that is not ready.
    this.#chores.addFirst(work, (error) => {
      this.#isPreparing = false;
      if (this.#isStopped) return;
      if (error !== undefined) return this.troubled('preparing a segment', error);
      this.#parts.writer.pump();
      this.keepAhead();
    });
  }

  /** A planned segment will get a file even if the disk stays full. */
  get hasReserve(): boolean {
    return this.#parts.segments.hasReserve || this.#isTakingReserve;
  }

  /** The writer has groups for a segment without a file. The reserve never takes the place of a file that has not been looked through. */
  needFile(segment: Segment): void {
    if (this.isExhausted && segment.base !== this.#parts.segments.unreadBase) this.#takeReserve(segment);
    else this.keepAhead();
  }

  #spaceWork(): (() => Steps<void>) | undefined {
    const { segments, builder } = this.#parts;
    const target = builder.segment;
    const used = builder.closedEnd - target.base;
    if (!target.isReady) return this.#isTakingReserve ? undefined : () => this.#makeReady(target);
    if (segments.next === undefined && (this.isExhausted || used > target.size * PREPARE_AT))
      return () => this.#prepareNext(target);
    if (!segments.hasReserve) return () => segments.prepareReserve();
    return undefined;
  }

  *#makeReady(segment: Segment): Steps<void> {
    const { segments } = this.#parts;
    const file = yield* segments.prepare(segment.base);
    segment.size = segments.segmentBytes;
    segment.file = file;
    segment.isReady = true;
  }

  *#prepareNext(after: Segment): Steps<void> {
    const { segments } = this.#parts;
    const base = after.end;
    const file = yield* segments.prepare(base);
    const planned = segments.last;
    // The log may have moved on to it meanwhile, without a file.
    if (planned.base !== base) segments.next = new Segment(base, segments.segmentBytes, file);
    else {
      planned.size = segments.segmentBytes;
      planned.file = file;
      planned.isReady = true;
    }
  }

  #takeReserve(segment: Segment): void {
    const { segments, writer } = this.#parts;
    if (this.#isTakingReserve || !segments.hasReserve || this.#isPreparing || this.#reserveTimer !== undefined) return;
    this.#isTakingReserve = true;
    const steps = function* (): Steps<void> {
      segment.file = yield* segments.takeReserve(segment.base);
      segment.isReady = true;
    };
    this.#chores.add(steps, (error) => {
      this.#isTakingReserve = false;
      if (this.#isStopped) return;
      if (error !== undefined) {
        // Nothing has been written while it still stands by.
        if (!isShortOfFiles(error) || !segments.hasReserve)
          return this.#parts.onFailed(`taking the reserve failed: ${withNextStep(error)}`);
        this.#parts.onShortOfFiles(`taking the reserve has to wait: ${withNextStep(error)}`);
        this.#reserveTimer = this.#parts.timers.after(this.#parts.options.fullRetryMs, () => {
          this.#reserveTimer = undefined;
          writer.pump();
        });
        return;
      }
      writer.pump();
    });
  }

  /** No space is a state that passes, and so is a process with too many open files; anything else is the end. */
  troubled(what: string, error: ChoreError): void {
    if (this.#isStopped) return;
    const isShort = isShortOfFiles(error);
    if (!isShort && error.code !== 'ENOSPC' && error.code !== 'EDQUOT')
      return this.#parts.onFailed(`${what} failed: ${withNextStep(error)}`);
    if (isShort) this.#parts.onShortOfFiles(`${what} has to wait: ${withNextStep(error)}`);
    this.#setFull(true, this.#isScarce);
    this.#fullTimer ??= this.#parts.timers.after(this.#parts.options.fullRetryMs, () => {
      this.#fullTimer = undefined;
      this.keepAhead();
    });
    this.#parts.writer.pump();
  }

  /** Sends and halves are refused. */
  get isFull(): boolean {
    return this.isExhausted || this.#isScarce;
  }

  #setFull(isExhausted: boolean, isScarce: boolean): void {
    const before = this.isFull;
    this.isExhausted = isExhausted;
    this.#isScarce = isScarce;
    if (this.isFull !== before) this.#parts.onFull(this.isFull);
  }

  /**
   * Stops sends before the file system is full, so that confirmations and offsets, and whoever else lives there, have room. Both
   * limits must be passed: a share alone would stop a broker that has 100 GB left, a number alone one on a small disk.
   */
  #lookAtSpace(): void {
    const { disk, options, timers } = this.#parts;
    disk.space?.((error, freeBytes, totalBytes) => {
      if (this.#isStopped) return;
      this.#spaceTimer = timers.after(options.diskSpaceIntervalMs, () => this.#lookAtSpace());
      if (error !== undefined) return;
      this.usedRatio = 1 - freeBytes / totalBytes;
      const usedPercent = 100 * this.usedRatio;
      const slack = this.#isScarce ? { percent: 5, share: 4 / 3 } : { percent: 0, share: 1 };
      const isScarce =
        usedPercent >= options.diskUsedMaxPercent - slack.percent && freeBytes < options.diskFreeBytesMin * slack.share;
      this.#setFull(this.isExhausted, isScarce);
    });
  }
}

/** The next segment is prepared when so much of the present one is used: early enough at full speed, late enough for small stores. */
const PREPARE_AT = 0.125;
