import { crc32, type Clock, type Random } from '@tallystick/base';

/**
 * Ids of messages: UUIDv7 as 32 upper-case hex digits. One id names a message everywhere: outbox row, the broker's unique key, the
 * receiver's inbox key. Ids of one source grow strictly, also when the clock stands still or goes back: 48 bits of ms, then a
 * 12-bit counter that borrows the next ms when it is full, then 62 random bits.
 */
export class MessageIds {
  readonly #clock: Clock;
  readonly #random: Random;
  #lastMs = 0;
  #counter = 0;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  next(): string {
    const now = this.#clock.now();
    if (now > this.#lastMs) {
      this.#lastMs = now;
      // Half the counter's room stays free for this ms.
      this.#counter = this.#random.u32() & 0x7ff;
    } else if (++this.#counter > 0xfff) {
      this.#lastMs++;
      this.#counter = 0;
    }
    const variant = ((this.#random.u32() & 0x3fffffff) | 0x80000000) >>> 0;
    return (hex(this.#lastMs, 12) + '7' + hex(this.#counter, 3) + hex(variant, 8) + hex(this.#random.u32(), 8)).toUpperCase();
  }
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

export const ID_PATTERN = /^[0-9A-F]{32}$/;

/** Shards there are. Fixed for ever, as is the formula: rows carry their shard. */
export const SHARDS = 256;

/** The shard of a message: one key, one shard. */
export function shardOf(key: string | null | undefined, id: string): number {
  return crc32(Buffer.from(key ?? id, 'utf8')) % SHARDS;
}
