import { readI32, readI64, readU16, readU32, writeI32, writeI64, writeU16 } from '@tallystick/base';

/** Writes numbers, texts and byte strings one behind the other into a growing buffer (big-endian). For cold paths: snapshots, control bodies. */
export class Packer {
  #bytes: Buffer;
  #end = 0;

  constructor(capacityBytes = 256) {
    this.#bytes = Buffer.allocUnsafe(capacityBytes);
  }

  u16(value: number): this {
    writeU16(this.#bytes, this.#room(2), value);
    return this;
  }

  i32(value: number): this {
    writeI32(this.#bytes, this.#room(4), value);
    return this;
  }

  i64(value: number): this {
    writeI64(this.#bytes, this.#room(8), value);
    return this;
  }

  /** A length of 16 bits, then UTF-8. */
  text(value: string): this {
    const bytes = Buffer.from(value, 'utf8');
    return this.u16(bytes.length).raw(bytes);
  }

  /** A length of 32 bits, then the bytes. */
  block(bytes: Uint8Array): this {
    return this.i32(bytes.length).raw(bytes);
  }

  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** What was written: a view that the next write may leave behind. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#end);
  }

  #room(bytes: number): number {
    const at = this.#end;
    this.#end += bytes;
    if (this.#end > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#end, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    return at;
  }
}

/**
 * Reads what a Packer wrote. Never throws and never reads past the end: after the first thing that does not fit, `failed` is true
 * and everything else reads as zero or empty.
 */
export class Unpacker {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;
  failed = false;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  u16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : readU16(this.#bytes, at);
  }

  i32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : readI32(this.#bytes, at);
  }

  u32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : readU32(this.#bytes, at);
  }

  i64(): number {
    const at = this.#take(8);
    return at < 0 ? 0 : readI64(this.#bytes, at);
  }

  text(): string {
    return this.raw(this.u16()).toString('utf8');
  }

  /** A view. */
  block(): Buffer {
    return this.raw(this.i32());
  }

  /** A view. */
  raw(bytes: number): Buffer {
    const at = this.#take(bytes);
    return at < 0 ? EMPTY : this.#bytes.subarray(at, at + bytes);
  }

  get rest(): number {
    return this.#end - this.#at;
  }

  #take(bytes: number): number {
    if (this.failed || bytes < 0 || bytes > this.#end - this.#at) {
      this.failed = true;
      return -1;
    }
    const at = this.#at;
    this.#at += bytes;
    return at;
  }
}

const EMPTY = Buffer.alloc(0);
