import { readDecimal } from '@tallystick/base';
import type { Frame } from './frame.ts';
import { parseDenseJsonHeader } from './header-json-dense.ts';
import { CODE, EXT_FIELDS, FLAG, HEADER_KEYS, headerKeys, LANGUAGE, OPAQUE, REMARK, VERSION } from './header-keys.ts';
import { languageIndex, OUR_LANGUAGE } from './language-codes.ts';

/**
 * The JSON header kind, read over the bytes without building it: numbers are taken, the places of the remark and of the fields are
 * noted. As lenient as fastjson where it costs nothing: any order, unknown keys skipped, numbers and booleans accepted as field
 * values, null as absence.
 */

/** Reads the header in bytes [at, end) into the frame. The fault, or undefined. */
export function parseJsonHeader(frame: Frame, bytes: Buffer, at: number, end: number): string | undefined {
  clear(frame);
  if (parseDenseJsonHeader(frame, bytes, at, end)) return undefined;
  clear(frame);
  const scan = scanner;
  scan.begin(bytes, at, end);
  if (!scan.open(OPEN_BRACE)) return 'JSON header is not an object';
  for (let first = true; scan.more(CLOSE_BRACE, first); first = false) {
    if (!scan.key()) return scan.fault('a header key');
    const slot = scan.escaped ? -1 : headerKeys.find(bytes, scan.start, scan.stop);
    if (!scan.colon()) return scan.fault('a colon');
    const fault = slot === EXT_FIELDS ? readFields(frame, scan) : readTop(frame, scan, slot);
    if (fault !== undefined) return fault;
  }
  if (scan.broken) return scan.fault('a comma or the end of the header');
  scan.space();
  if (scan.at !== end) return scan.fault('the end of the header');
  return scan.hasCode ? undefined : 'JSON header without code';
}

function clear(frame: Frame): void {
  frame.code = 0;
  frame.language = OUR_LANGUAGE;
  frame.version = 0;
  frame.opaque = 0;
  frame.flag = 0;
  frame.remarkStart = 0;
  frame.remarkEnd = 0;
  frame.remarkEscaped = 0;
  frame.extStart = 0;
  frame.extEnd = 0;
  frame.fieldCount = 0;
}

function readTop(frame: Frame, scan: Scanner, slot: number): string | undefined {
  if (!scan.value()) return scan.fault('a value');
  if (slot < 0 || scan.kind === NULL) return undefined;
  if (slot === REMARK) {
    if (scan.kind !== STRING || scan.stop === scan.start) return undefined;
    frame.remarkStart = scan.start;
    frame.remarkEnd = scan.stop;
    frame.remarkEscaped = scan.escaped ? 1 : 0;
    return undefined;
  }
  if (slot === LANGUAGE && scan.kind === STRING) {
    const language = languageIndex.find(scan.bytes, scan.start, scan.stop);
    frame.language = language < 0 ? OUR_LANGUAGE : language;
    return undefined;
  }
  const number = readDecimal(scan.bytes, scan.start, scan.stop);
  if ((number | 0) !== number) return scan.fault(`an int32 for ${HEADER_KEYS[slot]!}`);
  if (slot === CODE) {
    frame.code = number;
    scan.hasCode = true;
  } else if (slot === FLAG) frame.flag = number;
  else if (slot === OPAQUE) frame.opaque = number;
  else if (slot === VERSION) frame.version = number;
  else frame.language = number & 255;
  return undefined;
}

function readFields(frame: Frame, scan: Scanner): string | undefined {
  const start = scan.at;
  if (scan.peek() !== OPEN_BRACE) {
    if (!scan.value()) return scan.fault('the fields');
    return scan.kind === NULL ? undefined : scan.fault('an object of fields');
  }
  scan.open(OPEN_BRACE);
  frame.fieldCount = 0;
  for (let first = true; scan.more(CLOSE_BRACE, first); first = false) {
    if (!scan.key()) return scan.fault('a field name');
    const keyStart = scan.start;
    const keyEnd = scan.stop;
    const escaped = scan.escaped ? 1 : 0;
    if (!scan.colon()) return scan.fault('a colon');
    if (!scan.value()) return scan.fault('a field value');
    if (scan.kind === NULL || scan.kind === NESTED) continue;
    if (!frame.addField(keyStart, keyEnd, scan.start, scan.stop, escaped | (scan.escaped ? 2 : 0))) return 'too many fields';
  }
  if (scan.broken) return scan.fault('a comma or the end of the fields');
  frame.extStart = start;
  frame.extEnd = scan.at;
  return undefined;
}

const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;
const OPEN_BRACKET = 91;
const CLOSE_BRACKET = 93;
const COMMA = 44;
const COLON = 58;
const QUOTE = 34;
const BACKSLASH = 92;

const STRING = 0;
const WORD = 1;
const NULL = 2;
const NESTED = 3;

/** Values nested deeper than this in an unknown key are a fault. */
const DEPTH_MAX = 32;

/** A cursor over JSON bytes. After `key()` or `value()`, [start, stop) is the token (a string without its quotes). */
class Scanner {
  bytes: Buffer = Buffer.alloc(0);
  at = 0;
  end = 0;
  start = 0;
  stop = 0;
  escaped = false;
  kind = STRING;
  /** `more()` met neither a comma nor the closing bracket. */
  broken = false;
  /** A code was among the keys. */
  hasCode = false;

  begin(bytes: Buffer, at: number, end: number): void {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
    this.broken = false;
    this.hasCode = false;
  }

  fault(wanted: string): string {
    return `JSON header: ${wanted} expected at byte ${this.at}`;
  }

  space(): void {
    let at = this.at;
    while (at < this.end && this.bytes[at]! <= 32) at++;
    this.at = at;
  }

  /** The next byte that is no space; -1 at the end. */
  peek(): number {
    this.space();
    return this.at < this.end ? this.bytes[this.at]! : -1;
  }

  open(bracket: number): boolean {
    if (this.peek() !== bracket) return false;
    this.at++;
    return true;
  }

  /** Whether another member follows; eats the comma before it, or the closing bracket. */
  more(closing: number, first: boolean): boolean {
    const next = this.peek();
    if (next === closing) {
      this.at++;
      return false;
    }
    if (first) return true;
    if (next === COMMA) {
      this.at++;
      return true;
    }
    this.broken = true;
    return false;
  }

  colon(): boolean {
    return this.open(COLON);
  }

  key(): boolean {
    return this.peek() === QUOTE && this.#string();
  }

  value(): boolean {
    const next = this.peek();
    if (next === QUOTE) {
      this.kind = STRING;
      return this.#string();
    }
    this.escaped = false;
    if (next === OPEN_BRACE || next === OPEN_BRACKET) {
      this.kind = NESTED;
      return this.#skip(0);
    }
    return this.#word();
  }

  #string(): boolean {
    const bytes = this.bytes;
    const end = this.end;
    let at = this.at + 1;
    this.start = at;
    this.escaped = false;
    for (; at < end; at++) {
      const byte = bytes[at]!;
      if (byte === QUOTE) {
        this.stop = at;
        this.at = at + 1;
        return true;
      }
      if (byte === BACKSLASH) {
        this.escaped = true;
        at++;
      }
    }
    this.at = end;
    return false;
  }

  /** A number, true, false or null. */
  #word(): boolean {
    const bytes = this.bytes;
    const start = this.at;
    let at = start;
    while (at < this.end && isWordByte(bytes[at]!)) at++;
    this.start = start;
    this.stop = at;
    this.at = at;
    this.kind =
      at - start === 4 && bytes[start] === 110 && bytes[start + 1] === 117 && bytes[start + 2] === 108 && bytes[start + 3] === 108
        ? NULL
        : WORD;
    return at > start;
  }

  #skip(depth: number): boolean {
    if (depth > DEPTH_MAX) return false;
    const object = this.bytes[this.at] === OPEN_BRACE;
    const closing = object ? CLOSE_BRACE : CLOSE_BRACKET;
    this.at++;
    for (let first = true; this.more(closing, first); first = false) {
      if (object && !(this.key() && this.colon())) return false;
      const next = this.peek();
      if (next === OPEN_BRACE || next === OPEN_BRACKET ? !this.#skip(depth + 1) : !this.value()) return false;
    }
    this.escaped = false;
    this.kind = NESTED;
    return !this.broken;
  }
}

function isWordByte(byte: number): boolean {
  return (
    (byte >= 48 && byte <= 57) ||
    (byte >= 97 && byte <= 122) ||
    (byte >= 65 && byte <= 90) ||
    byte === 45 ||
    byte === 43 ||
    byte === 46
  );
}

/** One is enough: parsing never calls out. */
const scanner = new Scanner();
