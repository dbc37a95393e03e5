import { crc32, readU32 } from '@tallystick/base';
import { CrcSpans, Words } from './crc-spans.ts';

/**
 * Which of the stretches that claim to be groups, in bytes that are passed once, are sound. Anybody can send a message made of headers that
 * know their place, each with a claim on all that follows; so the bytes are summed once, whatever is claimed of them.
 */
export class ClaimedGroups {
  /** Sound ones, whether or not they continue a chain. */
  count = 0;
  /** The highest "durable up to" among them; -1 without one. */
  durableUpTo = -1;
  /** Since the first claim that is not settled. */
  readonly #sums = new CrcSpans();
  /** Rows of offset, length, crc, crc of what it covers of the first 16 bytes, and the two words of "durable up to". */
  readonly #claims = new Words();
  /** End of the furthest claim. */
  #until = 0;

  /** A header at `at` in `bytes`, that is at `offset` in the file, claims so many bytes of it. Offsets grow, in steps of eight. */
  add(bytes: Buffer, at: number, offset: number, total: number): void {
    const claims = this.#claims;
    if (claims.length === 0) this.#sums.begin(offset);
    this.#until = Math.max(this.#until, offset + total);
    claims.push(offset);
    claims.push(total);
    claims.push(readU32(bytes, at + 8));
    claims.push(crc32(bytes, at + 12, at + HEAD_BYTES, crc32(bytes, at, at + 8)));
    claims.push(readU32(bytes, at + 24));
    claims.push(readU32(bytes, at + 28));
  }

  /** Bytes of the file up to offset `end` are in `bytes`, `start` being the offset of its first; all claims among them have been added. */
  pass(bytes: Buffer, start: number, end: number): void {
    if (this.#claims.length === 0) return;
    const from = this.#sums.end;
    const stop = Math.min(end, this.#until);
    this.#sums.pass(bytes, from - start, stop - from);
    if (stop === this.#until) this.#settle();
  }

  #settle(): void {
    const claims = this.#claims;
    for (let row = 0; row < claims.length; row += ROW_WORDS) {
      const offset = claims.at(row);
      const crc = this.#sums.after(claims.at(row + 3), offset + HEAD_BYTES, offset + claims.at(row + 1));
      if (crc !== claims.at(row + 2)) continue;
      this.count++;
      this.durableUpTo = Math.max(this.durableUpTo, claims.at(row + 4) * 2 ** 32 + claims.at(row + 5));
    }
    claims.length = 0;
  }
}

const ROW_WORDS = 6;
/** The crc leaves itself out; behind these bytes all are summed. */
const HEAD_BYTES = 16;
