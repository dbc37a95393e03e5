import { crc32, writeI32, writeI64, writeU16 } from '@tallystick/base';
import type { AppendMessage } from './append-message.ts';
import { CONTROL_HEAD_BYTES, CONTROL_MAGIC } from './control-records.ts';
import { MESSAGE_MAGIC_V1, MESSAGE_MAGIC_V2 } from './record-view.ts';

/**
 * Records straight into the block they are written from: each byte of a message is copied once. The layout of a message record is
 * RocketMQ's, byte for byte:
 *
 *      0 size  4 magic  8 body crc  12 queue id  16 flag  20 queue offset  28 position  36 sysFlag  40 born time  48 born host
 *      then store time, store host, re-consume count, position of the half message, body length, body, topic length (1 byte, or 2
 *      with the second magic), topic, properties length (2), properties
 */
const TOPIC_BYTES_V1_MAX = 127;
export const PROPERTIES_BYTES_MAX = 32_767;

const BORN_HOST_IPV6 = 0x10;
const STORE_HOST_IPV6 = 0x20;
/** A call into native code costs more than so many bytes copied here. */
const COPY_HERE_BYTES = 32;

export function messageRecordBytes(m: AppendMessage, storeHostBytes: number): number {
  const topicBytes = m.queue.topicBytes.length;
  const fixed = 74 + m.bornHost.length + storeHostBytes + (topicBytes > TOPIC_BYTES_V1_MAX ? 2 : 1);
  return fixed + topicBytes + (m.bodyEnd - m.bodyStart) + (m.propertiesEnd - m.propertiesStart) + (m.extraEnd - m.extraStart);
}

/** Writes the record and gives its end. Reads the assigned fields (`position`, `queueOffset`, `storeTimestamp`, `recordBytes`) of `m`. */
export function encodeMessageRecord(m: AppendMessage, storeHost: Uint8Array, bytes: Buffer, start: number): number {
  const topic = m.queue.topicBytes;
  const isV2 = topic.length > TOPIC_BYTES_V1_MAX;
  let sysFlag = m.sysFlag & ~(BORN_HOST_IPV6 | STORE_HOST_IPV6);
  if (m.bornHost.length > 8) sysFlag |= BORN_HOST_IPV6;
  if (storeHost.length > 8) sysFlag |= STORE_HOST_IPV6;
  writeI32(bytes, start, m.recordBytes);
  writeI32(bytes, start + 4, isV2 ? MESSAGE_MAGIC_V2 : MESSAGE_MAGIC_V1);
  writeI32(bytes, start + 12, m.queue.queueId);
  writeI32(bytes, start + 16, m.flag);
  writeI64(bytes, start + 20, m.queueOffset);
  writeI64(bytes, start + 28, m.position);
  writeI32(bytes, start + 36, sysFlag);
  writeI64(bytes, start + 40, m.bornTimestamp);
  let at = copy(m.bornHost, 0, m.bornHost.length, bytes, start + 48);
  writeI64(bytes, at, m.storeTimestamp);
  at = copy(storeHost, 0, storeHost.length, bytes, at + 8);
  writeI32(bytes, at, m.reconsumeTimes);
  writeI64(bytes, at + 4, m.preparedTransactionOffset);
  writeI32(bytes, at + 12, m.bodyEnd - m.bodyStart);
  const bodyAt = at + 16;
  at = copy(m.body, m.bodyStart, m.bodyEnd, bytes, bodyAt);
  writeI32(bytes, start + 8, m.bodyCrc >= 0 ? m.bodyCrc : crc32(bytes, bodyAt, at) & 0x7fffffff);
  if (isV2) writeU16(bytes, at, topic.length);
  else bytes[at] = topic.length;
  at = copy(topic, 0, topic.length, bytes, at + (isV2 ? 2 : 1));
  writeU16(bytes, at, m.propertiesEnd - m.propertiesStart + (m.extraEnd - m.extraStart));
  at = copy(m.properties, m.propertiesStart, m.propertiesEnd, bytes, at + 2);
  return copy(m.extra, m.extraStart, m.extraEnd, bytes, at);
}

export function controlRecordBytes(bodyBytes: number): number {
  return CONTROL_HEAD_BYTES + bodyBytes;
}

export function encodeControlRecord(type: number, version: number, body: Uint8Array, bytes: Buffer, at: number): number {
  writeI32(bytes, at, controlRecordBytes(body.length));
  writeI32(bytes, at + 4, CONTROL_MAGIC);
  writeU16(bytes, at + 8, type);
  writeU16(bytes, at + 10, version);
  return copy(body, 0, body.length, bytes, at + CONTROL_HEAD_BYTES);
}

function copy(from: Uint8Array, start: number, end: number, to: Buffer, at: number): number {
  const length = end - start;
  if (length > COPY_HERE_BYTES) to.set(start === 0 && end === from.length ? from : from.subarray(start, end), at);
  else for (let n = 0; n < length; n++) to[at + n] = from[start + n]!;
  return at + length;
}
