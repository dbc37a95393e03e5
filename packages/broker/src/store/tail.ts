import type { Segment } from './segment.ts';

/**
 * The newest part of the log in RAM: the very buffers into which groups are encoded and from which they are written. Readers who
 * keep up are served from here. Buffers that leave at the old end are used again, but not before the turn after: what a reader was
 * given stays as it is until its turn ends.
 */
export class Tail {
  readonly #blockBytes: number;
  readonly #tailBytes: number;
  readonly #freeMax: number;
  readonly #blocks: Block[] = [];
  #bytes = 0;
  #free: Buffer[] = [];
  #cooling: Buffer[] = [];

  /** `freeMax`: buffers kept for use again; a burst may have made more. */
  constructor(blockBytes: number, tailBytes: number, freeMax = 16) {
    this.#blockBytes = blockBytes;
    this.#tailBytes = tailBytes;
    this.#freeMax = freeMax;
  }

  /** Starts a block at `base`; `bytesMin` is what has to fit. */
  open(base: number, segment: Segment, bytesMin: number): Block {
    const bytes =
      bytesMin > this.#blockBytes
        ? Buffer.allocUnsafeSlow(bytesMin)
        : (this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#blockBytes));
    const block = new Block(base, segment, bytes);
    const last = this.#blocks[this.#blocks.length - 1];
    if (last !== undefined) last.next = block;
    this.#blocks.push(block);
    this.#bytes += bytes.length;
    return block;
  }

  /** The block that holds the byte at `position`; undefined when it is not, or no longer, in RAM. */
  find(position: number): Block | undefined {
    const blocks = this.#blocks;
    let low = 0;
    let high = blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (blocks[middle]!.base <= position) low = middle + 1;
      else high = middle;
    }
    const block = blocks[low - 1];
    return block !== undefined && position < block.base + block.closed ? block : undefined;
  }

  /** First position that is in RAM; Infinity when nothing is. */
  get start(): number {
    return this.#blocks[0]?.base ?? Number.POSITIVE_INFINITY;
  }

  /** Blocks that hold something beyond this position, or still may: the newest ones. */
  blocksBeyond(writtenEnd: number): number {
    const blocks = this.#blocks;
    let first = blocks.length;
    while (first > 0 && (blocks[first - 1]!.isOpen || blocks[first - 1]!.base + blocks[first - 1]!.closed > writtenEnd)) first--;
    return blocks.length - first;
  }

  /** At the end of a turn: lets go of the oldest written blocks beyond the limit. */
  trim(writtenEnd: number): void {
    if (this.#cooling.length > 0) {
      for (const bytes of this.#cooling) if (this.#free.length < this.#freeMax) this.#free.push(bytes);
      this.#cooling = [];
    }
    while (this.#blocks.length > 1 && this.#bytes > this.#tailBytes) {
      const block = this.#blocks[0]!;
      if (block.base + block.closed > writtenEnd || block.isOpen) return;
      this.#blocks.shift();
      this.#bytes -= block.bytes.length;
      if (block.bytes.length === this.#blockBytes) this.#cooling.push(block.bytes);
    }
  }
}

/** A stretch of the log in one buffer. */
export class Block {
  readonly base: number;
  readonly segment: Segment;
  readonly bytes: Buffer;
  /** Bytes of closed groups. */
  closed = 0;
  /** Still the one that groups are encoded into. */
  isOpen = true;
  next: Block | undefined;

  constructor(base: number, segment: Segment, bytes: Buffer) {
    this.base = base;
    this.segment = segment;
    this.bytes = bytes;
  }
}
