import type { QueueRef } from '../store/queue-ref.ts';
import type { ConsumerOffsets } from './consumer-offsets.ts';

/**
 * An asynchronous broker may come back from a power cut without the end of its log, while consumers elsewhere have read that end and
 * ask for what follows it. Once new messages have taken the lost places, what they ask for is there, and they would pass over all
 * that is before it without anybody noticing. So after a start that was not clean a consumer is believed to be in a queue where the
 * queue ended then, where its group has committed to be, or where this process itself has led it by this very connection; who
 * says that it is further is sent back, and reads what is new there, and perhaps some of it twice. Knows only its own process: a
 * consumer that comes back after yet another restart is taken at its word.
 */
export class ReadingLimits {
  readonly #offsets: ConsumerOffsets;
  #ends: Map<QueueRef, number> | undefined;
  /** By connection: where its answers have led each group, and which ends and offsets by time it was told. */
  readonly #connections = new WeakMap<object, Map<QueueRef, Led>>();

  constructor(offsets: ConsumerOffsets) {
    this.#offsets = offsets;
  }

  /** The log may have lost its end: these queues are as it left them. */
  begin(queues: Iterable<QueueRef>): void {
    this.#ends = new Map(Array.from(queues, (queue) => [queue, queue.nextOffset]));
  }

  /** Where the group is if it says by this connection that it is at `offset`: there, or at its limit. */
  within(group: string, queue: QueueRef, offset: number, connection: object): number {
    if (this.#ends === undefined) return offset;
    const led = this.#connections.get(connection)?.get(queue);
    if (led?.told === offset) this.lead(group, queue, offset, connection);
    const committed = this.#offsets.peek(group, queue.topic, queue.queueId);
    return Math.min(offset, Math.max(this.#ends.get(queue) ?? 0, committed, led?.groups.get(group) ?? 0));
  }

  /** The group was told to read on at `offset`. */
  lead(group: string, queue: QueueRef, offset: number, connection: object): void {
    if (this.#ends === undefined) return;
    const { groups } = this.#led(queue, connection);
    if (offset > (groups.get(group) ?? -1)) groups.set(group, offset);
  }

  /** An offset of the queue was told to whoever asks by this connection: it may go on from there. */
  tell(queue: QueueRef, offset: number, connection: object): void {
    if (this.#ends !== undefined) this.#led(queue, connection).told = offset;
  }

  #led(queue: QueueRef, connection: object): Led {
    let queues = this.#connections.get(connection);
    if (queues === undefined) this.#connections.set(connection, (queues = new Map()));
    let led = queues.get(queue);
    if (led === undefined) queues.set(queue, (led = { told: -1, groups: new Map() }));
    return led;
  }
}

interface Led {
  told: number;
  readonly groups: Map<string, number>;
}
