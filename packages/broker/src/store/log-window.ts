import { call, viewOf, type DiskError, type DiskFile, type Steps } from '@tallystick/base';
import { troubleAt } from './disk-trouble.ts';

/**
 * Memory for one scan after the other: what is new to the process costs as much as the bytes read into it. A ring of slots that take
 * one read each, behind room for what is left at its end when it begins again:
 *
 *     head | slot 0 | slot 1 | ... | last slot
 *
 * A group lies in one stretch whatever reads it came with. Small segments are read in small pieces.
 */
export class ScanRing {
  readonly pieceBytes: number;
  /** Reads on their way, or waiting to be looked at. */
  readonly ahead: number;
  slots: number;
  headBytes: number;
  bytes: Buffer;
  view: DataView;

  /** For segments of up to so many bytes. */
  constructor(segmentBytes: number, ahead: number) {
    this.ahead = ahead;
    // A group often lies in two pieces.
    this.slots = ahead + 2;
    this.pieceBytes = Math.max(PIECE_BYTES_MIN, Math.min(PIECE_BYTES_MAX, segmentBytes / PIECES_PER_SEGMENT) & ~4095);
    this.headBytes = this.pieceBytes;
    this.bytes = Buffer.allocUnsafeSlow(this.headBytes + this.slots * this.pieceBytes);
    this.view = viewOf(this.bytes);
  }

  /** Makes room for a stretch of so many bytes, which no ordinary group has. What the ring holds is lost. */
  grow(bytes: number): void {
    const slots = Math.ceil(bytes / this.pieceBytes);
    if (slots <= this.slots) return;
    this.slots = slots;
    this.headBytes = slots * this.pieceBytes;
    this.bytes = Buffer.allocUnsafeSlow(2 * this.headBytes);
    this.view = viewOf(this.bytes);
  }
}

/**
 * A part of a file in RAM that moves forward. While it is looked at, the next pieces are on their way. They may come in any order
 * and are taken in that of the file, so what a scan sees, and which failed read it meets, does not depend on it. Bytes after the
 * end of a file that was cut short read as zeros. One that was shown anything must come to rest before the file is closed.
 */
export class LogWindow {
  readonly #file: DiskFile;
  readonly #limit: number;
  readonly #ring: ScanRing;
  bytes: Buffer;
  view: DataView;
  /** Offset in the file of the buffer's first byte: the bytes from `offset` on lie at `offset - start`. Only those from `#low` on are valid. */
  start = 0;
  end = 0;
  #low = 0;
  /** Read or being read, and not yet part of the window; in the order of the file and of the slots. */
  readonly #ahead: Piece[] = [];
  #nextSlot = 0;

  constructor(file: DiskFile, limit: number, ring: ScanRing) {
    this.#file = file;
    this.#limit = limit;
    this.#ring = ring;
    this.bytes = ring.bytes;
    this.view = ring.view;
  }

  /** Whether these bytes, as far as the segment goes, are in RAM. */
  holds(offset: number, count: number): boolean {
    return offset >= this.#low && (offset + count <= this.end || (this.end === this.#limit && offset <= this.end));
  }

  /** Sees to it that `count` bytes from `offset` on are in RAM, as far as the segment goes. Those before `offset` are given up. */
  *show(offset: number, count: number): Steps<void> {
    const wanted = Math.min(offset + count, this.#limit);
    if (offset < this.#low || offset > this.end) yield* this.#jump(offset, wanted - offset);
    this.#low = offset;
    this.#readAhead();
    while (this.end < wanted) {
      const piece = this.#ahead[0];
      if (piece === undefined || !this.#fits(piece)) yield* this.#jump(offset, wanted - offset);
      else {
        yield* piece.arrival();
        this.#take(piece);
      }
      this.#readAhead();
    }
  }

  /** Waits for the reads that are on their way. */
  *rest(): Steps<void> {
    for (const piece of this.#ahead) yield* piece.arrival();
  }

  /** 0 beyond the end of the segment. */
  u32(offset: number): number {
    return offset + 4 <= this.end ? this.view.getUint32(offset - this.start) : 0;
  }

  /** Where the ring begins again, what is left of the window goes in front of it. */
  #fits(piece: Piece): boolean {
    return piece.slot > 0 || this.end - this.#low <= this.#ring.headBytes;
  }

  #take(piece: Piece): void {
    this.#ahead.shift();
    if (piece.error !== undefined) throw troubleAt(`${this.#file.path} at byte ${piece.start}`, piece.error);
    if (piece.slot === 0) {
      const { headBytes } = this.#ring;
      const left = this.end - this.#low;
      const at = this.#low - this.start;
      this.bytes.copy(this.bytes, headBytes - left, at, at + left);
      this.start = piece.start - headBytes;
    }
    this.end = piece.end;
  }

  /** Begins anew at `offset`, with room for `count` bytes. */
  *#jump(offset: number, count: number): Steps<void> {
    yield* this.rest();
    this.#ahead.length = 0;
    this.#nextSlot = 0;
    this.#ring.grow(count);
    this.bytes = this.#ring.bytes;
    this.view = this.#ring.view;
    this.start = offset - this.#ring.headBytes;
    this.#low = offset;
    this.end = offset;
  }

  /** Keeps the disk busy, as far as there are slots that hold nothing of the window. */
  #readAhead(): void {
    const { ahead, pieceBytes, slots, headBytes } = this.#ring;
    const slotOf = (offset: number): number => Math.max(0, (offset - this.start - headBytes) / pieceBytes);
    const held = this.end > this.#low ? Math.ceil(slotOf(this.end)) - Math.floor(slotOf(this.#low)) : 0;
    const most = Math.min(ahead, slots - held);
    while (this.#ahead.length < most) {
      const start = this.#ahead.at(-1)?.end ?? this.end;
      if (start >= this.#limit) return;
      const piece = new Piece(this.#nextSlot, start, Math.min(start + pieceBytes, this.#limit));
      this.#nextSlot = (this.#nextSlot + 1) % slots;
      this.#ahead.push(piece);
      const at = headBytes + piece.slot * pieceBytes;
      piece.read(this.#file, this.bytes.subarray(at, at + piece.end - start));
    }
  }
}

/** One read, from its beginning to the end of its use. */
class Piece {
  readonly slot: number;
  readonly start: number;
  readonly end: number;
  error: DiskError | undefined;
  #isHere = false;
  #waiting: (() => void) | undefined;

  constructor(slot: number, start: number, end: number) {
    this.slot = slot;
    this.start = start;
    this.end = end;
  }

  read(file: DiskFile, into: Buffer): void {
    file.read(into, this.start, (error, bytesRead) => {
      this.error = error;
      if (error === undefined) into.fill(0, bytesRead);
      this.#isHere = true;
      this.#waiting?.();
    });
  }

  *arrival(): Steps<void> {
    if (this.#isHere) return;
    yield* call((done) => {
      this.#waiting = () => done(undefined, undefined);
    });
  }
}

/** While nothing else goes on: a disk is quick only when it always has something to do. */
export const AHEAD_AT_START = 3;
/** Beside a broker at work: the pool has four threads, and the log's writes need them. */
export const AHEAD_AT_WORK = 1;
/** Each read wakes a thread of the pool, which costs 70 µs here: with 1 MiB a tenth of a start out of the page cache. */
const PIECE_BYTES_MAX = 2 * 1024 * 1024;
const PIECE_BYTES_MIN = 4096;
const PIECES_PER_SEGMENT = 32;
