import { QueueEntries } from './queue-entries.ts';
import { QueueRef } from './queue-ref.ts';

/** All queues of the store, interned: topic, then queue id. Keys come from outside, so they live in Maps only. */
export class QueueTable {
  readonly #topics = new Map<string, Map<number, QueueRef>>();
  /** A record names its topic in bytes; most records name the topic of the one before. */
  #last: QueueRef | undefined;

  /** The queue, made when unknown. */
  intern(topic: string, queueId: number): QueueRef {
    let queues = this.#topics.get(topic);
    if (queues === undefined) {
      queues = new Map();
      this.#topics.set(topic, queues);
    }
    let queue = queues.get(queueId);
    if (queue === undefined) {
      queue = new QueueRef(topic, queueId, new QueueEntries());
      queues.set(queueId, queue);
    }
    return queue;
  }

  find(topic: string, queueId: number): QueueRef | undefined {
    return this.#topics.get(topic)?.get(queueId);
  }

  /** The queue whose topic is spelled in these bytes. */
  ofBytes(bytes: Buffer, start: number, end: number, queueId: number): QueueRef {
    const last = this.#last;
    if (last !== undefined && last.queueId === queueId && last.topicBytes.compare(bytes, start, end) === 0) return last;
    const queue = this.intern(bytes.toString('utf8', start, end), queueId);
    this.#last = queue;
    return queue;
  }

  *[Symbol.iterator](): Generator<QueueRef> {
    for (const queues of this.#topics.values()) yield* queues.values();
  }
}
