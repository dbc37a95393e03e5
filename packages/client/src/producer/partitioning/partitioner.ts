/** Who chooses a record's queue: the names that options know, and the shape of a user's own partitioner. */
import type { QueueKey } from '../../route/queue-key.ts';
import type { ProducerRecord } from '../record.ts';

/** For records without a key (or with keys ignored); a key chooses its queue by its hash under each of them. */
export const PARTITIONERS = {
  sticky: 'one queue until its batch is full or on its way, then the next',
  uniform: 'one queue until batchSizeBytes have gone to it and its batch is complete, then the next',
  'round-robin': 'the next queue for every record',
} as const;

export type PartitionerName = keyof typeof PARTITIONERS;

export const KEY_HASHES = ['murmur2', 'java'] as const;

export type KeyHash = (typeof KEY_HASHES)[number];

/** A user's own. It is asked for every record that does not name its queue. */
export interface Partitioner {
  /**
   * The index of one of `queues`: those of all brokers, each with its `brokerName` and its number there; at least one, in the same order in
   * every client that has the same route. `record` has its key and
   * value as they will travel. A throw, or an index that is none, fails the send with PARTITIONER_FAILED.
   */
  partition(record: ProducerRecord, queues: readonly QueueKey[]): number;
  /** Called once, when the producer has closed. */
  close?(): void;
}
