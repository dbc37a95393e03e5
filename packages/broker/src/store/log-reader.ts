import { attempt, call, type Disk, type DiskError, type DiskFile, type Steps } from '@tallystick/base';
import type { Segment } from './segment.ts';
import type { Segments } from './segments.ts';
import type { Tail } from './tail.ts';

/** A stretch of the log in RAM. */
export interface Span {
  /** Address of `bytes[0]`. */
  readonly base: number;
  readonly bytes: Buffer;
  /** Bytes that hold log. */
  readonly length: number;
  /** A block of the tail. Its buffer will be used again after the turn, that of another span after the next read. */
  readonly isTail: boolean;
}

/**
 * Bytes of the log by address: from the tail, from stretches recently read, else from disk. A read from disk takes at least
 * `spanBytes`: a consumer that is behind wants what follows, too, and so do the consumers of other queues beside it.
 */
export class LogReader {
  readonly #disk: Disk;
  readonly #tail: Tail;
  readonly #segments: Segments;
  readonly #spanBytes: number;
  readonly #cacheBytes: number;
  readonly #spans: Span[] = [];
  #cachedBytes = 0;
  /** Buffers of spans that left; the next reads fill them. */
  readonly #free: Buffer[] = [];
  readonly #opened: Segment[] = [];
  diskReads = 0;

  constructor(disk: Disk, tail: Tail, segments: Segments, spanBytes: number, cacheBytes: number) {
    this.#disk = disk;
    this.#tail = tail;
    this.#segments = segments;
    this.#spanBytes = spanBytes;
    this.#cacheBytes = cacheBytes;
  }

  /** What is in RAM around these bytes, all of them. */
  inMemory(position: number, size: number): Span | undefined {
    const block = this.#tail.find(position);
    if (block !== undefined && position + size <= block.base + block.closed)
      return { base: block.base, bytes: block.bytes, length: block.closed, isTail: true };
    for (let at = this.#spans.length - 1; at >= 0; at--) {
      const span = this.#spans[at]!;
      if (position >= span.base && position + size <= span.base + span.length) return span;
    }
    return undefined;
  }

  /** Reads a stretch with these bytes in it; a sentence when the disk does not give them. */
  *readSpan(position: number, size: number): Steps<Span | string> {
    const segment = this.#segments.of(position);
    if (segment === undefined || !segment.isReady || position + size > segment.writtenEnd)
      return `nothing is stored at ${position}`;
    const file = yield* this.#open(segment);
    if (typeof file === 'string') return file;
    // Spans begin at multiples of their size, so that queues that are read side by side share them instead of overlapping.
    const base = segment.base + Math.floor((position - segment.base) / this.#spanBytes) * this.#spanBytes;
    const before = position - base;
    const length = Math.min(Math.max(before + size, this.#spanBytes), segment.writtenEnd - base);
    const bytes =
      length === this.#spanBytes ? (this.#free.pop() ?? Buffer.allocUnsafeSlow(length)) : Buffer.allocUnsafeSlow(length);
    this.diskReads++;
    const read = yield* attempt<number, DiskError>((done) => file.read(bytes, base - segment.base, done));
    if (read.error !== undefined || read.value < before + size) {
      return `${segment.path} cannot be read at byte ${position - segment.base} (${size} bytes): ${read.error?.message ?? 'the file is shorter'}`;
    }
    const span = { base, bytes, length: read.value, isTail: false };
    this.#keep(span);
    return span;
  }

  /** Forgets what is cached of a segment that goes, or whose bytes turned out wrong. */
  forget(from: number, end: number): void {
    for (let at = this.#spans.length - 1; at >= 0; at--) {
      const span = this.#spans[at]!;
      if (span.base < end && span.base + span.length > from) {
        this.#spans.splice(at, 1);
        this.#cachedBytes -= span.bytes.length;
      }
    }
    const opened = this.#opened.findIndex((segment) => segment.base >= from && segment.base < end);
    if (opened >= 0) this.#opened.splice(opened, 1);
  }

  #keep(span: Span): void {
    this.#spans.push(span);
    this.#cachedBytes += span.bytes.length;
    while (this.#spans.length > 1 && this.#cachedBytes > this.#cacheBytes) {
      const { bytes } = this.#spans.shift()!;
      this.#cachedBytes -= bytes.length;
      if (bytes.length === this.#spanBytes && this.#free.length < FREE_MAX) this.#free.push(bytes);
    }
  }

  /** The writer is done with the segment; its file is closed when it has not been read for a while. */
  *takeOver(segment: Segment): Steps<void> {
    if (segment.file === undefined) return;
    this.#use(segment);
    if (this.#opened.length <= OPEN_MAX) return;
    const oldest = this.#opened.shift()!;
    const file = oldest.file;
    oldest.file = undefined;
    if (file !== undefined) yield* call((done) => file.close(done));
  }

  /** The file read last stands last. */
  #use(segment: Segment): void {
    const at = this.#opened.indexOf(segment);
    if (at >= 0) this.#opened.splice(at, 1);
    this.#opened.push(segment);
  }

  /** Sealed segments are opened when read, a few at a time stay open. */
  *#open(segment: Segment): Steps<DiskFile | string> {
    if (segment.file !== undefined) {
      // The file in which the log is being written is not ours to close.
      if (this.#opened.includes(segment)) this.#use(segment);
      return segment.file;
    }
    const opened = yield* attempt<DiskFile, DiskError>((done) => this.#disk.open(segment.path, 'open', done));
    if (opened.error !== undefined) return `${segment.path} cannot be opened: ${opened.error.message}`;
    segment.file = opened.value;
    yield* this.takeOver(segment);
    return opened.value;
  }
}

/** Sealed segments that stay open for reading. */
const OPEN_MAX = 32;
/** One read is under way at a time: the buffer that leaves is the one that the next read fills. */
const FREE_MAX = 2;
