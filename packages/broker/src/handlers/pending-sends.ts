import { copyWords, ViewCache, viewOf } from '@tallystick/base';
import type { HeaderKind, Peer } from '@tallystick/remoting';

/**
 * Sends that wait for the store, as rows of typed arrays: an object and a closure per message would cost more than the append.
 * A row is taken when the message is appended and freed when its outcome is known.
 */
export class PendingSends {
  #size = 1024;
  #free = freeList(0, 1024);
  #freeCount = 1024;
  peers: (Peer | undefined)[] = new Array<Peer | undefined>(1024).fill(undefined);
  opaques = new Int32Array(1024);
  /** Header kind of the request, or {@link ONEWAY}. */
  kinds = new Uint8Array(1024);
  /** The queue the sender asked for, which for halves and delayed messages is not the one it went to. */
  queueIds = new Int32Array(1024);
  storeTimestamps = new Float64Array(1024);
  /** Bytes that count against the admission. */
  bytes = new Int32Array(1024);
  isHalf = new Uint8Array(1024);
  /** The unique key: {@link KEY_BYTES} per row; longer ones are in `longKeys`. */
  keys = Buffer.alloc(1024 * KEY_BYTES);
  #keyWords = viewOf(this.keys);
  readonly #sources = new ViewCache();
  keyLengths = new Uint8Array(1024);
  readonly longKeys = new Map<number, Buffer>();

  take(): number {
    if (this.#freeCount === 0) this.#grow();
    return this.#free[--this.#freeCount]!;
  }

  release(row: number): void {
    this.peers[row] = undefined;
    if (this.keyLengths[row] === LONG_KEY) this.longKeys.delete(row);
    this.#free[this.#freeCount++] = row;
  }

  setKey(row: number, bytes: Buffer, start: number, end: number): void {
    const length = end - start;
    if (length > KEY_BYTES) {
      this.longKeys.set(row, Buffer.from(bytes.subarray(start, end)));
      this.keyLengths[row] = LONG_KEY;
      return;
    }
    copyWords(this.#sources.of(bytes), start, end, this.#keyWords, row * KEY_BYTES);
    this.keyLengths[row] = length;
  }

  #grow(): void {
    const size = this.#size * 2;
    const longer = <T extends Int32Array | Uint8Array | Float64Array>(old: T, made: T): T => {
      made.set(old);
      return made;
    };
    this.opaques = longer(this.opaques, new Int32Array(size));
    this.kinds = longer(this.kinds, new Uint8Array(size));
    this.queueIds = longer(this.queueIds, new Int32Array(size));
    this.storeTimestamps = longer(this.storeTimestamps, new Float64Array(size));
    this.bytes = longer(this.bytes, new Int32Array(size));
    this.isHalf = longer(this.isHalf, new Uint8Array(size));
    this.keyLengths = longer(this.keyLengths, new Uint8Array(size));
    const keys = Buffer.alloc(size * KEY_BYTES);
    this.keys.copy(keys);
    this.keys = keys;
    this.#keyWords = viewOf(keys);
    for (let row = this.#size; row < size; row++) this.peers.push(undefined);
    const free = freeList(this.#size, size);
    this.#free = new Int32Array(size);
    this.#free.set(free);
    this.#freeCount = free.length;
    this.#size = size;
  }
}

/** Rows for keys of up to 64 bytes: 32 hex digits are usual, 56 with an IPv6 address inside. */
export const KEY_BYTES = 64;
export const LONG_KEY = 255;
/** In `kinds`: the request was one-way. */
export const ONEWAY: HeaderKind | 255 = 255;

/** The lowest row is taken first. */
function freeList(from: number, to: number): Int32Array {
  return Int32Array.from({ length: to - from }, (_, index) => to - 1 - index);
}
