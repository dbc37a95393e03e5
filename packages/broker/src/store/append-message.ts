import { readI32, readI64, readU16 } from '@tallystick/base';
import type { QueueRef } from './queue-ref.ts';
import { MESSAGE_AT, MESSAGE_MAGIC_V2 } from './record-view.ts';

/**
 * What is to be appended as one message record. Meant to be filled, appended and filled again: the store reads it during `append`
 * only, and writes what it assigned into the last four fields.
 */
export class AppendMessage {
  queue!: QueueRef;
  flag = 0;
  /** Compression and transaction bits; the two IPv6 bits are set by the store from the hosts' lengths. */
  sysFlag = 0;
  bornTimestamp = 0;
  /** 8 (IPv4) or 20 (IPv6) bytes: address, then port as a 32-bit number. */
  bornHost: Uint8Array = LOCAL_HOST;
  reconsumeTimes = 0;
  preparedTransactionOffset = 0;
  body: Uint8Array = NONE;
  bodyStart = 0;
  bodyEnd = 0;
  /** Stored as received; `extra` is appended to them (a property the broker adds, in encoded form). */
  properties: Uint8Array = NONE;
  propertiesStart = 0;
  propertiesEnd = 0;
  extra: Uint8Array = NONE;
  extraStart = 0;
  extraEnd = 0;
  /** CRC-32 of the body masked to 31 bits; -1: the store computes it. */
  bodyCrc = -1;
  /** Tag field of the queue entry: hash of the tag, or any number up to 2^53 that the queue's owner wants there. */
  tagsCode = 0;
  /** May use the reserve when the disk is full: messages that settle something already accepted. */
  mayUseReserve = false;

  /** Assigned by the append. */
  position = -1;
  queueOffset = -1;
  storeTimestamp = 0;
  recordBytes = 0;

  /**
   * Takes over what the message record in bytes [at, end) says of its message: all but queue, tag field and position of a half. The
   * bytes stay where they are until the append.
   */
  setFromRecord(bytes: Buffer, at: number, end: number): this {
    const sysFlag = readI32(bytes, at + MESSAGE_AT.sysFlag);
    const bornHostEnd = at + MESSAGE_AT.bornHost + ((sysFlag & BORN_HOST_IPV6) === 0 ? 8 : 20);
    const behindHosts = bornHostEnd + 8 + ((sysFlag & STORE_HOST_IPV6) === 0 ? 8 : 20);
    const bodyStart = behindHosts + 16;
    const bodyEnd = bodyStart + readI32(bytes, behindHosts + 12);
    const isV2 = (readI32(bytes, at + 4) | 0) === (MESSAGE_MAGIC_V2 | 0);
    const topicEnd = isV2 ? bodyEnd + 2 + readU16(bytes, bodyEnd) : bodyEnd + 1 + bytes[bodyEnd]!;
    this.flag = readI32(bytes, at + MESSAGE_AT.flag);
    this.sysFlag = sysFlag;
    this.bornTimestamp = readI64(bytes, at + MESSAGE_AT.bornTimestamp);
    this.#setBornHost(bytes, at + MESSAGE_AT.bornHost, bornHostEnd);
    this.reconsumeTimes = readI32(bytes, behindHosts);
    this.setBody(bytes, bodyStart, bodyEnd);
    this.bodyCrc = readI32(bytes, at + MESSAGE_AT.bodyCrc);
    this.setProperties(bytes, topicEnd + 2, end);
    this.extraStart = this.extraEnd = 0;
    return this;
  }

  /** Neighbours come from the same host: a copy is made when it changes. */
  #setBornHost(bytes: Buffer, start: number, end: number): void {
    const known = this.bornHost;
    let n = known.length === end - start ? 0 : -1;
    while (n >= 0 && n < known.length) n = known[n] === bytes[start + n] ? n + 1 : -1;
    if (n < 0) this.bornHost = Buffer.from(bytes.subarray(start, end));
  }

  setBody(bytes: Uint8Array, start = 0, end = bytes.length): void {
    this.body = bytes;
    this.bodyStart = start;
    this.bodyEnd = end;
    this.bodyCrc = -1;
  }

  setProperties(bytes: Uint8Array, start = 0, end = bytes.length): void {
    this.properties = bytes;
    this.propertiesStart = start;
    this.propertiesEnd = end;
  }

  setExtra(bytes: Uint8Array, start = 0, end = bytes.length): void {
    this.extra = bytes;
    this.extraStart = start;
    this.extraEnd = end;
  }
}

const BORN_HOST_IPV6 = 0x10;
const STORE_HOST_IPV6 = 0x20;
const NONE = new Uint8Array(0);
const LOCAL_HOST = Uint8Array.of(127, 0, 0, 1, 0, 0, 0, 0);
