import { ViewCache } from '@tallystick/base';

/**
 * JSON strings as bytes. Header values of the JSON kind lie in the frame escaped (properties hold 0x01 and 0x02 bytes); these turn
 * them into UTF-8 and back without a string between.
 */

/**
 * Writes the text that the escaped bytes [start, end) spell to `into` at `at` as UTF-8; the end of it, or -1 when an escape is
 * broken. Never longer than the input.
 */
export function unescapeJson(bytes: Uint8Array, start: number, end: number, into: Uint8Array, at: number): number {
  const view = sources.of(bytes);
  const to = targets.of(into);
  for (let from = start; from < end;) {
    for (; from + 4 <= end; from += 4, at += 4) {
      const word = view.getInt32(from, true);
      const slash = word ^ 0x5c5c5c5c;
      if (((slash - 0x01010101) & ~slash & 0x80808080) !== 0) break;
      to.setInt32(at, word, true);
    }
    if (from === end) break;
    const byte = bytes[from++]!;
    if (byte !== BACKSLASH) {
      into[at++] = byte;
      continue;
    }
    if (from >= end) return -1;
    const escape = bytes[from++]!;
    // The separators of properties, by far the most frequent escapes.
    if (
      escape === 117 &&
      from + 4 <= end &&
      bytes[from] === 48 &&
      bytes[from + 1] === 48 &&
      bytes[from + 2] === 48 &&
      (bytes[from + 3]! & 0xfc) === 48
    ) {
      into[at++] = bytes[from + 3]! - 48;
      from += 4;
      continue;
    }
    if (escape !== 117 /* u */) {
      const plain = UNESCAPED[escape]!;
      if (plain === 0) return -1;
      into[at++] = plain;
      continue;
    }
    let unit = hex4(bytes, from, end);
    if (unit < 0) return -1;
    from += 4;
    if (unit >= 0xd800 && unit < 0xdc00 && bytes[from] === BACKSLASH && bytes[from + 1] === 117) {
      const low = hex4(bytes, from + 2, end);
      if (low >= 0xdc00 && low < 0xe000) {
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        from += 6;
      }
    }
    at = writeCodePoint(into, at, unit >= 0xd800 && unit < 0xe000 ? 0xfffd : unit);
  }
  return at;
}

/** Writes UTF-8 bytes [start, end) as the inside of a JSON string; the end of it. */
export function escapeJson(bytes: Uint8Array, start: number, end: number, into: Uint8Array, at: number): number {
  for (let from = start; from < end; from++) {
    const byte = bytes[from]!;
    if (byte >= 32 && byte !== QUOTE && byte !== BACKSLASH) {
      into[at++] = byte;
    } else if (byte >= 32) {
      into[at++] = BACKSLASH;
      into[at++] = byte;
    } else {
      into[at++] = BACKSLASH;
      into[at++] = 117;
      into[at++] = 48;
      into[at++] = 48;
      into[at++] = 48 + (byte >> 4);
      const low = byte & 15;
      into[at++] = low < 10 ? 48 + low : 87 + low;
    }
  }
  return at;
}

/** At most so many bytes per byte does {@link escapeJson} write. */
export const ESCAPED_MAX = 6;

const sources = new ViewCache();
const targets = new ViewCache();

const QUOTE = 34;
const BACKSLASH = 92;

/** The byte after a backslash to the byte it stands for; 0: not an escape. */
const UNESCAPED = new Uint8Array(256);
for (const [escape, plain] of ['""', '\\\\', '//', 'b\b', 'f\f', 'n\n', 'r\r', 't\t', "''"].map((pair) => [
  pair.charCodeAt(0),
  pair.charCodeAt(1),
])) {
  UNESCAPED[escape!] = plain!;
}

function hex4(bytes: Uint8Array, at: number, end: number): number {
  if (at + 4 > end) return -1;
  let value = 0;
  for (const stop = at + 4; at < stop; at++) {
    const digit = hexDigit(bytes[at]!);
    if (digit < 0) return -1;
    value = (value << 4) | digit;
  }
  return value;
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const letter = byte | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}

function writeCodePoint(into: Uint8Array, at: number, point: number): number {
  if (point < 0x80) {
    into[at++] = point;
  } else if (point < 0x800) {
    into[at++] = 0xc0 | (point >> 6);
    into[at++] = 0x80 | (point & 63);
  } else if (point < 0x10000) {
    into[at++] = 0xe0 | (point >> 12);
    into[at++] = 0x80 | ((point >> 6) & 63);
    into[at++] = 0x80 | (point & 63);
  } else {
    into[at++] = 0xf0 | (point >> 18);
    into[at++] = 0x80 | ((point >> 12) & 63);
    into[at++] = 0x80 | ((point >> 6) & 63);
    into[at++] = 0x80 | (point & 63);
  }
  return at;
}
