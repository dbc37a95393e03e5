/**
 * Turns a record into bytes, once, straight into a batch's buffer, in one of two forms. An element of a RocketMQ batch body:
 *
 *    0        4        8        12       16          20      20+n        22+n
 *    | size   | 0      | 0      | flag   | bodyBytes | body  | propBytes | name 01 value 02 name 01 value 02 …
 *
 * (a batch that goes out with one element sends the same bytes as a single message: its body and properties are slices of the element),
 * or a finished single send, see {@link SendFrames}.
 *
 * `prepare` checks a record and leaves what it worked out in fields (key hash, size), because the queue must be known before the bytes
 * have a place; `write` or `writeFrame` follows in the same synchronous stretch.
 */
import { deflateSync } from 'node:zlib';
import { type SendFrames, SysFlag } from '@tallystick/remoting';
import { fail, type SendError } from '../errors.ts';
import type { ProducerRecord, SendMarks } from './record.ts';
import { RecordProperties } from './record-properties.ts';
import { type UniqueIds, isMessageId } from './unique-ids.ts';

/** Bytes of a batch element besides body and properties. */
export const ELEMENT_FIXED_BYTES = 22;
const COMPRESSED_ZLIB = 0x301;
const COMPRESS_LEVEL = 5;
const DELAY_LEVEL_MAX = 18;
/** A property's byte becomes at most so many inside a JSON text. */
const ESCAPED_BYTES_MAX = 6;
/** ASCII texts up to here are written in a loop. */
const SHORT = 48;

export interface EncoderLimits {
  /** Longest body in bytes, after compression. */
  readonly maxMessageBytes: number;
  /** Bodies of at least this many bytes are deflated; 0 never. */
  readonly compressOverBytes: number;
  /** Requests will bear numbers: properties leave room for them. */
  readonly idempotence: boolean;
}

export class RecordEncoder {
  /** Of the record prepared last: the element's bytes, without a producer's number. */
  boundBytes = 0;
  /** It cannot share a request with others: delayed, compressed, half. */
  single = false;
  sysFlag = 0;

  readonly #limits: EncoderLimits;
  readonly #ids: UniqueIds;
  readonly #properties: RecordProperties;
  #value: Uint8Array | string = '';
  #valueBytes = 0;
  #valueIsShort = false;
  /** Of a record prepared again: its body as it will travel. */
  #knownValue: Uint8Array | string | undefined;

  constructor(limits: EncoderLimits, ids: UniqueIds) {
    this.#limits = limits;
    this.#properties = new RecordProperties(limits.idempotence);
    this.#ids = ids;
  }

  /** Of the record prepared last: hash of its key, if it has one. */
  get hasKey(): boolean {
    return this.#properties.hasKey;
  }

  get keyHash(): number {
    return this.#properties.keyHash;
  }

  /** Of the record prepared last: its body as it will travel. */
  get value(): Uint8Array | string {
    return this.#value;
  }

  /** Of the record written last: its id, see `idText`. */
  get idPrefix(): string {
    return this.#properties.idPrefix;
  }

  get idLow(): number {
    return this.#properties.idLow;
  }

  /** Checks `record`; an error says what is wrong with it and nothing may be written then. */
  prepare(record: ProducerRecord, marks: SendMarks | undefined): SendError | undefined {
    const { id, delayLevel } = record;
    if (id !== undefined && !isMessageId(id)) return fail('ILLEGAL_RECORD', `id must be 32 upper-case hex digits, not "${id}"`);
    this.sysFlag = 0;
    this.single = false;
    if (marks !== undefined) {
      this.sysFlag = marks.sysFlag;
      this.single = true;
    }
    if (delayLevel !== undefined && delayLevel !== 0) {
      if (!Number.isInteger(delayLevel) || delayLevel < 0 || delayLevel > DELAY_LEVEL_MAX)
        return fail('ILLEGAL_RECORD', `delayLevel must be 0 to ${DELAY_LEVEL_MAX}, not ${delayLevel}`);
      this.single = true;
    }
    const properties = this.#properties;
    const fault = properties.read(record, marks);
    if (fault !== undefined) return fail('ILLEGAL_RECORD', fault);
    const error = this.#prepareValue(record.value);
    if (error !== undefined) return error;
    this.boundBytes = ELEMENT_FIXED_BYTES + properties.end - properties.start + this.#valueBytes;
    return undefined;
  }

  /** As `prepare`, for a record that has been prepared before and had this `value` then: nothing is deflated twice. */
  prepareAgain(record: ProducerRecord, marks: SendMarks | undefined, value: Uint8Array | string): SendError | undefined {
    this.#knownValue = value;
    try {
      return this.prepare(record, marks);
    } finally {
      this.#knownValue = undefined;
    }
  }

  /** Writes the element of the record just prepared at `at`. Returns its end. */
  write(record: ProducerRecord, wallMs: number, to: Buffer, view: DataView, at: number, numbered: boolean): number {
    const properties = this.#properties;
    const propertiesAt = at + 20 + this.#valueBytes + 2;
    this.#writeValue(to, at + 20);
    properties.finish(record.id, this.#ids, wallMs);
    const end = properties.copy(view, propertiesAt, numbered);
    view.setInt32(at, end - at);
    view.setInt32(at + 4, 0);
    view.setInt32(at + 8, 0);
    view.setInt32(at + 12, 0);
    view.setInt32(at + 16, this.#valueBytes);
    view.setUint16(propertiesAt - 2, end - propertiesAt);
    return end;
  }

  /** Upper bound of the bytes of the record just prepared as a frame. */
  frameBoundBytes(frames: SendFrames): number {
    const bytes = frames.fixedBytes + this.boundBytes;
    return frames.escapes ? bytes + (this.boundBytes - this.#valueBytes) * (ESCAPED_BYTES_MAX - 1) : bytes;
  }

  /** As `write`, but a whole frame: a single send. */
  writeFrame(
    frames: SendFrames,
    record: ProducerRecord,
    born: number,
    wallMs: number,
    to: Buffer,
    view: DataView,
    start: number,
  ): number {
    const properties = this.#properties;
    const at = frames.begin(to, start, born);
    properties.finish(record.id, this.#ids, wallMs);
    const body = frames.escapes
      ? frames.sealEscaped(to, start, properties.bytes, properties.start, properties.end)
      : frames.seal(view, start, properties.copy(view, at, false));
    this.#writeValue(to, body);
    const end = body + this.#valueBytes;
    view.setInt32(start, end - start - 4);
    return end;
  }

  #prepareValue(value: Uint8Array | string): SendError | undefined {
    this.#value = value;
    if (typeof value === 'string') {
      this.#valueIsShort = isShort(value);
      this.#valueBytes = this.#valueIsShort ? value.length : Buffer.byteLength(value);
    } else this.#valueBytes = value?.length;
    if (!(this.#valueBytes > 0)) return fail('ILLEGAL_RECORD', 'value must be text or bytes, at least one byte');
    const over = this.#limits.compressOverBytes;
    if (over > 0 && this.#valueBytes >= over && (this.sysFlag & SysFlag.COMPRESSED) === 0) this.#compress(value);
    if (this.#valueBytes <= this.#limits.maxMessageBytes) return undefined;
    return fail('RECORD_TOO_LARGE', `${this.#valueBytes} bytes; the limit is ${this.#limits.maxMessageBytes} (maxMessageBytes)`);
  }

  #compress(value: Uint8Array | string): void {
    const known = this.#knownValue;
    if (known === value) return;
    const small = known instanceof Uint8Array ? known : deflateSync(value, { level: COMPRESS_LEVEL });
    if (small.length >= this.#valueBytes) return;
    this.#value = small;
    this.#valueBytes = small.length;
    this.sysFlag |= COMPRESSED_ZLIB;
    this.single = true;
  }

  #writeValue(to: Buffer, at: number): void {
    const value = this.#value;
    if (typeof value !== 'string') to.set(value, at);
    else if (this.#valueIsShort) for (let n = 0; n < value.length; n++) to[at + n] = value.charCodeAt(n);
    else to.write(value, at, 'utf8');
  }
}

function isShort(text: string): boolean {
  if (text.length > SHORT) return false;
  for (let n = 0; n < text.length; n++) if (text.charCodeAt(n) > 127) return false;
  return true;
}
