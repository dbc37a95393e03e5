/**
 * Makes the one id a message has everywhere: a UUIDv7 as 32 upper-case hex digits (UNIQ_KEY, transactionId, inbox key).
 *
 *    48 bits ms since 1970 | 4 bits 7 | 12 bits random | 2 bits 10 | 30 bits random | 32 bits counter from a random start
 *    └────────────────── prefix: 24 digits, drawn again each ms ─────────────────┘   └── 8 digits, +1 per id ──┘
 *
 * The prefix is drawn once per millisecond, so a hot producer pays for 8 digits per message and no string at all: a batch keeps
 * (prefix, low) and the receipt joins them when somebody looks. Ids of one maker ascend; a clock that steps back is not followed.
 */
import type { Clock, Random } from '@tallystick/base';

export class UniqueIds {
  /** First 24 digits of the latest id. */
  prefix = '';
  /** The same digits as bytes; replaced, never changed in place. */
  prefixBytes: Uint8Array = Buffer.alloc(24);
  /** Last 32 bits of the latest id, unsigned. */
  low = 0;
  readonly #clock: Clock;
  readonly #random: Random;
  #ms = -1;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Draws the next id into `prefix`, `prefixBytes` and `low`. */
  advance(nowMs: number): void {
    if (nowMs > this.#ms || this.low === 0xffffffff) this.#redraw(nowMs);
    else this.low++;
  }

  /** The next id as text; the slow way, for callers that need one id now and then. */
  next(): string {
    this.advance(this.#clock.now());
    return idText(this.prefix, this.low);
  }

  #redraw(nowMs: number): void {
    this.#ms = Math.max(nowMs, this.#ms + (this.low === 0xffffffff ? 1 : 0));
    const a = (0x7000 | (this.#random.u32() & 0xfff)) >>> 0;
    const b = ((0x80000000 | (this.#random.u32() & 0x3fffffff)) >>> 0).toString(16);
    this.prefix = (this.#ms.toString(16).padStart(12, '0') + a.toString(16) + b).toUpperCase();
    this.prefixBytes = Buffer.from(this.prefix, 'latin1');
    // The top bit stays free: at least 2^31 ids fit before the next redraw.
    this.low = this.#random.u32() >>> 1;
  }
}

/** Joins a prefix and a counter to the 32-digit id; a `low` of -1 says that `prefix` is the whole id. */
export function idText(prefix: string, low: number): string {
  return low === -1 ? prefix : prefix + low.toString(16).toUpperCase().padStart(8, '0');
}

/** True for 32 upper-case hex digits, the only form of a caller's own id that is accepted. */
export function isMessageId(id: string): boolean {
  if (id.length !== 32) return false;
  for (let i = 0; i < 32; i++) {
    const c = id.charCodeAt(i);
    if (!((c >= 48 && c <= 57) || (c >= 65 && c <= 70))) return false;
  }
  return true;
}
