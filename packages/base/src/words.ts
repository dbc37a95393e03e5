/**
 * Bytes in words of four, over a DataView: compiled code turns its getters and setters into single loads and stores at any address. A
 * copied byte costs 0.4 ns against 2.5 in a loop over bytes, and twenty 32-bit fields 19 ns against 51. A native copy beats it from
 * some 250 B on: the call and the view it needs cost 50 to 80 ns whatever the length.
 */

const NONE = new DataView(new ArrayBuffer(0));

/** The same bytes, at the same indexes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Makes views and keeps the last one: who works through a chunk or a block asks for the same bytes again and again. */
export class ViewCache {
  #bytes: Uint8Array | undefined;
  #view: DataView = NONE;

  of(bytes: Uint8Array): DataView {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = viewOf(bytes);
    }
    return this.#view;
  }
}

/** Copies bytes [start, end) to `at`; the end of the copy. The ranges must not overlap. */
export function copyWords(from: DataView, start: number, end: number, to: DataView, at: number): number {
  for (const last = end - 16; start <= last; start += 16, at += 16) {
    to.setInt32(at, from.getInt32(start, true), true);
    to.setInt32(at + 4, from.getInt32(start + 4, true), true);
    to.setInt32(at + 8, from.getInt32(start + 8, true), true);
    to.setInt32(at + 12, from.getInt32(start + 12, true), true);
  }
  for (const last = end - 4; start <= last; start += 4, at += 4) to.setInt32(at, from.getInt32(start, true), true);
  while (start < end) to.setUint8(at++, from.getUint8(start++));
  return at;
}

/** Writes 64 bits, big-endian: a safe integer. */
export function setI64(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / 4294967296);
  view.setInt32(at, high);
  view.setInt32(at + 4, value - high * 4294967296);
}

/** Writes a 32-bit value as eight upper-case hex digits in ASCII; their end. */
export function setHexU32(view: DataView, at: number, value: number): number {
  view.setUint16(at, HEX_PAIRS[value >>> 24]!);
  view.setUint16(at + 2, HEX_PAIRS[(value >>> 16) & 255]!);
  view.setUint16(at + 4, HEX_PAIRS[(value >>> 8) & 255]!);
  view.setUint16(at + 6, HEX_PAIRS[value & 255]!);
  return at + 8;
}

/** Longer ranges are copied by the native call. */
export const WORDS_COPY_MAX = 256;

const HEX_DIGITS = '0123456789ABCDEF';
const HEX_PAIRS = Uint16Array.from(
  { length: 256 },
  (_, n) => (HEX_DIGITS.charCodeAt(n >> 4) << 8) | HEX_DIGITS.charCodeAt(n & 15),
);
