import { Interner } from '@tallystick/remoting';
import { QueueEntries } from './queue-entries.ts';
import { QueueRef } from './queue-ref.ts';

/** All queues of the store, interned: topic, then queue id. Keys come from outside, so they live in Maps only. */
export class QueueTable {
  readonly #topics = new Map<string, Map<number, QueueRef>>();
  /** A record names its topic in bytes: no text is made for those that recur. */
  readonly #names = new Interner();

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
    return this.intern(this.#names.text(bytes, start, end), queueId);
  }

  *[Symbol.iterator](): Generator<QueueRef> {
    for (const queues of this.#topics.values()) yield* queues.values();
  }
}
