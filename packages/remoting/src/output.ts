import { viewOf } from '@tallystick/base';

/**
 * What a connection wants to send, staged until the end of the turn. Frames are encoded straight into the present block; blocks are
 * handed to the wire piece by piece and not written again, so the wire may keep what it got, unless it said that it has let go of
 * everything (`rewind`). Block size follows the traffic: an idle connection holds little, a busy one up to 256 KiB.
 */
export class Output {
  /** The present block. */
  bytes: Buffer = Buffer.alloc(0);
  /** The same, for writing in words. */
  view: DataView = viewOf(this.bytes);
  /** Where the next frame begins in it. */
  at = 0;
  #start = 0;
  #sealed: Buffer[] = [];
  #sealedBytes = 0;
  #blockBytes = BLOCK_BYTES_MIN;

  /** Bytes staged and not yet taken. */
  get staged(): number {
    return this.#sealedBytes + this.at - this.#start;
  }

  /** Makes room for `bytes` bytes in `this.bytes` from `this.at`; that place. The writer then moves `at` to the end of what it wrote. */
  reserve(bytes: number): number {
    if (this.bytes.length - this.at < bytes) this.#nextBlock(bytes);
    return this.at;
  }

  /** Takes everything staged, in order. */
  take(give: (chunk: Buffer) => void): void {
    if (this.#sealed.length > 0) {
      const sealed = this.#sealed;
      this.#sealed = [];
      this.#sealedBytes = 0;
      for (const chunk of sealed) give(chunk);
    }
    if (this.at === this.#start) return;
    const chunk = this.bytes.subarray(this.#start, this.at);
    this.#start = this.at;
    give(chunk);
  }

  /** The wire holds nothing of what it was given: the block is used again from its beginning. */
  rewind(): void {
    if (this.staged === 0) this.at = this.#start = 0;
  }

  /** Gives the block back when nothing is staged. */
  shrink(): void {
    if (this.staged > 0) return;
    this.#use(NONE);
    this.at = this.#start = 0;
    this.#blockBytes = BLOCK_BYTES_MIN;
  }

  /** What is staged in the old block moves along while it is little, so that a turn of small frames is still one chunk. */
  #nextBlock(bytes: number): void {
    const { bytes: old, at } = this;
    const start = this.#start;
    const left = at - start;
    const moved = left <= MOVED_BYTES_MAX ? left : 0;
    if (left > moved) {
      this.#sealed.push(old.subarray(start, at));
      this.#sealedBytes += left;
    }
    this.#use(Buffer.allocUnsafeSlow(Math.max(bytes + moved, this.#blockBytes)));
    if (moved > 0) old.copy(this.bytes, 0, start, at);
    this.at = moved;
    this.#start = 0;
    this.#blockBytes = Math.min(this.#blockBytes * 2, BLOCK_BYTES_MAX);
  }

  #use(block: Buffer): void {
    this.bytes = block;
    this.view = viewOf(block);
  }
}

const BLOCK_BYTES_MIN = 4 * 1024;
const BLOCK_BYTES_MAX = 256 * 1024;
const MOVED_BYTES_MAX = 16 * 1024;
const NONE = Buffer.alloc(0);
