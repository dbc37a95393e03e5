import { languageName } from './language-codes.ts';
import { unescapeJson } from './json-text.ts';

/** Header serialisation on the wire: 0 JSON, 1 ROCKETMQ (binary). */
export type HeaderKind = 0 | 1;
export const JSON_HEADER = 0;
export const BINARY_HEADER = 1;

/** Bits of `flag`. */
export const RESPONSE_FLAG = 1;
export const ONEWAY_FLAG = 2;

const EMPTY = Buffer.alloc(0);

/** What is needed to answer a request after its frame is gone. */
export interface ReplyRef {
  readonly opaque: number;
  readonly kind: HeaderKind;
  readonly oneway: boolean;
}

/**
 * One received frame, as a view: numbers and places inside `bytes`, no strings and no objects. There is one per connection, filled
 * again for each frame, and it is valid only during the call that hands it out; the bytes too. Who needs more later copies it.
 *
 * Extension fields are an index of places (`fieldCount` rows in `fieldPlaces`), the same for both header kinds: locators and
 * decoders read from it and never see which kind it was, but for escaped JSON text, which `fieldEscaped` marks.
 */
export class Frame {
  bytes: Buffer = EMPTY;
  /** Where the frame begins, its length field included; it ends at `bodyEnd`. */
  start = 0;
  code = 0;
  flag = 0;
  opaque = 0;
  version = 0;
  language = 0;
  headerKind: HeaderKind = 0;
  /** Place of the remark's text; both 0 when there is none. */
  remarkStart = 0;
  remarkEnd = 0;
  remarkEscaped = 0;
  /** Place of the extension fields: binary rows, or the JSON object with its braces; equal when there are none. */
  extStart = 0;
  extEnd = 0;
  bodyStart = 0;
  bodyEnd = 0;
  fieldCount = 0;
  /** Four numbers per field: start and end of the key, start and end of the value. */
  fieldPlaces: Int32Array = new Int32Array(4 * 32);
  /** Per field: 1 the key has JSON escapes, 2 the value has. */
  fieldEscaped: Uint8Array = new Uint8Array(32);

  get isResponse(): boolean {
    return (this.flag & RESPONSE_FLAG) !== 0;
  }

  get isOneway(): boolean {
    return (this.flag & ONEWAY_FLAG) !== 0;
  }

  /** The remark's text, if there is one. */
  remark(): string | undefined {
    return this.remarkEnd === 0 ? undefined : textAt(this.bytes, this.remarkStart, this.remarkEnd, this.remarkEscaped !== 0);
  }

  /** The body; a view into the frame. */
  body(): Buffer {
    return this.bytes.subarray(this.bodyStart, this.bodyEnd);
  }

  /** All extension fields as strings; the last of equal keys wins. The slow path, for cold commands. */
  fields(): Map<string, string> {
    const fields = new Map<string, string>();
    for (let n = 0; n < this.fieldCount; n++) {
      const at = 4 * n;
      const places = this.fieldPlaces;
      const escaped = this.fieldEscaped[n]!;
      const key = textAt(this.bytes, places[at]!, places[at + 1]!, (escaped & 1) !== 0);
      fields.set(key, textAt(this.bytes, places[at + 2]!, places[at + 3]!, (escaped & 2) !== 0));
    }
    return fields;
  }

  ref(): ReplyRef {
    return { opaque: this.opaque, kind: this.headerKind, oneway: this.isOneway };
  }

  get languageName(): string {
    return languageName(this.language);
  }

  /** Notes one field's places; false when there are more than {@link FIELDS_MAX}. For the header parsers. */
  addField(keyStart: number, keyEnd: number, valueStart: number, valueEnd: number, escaped: number): boolean {
    const n = this.fieldCount;
    if (n === this.fieldEscaped.length && !this.#grow()) return false;
    const at = 4 * n;
    const places = this.fieldPlaces;
    places[at] = keyStart;
    places[at + 1] = keyEnd;
    places[at + 2] = valueStart;
    places[at + 3] = valueEnd;
    this.fieldEscaped[n] = escaped;
    this.fieldCount = n + 1;
    return true;
  }

  #grow(): boolean {
    const size = this.fieldEscaped.length * 2;
    if (size > FIELDS_MAX) return false;
    const places = new Int32Array(4 * size);
    places.set(this.fieldPlaces);
    this.fieldPlaces = places;
    const escaped = new Uint8Array(size);
    escaped.set(this.fieldEscaped);
    this.fieldEscaped = escaped;
    return true;
  }
}

/** More extension fields than this are a fault: RocketMQ's largest header has about 20. */
export const FIELDS_MAX = 512;

/** The text in bytes [start, end), unescaped if it is escaped JSON. A broken escape gives the text as it stands. */
export function textAt(bytes: Buffer, start: number, end: number, escaped: boolean): string {
  if (!escaped) return bytes.toString('utf8', start, end);
  const plain = Buffer.allocUnsafe(end - start);
  const length = unescapeJson(bytes, start, end, plain, 0);
  return length < 0 ? bytes.toString('utf8', start, end) : plain.toString('utf8', 0, length);
}
