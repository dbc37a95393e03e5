import { ViewCache } from '@tallystick/base';
import type { Frame } from './frame.ts';
import { CODE, EXT_FIELDS, FLAG, headerKeys, LANGUAGE, OPAQUE, REMARK, VERSION } from './header-keys.ts';
import { languageIndex, OUR_LANGUAGE } from './language-codes.ts';

/**
 * JSON headers as every client writes them: no spaces, texts as field values, small integers. One tight loop over the bytes, three
 * times as fast as the lenient scanner (0.3 µs for 350 B), and it gives up at the first byte that is anything else: false then,
 * the frame half filled in, and the scanner begins anew. What it accepts, the scanner reads the same.
 */
export function parseDenseJsonHeader(frame: Frame, bytes: Buffer, at: number, end: number): boolean {
  let hasCode = false;
  if (bytes[at++] !== OPEN_BRACE) return false;
  while (bytes[at] === QUOTE) {
    const keyStart = at + 1;
    at = endOfPlain(bytes, keyStart, end);
    if (at + 2 >= end || bytes[at] !== QUOTE || bytes[at + 1] !== COLON) return false;
    const slot = headerKeys.find(bytes, keyStart, at);
    at += 2;
    if (slot === EXT_FIELDS) {
      if (bytes[at] !== OPEN_BRACE || frame.fieldCount > 0) return false;
      const extEnd = readDenseFields(frame, bytes, at + 1, end);
      if (extEnd < 0) return false;
      frame.extStart = at;
      frame.extEnd = extEnd;
      at = extEnd;
    } else if (bytes[at] === QUOTE) {
      const start = at + 1;
      at = endOfPlain(bytes, start, end);
      if (at >= end || bytes[at] !== QUOTE) return false;
      if (slot === LANGUAGE) {
        const language = languageIndex.find(bytes, start, at);
        frame.language = language < 0 ? OUR_LANGUAGE : language;
      } else if (slot === REMARK) {
        frame.remarkStart = at > start ? start : 0;
        frame.remarkEnd = at > start ? at : 0;
        frame.remarkEscaped = 0;
      } else if (slot >= 0) {
        return false;
      }
      at++;
    } else {
      const negative = bytes[at] === MINUS;
      if (negative) at++;
      const start = at;
      let number = 0;
      for (let digit = bytes[at]! - 48; digit >= 0 && digit <= 9 && at - start < 10; digit = bytes[++at]! - 48)
        number = number * 10 + digit;
      if (at === start || number > 0x7fffffff || slot === REMARK || slot === LANGUAGE) return false;
      if (negative) number = -number;
      if (slot === CODE) {
        frame.code = number;
        hasCode = true;
      } else if (slot === FLAG) frame.flag = number;
      else if (slot === OPAQUE) frame.opaque = number;
      else if (slot === VERSION) frame.version = number;
    }
    if (bytes[at] === CLOSE_BRACE) return hasCode && at + 1 === end;
    if (bytes[at++] !== COMMA) return false;
  }
  return false;
}

/** Reads `"key":"value"` pairs up to the closing brace; the place behind it, or -1. */
function readDenseFields(frame: Frame, bytes: Buffer, at: number, end: number): number {
  const view = views.of(bytes);
  while (bytes[at] === QUOTE) {
    const keyStart = at + 1;
    const keyEnd = endOfPlain(bytes, keyStart, end);
    if (keyEnd + 3 > end || bytes[keyEnd] !== QUOTE || bytes[keyEnd + 1] !== COLON || bytes[keyEnd + 2] !== QUOTE) return -1;
    const valueStart = keyEnd + 3;
    let escaped = 0;
    for (at = valueStart; at < end; at++) {
      while (at + 4 <= end && !hasMark(view.getInt32(at, true))) at += 4;
      if (at === end) break;
      const byte = bytes[at]!;
      if (byte === QUOTE) break;
      if (byte !== BACKSLASH) continue;
      escaped = 2;
      at++;
    }
    if (at >= end || !frame.addField(keyStart, keyEnd, valueStart, at, escaped)) return -1;
    at++;
    if (bytes[at] === CLOSE_BRACE) break;
    if (bytes[at++] !== COMMA) return -1;
  }
  return at < end && bytes[at] === CLOSE_BRACE ? at + 1 : -1;
}

/** The first quote or backslash. */
function endOfPlain(bytes: Buffer, at: number, end: number): number {
  while (at < end && bytes[at] !== QUOTE && bytes[at] !== BACKSLASH) at++;
  return at;
}

const views = new ViewCache();

/** Whether one of four bytes is a quote or a backslash; may also say yes when none is. */
function hasMark(word: number): boolean {
  const quote = word ^ 0x22222222;
  const slash = word ^ 0x5c5c5c5c;
  return ((((quote - 0x01010101) & ~quote) | ((slash - 0x01010101) & ~slash)) & 0x80808080) !== 0;
}

const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;
const COMMA = 44;
const COLON = 58;
const QUOTE = 34;
const BACKSLASH = 92;
const MINUS = 45;
