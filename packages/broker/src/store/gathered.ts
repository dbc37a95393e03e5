/**
 * The records of one answer, put together. Records that lie back to back are taken in one piece, and an answer that is one piece is
 * not copied at all; else the pieces are copied one behind the other into memory that the next answer uses again. With eight
 * queues in turn, copying once here costs half of what a view per record does, which would be copied into the frame one by one.
 */
export class Gathered {
  count = 0;
  bytes = 0;
  #memory = Buffer.allocUnsafeSlow(MEMORY_BYTES_MIN);
  #end = 0;
  #piece: Buffer = NONE;
  #pieceStart = 0;
  #pieceEnd = 0;

  /** Begins an answer; the one before is no longer valid. */
  begin(): void {
    this.count = this.bytes = 0;
    this.#end = this.#pieceStart = this.#pieceEnd = 0;
    this.#piece = NONE;
  }

  /** Adds the record at [start, end) of `from`, whose bytes must stay as they are until {@link chunks} or {@link settle}. */
  add(from: Buffer, start: number, end: number): void {
    this.count++;
    this.bytes += end - start;
    if (from === this.#piece && start === this.#pieceEnd) {
      this.#pieceEnd = end;
      return;
    }
    this.settle();
    this.#piece = from;
    this.#pieceStart = start;
    this.#pieceEnd = end;
  }

  /** Copies what is still a view: its buffer may be used again afterwards. */
  settle(): void {
    const length = this.#pieceEnd - this.#pieceStart;
    if (length > 0) {
      if (this.#end + length > this.#memory.length) this.#grow(this.#end + length);
      this.#memory.set(new Uint8Array(this.#piece.buffer, this.#piece.byteOffset + this.#pieceStart, length), this.#end);
      this.#end += length;
    }
    this.#piece = NONE;
    this.#pieceStart = this.#pieceEnd = 0;
  }

  /** The records, whole and in order; valid until the next `begin`. */
  chunks(): readonly Uint8Array[] {
    if (this.#end === 0) return [this.#piece.subarray(this.#pieceStart, this.#pieceEnd)];
    this.settle();
    return [this.#memory.subarray(0, this.#end)];
  }

  #grow(bytes: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * this.#memory.length));
    this.#memory.copy(larger, 0, 0, this.#end);
    this.#memory = larger;
  }
}

const MEMORY_BYTES_MIN = 64 * 1024;
const NONE = Buffer.alloc(0);
