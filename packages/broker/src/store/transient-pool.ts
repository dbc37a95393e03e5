import type { Tail } from './tail.ts';

/**
 * RocketMQ's transient store pool: an append counts as done once it lies in one of a few large buffers in RAM; what they hold is
 * committed (written to the page cache) in pieces of some size, or after some time, and nobody reads it before. Fewer, larger
 * writes, and a disk that is slow to take them is not felt by senders, for the price that a killed process takes along what it
 * had not committed. The buffers are the blocks of the tail; a block is free again when it is full and all of it is written.
 * This counts them. When all are in use the page cache is busy, and senders should be told so.
 */
export class TransientPool {
  readonly #size: number;
  readonly #tail: Tail;
  readonly #writtenEnd: () => number;

  constructor(size: number, tail: Tail, writtenEnd: () => number) {
    this.#size = size;
    this.#tail = tail;
    this.#writtenEnd = writtenEnd;
  }

  /** Buffers that nothing lies in; the one being filled is not among them. */
  get available(): number {
    return Math.max(0, this.#size - this.#tail.blocksBeyond(this.#writtenEnd()));
  }

  /** True while more than the pool's buffers are in use: what is appended now has to wait for its write. */
  get isOverdrawn(): boolean {
    return this.#tail.blocksBeyond(this.#writtenEnd()) > this.#size;
  }
}
