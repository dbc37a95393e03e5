/**
 * Turns a record into bytes, once: the element of a RocketMQ batch body, straight into a batch's buffer. A batch that goes out
 * with one element sends the same bytes as a single message (its body and properties are slices of the element), so nothing is
 * ever encoded twice.
 *
 *    0        4        8        12       16          20      20+n        22+n
 *    | size   | 0      | 0      | flag   | bodyBytes | body  | propBytes | name 01 value 02 name 01 value 02 …
 *
 * `prepare` checks a record and leaves what it worked out in fields (key hash, upper bound of the size), because the queue must be
 * known before the bytes have a place; `write` follows in the same synchronous stretch. Mapping of keys and headers to properties:
 * a key is `__SHARDINGKEY` (base64 and TS_KEY=b64 when it is not clean UTF-8) and also KEYS when it has no space; headers are
 * properties of their own name, binary ones base64 and listed in TS_B64.
 */
import { isUtf8 } from 'node:buffer';
import { deflateSync } from 'node:zlib';
import { writeHexU32, writeI32, writeU16 } from '@tallystick/base';
import { PROPERTIES_BYTES_MAX, type SendFrames, SysFlag } from '@tallystick/remoting';
import { fail, type SendError } from '../errors.ts';
import { HeaderProperties } from './header-properties.ts';
import { murmur2 } from './murmur2.ts';
import type { ProducerRecord, SendMarks } from './record.ts';
import { copyBytes, isPlainText, writeText } from './text-bytes.ts';
import { type UniqueIds, isMessageId } from './unique-ids.ts';

/** Bytes of a batch element besides body and properties. */
export const ELEMENT_FIXED_BYTES = 22;
const COMPRESSED_ZLIB = 0x301;
const COMPRESS_LEVEL = 5;
const DELAY_LEVEL_MAX = 18;

export interface EncoderLimits {
  /** Longest body in bytes, after compression. */
  readonly maxMessageBytes: number;
  /** Bodies of at least this many bytes are deflated; 0 never. */
  readonly compressOverBytes: number;
}

export class RecordEncoder {
  /** Of the record prepared last: hash of its key, if it has one. */
  hasKey = false;
  keyHash = 0;
  /** Upper bound of the element's bytes. */
  boundBytes = 0;
  /** It cannot share a request with others: delayed, compressed, half. */
  single = false;
  sysFlag = 0;
  /** Of the element written last: its id, see `idText`. */
  idPrefix = '';
  idLow = 0;

  readonly #limits: EncoderLimits;
  readonly #ids: UniqueIds;
  #value: Uint8Array | string = '';
  #valueBytes = 0;
  #keyBytes = Buffer.allocUnsafe(256);
  #keyLength = 0;
  #keyIsBase64 = false;
  #keyHasSpace = false;
  readonly #headers = new HeaderProperties();
  /** Properties on their way into a JSON text. */
  #scratch = Buffer.allocUnsafeSlow(1024);

  constructor(limits: EncoderLimits, ids: UniqueIds) {
    this.#limits = limits;
    this.#ids = ids;
  }

  /** Checks `record`; an error says what is wrong with it and nothing may be written then. */
  prepare(record: ProducerRecord, marks: SendMarks | undefined): SendError | undefined {
    const fault = this.#prepareTopicAndId(record) ?? this.#prepareKey(record.key) ?? this.#prepareProperties(record, marks);
    if (fault !== undefined) return fail('ILLEGAL_RECORD', fault);
    this.sysFlag = marks?.sysFlag ?? 0;
    this.single = marks !== undefined;
    if (record.delayLevel !== undefined && record.delayLevel !== 0) {
      if (!Number.isInteger(record.delayLevel) || record.delayLevel < 0 || record.delayLevel > DELAY_LEVEL_MAX) {
        return fail('ILLEGAL_RECORD', `delayLevel must be 0 to ${DELAY_LEVEL_MAX}, not ${record.delayLevel}`);
      }
      this.single = true;
    }
    return this.#prepareValue(record.value);
  }

  /** Writes the element of the record just prepared at `at`; there are `boundBytes` of room. Returns its end. */
  write(record: ProducerRecord, marks: SendMarks | undefined, wallMs: number, to: Buffer, at: number): number {
    const body = at + 20;
    if (typeof this.#value === 'string') to.write(this.#value, body, 'utf8');
    else to.set(this.#value, body);
    const propertiesAt = body + this.#valueBytes + 2;
    const end = this.#writeProperties(record, marks, wallMs, to, propertiesAt);
    writeI32(to, at, end - at);
    writeI32(to, at + 4, 0);
    writeI32(to, at + 8, 0);
    writeI32(to, at + 12, 0);
    writeI32(to, at + 16, this.#valueBytes);
    writeU16(to, propertiesAt - 2, end - propertiesAt);
    return end;
  }

  /** Upper bound of the bytes of the record just prepared as a frame. */
  frameBoundBytes(frames: SendFrames): number {
    if (!frames.escapes) return frames.fixedBytes + this.boundBytes;
    return frames.fixedBytes + (this.boundBytes - this.#valueBytes) * ESCAPED_BYTES_MAX + this.#valueBytes;
  }

  /** As `write`, but a whole frame: a single send. */
  writeFrame(
    frames: SendFrames,
    record: ProducerRecord,
    marks: SendMarks | undefined,
    born: number,
    wallMs: number,
    to: Buffer,
    start: number,
  ): number {
    const at = frames.begin(to, start, born);
    let body: number;
    if (frames.escapes) {
      if (this.#scratch.length < this.boundBytes) this.#scratch = Buffer.allocUnsafeSlow(2 * this.boundBytes);
      const end = this.#writeProperties(record, marks, wallMs, this.#scratch, 0);
      body = frames.sealEscaped(to, start, this.#scratch, end);
    } else body = frames.seal(to, start, this.#writeProperties(record, marks, wallMs, to, at));
    if (typeof this.#value === 'string') to.write(this.#value, body, 'utf8');
    else to.set(this.#value, body);
    const end = body + this.#valueBytes;
    frames.finish(to, start, end);
    return end;
  }

  #prepareTopicAndId(record: ProducerRecord): string | undefined {
    const id = record.id;
    if (id !== undefined && !isMessageId(id)) return `id must be 32 upper-case hex digits, not "${id}"`;
    const queueId = record.queueId;
    if (queueId !== undefined && (!Number.isInteger(queueId) || queueId < 0))
      return `queueId must be a whole number, not ${queueId}`;
    return undefined;
  }

  #prepareKey(key: string | Uint8Array | undefined): string | undefined {
    this.hasKey = key !== undefined;
    this.#keyIsBase64 = false;
    if (key === undefined) return undefined;
    if (key.length === 0) return 'key must not be empty; leave it out';
    if (typeof key === 'string') {
      this.#setKeyText(key);
      this.keyHash = murmur2(this.#keyBytes, 0, this.#keyLength);
      if (isPlainText(key)) return undefined;
    } else {
      this.keyHash = murmur2(key, 0, key.length);
      const text = isUtf8(key) ? Buffer.from(key).toString('utf8') : '';
      if (text !== '' && isPlainText(text)) return this.#setKeyText(text);
    }
    this.#keyIsBase64 = true;
    return this.#setKeyText((typeof key === 'string' ? Buffer.from(key, 'utf8') : Buffer.from(key)).toString('base64'));
  }

  #setKeyText(text: string): undefined {
    if (text.length * 3 > this.#keyBytes.length) this.#keyBytes = Buffer.allocUnsafe(text.length * 3);
    this.#keyLength = writeText(this.#keyBytes, 0, text);
    this.#keyHasSpace = text.includes(' ');
  }

  #prepareProperties(record: ProducerRecord, marks: SendMarks | undefined): string | undefined {
    const fault = this.#headers.read(record.headers);
    if (fault !== undefined) return fault;
    const tag = record.tag;
    if (tag !== undefined && (tag === '' || !isPlainText(tag) || tag.includes('||')))
      return `tag "${tag}" must be plain text without "||"`;
    // Three bytes per UTF-16 unit are enough; only who comes near the limit is measured.
    let bytes = this.#propertyBytes(tag, marks, boundOf);
    if (bytes > PROPERTIES_BYTES_MAX) bytes = this.#propertyBytes(tag, marks, bytesOf);
    this.boundBytes = ELEMENT_FIXED_BYTES + bytes;
    return bytes > PROPERTIES_BYTES_MAX
      ? `key, tag and headers need ${bytes} bytes; the limit is ${PROPERTIES_BYTES_MAX}`
      : undefined;
  }

  #propertyBytes(tag: string | undefined, marks: SendMarks | undefined, measure: (text: string) => number): number {
    let bytes = FIXED_PROPERTY_BYTES + (this.hasKey ? 2 * this.#keyLength : 0);
    const { names, values } = this.#headers;
    for (let i = 0; i < names.length; i++) bytes += measure(names[i]!) + measure(values[i]!) + 2;
    if (tag !== undefined) bytes += measure(tag) + TAG_BYTES;
    if (marks !== undefined) for (const [name, value] of marks.properties) bytes += measure(name) + measure(value) + 2;
    return bytes;
  }

  #prepareValue(value: Uint8Array | string): SendError | undefined {
    this.#value = value;
    this.#valueBytes = typeof value === 'string' ? Buffer.byteLength(value) : value?.length;
    if (!(this.#valueBytes > 0)) return fail('ILLEGAL_RECORD', 'value must be text or bytes, at least one byte');
    const over = this.#limits.compressOverBytes;
    if (over > 0 && this.#valueBytes >= over && (this.sysFlag & SysFlag.COMPRESSED) === 0) {
      const small = deflateSync(value, { level: COMPRESS_LEVEL });
      if (small.length < this.#valueBytes) {
        this.#value = small;
        this.#valueBytes = small.length;
        this.sysFlag |= COMPRESSED_ZLIB;
        this.single = true;
      }
    }
    if (this.#valueBytes > this.#limits.maxMessageBytes) {
      return fail(
        'RECORD_TOO_LARGE',
        `${this.#valueBytes} bytes; the limit is ${this.#limits.maxMessageBytes} (maxMessageBytes)`,
      );
    }
    this.boundBytes += this.#valueBytes;
    return undefined;
  }

  #writeProperties(record: ProducerRecord, marks: SendMarks | undefined, wallMs: number, to: Buffer, at: number): number {
    if (marks === undefined || !marks.hasId) at = this.#writeId(record.id, wallMs, to, at);
    if (this.hasKey) {
      at = this.#writeKey(SHARDING_KEY, to, at);
      if (!this.#keyHasSpace) at = this.#writeKey(KEYS, to, at);
      if (this.#keyIsBase64) at = copyBytes(KEY_IS_BASE64, to, at);
    }
    if (record.tag !== undefined) {
      at = writeText(to, copyBytes(TAGS, to, at), record.tag);
      to[at++] = 2;
    }
    if (record.delayLevel !== undefined && record.delayLevel > 0) at = writeProperty(to, at, 'DELAY', String(record.delayLevel));
    const { names, values } = this.#headers;
    for (let i = 0; i < names.length; i++) at = writeProperty(to, at, names[i]!, values[i]!);
    if (marks !== undefined) for (const [name, value] of marks.properties) at = writeProperty(to, at, name, value);
    return at;
  }

  #writeId(own: string | undefined, wallMs: number, to: Buffer, at: number): number {
    at = copyBytes(UNIQ_KEY, to, at);
    if (own !== undefined) {
      this.idPrefix = own;
      this.idLow = -1;
      at = writeText(to, at, own);
    } else {
      const ids = this.#ids;
      ids.advance(wallMs);
      this.idPrefix = ids.prefix;
      this.idLow = ids.low;
      at = writeHexU32(to, copyBytes(ids.prefixBytes, to, at), ids.low);
    }
    to[at] = 2;
    return at + 1;
  }

  #writeKey(name: Uint8Array, to: Buffer, at: number): number {
    at = copyBytes(name, to, at);
    const key = this.#keyBytes;
    for (let i = 0; i < this.#keyLength; i++) to[at + i] = key[i]!;
    at += this.#keyLength;
    to[at] = 2;
    return at + 1;
  }
}

/** A property's byte becomes at most so many inside a JSON text. */
const ESCAPED_BYTES_MAX = 6;
const UNIQ_KEY = Buffer.from('UNIQ_KEY\u0001', 'latin1');
const SHARDING_KEY = Buffer.from('__SHARDINGKEY\u0001', 'latin1');
const KEYS = Buffer.from('KEYS\u0001', 'latin1');
const KEY_IS_BASE64 = Buffer.from('TS_KEY\u0001b64\u0002', 'latin1');
const TAGS = Buffer.from('TAGS\u0001', 'latin1');
const TAG_BYTES = 6;
/** UNIQ_KEY with its value, the names of the key's properties, DELAY. */
const FIXED_PROPERTY_BYTES = 100;

function bytesOf(text: string): number {
  return Buffer.byteLength(text);
}

function boundOf(text: string): number {
  return 3 * text.length;
}

function writeProperty(to: Buffer, at: number, name: string, value: string): number {
  at = writeText(to, at, name);
  to[at] = 1;
  at = writeText(to, at + 1, value);
  to[at] = 2;
  return at + 1;
}
