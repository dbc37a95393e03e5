import type { QueueEntries } from './queue-entries.ts';

/**
 * One queue of one topic: the interned name by which everything in the broker refers to it, with its numbers. `nextOffset` is what
 * the next append gets; `maxOffset` is what readers may see; `minOffset` the oldest message that is still there.
 */
export class QueueRef {
  readonly topic: string;
  readonly topicBytes: Buffer;
  readonly queueId: number;
  nextOffset = 0;
  maxOffset = 0;
  /** For whoever holds pulls, timers and the like per queue: one slot, so that no map lookup is needed. Not the store's. */
  holder: unknown = undefined;
  /** Of the store: where the entries are. */
  readonly entries: QueueEntries;
  /** Of the store: has appends that are not visible yet. */
  isDirty = false;
  /** Of the store: its messages are told to the derived parts; found out at the first append. */
  isTold: boolean | undefined = undefined;

  constructor(topic: string, queueId: number, entries: QueueEntries) {
    this.topic = topic;
    this.topicBytes = Buffer.from(topic, 'utf8');
    this.queueId = queueId;
    this.entries = entries;
  }

  get minOffset(): number {
    return this.entries.firstOffset(this.nextOffset);
  }
}
