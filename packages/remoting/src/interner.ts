import { ViewCache, viewOf } from '@tallystick/base';

/**
 * Turns ranges of UTF-8 bytes into strings and remembers them, so that the few topics and groups a connection repeats a million
 * times cost a hash and a comparison (about 15 ns) and no allocation, and so that Map lookups find the string's hash ready.
 * A direct-mapped cache of `slots` texts up to 255 bytes: a stranger evicts, nothing grows.
 */
export class Interner {
  readonly #mask: number;
  readonly #keys: (DataView | undefined)[];
  readonly #texts: string[];
  readonly #views = new ViewCache();

  constructor(slots = 1024) {
    let size = 16;
    while (size < slots) size *= 2;
    this.#mask = size - 1;
    this.#keys = new Array<DataView | undefined>(size).fill(undefined);
    this.#texts = new Array<string>(size).fill('');
  }

  text(bytes: Buffer, start: number, end: number): string {
    const length = end - start;
    if (length < 4 || length > 255) return length === 0 ? '' : bytes.toString('utf8', start, end);
    const view = this.#views.of(bytes);
    const head = view.getInt32(start);
    const tail = view.getInt32(end - 4);
    // Ends tell names apart; the comparison below makes sure.
    const hash = Math.imul(head, 0x9e3779b1) ^ Math.imul(tail, 0x85ebca6b) ^ length;
    const slot = (hash ^ (hash >>> 15)) & this.#mask;
    const key = this.#keys[slot];
    if (key !== undefined && key.byteLength === length && key.getInt32(length - 4) === tail) {
      let n = 0;
      while (n + 4 < length && key.getInt32(n) === view.getInt32(start + n)) n += 4;
      if (n + 4 >= length) return this.#texts[slot]!;
    }
    const text = bytes.toString('utf8', start, end);
    this.#keys[slot] = viewOf(Buffer.from(bytes.subarray(start, end)));
    this.#texts[slot] = text;
    return text;
  }
}
