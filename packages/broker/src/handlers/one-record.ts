import type { QueueRef } from '../store/queue-ref.ts';
import type { Store } from '../store/store.ts';

/** One message of a queue as it lies in the log, for the broker itself: valid during the call; undefined when it is not there. */
export function readOne(store: Store, queue: QueueRef, offset: number, done: (record: Buffer | undefined) => void): void {
  store.read({ queue, offset, maxCount: 1, maxBytes: 1 }, ({ chunks }) => {
    const chunk = chunks[0];
    done(chunk === undefined ? undefined : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
  });
}

export function storeTimestampOf(record: Buffer): number {
  const at = (record.readInt32BE(36) & BORN_HOST_IPV6) === 0 ? 56 : 68;
  return record.readUInt32BE(at) * 4294967296 + record.readUInt32BE(at + 4);
}

const BORN_HOST_IPV6 = 0x10;
