/**
 * Big-endian numbers and hex on plain bytes, without DataView and BigInt. A 64-bit value is an ordinary Number made of two
 * halves (a BigInt costs 60 ns, this 16); that is exact up to 2^53, which every position, offset and time here stays below.
 * Nothing is range-checked: callers check lengths before reading.
 */

export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function readI16(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) >> 16) | bytes[at + 1]!;
}

export function readI32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

export function readU32(bytes: Uint8Array, at: number): number {
  return readI32(bytes, at) >>> 0;
}

/** Signed 64 bits as a Number; rounded where it does not fit 53 bits. */
export function readI64(bytes: Uint8Array, at: number): number {
  return readI32(bytes, at) * 4294967296 + readU32(bytes, at + 4);
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Also writes an unsigned value: only the low 32 bits count. */
export function writeI32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** A safe integer, negative ones included. */
export function writeI64(bytes: Uint8Array, at: number, value: number): void {
  const high = Math.floor(value / 4294967296);
  writeI32(bytes, at, high);
  writeI32(bytes, at + 4, value - high * 4294967296);
}

/** Upper-case hex text, as RocketMQ prints its ids. */
export function toHex(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let text = '';
  for (let at = start; at < end; at++) text += HEX_PAIRS[bytes[at]!]!;
  return text;
}

/** The bytes of an even-length hex text in either case; undefined when it is anything else. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

/** Writes a 32-bit value as eight upper-case hex digits in ASCII; the end of what was written. */
export function writeHexU32(bytes: Uint8Array, at: number, value: number): number {
  for (let shift = 28; shift >= 0; shift -= 4) bytes[at++] = HEX_CODES[(value >>> shift) & 15]!;
  return at;
}

/** Writes an integer as decimal ASCII; the end of what was written (at most 17 bytes for a safe integer). */
export function writeDecimal(bytes: Uint8Array, at: number, value: number): number {
  if (value < 0) {
    bytes[at++] = 45;
    value = -value;
  }
  if (value < 1e9) return writeSmall(bytes, at, value, digitsOf(value));
  // In parts of nine digits, each an int32: dividing doubles digit by digit costs four times as much for a time in ms.
  const high = Math.floor(value / 1e9);
  return writeSmall(bytes, writeDecimal(bytes, at, high), value - high * 1e9, 9);
}

function writeSmall(bytes: Uint8Array, at: number, value: number, digits: number): number {
  const end = at + digits;
  let rest = value | 0;
  for (let write = end - 1; write >= at; write--) {
    const tens = (rest / 10) | 0;
    bytes[write] = 48 + (rest - tens * 10);
    rest = tens;
  }
  return end;
}

function digitsOf(value: number): number {
  if (value < 100) return value < 10 ? 1 : 2;
  if (value < 10000) return value < 1000 ? 3 : 4;
  if (value < 1000000) return value < 100000 ? 5 : 6;
  return value < 10000000 ? 7 : value < 100000000 ? 8 : 9;
}

/**
 * Reads a decimal integer in ASCII, with an optional minus; NaN when the range holds anything else, is empty or has more than 19
 * digits. Above 2^53 the result is rounded (tools send 2^63-1 for "no end").
 */
export function readDecimal(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  const negative = bytes[at] === 45;
  if (negative) at++;
  const digits = end - at;
  if (digits < 1 || digits > 19) return NaN;
  let value = 0;
  // Nine digits fit an int32: the common short numbers stay in integer arithmetic.
  for (const stop = at + (digits < 9 ? digits : 9); at < stop; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) return NaN;
    value = value * 10 + digit;
  }
  for (; at < end; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) return NaN;
    value = value * 10 + digit;
  }
  return negative ? -value : value;
}

const HEX_PAIRS: readonly string[] = Array.from({ length: 256 }, (_, n) => n.toString(16).toUpperCase().padStart(2, '0'));
const HEX_CODES = Uint8Array.from('0123456789ABCDEF', (digit) => digit.charCodeAt(0));
