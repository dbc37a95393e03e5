import type { QueueRef } from './queue-ref.ts';

/**
 * How much of the log readers may see: everything before `end`, and of each queue what lies there. A queue that something was appended to
 * is looked at when the end moves, and only then.
 */
export class VisibleQueues {
  end = 0;
  readonly #arrived: (queue: QueueRef, maxOffset: number) => void;
  #dirty: QueueRef[] = [];
  #spareDirty: QueueRef[] = [];

  constructor(arrived: (queue: QueueRef, maxOffset: number) => void) {
    this.#arrived = arrived;
  }

  /** Something was appended to the queue. */
  grew(queue: QueueRef): void {
    if (queue.isDirty) return;
    queue.isDirty = true;
    this.#dirty.push(queue);
  }

  /** Shows the queues' readers what lies before `end`, which has been moved there already. */
  show(): void {
    const { end } = this;
    const queues = this.#dirty;
    this.#dirty = this.#spareDirty;
    this.#spareDirty = queues;
    for (const queue of queues) {
      const next = queue.entries.offsetAfter(end, queue.maxOffset);
      const isMoved = next > queue.maxOffset;
      if (isMoved) queue.maxOffset = next;
      if (queue.maxOffset < queue.nextOffset) this.#dirty.push(queue);
      else queue.isDirty = false;
      if (isMoved) this.#arrived(queue, queue.maxOffset);
    }
    queues.length = 0;
  }
}
