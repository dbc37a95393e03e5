import type { QueueRef } from './queue-ref.ts';
import type { Tail } from './tail.ts';

/**
 * A message record that still lies in RAM, found by queue, offset and address. The queue's entry proves it to be a record and says how
 * long it is and what its tag is, so nothing of it is read to find it. Valid until the end of the turn.
 */
export class RecentRecord {
  bytes: Buffer = Buffer.alloc(0);
  at = 0;
  end = 0;
  /** Tag field of its queue entry. */
  tagsCode = 0;

  /** False when it is not in RAM any more, or no such record: then nothing is changed. */
  find(queue: QueueRef, offset: number, position: number, tail: Tail): boolean {
    const run = queue.entries.hotRun(offset);
    if (run === undefined) return false;
    const entry = offset - run.first;
    if (run.segmentBase + run.relative[entry]! !== position) return false;
    const block = tail.find(position);
    if (block === undefined) return false;
    this.bytes = block.bytes;
    this.at = position - block.base;
    this.end = this.at + run.sizes[entry]!;
    this.tagsCode = run.tags[entry]!;
    return true;
  }
}
