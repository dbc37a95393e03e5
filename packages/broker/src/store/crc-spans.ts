import { crc32 } from '@tallystick/base';

/**
 * Checksums of many spans of one stretch of bytes that is passed once, however the spans overlap. Kept is the checksum of everything up
 * to each eighth byte; that of a span between two of them follows from theirs, because zeros behind a span multiply its checksum by a
 * power of x and checksums of equal lengths add up:
 *
 *     crc(head + span) = crc(span) ^ moved(crc(head), bytes of the span)
 */
export class CrcSpans {
  /** Where the stretch begins and how far it has been passed, in the caller's addresses. */
  start = 0;
  end = 0;
  readonly #sums = new Words();

  /** A new stretch. */
  begin(start: number): void {
    this.start = this.end = start;
    this.#sums.length = 0;
    this.#sums.push(0);
  }

  /** The next bytes, a multiple of eight, lie at `at`. */
  pass(bytes: Buffer, at: number, count: number): void {
    let sum = this.#sums.at(this.#sums.length - 1);
    for (const stop = at + count; at < stop; at += STEP_BYTES) {
      sum = crc32(bytes, at, at + STEP_BYTES, sum);
      this.#sums.push(sum);
    }
    this.end += count;
  }

  /** Checksum of bytes whose own one is `head`, and of those from `start` to `end` behind them; both lie at steps of the stretch. */
  after(head: number, start: number, end: number): number {
    return (this.#upTo(end) ^ moved(head ^ this.#upTo(start), end - start)) >>> 0;
  }

  #upTo(address: number): number {
    return this.#sums.at((address - this.start) / STEP_BYTES);
  }
}

/** Numbers of 32 bits, as many as are pushed. */
export class Words {
  length = 0;
  #words = new Uint32Array(256);

  push(word: number): void {
    if (this.length === this.#words.length) {
      const more = new Uint32Array(this.length * 2);
      more.set(this.#words);
      this.#words = more;
    }
    this.#words[this.length++] = word;
  }

  at(index: number): number {
    return this.#words[index]!;
  }
}

const STEP_BYTES = 8;
const POLYNOMIAL = 0xedb88320;
/** The polynomial 1: the bits are reflected, so the highest one is the constant. */
const ONE = 0x80000000;

/** x to the power of 8, 16, 32 and so on: what 1, 2, 4 zero bytes multiply by. */
const POWERS: readonly number[] = powers();

/** What so many zero bytes make of a checksum. */
function moved(crc: number, bytes: number): number {
  let product = crc;
  for (let bit = 0, left = bytes; left > 0; bit++, left = Math.floor(left / 2))
    if (left % 2 === 1) product = times(product, POWERS[bit]!);
  return product;
}

/** The product of two polynomials, modulo the one of the checksum. */
function times(a: number, b: number): number {
  let product = 0;
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= b;
    b = b & 1 ? (b >>> 1) ^ POLYNOMIAL : b >>> 1;
  }
  return product;
}

function powers(): number[] {
  const all = [ONE >>> 8];
  while (all.length < 32) all.push(times(all.at(-1)!, all.at(-1)!));
  return all;
}
