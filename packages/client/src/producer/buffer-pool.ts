/**
 * The memory of a producer: batches borrow their buffers here and return them when the verdict is in. What is lent never exceeds
 * `bufferMemoryBytes`; a caller that gets nothing has to wait its turn. There is one line of such callers, in the producer, and while
 * somebody stands in it nobody else borrows: so what comes back adds up until the first in line has enough, however large its wish
 * (Kafka's pool hoards it piece by piece, because there others may barge in).
 *
 * Sizes go up in fours from 1 KiB to the batch size, so that a batch of one small record does not hold 32 KiB; anything larger
 * is made to measure and not kept, as is what only a size beyond all memory would hold. Idle buffers are kept only while lent + idle fits the same budget.
 * Who copies lent bytes into memory of its own keeps their size charged (`recharge`).
 */
import { fail } from '../errors.ts';

const SMALLEST_BYTES = 1024;

export class BufferPool {
  readonly totalBytes: number;
  readonly #largestBytes: number;
  readonly #sizes: number[] = [];
  readonly #idle: Buffer[][] = [];
  #lentBytes = 0;
  #idleBytes = 0;

  constructor(totalBytes: number, largestBytes: number) {
    this.totalBytes = totalBytes;
    for (let size = SMALLEST_BYTES; size < largestBytes; size *= 4) this.#sizes.push(size);
    this.#sizes.push(largestBytes);
    while (this.#sizes.length > 0 && this.#sizes.at(-1)! > totalBytes) this.#sizes.pop();
    this.#largestBytes = this.#sizes.at(-1) ?? 0;
    for (let i = 0; i < this.#sizes.length; i++) this.#idle.push([]);
  }

  /** Bytes lent out at present. */
  get lentBytes(): number {
    return this.#lentBytes;
  }

  /**
   * A buffer of at least `bytes`, or undefined when the budget does not allow one now. Throws OUT_OF_MEMORY, with nothing charged, when
   * the budget does and the process has none.
   */
  borrow(bytes: number): Buffer | undefined {
    const at = this.#classOf(bytes);
    const size = at < 0 ? bytes : this.#sizes[at]!;
    if (this.#lentBytes + size > this.totalBytes) return undefined;
    this.#lentBytes += size;
    const idle = at < 0 ? undefined : this.#idle[at]!.pop();
    if (idle !== undefined) {
      this.#idleBytes -= size;
      return idle;
    }
    this.#trim();
    try {
      // A buffer of its own: slices of Node's shared slab would pin 8 KiB each.
      return Buffer.allocUnsafeSlow(size);
    } catch (thrown) {
      this.#lentBytes -= size;
      throw fail('OUT_OF_MEMORY', `${size} bytes`, thrown);
    }
  }

  /** As `borrow`, but rather one of `likedBytes`; of at least `bytes` when there is no memory for that. */
  borrowUpTo(bytes: number, likedBytes: number): Buffer | undefined {
    const rather = Math.min(likedBytes, this.#largestBytes);
    return (rather > bytes ? this.borrowIfAny(rather) : undefined) ?? this.borrow(bytes);
  }

  /** As `borrow`, for who can do without: undefined too when the process has no memory. */
  borrowIfAny(bytes: number): Buffer | undefined {
    try {
      return this.borrow(bytes);
    } catch {
      return undefined;
    }
  }

  /** Takes a borrowed buffer back. Each buffer comes back exactly once, after nothing can read or write it any more. */
  return(buffer: Buffer): void {
    const size = buffer.length;
    this.#lentBytes -= size;
    const at = this.#classOf(size);
    if (at < 0 || this.#sizes[at] !== size || this.#lentBytes + this.#idleBytes + size > this.totalBytes) return;
    this.#idle[at]!.push(buffer);
    this.#idleBytes += size;
  }

  /** Changes the account for memory made elsewhere in place of what was lent. False: it would be too much, and nothing has changed. */
  recharge(lentBytes: number, bytes: number): boolean {
    const more = bytes - lentBytes;
    if (more > 0 && this.#lentBytes + more > this.totalBytes) return false;
    this.#lentBytes += more;
    this.#trim();
    return true;
  }

  /** True when a buffer of `bytes` could ever be lent. */
  canEverLend(bytes: number): boolean {
    return bytes <= this.totalBytes;
  }

  #classOf(bytes: number): number {
    if (bytes > this.#largestBytes) return -1;
    let at = 0;
    while (this.#sizes[at]! < bytes) at++;
    return at;
  }

  #trim(): void {
    for (let at = this.#idle.length - 1; at >= 0 && this.#lentBytes + this.#idleBytes > this.totalBytes; at--) {
      const list = this.#idle[at]!;
      while (list.length > 0 && this.#lentBytes + this.#idleBytes > this.totalBytes) {
        list.pop();
        this.#idleBytes -= this.#sizes[at]!;
      }
    }
  }
}
