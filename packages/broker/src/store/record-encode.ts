import { copyWords, crc32, setI64, ViewCache, WORDS_COPY_MAX, writeI32, writeU16 } from '@tallystick/base';
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

export function messageRecordBytes(m: AppendMessage, storeHostBytes: number): number {
  const topicBytes = m.queue.topicBytes.length;
  const fixed = 74 + m.bornHost.length + storeHostBytes + (topicBytes > TOPIC_BYTES_V1_MAX ? 2 : 1);
  return fixed + topicBytes + (m.bodyEnd - m.bodyStart) + (m.propertiesEnd - m.propertiesStart) + (m.extraEnd - m.extraStart);
}

/** Writes the record and gives its end. Reads the assigned fields (`position`, `queueOffset`, `storeTimestamp`, `recordBytes`) of `m`. */
export function encodeMessageRecord(m: AppendMessage, storeHost: Uint8Array, bytes: Buffer, start: number): number {
  const view = targets.of(bytes);
  const { queue, bornHost } = m;
  const topic = queue.topicBytes;
  const isV2 = topic.length > TOPIC_BYTES_V1_MAX;
  let sysFlag = m.sysFlag & ~(BORN_HOST_IPV6 | STORE_HOST_IPV6);
  if (bornHost.length > 8) sysFlag |= BORN_HOST_IPV6;
  if (storeHost.length > 8) sysFlag |= STORE_HOST_IPV6;
  view.setInt32(start, m.recordBytes);
  view.setInt32(start + 4, isV2 ? MESSAGE_MAGIC_V2 : MESSAGE_MAGIC_V1);
  view.setInt32(start + 12, queue.queueId);
  view.setInt32(start + 16, m.flag);
  setI64(view, start + 20, m.queueOffset);
  setI64(view, start + 28, m.position);
  view.setInt32(start + 36, sysFlag);
  setI64(view, start + 40, m.bornTimestamp);
  let at = copyShort(bornHost, view, start + 48);
  setI64(view, at, m.storeTimestamp);
  at = copyShort(storeHost, view, at + 8);
  view.setInt32(at, m.reconsumeTimes);
  setI64(view, at + 4, m.preparedTransactionOffset);
  view.setInt32(at + 12, m.bodyEnd - m.bodyStart);
  const bodyAt = at + 16;
  at = copy(m.body, m.bodyStart, m.bodyEnd, bytes, view, bodyAt, bodies);
  view.setInt32(start + 8, m.bodyCrc >= 0 ? m.bodyCrc : crc32(bytes, bodyAt, at) & 0x7fffffff);
  if (isV2) view.setUint16(at, topic.length);
  else view.setUint8(at, topic.length);
  at = copyShort(topic, view, at + (isV2 ? 2 : 1));
  view.setUint16(at, m.propertiesEnd - m.propertiesStart + (m.extraEnd - m.extraStart));
  at = copy(m.properties, m.propertiesStart, m.propertiesEnd, bytes, view, at + 2, m.properties === m.body ? bodies : properties);
  return m.extraEnd === m.extraStart ? at : copy(m.extra, m.extraStart, m.extraEnd, bytes, view, at, extras);
}

export function controlRecordBytes(bodyBytes: number): number {
  return CONTROL_HEAD_BYTES + bodyBytes;
}

export function encodeControlRecord(type: number, version: number, body: Uint8Array, bytes: Buffer, at: number): number {
  writeI32(bytes, at, controlRecordBytes(body.length));
  writeI32(bytes, at + 4, CONTROL_MAGIC);
  writeU16(bytes, at + 8, type);
  writeU16(bytes, at + 10, version);
  bytes.set(body, at + CONTROL_HEAD_BYTES);
  return at + CONTROL_HEAD_BYTES + body.length;
}

/** Views of what is copied from and to; body and properties may lie in different buffers. */
const targets = new ViewCache();
const bodies = new ViewCache();
const properties = new ViewCache();
const extras = new ViewCache();

function copy(from: Uint8Array, start: number, end: number, to: Buffer, view: DataView, at: number, views: ViewCache): number {
  if (end - start <= WORDS_COPY_MAX) return copyWords(views.of(from), start, end, view, at);
  to.set(start === 0 && end === from.length ? from : from.subarray(start, end), at);
  return at + end - start;
}

function copyShort(from: Uint8Array, to: DataView, at: number): number {
  const length = from.length;
  let n = 0;
  for (; n + 4 <= length; n += 4)
    to.setInt32(at + n, (from[n]! << 24) | (from[n + 1]! << 16) | (from[n + 2]! << 8) | from[n + 3]!);
  for (; n < length; n++) to.setUint8(at + n, from[n]!);
  return at + length;
}
