import { readI32, readI64, readU16, writeI32, writeI64, writeU16 } from '@tallystick/base';

/**
 * Writing and reading of the small bodies that derived state leaves in the log: control records and snapshots. Big-endian like
 * everything there. The reader trusts nothing: past the end it throws {@link ShortBody}, which recovery reports as a damaged
 * snapshot; the bytes are checksummed by the store, so that only happens to a body written by a newer version or by a bug.
 */
export class ByteWriter {
  #bytes: Buffer;
  #at = 0;

  constructor(firstBytes = 256) {
    this.#bytes = Buffer.allocUnsafe(firstBytes);
  }

  u8(value: number): this {
    this.#room(1);
    this.#bytes[this.#at++] = value;
    return this;
  }

  u16(value: number): this {
    this.#room(2);
    writeU16(this.#bytes, this.#at, value);
    this.#at += 2;
    return this;
  }

  u32(value: number): this {
    this.#room(4);
    writeI32(this.#bytes, this.#at, value);
    this.#at += 4;
    return this;
  }

  i64(value: number): this {
    this.#room(8);
    writeI64(this.#bytes, this.#at, value);
    this.#at += 8;
    return this;
  }

  /** UTF-8 behind a u16 length. */
  text(value: string): this {
    const length = Buffer.byteLength(value);
    if (length > 65_535) throw new RangeError(`a text of ${length} bytes does not fit a u16 length`);
    this.u16(length);
    this.#room(length);
    this.#at += this.#bytes.write(value, this.#at, length, 'utf8');
    return this;
  }

  /** Bytes behind a u32 length. */
  blob(value: Uint8Array): this {
    this.u32(value.length);
    this.#room(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** What was written; valid until the next write after {@link clear}. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  clear(): this {
    this.#at = 0;
    return this;
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + bytes));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }
}

export class ByteReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  u16(): number {
    return readU16(this.#bytes, this.#take(2));
  }

  u32(): number {
    return readI32(this.#bytes, this.#take(4)) >>> 0;
  }

  i64(): number {
    return readI64(this.#bytes, this.#take(8));
  }

  text(): string {
    const length = this.u16();
    const start = this.#take(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  /** A view of the body. */
  blob(): Buffer {
    const length = this.u32();
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  #take(bytes: number): number {
    const start = this.#at;
    if (bytes > this.left) throw new ShortBody(`wanted ${bytes} bytes at ${start} of ${this.#bytes.length}`);
    this.#at = start + bytes;
    return start;
  }
}

/** A body ended before its content did. */
export class ShortBody extends Error {
  override readonly name = 'ShortBody';
}
