/**
 * Turns ranges of UTF-8 bytes into strings and remembers them, so that the few topics and groups a connection repeats a million
 * times cost a hash and a comparison (about 30 ns) and no allocation, and so that Map lookups find the string's hash ready.
 * A direct-mapped cache of `slots` texts up to 255 bytes: a stranger evicts, nothing grows.
 */
export class Interner {
  readonly #mask: number;
  readonly #keys: (Buffer | undefined)[];
  readonly #texts: string[];

  constructor(slots = 1024) {
    let size = 16;
    while (size < slots) size *= 2;
    this.#mask = size - 1;
    this.#keys = new Array<Buffer | undefined>(size).fill(undefined);
    this.#texts = new Array<string>(size).fill('');
  }

  text(bytes: Buffer, start: number, end: number): string {
    const length = end - start;
    if (length === 0) return '';
    if (length > 255) return bytes.toString('utf8', start, end);
    // Ends tell names apart; the comparison below makes sure.
    let hash = length;
    const tail = length > 2 * HASHED_BYTES ? end - HASHED_BYTES : start;
    if (tail > start) for (let at = start; at < start + HASHED_BYTES; at++) hash = (Math.imul(hash, 31) + bytes[at]!) | 0;
    for (let at = tail; at < end; at++) hash = (Math.imul(hash, 31) + bytes[at]!) | 0;
    const slot = (hash ^ (hash >>> 15)) & this.#mask;
    const key = this.#keys[slot];
    if (key !== undefined && key.length === length) {
      let n = 0;
      while (n < length && key[n] === bytes[start + n]) n++;
      if (n === length) return this.#texts[slot]!;
    }
    const text = bytes.toString('utf8', start, end);
    this.#keys[slot] = Buffer.from(bytes.subarray(start, end));
    this.#texts[slot] = text;
    return text;
  }
}

/** Hashed bytes at either end of a longer text. */
const HASHED_BYTES = 6;
