import { call, viewOf, type DiskFile, type Steps } from '@tallystick/base';

/** Two buffers for one scan after the other: memory that is new to the process costs as much as the bytes read into it. */
export class ScanBuffers {
  present = new PieceBuffer(PIECE_BYTES);
  spare = new PieceBuffer(PIECE_BYTES);
}

class PieceBuffer {
  readonly bytes: Buffer;
  readonly view: DataView;

  constructor(pieceBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(HEAD_BYTES + pieceBytes);
    this.view = viewOf(this.bytes);
  }
}

/**
 * A part of a file in RAM that moves forward. While it is looked at, the next piece is read into the other buffer, behind room for what
 * is left of the present one. Bytes after the end of a file that was cut short read as zeros. One that was shown anything must
 * come to rest before the file is closed.
 */
export class LogWindow {
  readonly #file: DiskFile;
  readonly #limit: number;
  readonly #buffers: ScanBuffers;
  bytes: Buffer;
  view: DataView;
  /** Offset in the file of the buffer's first byte: the bytes from `offset` on lie at `offset - start`. Only those from `#low` on are valid. */
  start = 0;
  end = 0;
  #low = 0;
  #aheadStart = -1;
  #aheadEnd = -1;
  #aheadIsHere = true;
  #aheadError: unknown;
  #waiting: (() => void) | undefined;

  constructor(file: DiskFile, limit: number, buffers: ScanBuffers) {
    this.#file = file;
    this.#limit = limit;
    this.#buffers = buffers;
    this.bytes = buffers.present.bytes;
    this.view = buffers.present.view;
  }

  /** Whether these bytes, as far as the segment goes, are in RAM. */
  holds(offset: number, count: number): boolean {
    return offset >= this.#low && (offset + count <= this.end || (this.end === this.#limit && offset <= this.end));
  }

  /** Sees to it that `count` bytes from `offset` on are in RAM, as far as the segment goes. */
  *show(offset: number, count: number): Steps<void> {
    if (this.holds(offset, count)) return;
    const wanted = Math.min(offset + count, this.#limit);
    yield* this.rest();
    const left = this.end - offset;
    const fits = offset >= this.#low && left >= 0 && left <= HEAD_BYTES && wanted <= this.#aheadEnd;
    if (fits && this.#aheadStart === this.end) this.#turn(offset, left);
    else yield* this.#jump(offset, wanted - offset);
    this.#readAhead();
  }

  /** Waits for the read that is on its way. */
  *rest(): Steps<void> {
    if (this.#aheadIsHere) return;
    yield* call((done) => {
      this.#waiting = () => done(undefined, undefined);
    });
  }

  /** 0 beyond the end of the segment. */
  u32(offset: number): number {
    return offset + 4 <= this.end ? this.view.getUint32(offset - this.start) : 0;
  }

  /** On to the piece that was read ahead; what is left of the present one goes in front of it. */
  #turn(offset: number, left: number): void {
    const { present, spare } = this.#buffers;
    if (this.#aheadError !== undefined && this.#aheadError !== null) throw this.#aheadError;
    const at = offset - this.start;
    present.bytes.copy(spare.bytes, HEAD_BYTES - left, at, at + left);
    this.#buffers.present = spare;
    this.#buffers.spare = present;
    this.#use(offset, this.#aheadStart, this.#aheadEnd);
  }

  *#jump(offset: number, count: number): Steps<void> {
    const length = Math.max(0, Math.min(Math.max(count, PIECE_BYTES), this.#limit - offset));
    const { present } = this.#buffers;
    if (present.bytes.length < HEAD_BYTES + length) this.#buffers.present = new PieceBuffer(length);
    this.#use(offset, offset, offset + length);
    if (length === 0) return;
    const into = this.bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
    const read = yield* call<number>((done) => this.#file.read(into, offset, done));
    into.fill(0, read);
  }

  #use(low: number, pieceStart: number, end: number): void {
    const { bytes, view } = this.#buffers.present;
    this.bytes = bytes;
    this.view = view;
    this.start = pieceStart - HEAD_BYTES;
    this.#low = low;
    this.end = end;
  }

  #readAhead(): void {
    const offset = this.end;
    const length = Math.min(PIECE_BYTES, this.#limit - offset);
    this.#aheadStart = offset;
    this.#aheadEnd = offset + length;
    if (length <= 0) return;
    const into = this.#buffers.spare.bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
    this.#aheadIsHere = false;
    this.#file.read(into, offset, (error, read) => {
      this.#aheadIsHere = true;
      this.#aheadError = error;
      if (error === undefined) into.fill(0, read);
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting?.();
    });
  }
}

const PIECE_BYTES = 1024 * 1024;
/** Room for the beginning of a group whose end is in the next piece. */
const HEAD_BYTES = 512 * 1024;
