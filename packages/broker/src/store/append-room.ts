import { groupBytes } from './group-header.ts';
import type { GroupBuilder } from './group-builder.ts';
import type { LogSpace } from './log-space.ts';
import type { LogWriter } from './log-writer.ts';
import type { StoreOptions } from './options.ts';
import { SEGMENT_HEADER_BYTES } from './segment-header.ts';
import type { Segments } from './segments.ts';
import type { TransientPool } from './transient-pool.ts';

/**
 * Whether the log can take an append now, and if not, why: no space on the disk, too much not yet written, no file to go on in, or larger
 * than any segment. What settles earlier promises (it may use the reserve) is let in longer than what makes new ones.
 */
export class AppendRoom {
  readonly #options: StoreOptions;
  readonly #segments: Segments;
  readonly #builder: GroupBuilder;
  readonly #writer: LogWriter;
  readonly #space: LogSpace;
  readonly #pool: TransientPool | undefined;

  constructor(
    options: StoreOptions,
    segments: Segments,
    builder: GroupBuilder,
    writer: LogWriter,
    space: LogSpace,
    pool: TransientPool | undefined,
  ) {
    this.#options = options;
    this.#segments = segments;
    this.#builder = builder;
    this.#writer = writer;
    this.#space = space;
    this.#pool = pool;
  }

  /** Undefined when so many bytes can be taken. */
  refusal(bytes: number, mayUseReserve: boolean): 'full' | 'busy' | 'too-large' | undefined {
    const space = this.#space;
    const { isFull, isExhausted } = space;
    if (isFull && !mayUseReserve) return 'full';
    const builder = this.#builder;
    const pendingBytes = builder.end - this.#writer.writtenEnd;
    if (pendingBytes > this.#options.pendingBytesMax * (mayUseReserve ? 2 : 1)) return 'busy';
    if (this.#pool !== undefined && !mayUseReserve && this.#isOutOfBuffers(this.#pool, bytes)) return 'busy';
    const { segment } = builder;
    const noRoom = isFull ? 'full' : 'busy';
    const needsRoll = builder.needsRoll(bytes);
    const isPlanned = needsRoll ? this.#segments.next?.base !== segment.end : !segment.isReady;
    if (isPlanned && isExhausted && !space.hasReserve) return 'full';
    if (!needsRoll) {
      return segment.isReady || mayUseReserve || builder.end + bytes - segment.base <= segment.size * PLANNED_SHARE
        ? undefined
        : noRoom;
    }
    const need = groupBytes(bytes) + SEGMENT_HEADER_BYTES;
    if (need > this.#options.segmentBytes) return 'too-large';
    if (!segment.isReady) return noRoom;
    const { next } = this.#segments;
    if (next !== undefined && !isPlanned) return need <= next.size ? undefined : 'too-large';
    return need <= this.#segments.reserveBytes * (mayUseReserve ? 1 : PLANNED_SHARE) ? undefined : noRoom;
  }

  #isOutOfBuffers(pool: TransientPool, bytes: number): boolean {
    if (!this.#options.fastFailIfNoBufferInStorePool || pool.available > 0) return false;
    const { block, at } = this.#builder;
    return block === undefined || at + groupBytes(bytes) > block.bytes.length;
  }
}

/** A segment without a file may turn out to be the reserve: sends leave this much of it to what settles earlier promises. */
const PLANNED_SHARE = 0.75;
