import { readI32, readI64, readU16 } from '@tallystick/base';
import { CONTROL_HEAD_BYTES, CONTROL_MAGIC } from './control-records.ts';

/** RocketMQ's magic numbers of a message record: one-byte and two-byte topic length. */
export const MESSAGE_MAGIC_V1 = 0xdaa320a7;
export const MESSAGE_MAGIC_V2 = 0xdaa320ab;

/** Fixed places in a message record; those after the born host shift by 12 when it is IPv6. */
export const MESSAGE_AT = {
  bodyCrc: 8,
  queueId: 12,
  flag: 16,
  queueOffset: 20,
  physicalOffset: 28,
  sysFlag: 36,
  bornTimestamp: 40,
  bornHost: 48,
} as const;

/** Smallest message record: no body, no topic, no properties, IPv4 hosts. */
export const MESSAGE_BYTES_MIN = 91;

const BORN_HOST_IPV6 = 0x10;
const STORE_HOST_IPV6 = 0x20;

/**
 * A record of the log, seen in place: getters read the bytes when asked, nothing is copied. One view is moved from record to record;
 * whoever wants to keep something copies it.
 */
export class RecordView {
  bytes: Buffer = Buffer.alloc(0);
  /** Where the record lies in `bytes`. */
  at = 0;
  end = 0;
  /** Address of the record in the log. */
  position = 0;
  isControl = false;

  /** Moves the view. Nothing is checked: see {@link recordFault}. */
  move(bytes: Buffer, at: number, end: number, position: number): this {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
    this.position = position;
    this.isControl = readI32(bytes, at + 4) >>> 0 === CONTROL_MAGIC;
    return this;
  }

  get size(): number {
    return this.end - this.at;
  }

  /** One of `ControlType`; only for control records. */
  get controlType(): number {
    return readU16(this.bytes, this.at + 8);
  }

  get controlVersion(): number {
    return readU16(this.bytes, this.at + 10);
  }

  get bodyStart(): number {
    return this.isControl ? this.at + CONTROL_HEAD_BYTES : this.#afterHosts() + 16;
  }

  get bodyEnd(): number {
    return this.isControl ? this.end : this.bodyStart + readI32(this.bytes, this.#afterHosts() + 12);
  }

  /** The body, a view. */
  get body(): Buffer {
    return this.bytes.subarray(this.bodyStart, this.bodyEnd);
  }

  get bodyCrc(): number {
    return readI32(this.bytes, this.at + MESSAGE_AT.bodyCrc);
  }

  get queueId(): number {
    return readI32(this.bytes, this.at + MESSAGE_AT.queueId);
  }

  get flag(): number {
    return readI32(this.bytes, this.at + MESSAGE_AT.flag);
  }

  get queueOffset(): number {
    return readI64(this.bytes, this.at + MESSAGE_AT.queueOffset);
  }

  get sysFlag(): number {
    return readI32(this.bytes, this.at + MESSAGE_AT.sysFlag);
  }

  get bornTimestamp(): number {
    return readI64(this.bytes, this.at + MESSAGE_AT.bornTimestamp);
  }

  get bornHostStart(): number {
    return this.at + MESSAGE_AT.bornHost;
  }

  get bornHostEnd(): number {
    return this.bornHostStart + ((this.sysFlag & BORN_HOST_IPV6) === 0 ? 8 : 20);
  }

  get storeTimestamp(): number {
    return readI64(this.bytes, this.bornHostEnd);
  }

  get reconsumeTimes(): number {
    return readI32(this.bytes, this.#afterHosts());
  }

  get preparedTransactionOffset(): number {
    return readI64(this.bytes, this.#afterHosts() + 4);
  }

  get topicStart(): number {
    return this.bodyEnd + (this.#isV2() ? 2 : 1);
  }

  get topicEnd(): number {
    const at = this.bodyEnd;
    return this.#isV2() ? at + 2 + readU16(this.bytes, at) : at + 1 + this.bytes[at]!;
  }

  topic(): string {
    return this.bytes.toString('utf8', this.topicStart, this.topicEnd);
  }

  get propertiesStart(): number {
    return this.topicEnd + 2;
  }

  get propertiesEnd(): number {
    return this.end;
  }

  #isV2(): boolean {
    return readI32(this.bytes, this.at + 4) >>> 0 === MESSAGE_MAGIC_V2;
  }

  /** First byte after the store host: the re-consume count. */
  #afterHosts(): number {
    return this.bornHostEnd + 8 + ((this.sysFlag & STORE_HOST_IPV6) === 0 ? 8 : 20);
  }
}

/** What is wrong with the record that starts at `at` and should lie at `position`; undefined when its frame holds together. */
export function recordFault(bytes: Buffer, at: number, end: number, position: number): string | undefined {
  if (end - at < CONTROL_HEAD_BYTES) return 'record head cut off';
  const size = readI32(bytes, at);
  if (size < CONTROL_HEAD_BYTES || size > end - at) return `record size ${size}`;
  const magic = readI32(bytes, at + 4) >>> 0;
  if (magic === CONTROL_MAGIC) return undefined;
  if (magic !== MESSAGE_MAGIC_V1 && magic !== MESSAGE_MAGIC_V2) return `record magic ${magic.toString(16)}`;
  if (size < MESSAGE_BYTES_MIN) return `message size ${size}`;
  if (readI64(bytes, at + MESSAGE_AT.physicalOffset) !== position) return 'record of another position';
  // By hand instead of through a view, which would walk the hosts again for each getter: every record read from disk passes here.
  const recordEnd = at + size;
  const sysFlag = readI32(bytes, at + MESSAGE_AT.sysFlag);
  const bornHostEnd = at + MESSAGE_AT.bornHost + ((sysFlag & BORN_HOST_IPV6) === 0 ? 8 : 20);
  const bodyStart = bornHostEnd + 8 + ((sysFlag & STORE_HOST_IPV6) === 0 ? 8 : 20) + 16;
  if (bodyStart > recordEnd) return 'body length';
  const bodyEnd = bodyStart + readI32(bytes, bodyStart - 4);
  if (bodyEnd < bodyStart || bodyEnd + 2 > recordEnd) return 'body length';
  const topicEnd = magic === MESSAGE_MAGIC_V2 ? bodyEnd + 2 + readU16(bytes, bodyEnd) : bodyEnd + 1 + bytes[bodyEnd]!;
  if (topicEnd + 2 > recordEnd) return 'topic length';
  return topicEnd + 2 + readU16(bytes, topicEnd) === recordEnd ? undefined : 'properties length';
}
