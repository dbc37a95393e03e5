import { ViewCache } from '@tallystick/base';
import { NameIndex } from './name-index.ts';

/**
 * Message properties: `name 0x01 value 0x02` repeated, UTF-8. Reading is RocketMQ's: a row without 0x01, or with an empty name or
 * value, is passed over; of equal names the last wins; the final 0x02 may be missing.
 */

export const NAME_END = 1;
export const VALUE_END = 2;

/** Names with a meaning; users may not use them (RocketMQ's MessageConst, and ours beginning with TS_). */
export const PropertyName = {
  KEYS: 'KEYS',
  TAGS: 'TAGS',
  WAIT: 'WAIT',
  DELAY: 'DELAY',
  RETRY_TOPIC: 'RETRY_TOPIC',
  REAL_TOPIC: 'REAL_TOPIC',
  REAL_QUEUE_ID: 'REAL_QID',
  TRANSACTION_PREPARED: 'TRAN_MSG',
  PRODUCER_GROUP: 'PGROUP',
  MIN_OFFSET: 'MIN_OFFSET',
  MAX_OFFSET: 'MAX_OFFSET',
  BUYER_ID: 'BUYER_ID',
  ORIGIN_MESSAGE_ID: 'ORIGIN_MESSAGE_ID',
  TRANSFER_FLAG: 'TRANSFER_FLAG',
  CORRECTION_FLAG: 'CORRECTION_FLAG',
  MQ2_FLAG: 'MQ2_FLAG',
  RECONSUME_TIME: 'RECONSUME_TIME',
  MSG_REGION: 'MSG_REGION',
  TRACE_ON: 'TRACE_ON',
  UNIQUE_KEY: 'UNIQ_KEY',
  EXTEND_UNIQ_INFO: 'EXTEND_UNIQ_INFO',
  MAX_RECONSUME_TIMES: 'MAX_RECONSUME_TIMES',
  CONSUME_START_TIME: 'CONSUME_START_TIME',
  INNER_NUM: 'INNER_NUM',
  INNER_BASE: 'INNER_BASE',
  DUP_INFO: 'DUP_INFO',
  CHECK_IMMUNITY_TIME_IN_SECONDS: 'CHECK_IMMUNITY_TIME_IN_SECONDS',
  TRAN_PREPARED_QUEUE_OFFSET: 'TRAN_PREPARED_QUEUE_OFFSET',
  TRANSACTION_ID: '__transactionId__',
  TRANSACTION_CHECK_TIMES: 'TRANSACTION_CHECK_TIMES',
  INSTANCE_ID: 'INSTANCE_ID',
  CORRELATION_ID: 'CORRELATION_ID',
  REPLY_TO_CLIENT: 'REPLY_TO_CLIENT',
  TTL: 'TTL',
  ARRIVE_TIME: 'ARRIVE_TIME',
  PUSH_REPLY_TIME: 'PUSH_REPLY_TIME',
  CLUSTER: 'CLUSTER',
  MSG_TYPE: 'MSG_TYPE',
  POP_CK: 'POP_CK',
  POP_CK_OFFSET: 'POP_CK_OFFSET',
  FIRST_POP_TIME: '1ST_POP_TIME',
  SHARDING_KEY: '__SHARDINGKEY',
  FORWARD_QUEUE_ID: 'PROPERTY_FORWARD_QUEUE_ID',
  REDIRECT: 'REDIRECT',
  INNER_MULTI_DISPATCH: 'INNER_MULTI_DISPATCH',
  INNER_MULTI_QUEUE_OFFSET: 'INNER_MULTI_QUEUE_OFFSET',
  TRACE_CONTEXT: 'TRACE_CONTEXT',
  TIMER_DELAY_SEC: 'TIMER_DELAY_SEC',
  TIMER_DELAY_MS: 'TIMER_DELAY_MS',
  TIMER_DELIVER_MS: 'TIMER_DELIVER_MS',
  TIMER_OUT_MS: 'TIMER_OUT_MS',
  TIMER_ENQUEUE_MS: 'TIMER_ENQUEUE_MS',
  TIMER_DEQUEUE_MS: 'TIMER_DEQUEUE_MS',
  TIMER_ROLL_TIMES: 'TIMER_ROLL_TIMES',
  TIMER_DEL_UNIQKEY: 'TIMER_DEL_UNIQKEY',
  TIMER_DELAY_LEVEL: 'TIMER_DELAY_LEVEL',
  BORN_HOST: '__BORNHOST',
  DLQ_ORIGIN_TOPIC: 'DLQ_ORIGIN_TOPIC',
  DLQ_ORIGIN_MESSAGE_ID: 'DLQ_ORIGIN_MESSAGE_ID',
  CRC32: '__CRC32#',
  BORN_TIMESTAMP: 'BORN_TIMESTAMP',
  /** Producer sequence `<32 hex id>:<epoch>:<seq>`, always the first property. */
  SEQUENCE: 'TS_SEQ',
  /** `b64` when __SHARDINGKEY is base64 of a key that is not UTF-8. */
  KEY_FORM: 'TS_KEY',
  /** Names of header properties whose values are base64. */
  BASE64_HEADERS: 'TS_B64',
} as const;

const reserved: ReadonlySet<string> = new Set(Object.values(PropertyName));

export function isReservedProperty(name: string): boolean {
  return reserved.has(name);
}

/** Longest properties of a message in bytes: a positive int16. */
export const PROPERTIES_BYTES_MAX = 32767;

/** Encodes name-value pairs. Throws for an empty name or value and for one that holds 0x01 or 0x02: it would read back as another. */
export function encodeProperties(pairs: Iterable<readonly [name: string, value: string]>): Buffer {
  let text = '';
  for (const [name, value] of pairs) {
    if (name === '' || value === '' || SEPARATOR.test(name) || SEPARATOR.test(value)) {
      throw new Error(`property ${JSON.stringify(name)}=${JSON.stringify(value)} is empty or holds a separator (0x01, 0x02)`);
    }
    text += `${name}\u0001${value}\u0002`;
  }
  return Buffer.from(text);
}

const SEPARATOR = /[\u0001\u0002]/; // oxlint-disable-line no-control-regex

/** All properties as a Map. */
export function decodeProperties(bytes: Uint8Array, start = 0, end = bytes.length): Map<string, string> {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const properties = new Map<string, string>();
  for (let at = start; at < end;) {
    const rowEnd = endOf(buffer, at, end, VALUE_END);
    const nameEnd = endOf(buffer, at, rowEnd, NAME_END);
    if (nameEnd > at && nameEnd + 1 < rowEnd)
      properties.set(buffer.toString('utf8', at, nameEnd), buffer.toString('utf8', nameEnd + 1, rowEnd));
    at = rowEnd + 1;
  }
  return properties;
}

/** One property's value as a string, found without decoding the others. */
export function findProperty(bytes: Buffer, start: number, end: number, name: string): string | undefined {
  let locator = locators.get(name);
  if (locator === undefined) {
    locator = new PropertyLocator([name]);
    if (locators.size < 256) locators.set(name, locator);
  }
  locator.locate(bytes, start, end);
  return locator.has(0) ? locator.text(0) : undefined;
}

const locators = new Map<string, PropertyLocator>();

/** Finds a few properties in one pass without strings; slots are the places in `names`. Valid as long as the bytes. */
export class PropertyLocator {
  bytes: Buffer = Buffer.alloc(0);
  /** Places of the values; -1 where the property is absent. */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly #index: NameIndex;
  readonly #views = new ViewCache();

  constructor(names: readonly string[]) {
    this.#index = new NameIndex(names);
    this.starts = new Int32Array(names.length).fill(-1);
    this.ends = new Int32Array(names.length).fill(-1);
  }

  locate(bytes: Buffer, start: number, end: number): void {
    const { starts, ends } = this;
    const index = this.#index;
    this.bytes = bytes;
    for (let slot = 0; slot < starts.length; slot++) starts[slot] = -1;
    if (start === end) return;
    const view = this.#views.of(bytes);
    for (let at = start; at < end; at++) {
      const nameStart = at;
      // Four bytes at a time as long as none of them can be a mark.
      while (at + 4 <= end && !hasBelow3(view.getInt32(at, true))) at += 4;
      let byte = 0;
      while (at < end && ((byte = bytes[at]!) > VALUE_END || byte === 0)) at++;
      if (at === end || byte === VALUE_END) continue;
      const nameEnd = at++;
      while (at + 4 <= end && !hasValueEnd(view.getInt32(at, true))) at += 4;
      while (at < end && bytes[at] !== VALUE_END) at++;
      if (nameEnd === nameStart || nameEnd + 1 === at) continue;
      const slot = index.find(bytes, nameStart, nameEnd);
      if (slot < 0) continue;
      starts[slot] = nameEnd + 1;
      ends[slot] = at;
    }
  }

  has(slot: number): boolean {
    return this.starts[slot]! >= 0;
  }

  /** The value as a string; '' when absent. */
  text(slot: number): string {
    return this.has(slot) ? this.bytes.toString('utf8', this.starts[slot], this.ends[slot]) : '';
  }

  /** Whether the value is exactly this ASCII text. */
  is(slot: number, ascii: string): boolean {
    const start = this.starts[slot]!;
    if (start < 0 || this.ends[slot]! - start !== ascii.length) return false;
    for (let n = 0; n < ascii.length; n++) if (this.bytes[start + n] !== ascii.charCodeAt(n)) return false;
    return true;
  }

  /** {@link tagHash} of the value; 0 when absent. */
  hash(slot: number): number {
    return this.has(slot) ? tagHash(this.bytes, this.starts[slot], this.ends[slot]) : 0;
  }
}

/**
 * Hash of a tag as consume queues and subscriptions have it: Java's String.hashCode over UTF-16 units, an int32; 0 for an empty one.
 * Takes a string, or a range of UTF-8 bytes.
 */
export function tagHash(tag: string | Buffer, start = 0, end = tag.length): number {
  let hash = 0;
  if (typeof tag === 'string') {
    for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + tag.charCodeAt(at)) | 0;
    return hash;
  }
  for (let at = start; at < end; at++) {
    const byte = tag[at]!;
    if (byte > 127) return tagHash(tag.toString('utf8', start, end));
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  return hash;
}

/** Whether one of four bytes is 0, 1 or 2; may also say yes when none is. */
function hasBelow3(word: number): boolean {
  return ((word - 0x03030303) & ~word & 0x80808080) !== 0;
}

/** Whether one of four bytes is 2; may also say yes when none is. */
function hasValueEnd(word: number): boolean {
  const marked = word ^ 0x02020202;
  return ((marked - 0x01010101) & ~marked & 0x80808080) !== 0;
}

function endOf(bytes: Buffer, at: number, end: number, mark: number): number {
  while (at < end && bytes[at] !== mark) at++;
  return at;
}
