import { readI32, readI64 } from '@tallystick/base';
import { formatHost } from './host-address.ts';
import { Interner } from './interner.ts';
import { decodeProperties, findProperty, PropertyName } from './properties.ts';
import {
  BODY_CRC_AT,
  BORN_HOST_AT,
  BORN_TIMESTAMP_AT,
  bornHostBytes,
  FLAG_AT,
  PHYSICAL_OFFSET_AT,
  QUEUE_ID_AT,
  QUEUE_OFFSET_AT,
  RecordLocator,
  storeHostBytes,
} from './stored-message.ts';

/**
 * A received message that reads its record when asked: making one costs a walk over nine lengths and no strings. Topic and tag are
 * remembered texts, properties are searched one by one or decoded once. Valid as long as `bytes` are.
 */
export class LazyMessage {
  readonly bytes: Buffer;
  /** The record is bytes [at, end). */
  readonly at: number;
  readonly end: number;
  readonly sysFlag: number;
  readonly #storedAt: number;
  readonly #countAt: number;
  readonly #bodyStart: number;
  readonly #bodyEnd: number;
  readonly #topicStart: number;
  readonly #topicEnd: number;
  readonly #propertiesStart: number;
  readonly #propertiesEnd: number;
  #properties: Map<string, string> | undefined;

  /** From the places of a record; see {@link viewStoredMessage}. */
  constructor(places: RecordLocator) {
    this.bytes = places.bytes;
    this.at = places.at;
    this.end = places.end;
    this.sysFlag = places.sysFlag;
    this.#storedAt = places.storedAt;
    this.#countAt = places.countAt;
    this.#bodyStart = places.bodyStart;
    this.#bodyEnd = places.bodyEnd;
    this.#topicStart = places.topicStart;
    this.#topicEnd = places.topicEnd;
    this.#propertiesStart = places.propertiesStart;
    this.#propertiesEnd = places.propertiesEnd;
  }

  get topic(): string {
    return topics.text(this.bytes, this.#topicStart, this.#topicEnd);
  }

  get queueId(): number {
    return readI32(this.bytes, this.at + QUEUE_ID_AT);
  }

  get flag(): number {
    return readI32(this.bytes, this.at + FLAG_AT);
  }

  get queueOffset(): number {
    return readI64(this.bytes, this.at + QUEUE_OFFSET_AT);
  }

  get physicalOffset(): number {
    return readI64(this.bytes, this.at + PHYSICAL_OFFSET_AT);
  }

  get bornTimestamp(): number {
    return readI64(this.bytes, this.at + BORN_TIMESTAMP_AT);
  }

  get bornHost(): string {
    return formatHost(this.bytes, this.at + BORN_HOST_AT, bornHostBytes(this.sysFlag));
  }

  get storeTimestamp(): number {
    return readI64(this.bytes, this.#storedAt);
  }

  get storeHost(): string {
    return formatHost(this.bytes, this.#storedAt + 8, storeHostBytes(this.sysFlag));
  }

  /** The store host as bytes, for `offsetMessageId`. */
  get storeHostBytes(): Buffer {
    return this.bytes.subarray(this.#storedAt + 8, this.#storedAt + 8 + storeHostBytes(this.sysFlag));
  }

  get reconsumeTimes(): number {
    return readI32(this.bytes, this.#countAt);
  }

  get preparedTransactionOffset(): number {
    return readI64(this.bytes, this.#countAt + 4);
  }

  get bodyCrc(): number {
    return readI32(this.bytes, this.at + BODY_CRC_AT);
  }

  get bodyBytes(): number {
    return this.#bodyEnd - this.#bodyStart;
  }

  /** The body as stored, a view; still compressed if sysFlag says so. */
  get body(): Buffer {
    return this.bytes.subarray(this.#bodyStart, this.#bodyEnd);
  }

  /** The properties as bytes, a view. */
  get rawProperties(): Buffer {
    return this.bytes.subarray(this.#propertiesStart, this.#propertiesEnd);
  }

  /** All properties; decoded at the first call. */
  get properties(): ReadonlyMap<string, string> {
    this.#properties ??= decodeProperties(this.bytes, this.#propertiesStart, this.#propertiesEnd);
    return this.#properties;
  }

  property(name: string): string | undefined {
    if (this.#properties !== undefined) return this.#properties.get(name);
    return findProperty(this.bytes, this.#propertiesStart, this.#propertiesEnd, name);
  }

  /** The sender's id (UNIQ_KEY); '' when it gave none. */
  get uniqueKey(): string {
    return this.property(PropertyName.UNIQUE_KEY) ?? '';
  }

  get tag(): string | undefined {
    return this.property(PropertyName.TAGS);
  }
}

/** A lazy message over the record at `at`, or a sentence when bytes [at, limit) hold no whole record. The next begins at its `end`. */
export function viewStoredMessage(bytes: Buffer, at = 0, limit = bytes.length): LazyMessage | string {
  return places.locate(bytes, at, limit) ?? new LazyMessage(places);
}

const places = new RecordLocator();
const topics = new Interner(256);
