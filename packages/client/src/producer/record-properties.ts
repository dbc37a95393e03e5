/**
 * The properties of one record as bytes, checked and written in one pass, before the record has a place: what is left to do then is one
 * copy. One object serves all records of a producer.
 *
 *    0                    59                          101
 *    | TS_SEQ 01 … 02     | UNIQ_KEY 01 32 digits 02  | key, tag, delay, headers, marks … |
 *    └─ only `numbered` ──┘└─ unless the marks have it ┘
 *
 * Mapping: a key is `__SHARDINGKEY` (base64 and TS_KEY=b64 when it is not clean UTF-8) and also KEYS when it has no space; headers are
 * properties of their own name, binary ones base64 and listed in TS_B64. What a broker would drop or take for its own (empty,
 * separators inside, a reserved name) is refused.
 */
import { isUtf8 } from 'node:buffer';
import { copyWords, setHexU32, viewOf } from '@tallystick/base';
import { PROPERTIES_BYTES_MAX, PropertyName, isReservedProperty } from '@tallystick/remoting';
import { murmur2 } from './murmur2.ts';
import type { HeaderValue, ProducerRecord, RecordHeaders, SendMarks } from './record.ts';
import type { UniqueIds } from './unique-ids.ts';

/** Bytes of the property TS_SEQ, and where in it the number begins: `TS_SEQ 01 <32 hex>:<5 digits>:<12 digits> 02`. */
export const SEQUENCE_BYTES = 59;
const ID_AT = SEQUENCE_BYTES;
const ID_TEXT_AT = ID_AT + 9;
const ID_BYTES = 42;
const REST_AT = ID_AT + ID_BYTES;
/** Names of headers that are known to be good; beyond so many each is checked every time. */
const NAMES_MAX = 1024;
/** Longer texts go through Node's encoder, whose call costs as much as some fifty bytes of a loop. */
const SHORT = 48;

export class RecordProperties {
  bytes: Buffer = Buffer.allocUnsafeSlow(1024);
  view: DataView = viewOf(this.bytes);
  /** Of the record read last: where its properties begin (without TS_SEQ) and end. */
  start = ID_AT;
  end = REST_AT;
  /** Hash of its key, if it has one. */
  hasKey = false;
  keyHash = 0;
  /** Of the record finished last: its id, see `idText`. */
  idPrefix = '';
  idLow = 0;
  readonly #names = new Map<string, Uint8Array>();
  #prefix = '';
  #overBytes = 0;
  readonly #bytesMax: number;

  /** `numbered`: TS_SEQ takes some of the room. */
  constructor(numbered: boolean) {
    this.#bytesMax = numbered ? PROPERTIES_BYTES_MAX - SEQUENCE_BYTES : PROPERTIES_BYTES_MAX;
    this.bytes.write('UNIQ_KEY\u0001', ID_AT, 'latin1');
    this.bytes[REST_AT - 1] = 2;
  }

  /** Writes all but the id; a sentence when something cannot be sent. */
  read(record: ProducerRecord, marks: SendMarks | undefined): string | undefined {
    this.start = marks !== undefined && marks.hasId ? REST_AT : ID_AT;
    this.end = REST_AT;
    this.#overBytes = 0;
    const { key, tag, delayLevel, headers } = record;
    this.hasKey = key !== undefined;
    let fault = key === undefined ? undefined : this.#addKey(key);
    if (fault === undefined && tag !== undefined) fault = this.#addTag(tag);
    if (fault === undefined && delayLevel !== undefined && delayLevel > 0) this.#addKnown(DELAY, String(delayLevel));
    if (fault === undefined && headers !== undefined) fault = this.#addHeaders(headers);
    if (fault !== undefined) return fault;
    if (marks !== undefined) for (const [name, value] of marks.properties) this.#addPair(name, value);
    const bytes = this.end - this.start + this.#overBytes;
    return bytes > this.#bytesMax ? `key, tag and headers need ${bytes} bytes; the limit is ${this.#bytesMax}` : undefined;
  }

  /** Gives the record its id: its own, or the next one. */
  finish(own: string | undefined, ids: UniqueIds, wallMs: number): void {
    if (this.start !== ID_AT) return;
    if (own !== undefined) {
      this.idPrefix = own;
      this.idLow = -1;
      this.#prefix = '';
      this.bytes.write(own, ID_TEXT_AT, 'latin1');
      return;
    }
    ids.advance(wallMs);
    this.idPrefix = ids.prefix;
    this.idLow = ids.low;
    if (ids.prefix !== this.#prefix) {
      this.#prefix = ids.prefix;
      this.bytes.set(ids.prefixBytes, ID_TEXT_AT);
    }
    setHexU32(this.view, ID_TEXT_AT + 24, ids.low);
  }

  /** Copies the properties to `at`, with room for TS_SEQ in front if `numbered`; their end. */
  copy(to: DataView, at: number, numbered: boolean): number {
    const from = numbered ? this.start - SEQUENCE_BYTES : this.start;
    return copyWords(this.view, from, this.end, to, at);
  }

  #addKey(key: string | Uint8Array): string | undefined {
    if (key.length === 0) return 'key must not be empty; leave it out';
    this.#room(SHARDING_KEY.length);
    this.bytes.set(SHARDING_KEY, this.end);
    const nameAt = this.end;
    const at = nameAt + SHARDING_KEY.length;
    this.end = at;
    let isBase64 = false;
    if (typeof key === 'string') {
      if (this.#addText(key)) this.keyHash = murmur2(this.bytes, at, this.end);
      else {
        const bytes = Buffer.from(key, 'utf8');
        this.keyHash = murmur2(bytes, 0, bytes.length);
        this.#addText(bytes.toString('base64'));
        isBase64 = true;
      }
    } else {
      this.keyHash = murmur2(key, 0, key.length);
      if (!isUtf8(key) || !this.#addText(Buffer.from(key.buffer, key.byteOffset, key.length).toString('utf8'))) {
        this.#addText(Buffer.from(key.buffer, key.byteOffset, key.length).toString('base64'));
        isBase64 = true;
      }
    }
    const end = this.end;
    this.#close();
    if (this.#overBytes > 0) return undefined;
    if (!this.#hasSpace(at, end)) {
      this.#room(KEYS.length + end - at);
      this.bytes.set(KEYS, this.end);
      this.end = copyWords(this.view, at, end, this.view, this.end + KEYS.length);
      this.#close();
    }
    if (isBase64) this.#addKnown(KEY_FORM, 'b64');
    return undefined;
  }

  #hasSpace(at: number, end: number): boolean {
    const { bytes } = this;
    for (; at < end; at++) if (bytes[at] === 32) return true;
    return false;
  }

  #addTag(tag: string): string | undefined {
    const before = this.end;
    this.#room(TAGS.length);
    this.bytes.set(TAGS, before);
    this.end += TAGS.length;
    const fine = tag !== '' && this.#addText(tag) && !tag.includes('||');
    this.#close();
    return fine ? undefined : `tag "${tag}" must be plain text without "||"`;
  }

  #addHeaders(headers: RecordHeaders): string | undefined {
    let binary = '';
    if (isMap(headers)) {
      for (const [name, value] of headers) {
        const fault = this.#addHeader(name, value);
        if (fault !== undefined) return fault;
        if (typeof value !== 'string') binary += binary === '' ? name : ` ${name}`;
      }
    } else {
      for (const name in headers) {
        if (!Object.hasOwn(headers, name)) continue;
        const value = headers[name]!;
        const fault = this.#addHeader(name, value);
        if (fault !== undefined) return fault;
        if (typeof value !== 'string') binary += binary === '' ? name : ` ${name}`;
      }
    }
    if (binary !== '') this.#addPair(PropertyName.BASE64_HEADERS, binary);
    return undefined;
  }

  #addHeader(name: string, value: HeaderValue): string | undefined {
    const known = this.#names.get(name) ?? this.#learnName(name);
    if (known === undefined) return `header name "${name}" is empty, reserved or has control characters`;
    if (value === undefined || value === null || value.length === 0)
      return `header "${name}" must not be empty: brokers drop empty properties`;
    if (typeof value === 'string') {
      if (!this.#addKnown(known, value)) return `header "${name}" has control characters; pass bytes`;
    } else {
      if (name.includes(' ')) return `header "${name}" with bytes must not have a space in its name`;
      this.#addKnown(known, Buffer.from(value).toString('base64'));
    }
    return undefined;
  }

  /** A header's name with its separator; undefined when it cannot be one. */
  #learnName(name: string): Uint8Array | undefined {
    if (name === '' || SEPARATORS.test(name) || isReservedProperty(name)) return undefined;
    const bytes = Buffer.from(`${name}\u0001`);
    if (this.#names.size < NAMES_MAX && name.length <= SHORT) this.#names.set(name, bytes);
    return bytes;
  }

  #addPair(name: string, value: string): void {
    this.#addText(name);
    this.#room(1);
    this.bytes[this.end++] = 1;
    this.#addText(value);
    this.#close();
  }

  /** A property whose name is bytes already; false when its value is not plain text. */
  #addKnown(name: Uint8Array, value: string): boolean {
    this.#room(name.length);
    const { bytes } = this;
    let at = this.end;
    for (let n = 0; n < name.length; n++) bytes[at++] = name[n]!;
    this.end = at;
    const fine = this.#addText(value);
    this.#close();
    return fine;
  }

  #close(): void {
    this.#room(1);
    this.bytes[this.end++] = 2;
  }

  /** False when the text holds a separator; nothing of it has been written then. */
  #addText(text: string): boolean {
    const { length } = text;
    if (this.end + length > TOO_MUCH) {
      this.#overBytes += Buffer.byteLength(text);
      return true;
    }
    this.#room(3 * length);
    const { bytes } = this;
    if (length <= SHORT) {
      let at = this.end;
      let n = 0;
      for (; n < length; n++) {
        const c = text.charCodeAt(n);
        if (c <= 2) return false;
        if (c > 127) break;
        bytes[at++] = c;
      }
      if (n === length) {
        this.end = at;
        return true;
      }
    }
    if (SEPARATORS.test(text)) return false;
    this.end += bytes.write(text, this.end, 'utf8');
    return true;
  }

  #room(bytes: number): void {
    if (this.bytes.length - this.end >= bytes) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.bytes.length, this.end + bytes));
    larger.set(this.bytes);
    this.bytes = larger;
    this.view = viewOf(larger);
  }
}

/** Text that would make the properties longer than this is measured, not written. */
const TOO_MUCH = REST_AT + PROPERTIES_BYTES_MAX;
// oxlint-disable-next-line no-control-regex -- the separators of properties, and 0x00
const SEPARATORS = /[\u0000-\u0002]/;
const SHARDING_KEY = Buffer.from('__SHARDINGKEY\u0001', 'latin1');
const KEYS = Buffer.from('KEYS\u0001', 'latin1');
const KEY_FORM = Buffer.from('TS_KEY\u0001', 'latin1');
const TAGS = Buffer.from('TAGS\u0001', 'latin1');
const DELAY = Buffer.from('DELAY\u0001', 'latin1');

function isMap(headers: RecordHeaders): headers is ReadonlyMap<string, HeaderValue> {
  return typeof (headers as ReadonlyMap<string, HeaderValue>).entries === 'function';
}
