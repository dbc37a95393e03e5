/**
 * Finds which of a fixed set of names a range of bytes spells, without making a string: header fields, properties, languages.
 * One-letter names (the short send header) are one array read; the rest is a small open hash with a final comparison.
 */
export class NameIndex {
  /** Slots of the one-letter names, by byte; -1. */
  readonly single = new Int16Array(256).fill(-1);
  /** By length and first byte: whether a name begins so. Most of what is asked for is no name, and ends here. */
  readonly #begun = new Uint8Array(16 * 256);
  readonly #mask: number;
  readonly #slots: Int16Array;
  readonly #names: readonly Buffer[];

  /** The slot of a name is its place in `names`. */
  constructor(names: readonly string[]) {
    this.#names = names.map((name) => Buffer.from(name));
    let size = 8;
    while (size < names.length * 4) size *= 2;
    this.#mask = size - 1;
    this.#slots = new Int16Array(size).fill(-1);
    for (const [slot, name] of this.#names.entries()) {
      if (name.length === 0) throw new Error('a name must not be empty');
      this.#begun[((name.length & 15) << 8) | name[0]!] = 1;
      if (name.length === 1) this.single[name[0]!] = slot;
      else this.#slots[this.#free(name)] = slot;
    }
  }

  /** The slot of the name in bytes [start, end), or -1. */
  find(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    if (length < 2) return length === 1 ? this.single[bytes[start]!]! : -1;
    if (this.#begun[((length & 15) << 8) | bytes[start]!] === 0) return -1;
    for (let at = hash(bytes, start, end) & this.#mask; ; at = (at + 1) & this.#mask) {
      const slot = this.#slots[at]!;
      if (slot < 0) return -1;
      const name = this.#names[slot]!;
      if (name.length === length && same(name, bytes, start)) return slot;
    }
  }

  #free(name: Buffer): number {
    let at = hash(name, 0, name.length) & this.#mask;
    while (this.#slots[at]! >= 0) at = (at + 1) & this.#mask;
    return at;
  }
}

/** Length, first, middle and last byte tell field names apart well enough. */
function hash(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  return length * 5 + bytes[start]! * 7 + bytes[start + (length >> 1)]! * 13 + bytes[end - 1]! * 31;
}

function same(name: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let n = 0; n < name.length; n++) if (name[n] !== bytes[start + n]) return false;
  return true;
}
