import { attempt, call, type Clock, type Disk, type DiskError, type DiskFile, type Steps } from '@tallystick/base';
import { troubleAt } from './disk-trouble.ts';
import { inspectRest } from './log-scan.ts';
import { AHEAD_AT_WORK, ScanRing } from './log-window.ts';
import { moveSegmentAside } from './quarantine.ts';
import { Segment } from './segment.ts';
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, SEGMENT_PREPARED, segmentPath } from './segment-header.ts';

/**
 * The files of the log in order, and the making of new ones: space and a header under a temporary name, synced, renamed, the folder
 * synced; only then may a group be written there. One segment is prepared ahead. A smaller file, the reserve, stands by for the time
 * when the disk is full: it takes the place of the next segment, so that what settles earlier promises can still be written.
 */
export class Segments {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #onMovedAside: (sentence: string) => void;
  readonly #list: Segment[] = [];
  readonly segmentBytes: number;
  readonly reserveBytes: number;
  storeId = '';
  /** Prepared for the base after the newest one in use. */
  next: Segment | undefined;
  /** Base of a prepared file that a start after a clean close found and did not look through; -1: none. */
  unreadBase = -1;
  hasReserve = false;

  constructor(disk: Disk, clock: Clock, segmentBytes: number, reserveBytes: number, onMovedAside: (sentence: string) => void) {
    this.#disk = disk;
    this.#clock = clock;
    this.#onMovedAside = onMovedAside;
    this.segmentBytes = segmentBytes;
    this.reserveBytes = Math.min(reserveBytes, segmentBytes);
  }

  get all(): readonly Segment[] {
    return this.#list;
  }

  get first(): Segment {
    return this.#list[0]!;
  }

  get last(): Segment {
    return this.#list[this.#list.length - 1]!;
  }

  add(segment: Segment): void {
    this.#list.push(segment);
  }

  /** The segment in use that holds the position. */
  of(position: number): Segment | undefined {
    let low = 0;
    let high = this.#list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#list[middle]!.base <= position) low = middle + 1;
      else high = middle;
    }
    const segment = this.#list[low - 1];
    return segment !== undefined && position < segment.end ? segment : undefined;
  }

  /** The segment after `last` comes into use: the prepared one, else a plan. */
  roll(): Segment {
    const base = this.last.end;
    const prepared = this.next;
    this.next = undefined;
    const segment = prepared?.base === base ? prepared : new Segment(base, this.reserveBytes, undefined);
    this.#list.push(segment);
    return segment;
  }

  /**
   * Makes the file of the segment at `base`, unless there is one that is as it was made. One that cannot be looked through is an error,
   * never a reason to make another in its place: it may hold more than zeros.
   */
  *prepare(base: number): Steps<DiskFile> {
    const found = base === this.unreadBase ? yield* this.#untouched(base) : undefined;
    this.unreadBase = -1;
    if (found !== undefined) return found;
    return yield* this.#make(`log/${TEMPORARY}`, new Segment(base, this.segmentBytes, undefined).path, base, this.segmentBytes);
  }

  *prepareReserve(): Steps<void> {
    const file = yield* this.#make(`log/${TEMPORARY}`, `log/${RESERVE}`, 0, this.reserveBytes);
    yield* call((done) => file.close(done));
    this.hasReserve = true;
  }

  /** Turns the reserve into the file of the segment at `base`. When only its opening fails it still stands by. */
  *takeReserve(base: number): Steps<DiskFile> {
    const file = yield* call<DiskFile>((done) => this.#disk.open(`log/${RESERVE}`, 'open', done));
    this.hasReserve = false;
    yield* call((done) => file.write([this.#preparedHeader(base, this.reserveBytes)], 0, done));
    yield* call((done) => file.sync(done));
    yield* call((done) => this.#disk.rename(`log/${RESERVE}`, new Segment(base, 0, undefined).path, done));
    yield* call((done) => this.#disk.syncFolder('log', done));
    return file;
  }

  /** Deletes the oldest segment and its index file, for good. */
  *retire(segment: Segment): Steps<void> {
    if (segment !== this.#list[0]) throw new Error(`segment ${segment.base} is not the oldest`);
    this.#list.shift();
    const file = segment.file;
    segment.file = undefined;
    if (file !== undefined) yield* call((done) => file.close(done));
    yield* call((done) => this.#disk.remove(segment.path, done));
    yield* call((done) => this.#disk.syncFolder('log', done));
  }

  /** The file of the segment at `base` if there is nothing but zeros behind its header. */
  *#untouched(base: number): Steps<DiskFile | undefined> {
    const size = this.segmentBytes;
    const opened = yield* attempt<DiskFile, DiskError>((done) => this.#disk.open(segmentPath(base), 'open', done));
    if (opened.error?.code === 'ENOENT') return undefined;
    if (opened.error !== undefined) throw unusable(base, 'opened', opened.error);
    const file = opened.value;
    let isEmpty: boolean;
    try {
      const fileBytes = yield* call<number>((done) => file.size(done));
      const ring = new ScanRing(size, AHEAD_AT_WORK);
      const { usedEnd } = yield* inspectRest(new Segment(base, size, file), SEGMENT_HEADER_BYTES, ring);
      isEmpty = usedEnd === SEGMENT_HEADER_BYTES;
      if (isEmpty && fileBytes === size) return file;
    } catch (error) {
      yield* attempt((done) => file.close(done));
      throw unusable(base, 'read', error as DiskError);
    }
    yield* attempt((done) => file.close(done));
    // Nothing of ours can be in it. What is, nobody throws away.
    if (!isEmpty) {
      const target = yield* moveSegmentAside(this.#disk, segmentPath(base), base);
      this.#onMovedAside(`${segmentPath(base)}, ${MADE_AHEAD}, held bytes that the log never wrote; it was moved to ${target}`);
    }
    return undefined;
  }

  *#make(temporary: string, path: string, base: number, size: number): Steps<DiskFile> {
    const file = yield* call<DiskFile>((done) => this.#disk.open(temporary, 'create', done));
    const failed = (yield* this.#fill(temporary, file, base, size)) ?? (yield* this.#publish(temporary, path));
    if (failed !== undefined) {
      yield* attempt((done) => file.close(done));
      yield* attempt((done) => this.#disk.remove(temporary, done));
      throw Object.assign(new Error(failed.message), { code: failed.code });
    }
    return file;
  }

  *#publish(temporary: string, path: string): Steps<DiskError | undefined> {
    const { error } = yield* attempt<void, DiskError>((done) => this.#disk.rename(temporary, path, done));
    return error ?? (yield* attempt<void, DiskError>((done) => this.#disk.syncFolder('log', done))).error;
  }

  /** Space for all of it, without writing where the disk can do that: zeros would be written twice, once here and once as data. */
  *#fill(path: string, file: DiskFile, base: number, size: number): Steps<DiskError | undefined> {
    if (yield* this.#allocated(path, size)) {
      const { error } = yield* attempt<void, DiskError>((done) => file.write([this.#preparedHeader(base, size)], 0, done));
      return error ?? (yield* attempt<void, DiskError>((done) => file.sync(done))).error;
    }
    for (let at = 0; at < size;) {
      const end = Math.min(size, at + FILL_BYTES);
      const chunks = zeros(end - at);
      if (at === 0) chunks.splice(0, 1, this.#preparedHeader(base, size), chunks[0]!.subarray(SEGMENT_HEADER_BYTES));
      const { error } = yield* attempt<void, DiskError>((done) => file.write(chunks, at, done));
      if (error !== undefined) return error;
      at = end;
      // In portions, so that the log's own syncs beside it do not wait for all of it.
      if (at < size && at % SYNC_BYTES !== 0) continue;
      const synced = yield* attempt<void, DiskError>((done) => file.sync(done));
      if (synced.error !== undefined) return synced.error;
    }
    return undefined;
  }

  *#allocated(path: string, size: number): Steps<boolean> {
    const disk = this.#disk;
    if (disk.allocate === undefined) return false;
    return yield* call<boolean>((done) => disk.allocate!(path, size, (isAllocated) => done(undefined, isAllocated)));
  }

  #preparedHeader(base: number, size: number): Buffer {
    const madeAtMs = this.#clock.now();
    return encodeSegmentHeader({
      state: SEGMENT_PREPARED,
      size,
      storeId: this.storeId,
      base,
      epoch: 0,
      previousCrc: 0,
      sequence: 0,
      madeAtMs,
    });
  }
}

function unusable(base: number, act: string, trouble: DiskError): Error {
  return troubleAt(`${segmentPath(base)}, ${MADE_AHEAD}, cannot be ${act}`, trouble);
}

const MADE_AHEAD = 'made ahead for the log to go on in';

/** Names in `log/` that are no segments. */
export const TEMPORARY = 'preparing';
export const RESERVE = 'reserve';

const MIB = 1024 * 1024;
const ZEROS = Buffer.alloc(MIB);
/**
 * Of zeros in one write. Larger ones hold a thread of the pool for long; each one takes a turn of the loop, and turns of a busy broker take
 * 15 ms: with 1 MiB the log could not grow by more than 64 MiB in a second, whatever disk and processor could do.
 */
const FILL_BYTES = 4 * MIB;
/** Of zeros between two syncs. */
const SYNC_BYTES = 8 * MIB;

function zeros(bytes: number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let left = bytes; left > 0; left -= MIB) chunks.push(ZEROS.subarray(0, Math.min(MIB, left)));
  return chunks;
}
