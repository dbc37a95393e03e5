import { crc32, readI32, readI64, writeI32, writeI64, writeU16 } from '@tallystick/base';
import { formatHost, HOST_V4_BYTES, HOST_V6_BYTES, parseHost } from './host-address.ts';
import { SysFlag } from './sys-flags.ts';

/**
 * The record of a message, as it lies in the log and travels in answers to pulls. All numbers big-endian; a host is 8 bytes, or 20
 * when its sysFlag bit says IPv6; the topic's length has two bytes in version 2, which is used for topics over 127 bytes.
 *
 *     size u32 | magic u32 | body crc u32 | queue id i32 | flag i32 | queue offset i64 | position i64 | sysFlag i32
 *     | born ms i64 | born host | stored ms i64 | store host | reconsume times i32 | prepared transaction position i64
 *     | body: u32 length + bytes | topic: u8 or u16 length + bytes | properties: u16 length + bytes
 */

export const MAGIC_V1 = 0xdaa320a7;
export const MAGIC_V2 = 0xdaa320ab;

/** Filler at the end of a RocketMQ log file; never written here. */
export const MAGIC_BLANK = 0xcbd43194;

/** Places inside a record, from its first byte. Those after the born host move by 12 with each IPv6 host. */
export const SIZE_AT = 0;
export const MAGIC_AT = 4;
export const BODY_CRC_AT = 8;
export const QUEUE_ID_AT = 12;
export const FLAG_AT = 16;
export const QUEUE_OFFSET_AT = 20;
export const PHYSICAL_OFFSET_AT = 28;
export const SYS_FLAG_AT = 36;
export const BORN_TIMESTAMP_AT = 40;
export const BORN_HOST_AT = 48;

/** Bytes of a version-1 record with IPv4 hosts besides body, topic and properties. */
export const RECORD_FIXED_BYTES = 91;

/** Longest topic of a version-1 record in bytes. */
export const TOPIC_V1_BYTES_MAX = 127;

/** Only 31 bits of a body's CRC-32 are stored. */
export const CRC_MASK = 0x7fffffff;

export function bornHostBytes(sysFlag: number): number {
  return (sysFlag & SysFlag.BORN_HOST_V6) === 0 ? HOST_V4_BYTES : HOST_V6_BYTES;
}

export function storeHostBytes(sysFlag: number): number {
  return (sysFlag & SysFlag.STORE_HOST_V6) === 0 ? HOST_V4_BYTES : HOST_V6_BYTES;
}

/** Place of the store time; the store host follows 8 bytes later. */
export function storeTimestampAt(sysFlag: number): number {
  return BORN_HOST_AT + bornHostBytes(sysFlag);
}

/** Place of the reconsume count; the prepared position follows 4, the body's length 12, the body 16 bytes later. */
export function reconsumeTimesAt(sysFlag: number): number {
  return storeTimestampAt(sysFlag) + 8 + storeHostBytes(sysFlag);
}

/** Size of a record in bytes. */
export function recordBytes(sysFlag: number, topicBytes: number, bodyBytes: number, propertiesBytes: number): number {
  const hosts = bornHostBytes(sysFlag) + storeHostBytes(sysFlag) - 2 * HOST_V4_BYTES;
  return RECORD_FIXED_BYTES + hosts + (topicBytes > TOPIC_V1_BYTES_MAX ? 1 : 0) + topicBytes + bodyBytes + propertiesBytes;
}

/** A message with all its numbers. Hosts are `ip:port`, IPv6 in brackets. */
export interface StoredMessage {
  readonly topic: string;
  readonly queueId: number;
  readonly flag: number;
  readonly queueOffset: number;
  readonly physicalOffset: number;
  /** The two IPv6 bits must agree with the hosts; `encodeStoredMessage` sets them so. */
  readonly sysFlag: number;
  readonly bornTimestamp: number;
  readonly bornHost: string;
  readonly storeTimestamp: number;
  readonly storeHost: string;
  readonly reconsumeTimes: number;
  readonly preparedTransactionOffset: number;
  /** The stored crc when decoded; when encoding, undefined or negative has it computed. */
  readonly bodyCrc?: number | undefined;
  /** As stored: still compressed if sysFlag says so. */
  readonly body: Buffer;
  /** As received: see `decodeProperties`. */
  readonly properties: Buffer;
}

/** Size of the record of a message. */
export function encodedSize(message: StoredMessage): number {
  return recordBytes(hostFlags(message), Buffer.byteLength(message.topic), message.body.length, message.properties.length);
}

/** Writes the record at `at`, where {@link encodedSize} bytes must be free; its end. Throws for a host that is no address. */
export function encodeStoredMessage(message: StoredMessage, into: Buffer, at: number): number {
  const sysFlag = hostFlags(message);
  const topic = Buffer.from(message.topic);
  const { body, properties } = message;
  const size = recordBytes(sysFlag, topic.length, body.length, properties.length);
  const long = topic.length > TOPIC_V1_BYTES_MAX;
  const crc = message.bodyCrc !== undefined && message.bodyCrc >= 0 ? message.bodyCrc : crc32(body) & CRC_MASK;
  writeI32(into, at + SIZE_AT, size);
  writeI32(into, at + MAGIC_AT, long ? MAGIC_V2 : MAGIC_V1);
  writeI32(into, at + BODY_CRC_AT, crc);
  writeI32(into, at + QUEUE_ID_AT, message.queueId);
  writeI32(into, at + FLAG_AT, message.flag);
  writeI64(into, at + QUEUE_OFFSET_AT, message.queueOffset);
  writeI64(into, at + PHYSICAL_OFFSET_AT, message.physicalOffset);
  writeI32(into, at + SYS_FLAG_AT, sysFlag);
  writeI64(into, at + BORN_TIMESTAMP_AT, message.bornTimestamp);
  into.set(hostOf(message.bornHost), at + BORN_HOST_AT);
  const storedAt = at + storeTimestampAt(sysFlag);
  writeI64(into, storedAt, message.storeTimestamp);
  into.set(hostOf(message.storeHost), storedAt + 8);
  const countAt = at + reconsumeTimesAt(sysFlag);
  writeI32(into, countAt, message.reconsumeTimes);
  writeI64(into, countAt + 4, message.preparedTransactionOffset);
  writeI32(into, countAt + 12, body.length);
  into.set(body, countAt + 16);
  let end = countAt + 16 + body.length;
  if (long) into[end++] = topic.length >>> 8;
  into[end++] = topic.length;
  into.set(topic, end);
  end += topic.length;
  writeU16(into, end, properties.length);
  into.set(properties, end + 2);
  return end + 2 + properties.length;
}

/**
 * Where the parts of one record are; used again for each. After `locate` has said nothing, places are absolute in `bytes`. The body's
 * crc is not checked here.
 */
export class RecordLocator {
  bytes: Buffer = Buffer.alloc(0);
  at = 0;
  end = 0;
  sysFlag = 0;
  /** Place of the store time. */
  storedAt = 0;
  /** Place of the reconsume count. */
  countAt = 0;
  bodyStart = 0;
  bodyEnd = 0;
  topicStart = 0;
  topicEnd = 0;
  propertiesStart = 0;
  propertiesEnd = 0;

  /** Finds the parts of the record that begins at `at`; a sentence when bytes [at, limit) hold no whole record. */
  locate(bytes: Buffer, at: number, limit: number): string | undefined {
    if (limit - at < RECORD_FIXED_BYTES) return 'record is cut off';
    const size = readI32(bytes, at + SIZE_AT);
    if (size < RECORD_FIXED_BYTES || size > limit - at) return `record of ${size} bytes where ${limit - at} are left`;
    const end = at + size;
    const magic = readI32(bytes, at + MAGIC_AT) >>> 0;
    if (magic !== MAGIC_V1 && magic !== MAGIC_V2) return `unknown record magic ${magic.toString(16)}`;
    const topicLengthBytes = magic === MAGIC_V1 ? 1 : 2;
    const sysFlag = readI32(bytes, at + SYS_FLAG_AT);
    const storedAt = at + storeTimestampAt(sysFlag);
    const countAt = at + reconsumeTimesAt(sysFlag);
    const bodyStart = countAt + 16;
    if (bodyStart > end) return 'record ends inside its fixed part';
    const bodyBytes = readI32(bytes, countAt + 12);
    if (bodyBytes < 0 || bodyBytes > end - bodyStart - topicLengthBytes - 2) return 'record body is longer than the record';
    const bodyEnd = bodyStart + bodyBytes;
    const topicStart = bodyEnd + topicLengthBytes;
    const topicEnd = topicStart + (topicLengthBytes === 1 ? bytes[bodyEnd]! : (bytes[bodyEnd]! << 8) | bytes[bodyEnd + 1]!);
    if (topicEnd + 2 > end) return 'record topic is longer than the record';
    const propertiesStart = topicEnd + 2;
    const propertiesEnd = propertiesStart + ((bytes[topicEnd]! << 8) | bytes[topicEnd + 1]!);
    if (propertiesEnd !== end) return 'record properties do not end with the record';
    this.bytes = bytes;
    this.at = at;
    this.end = end;
    this.sysFlag = sysFlag;
    this.storedAt = storedAt;
    this.countAt = countAt;
    this.bodyStart = bodyStart;
    this.bodyEnd = bodyEnd;
    this.topicStart = topicStart;
    this.topicEnd = topicEnd;
    this.propertiesStart = propertiesStart;
    this.propertiesEnd = propertiesEnd;
    return undefined;
  }
}

/** The message of the record in bytes [at, at + its size); body and properties are views. A sentence when it is none. */
export function decodeStoredMessage(bytes: Buffer, at = 0, limit = bytes.length): StoredMessage | string {
  const fault = places.locate(bytes, at, limit);
  if (fault !== undefined) return fault;
  const { sysFlag, storedAt, countAt } = places;
  return {
    topic: bytes.toString('utf8', places.topicStart, places.topicEnd),
    queueId: readI32(bytes, at + QUEUE_ID_AT),
    flag: readI32(bytes, at + FLAG_AT),
    queueOffset: readI64(bytes, at + QUEUE_OFFSET_AT),
    physicalOffset: readI64(bytes, at + PHYSICAL_OFFSET_AT),
    sysFlag,
    bornTimestamp: readI64(bytes, at + BORN_TIMESTAMP_AT),
    bornHost: formatHost(bytes, at + BORN_HOST_AT, bornHostBytes(sysFlag)),
    storeTimestamp: readI64(bytes, storedAt),
    storeHost: formatHost(bytes, storedAt + 8, storeHostBytes(sysFlag)),
    reconsumeTimes: readI32(bytes, countAt),
    preparedTransactionOffset: readI64(bytes, countAt + 4),
    bodyCrc: readI32(bytes, at + BODY_CRC_AT),
    body: bytes.subarray(places.bodyStart, places.bodyEnd),
    properties: bytes.subarray(places.propertiesStart, places.propertiesEnd),
  };
}

/** All messages of concatenated records, or a sentence about the first that is none. */
export function decodeStoredMessages(bytes: Buffer): StoredMessage[] | string {
  const messages: StoredMessage[] = [];
  for (let at = 0; at < bytes.length; at += readI32(bytes, at)) {
    const message = decodeStoredMessage(bytes, at, bytes.length);
    if (typeof message === 'string') return `${message} (at byte ${at})`;
    messages.push(message);
  }
  return messages;
}

const places = new RecordLocator();

function hostFlags(message: StoredMessage): number {
  const plain = message.sysFlag & ~(SysFlag.BORN_HOST_V6 | SysFlag.STORE_HOST_V6);
  return (
    plain |
    (message.bornHost.startsWith('[') ? SysFlag.BORN_HOST_V6 : 0) |
    (message.storeHost.startsWith('[') ? SysFlag.STORE_HOST_V6 : 0)
  );
}

function hostOf(text: string): Buffer {
  const host = parseHost(text);
  if (host === undefined || host.length !== (text.startsWith('[') ? HOST_V6_BYTES : HOST_V4_BYTES))
    throw new Error(`"${text}" is no ip:port`);
  return host;
}
