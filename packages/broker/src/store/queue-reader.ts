import { BoundedQueue, crc32, readI32, readU16, run, type Steps, type Turn } from '@tallystick/base';
import { Gathered } from './gathered.ts';
import type { IndexCache } from './index-cache.ts';
import { entryPosition, entrySize, entryTags, INDEX_BLOCK_ENTRIES } from './index-file.ts';
import type { LogReader, Span } from './log-reader.ts';
import type { QueueRef } from './queue-ref.ts';
import type { QueueTable } from './queue-table.ts';
import { MESSAGE_BYTES_MIN, MESSAGE_MAGIC_V2, recordFault, RecordView } from './record-view.ts';
import type { ReadRequest, ReadResult, ReadStatus } from './store-types.ts';
import type { Block, Tail } from './tail.ts';

export interface QueueReaderParts {
  readonly log: LogReader;
  readonly tail: Tail;
  readonly index: IndexCache;
  readonly queues: QueueTable;
  /** Nothing at or beyond this address may be shown. */
  readonly visibleEnd: () => number;
  /** Makes the index file of a segment again; false when the segment itself is damaged. */
  readonly rebuildIndex: (segmentBase: number) => Steps<boolean>;
  readonly readsWaitingMax: number;
  readonly turn: Turn;
  /** A read that waited for the disk has ended. */
  readonly progress: () => void;
}

/**
 * Reads queues. Whoever keeps up is answered during the call, out of the tail. Others wait in line: one read of the disk at a time,
 * then a gather by index entries. What comes from disk is checked before it is handed out.
 *
 * Reads for confirmations overtake the others and are never refused: who asks bounds their number. Of the others one is served after
 * every {@link URGENT_IN_A_ROW} of them.
 */
export class QueueReader {
  readonly #parts: QueueReaderParts;
  readonly #urgent = new BoundedQueue<Job>(Number.POSITIVE_INFINITY);
  readonly #waiting: BoundedQueue<Job>;
  /** Urgent reads begun since one of the others was. */
  #urgentInARow = 0;
  /** A read is on its way, or the rest of the line is served at the end of the turn. */
  #isBusy = false;
  readonly #goOn = (): void => this.#serve();
  #isStopped = false;
  #whenIdle = (): void => {};
  readonly #view = new RecordView();
  readonly #fromTail = new Gathered();
  readonly #fromDisk = new Gathered();

  constructor(parts: QueueReaderParts) {
    this.#parts = parts;
    this.#waiting = new BoundedQueue(parts.readsWaitingMax);
  }

  read(request: ReadRequest, done: (result: ReadResult) => void): void {
    const outside = this.#outside(request);
    if (outside !== undefined) return done(outside);
    const quick = this.#readTail(request);
    if (quick !== undefined) return done(quick);
    this.#wait(
      () => this.#gather(request),
      (error, result) => done(error === undefined ? result : failure(request, error)),
    );
  }

  readRecord(position: number, done: (error: string | undefined, bytes: Buffer) => void, isUrgent = false): void {
    const span = this.#spanOfRecord(position);
    const size = span === undefined ? -1 : readI32(span.bytes, position - span.base);
    const bytes = span?.isTail === true ? this.#messageIn(span, position, size) : undefined;
    if (bytes !== undefined && this.#isIndexedHot(bytes, position)) return done(undefined, bytes);
    this.#wait(
      () => this.#findRecord(position),
      (error, found) => {
        const sentence = error ?? (typeof found === 'string' ? found : undefined);
        done(sentence, sentence === undefined ? (found as Buffer) : NONE);
      },
      isUrgent,
    );
  }

  offsetByTime(
    queue: QueueRef,
    timestampMs: number,
    boundary: 'lower' | 'upper',
    done: (error: string | undefined, offset: number) => void,
  ): void {
    this.#wait(
      () => this.#search(queue, timestampMs, boundary),
      (error, offset) => done(error, offset),
    );
  }

  /** Nothing more is answered; `done` when no read is on its way. */
  stop(done: () => void): void {
    this.#isStopped = true;
    this.#waiting.drain();
    this.#urgent.drain();
    if (this.#isBusy) this.#whenIdle = done;
    else done();
  }

  /** Requests that wait for their turn at the disk, without the urgent ones. */
  get waiting(): number {
    return this.#waiting.length;
  }

  // In the line.

  #wait<T>(steps: () => Steps<T>, done: (error: string | undefined, value: T) => void, isUrgent = false): void {
    if (this.#isStopped) return done('the store is closed', undefined as T);
    const line = isUrgent ? this.#urgent : this.#waiting;
    if (!line.offer({ steps, done: (error, value) => done(error?.message, value as T) }))
      return done(`too many reads wait for the disk: ${line.length} (readsWaitingMax); try again later`, undefined as T);
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#serve();
  }

  /**
   * Serves the line until a read has to wait for the disk. What lies in a cached span is done during the call, so this is a loop, and a
   * long one leaves the rest to the end of the turn.
   */
  #serve(): void {
    for (let served = 0; !this.#isStopped; served++) {
      if (served === SERVED_AT_ONCE && this.#urgent.length + this.#waiting.length > 0) return this.#parts.turn.atEnd(this.#goOn);
      const job = this.#take();
      if (job === undefined) {
        this.#isBusy = false;
        return;
      }
      let isInside = true;
      let isEnded = false;
      run(job.steps, (error, value) => {
        isEnded = true;
        this.#tell(job, error, value);
        if (!isInside) this.#serve();
      });
      isInside = false;
      if (!isEnded) return;
    }
    this.#whenIdle();
  }

  #take(): Job | undefined {
    const isUrgent = this.#urgent.length > 0 && (this.#urgentInARow < URGENT_IN_A_ROW || this.#waiting.length === 0);
    this.#urgentInARow = isUrgent ? this.#urgentInARow + 1 : 0;
    return (isUrgent ? this.#urgent : this.#waiting).take();
  }

  #tell(job: Job, error: Error | undefined, value: unknown): void {
    if (this.#isStopped) return;
    let isHeard = false;
    try {
      job.done(error, value);
      this.#parts.progress();
      isHeard = true;
    } finally {
      // Whoever throws at its answer must not stop those behind it.
      if (!isHeard) this.#parts.turn.atEnd(this.#goOn);
    }
  }

  // A queue, from RAM.

  /** The answer when the offset lies outside of the queue. */
  #outside({ queue, offset }: ReadRequest): ReadResult | undefined {
    const { minOffset, maxOffset } = queue;
    if (maxOffset === 0) return answer(queue, 'empty', 0);
    if (offset < minOffset) return answer(queue, 'too-small', minOffset);
    if (offset === maxOffset) return answer(queue, 'overflow-one', offset);
    return offset > maxOffset ? answer(queue, 'overflow-badly', maxOffset) : undefined;
  }

  /** Undefined when the first message that matches is not in the tail. */
  #readTail(request: ReadRequest): ReadResult | undefined {
    const { queue, maxCount, maxBytes, tagMatches } = request;
    const { tail } = this.#parts;
    const { maxOffset } = queue;
    let { offset } = request;
    let run = queue.entries.hotRun(offset);
    if (run === undefined) return undefined;
    const gathered = this.#fromTail;
    gathered.begin();
    let block: Block | undefined;
    const scanEnd = Math.min(maxOffset, offset + SCAN_MAX);
    while (offset < scanEnd && gathered.count < maxCount) {
      let entry = offset - run.first;
      if (entry >= run.count) {
        const following = queue.entries.hotRun(offset);
        if (following === undefined) break;
        run = following;
        entry = offset - run.first;
      }
      if (tagMatches !== undefined && !tagMatches(run.tags[entry]!)) {
        offset++;
        continue;
      }
      const position = run.segmentBase + run.relative[entry]!;
      const size = run.sizes[entry]!;
      if (gathered.count > 0 && gathered.bytes + size > maxBytes) break;
      if (block === undefined || position < block.base || position >= block.base + block.closed) {
        block = tail.find(position);
        if (block === undefined) break;
      }
      const at = position - block.base;
      gathered.add(block.bytes, at, at + size);
      offset++;
    }
    if (gathered.count > 0) return found(queue, offset, gathered);
    if (offset === request.offset) return undefined;
    return offset >= scanEnd ? answer(queue, 'none-matched', offset) : undefined;
  }

  // A queue, from disk.

  *#gather(request: ReadRequest): Steps<ReadResult> {
    const { queue, maxCount, maxBytes, tagMatches } = request;
    let { offset } = request;
    const scanEnd = Math.min(queue.maxOffset, offset + SCAN_MAX);
    const gathered = this.#fromDisk;
    gathered.begin();
    let spansLeft = SPANS_MAX;
    const entry = new Entry();
    let span: Span | string | undefined;
    while (offset < scanEnd && gathered.count < maxCount) {
      // Entry after entry lies in the same run and the same span: only where one ends may anything have to wait.
      if (!entry.load(queue, offset)) {
        gathered.settle();
        span = undefined;
        const missing = yield* this.#entry(queue, offset, entry);
        if (missing !== undefined) {
          if (gathered.count > 0) break;
          return this.#outside({ ...request, offset }) ?? failure(request, missing);
        }
      }
      if (tagMatches !== undefined && !tagMatches(entry.tagsCode)) {
        offset++;
        continue;
      }
      if (gathered.count > 0 && gathered.bytes + entry.size > maxBytes) break;
      if (!covers(span, entry)) {
        span = this.#parts.log.inMemory(entry.position, entry.size);
        if (span === undefined) {
          if (spansLeft-- === 0) break;
          // What lies in the tail may be overwritten while we wait.
          gathered.settle();
          span = yield* this.#parts.log.readSpan(entry.position, entry.size);
        }
      }
      const fault = typeof span === 'string' ? span : messageFault(span!, entry, queue, offset);
      if (fault !== undefined) {
        if (gathered.count > 0) break;
        return this.#outside({ ...request, offset }) ?? failure(request, fault);
      }
      const at = entry.position - (span as Span).base;
      gathered.add((span as Span).bytes, at, at + entry.size);
      offset++;
    }
    return gathered.count > 0 ? found(queue, offset, gathered) : answer(queue, 'none-matched', offset);
  }

  /** Finds the entry of an offset; a sentence when there is none. */
  *#entry(queue: QueueRef, offset: number, into: Entry): Steps<string | undefined> {
    for (let attempts = 0; attempts < 2; attempts++) {
      if (into.load(queue, offset)) return undefined;
      const { sealed } = queue.entries;
      const index = sealed.find(offset);
      if (index < 0) return `offset ${offset} of ${queue.topic}:${queue.queueId} is not stored`;
      const at = offset - sealed.first[index]!;
      const segmentBase = sealed.segmentBase[index]!;
      // Read before the wait: a segment deleted meanwhile moves the columns.
      const count = sealed.count[index]!;
      const block = yield* this.#parts.index.block(segmentBase, sealed.at[index]!, count, at);
      if (typeof block !== 'string') {
        const skipped = at % INDEX_BLOCK_ENTRIES;
        into.open(block, offset - skipped, Math.min(INDEX_BLOCK_ENTRIES, count - at + skipped));
        into.load(queue, offset);
        return undefined;
      }
      if (!(yield* this.#parts.rebuildIndex(segmentBase))) return `index of segment ${segmentBase}: ${block}`;
    }
    return `index of ${queue.topic}:${queue.queueId} cannot be read`;
  }

  // One record by address.

  *#findRecord(position: number): Steps<Buffer | string> {
    if (!Number.isSafeInteger(position) || position < 0 || position >= this.#parts.visibleEnd()) return noMessage(position);
    let span: Span | string | undefined = this.#spanOfRecord(position);
    span ??= yield* this.#parts.log.readSpan(position, MESSAGE_BYTES_MIN);
    if (typeof span === 'string') return span;
    const size = readI32(span.bytes, position - span.base);
    if (size < MESSAGE_BYTES_MIN) return noMessage(position);
    if (position + size > span.base + span.length) span = yield* this.#parts.log.readSpan(position, size);
    if (typeof span === 'string') return span;
    const bytes = this.#messageIn(span, position, size);
    if (bytes === undefined) return noMessage(position);
    const kept = Buffer.from(bytes);
    const view = this.#view.move(kept, 0, kept.length, position);
    const queue = this.#parts.queues.find(view.topic(), view.queueId);
    const entry = new Entry();
    const offset = view.queueOffset;
    // A body may look like a record: only the queue's entry proves it to be one.
    if (queue === undefined || (yield* this.#entry(queue, offset, entry)) !== undefined || entry.position !== position)
      return noMessage(position);
    const fault = messageFault({ base: position, bytes: kept, length: kept.length, isTail: false }, entry, queue, offset);
    return fault ?? kept;
  }

  #spanOfRecord(position: number): Span | undefined {
    return position >= 0 && position < this.#parts.visibleEnd()
      ? this.#parts.log.inMemory(position, MESSAGE_BYTES_MIN)
      : undefined;
  }

  #messageIn(span: Span, position: number, size: number): Buffer | undefined {
    const at = position - span.base;
    if (size < MESSAGE_BYTES_MIN || at + size > span.length) return undefined;
    if (recordFault(span.bytes, at, at + size, position) !== undefined) return undefined;
    const bytes = span.bytes.subarray(at, at + size);
    return this.#view.move(bytes, 0, size, position).isControl ? undefined : bytes;
  }

  #isIndexedHot(bytes: Buffer, position: number): boolean {
    const view = this.#view.move(bytes, 0, bytes.length, position);
    const offset = view.queueOffset;
    const run = this.#parts.queues.find(view.topic(), view.queueId)?.entries.hotRun(offset);
    return run !== undefined && run.segmentBase + run.relative[offset - run.first]! === position;
  }

  // By time.

  *#search(queue: QueueRef, timestampMs: number, boundary: 'lower' | 'upper'): Steps<number> {
    const { minOffset, maxOffset } = queue;
    let low = minOffset;
    let high = maxOffset;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const storedMs = yield* this.#storeTime(queue, middle);
      if (boundary === 'lower' ? storedMs < timestampMs : storedMs <= timestampMs) low = middle + 1;
      else high = middle;
    }
    return boundary === 'lower' ? low : Math.max(minOffset, low - 1);
  }

  *#storeTime(queue: QueueRef, offset: number): Steps<number> {
    const entry = new Entry();
    const missing = yield* this.#entry(queue, offset, entry);
    if (missing !== undefined) throw new Error(missing);
    const span =
      this.#parts.log.inMemory(entry.position, entry.size) ?? (yield* this.#parts.log.readSpan(entry.position, entry.size));
    if (typeof span === 'string') throw new Error(span);
    const at = entry.position - span.base;
    return this.#view.move(span.bytes, at, at + entry.size, entry.position).storeTimestamp;
  }
}

/** One entry, and the place that the next will most likely come from: a block of an index file. */
class Entry {
  position = 0;
  size = 0;
  tagsCode = 0;
  #block: Buffer | undefined;
  #first = 0;
  #end = 0;

  /** Entries of offsets [first, first + count) come from `block` from now on. */
  open(block: Buffer, first: number, count: number): void {
    this.#block = block;
    this.#first = first;
    this.#end = first + count;
  }

  /** Loads the entry of an offset if it is in RAM. */
  load(queue: QueueRef, offset: number): boolean {
    if (this.#block !== undefined && offset >= this.#first && offset < this.#end) {
      const within = offset - this.#first;
      this.position = entryPosition(this.#block, within);
      this.size = entrySize(this.#block, within);
      this.tagsCode = entryTags(this.#block, within);
      return true;
    }
    const run = queue.entries.hotRun(offset);
    if (run === undefined) return false;
    const at = offset - run.first;
    this.position = run.segmentBase + run.relative[at]!;
    this.size = run.sizes[at]!;
    this.tagsCode = run.tags[at]!;
    return true;
  }
}

function covers(span: Span | string | undefined, { position, size }: Entry): boolean {
  return typeof span === 'object' && position >= span.base && position + size <= span.base + span.length;
}

/** Reads done out of spans in RAM before the sockets have their turn again. */
const SERVED_AT_ONCE = 256;
/** So many urgent reads, then one of the others. */
const URGENT_IN_A_ROW = 16;

interface Job {
  readonly steps: () => Steps<unknown>;
  readonly done: (error: Error | undefined, value: unknown) => void;
}

/** Checks a record against the entry that led to it, and its body against its checksum. */
function messageFault(span: Span, entry: Entry, queue: QueueRef, offset: number): string | undefined {
  const what = whatIsWrong(span, entry, queue, offset);
  return what === undefined
    ? undefined
    : `the record at position ${entry.position} (${queue.topic}:${queue.queueId} offset ${offset}, ${entry.size} bytes) is damaged: ${what}`;
}

function whatIsWrong({ base, bytes }: Span, { position, size }: Entry, queue: QueueRef, offset: number): string | undefined {
  const at = position - base;
  const fault = recordFault(bytes, at, at + size, position);
  if (fault !== undefined) return fault;
  const view = VIEW.move(bytes, at, at + size, position);
  if (view.isControl) return 'it is no message';
  if (readI32(bytes, at) !== size) return 'its size differs from its index entry';
  if (view.queueOffset !== offset) return 'it has another queue offset';
  const { bodyStart } = view;
  const bodyEnd = bodyStart + readI32(bytes, bodyStart - 4);
  const isLong = readI32(bytes, at + 4) >>> 0 === MESSAGE_MAGIC_V2;
  const topicBytes = isLong ? readU16(bytes, bodyEnd) : bytes[bodyEnd];
  if (topicBytes !== queue.topicBytes.length || !startsWith(bytes, bodyEnd + (isLong ? 2 : 1), queue.topicBytes))
    return 'it is of another queue';
  if (view.queueId !== queue.queueId) return 'it is of another queue';
  return (crc32(bytes, bodyStart, bodyEnd) & 0x7fffffff) === view.bodyCrc ? undefined : 'body checksum differs';
}

/** A topic is short: a loop beats the call of a comparison. */
function startsWith(bytes: Buffer, at: number, expected: Buffer): boolean {
  for (let n = 0; n < expected.length; n++) if (expected[n] !== bytes[at + n]) return false;
  return true;
}

function found(queue: QueueRef, nextOffset: number, gathered: Gathered): ReadResult {
  const { bytes, count } = gathered;
  return {
    status: 'found',
    nextOffset,
    minOffset: queue.minOffset,
    maxOffset: queue.maxOffset,
    chunks: gathered.chunks(),
    bytes,
    count,
  };
}

function answer(queue: QueueRef, status: ReadStatus, nextOffset: number): ReadResult {
  return { status, nextOffset, minOffset: queue.minOffset, maxOffset: queue.maxOffset, chunks: [], bytes: 0, count: 0 };
}

function failure({ queue, offset }: ReadRequest, reason: string): ReadResult {
  return { ...answer(queue, 'error', offset), reason };
}

function noMessage(position: number): string {
  return `there is no message at position ${position}`;
}

/** Entries looked at in one read at most, matching or not. */
const SCAN_MAX = 8192;
/** Reads of the disk for one answer at most: entries of a sparse queue lie far apart. */
const SPANS_MAX = 4;
const NONE = Buffer.alloc(0);
const VIEW = new RecordView();
