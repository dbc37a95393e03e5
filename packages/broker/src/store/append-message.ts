import type { QueueRef } from './queue-ref.ts';

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

const NONE = new Uint8Array(0);
const LOCAL_HOST = Uint8Array.of(127, 0, 0, 1, 0, 0, 0, 0);
