import type { QueueRef } from '../store/queue-ref.ts';
import type { ConsumerOffsets } from './consumer-offsets.ts';

export interface ReadingLimitOptions {
  readonly groupsMax: number;
  readonly readingLimitMs: number;
}

/**
 * An asynchronous broker may come back from a power cut without the end of its log, while consumers elsewhere have read that end and
 * ask for what follows it. Once new messages have taken the lost places, what they ask for is there, and they would pass over all
 * that is before it without anybody noticing. So after a start that was not clean a consumer is believed to be in a queue where the
 * queue ended then, where its group has committed to be, or where this process itself has led it; who says that it is further is
 * sent back, and reads what is new there, and perhaps some of it twice.
 *
 * A consumer is its group and the client id of its heartbeat, so that it goes on by a new connection, also one that commits nothing here
 * (broadcasting, offsets of its own). Who has not said its client id by a connection is known by that connection alone. The group is not enough:
 * one member has read what another, which is still ahead, has not.
 *
 *   none      the start was clean, or the disk is synced
 *   limited   from the start on; as long as the queue has nothing new, a reader beyond its end is sent back by that alone
 *   over      `readingLimitMs` after a reader first met new messages there: whoever was ahead has come back by then
 *
 * Who comes later than that, or after yet another restart, is taken at its word.
 */
export class ReadingLimits {
  readonly #offsets: ConsumerOffsets;
  readonly #options: ReadingLimitOptions;
  readonly #nowMs: () => number;
  readonly #clientId: (group: string, connection: object) => string | undefined;
  /** Undefined when nothing is limited. A queue that is not in it was empty at the start. */
  #limits: Map<QueueRef, Limit> | undefined;
  readonly #connections = new WeakMap<object, Asked>();
  #connectionCount = 0;

  /** `clientId`: what the member of a group that uses the connection calls itself. */
  constructor(
    offsets: ConsumerOffsets,
    options: ReadingLimitOptions,
    nowMs: () => number,
    clientId: (group: string, connection: object) => string | undefined,
  ) {
    this.#offsets = offsets;
    this.#options = options;
    this.#nowMs = nowMs;
    this.#clientId = clientId;
  }

  /** The log may have lost its end: these queues are as it left them. */
  begin(queues: Iterable<QueueRef>): void {
    this.#limits = new Map(Array.from(queues, (queue) => [queue, newLimit(queue.nextOffset)]));
  }

  /** Where the group is if it says by this connection that it is at `offset`: there, or at its limit. */
  within(group: string, queue: QueueRef, offset: number, connection: object): number {
    const limit = this.#limit(queue);
    if (limit === undefined || offset <= limit.end) return offset;
    if (this.#asked(connection).told.get(queue) === offset) this.lead(group, queue, offset, connection);
    const committed = this.#offsets.peek(group, queue.topic, queue.queueId);
    const byConnection = limit.led.get(this.#nameless(group, connection)) ?? 0;
    const byClient = limit.led.get(this.#reader(group, connection)) ?? 0;
    return Math.min(offset, Math.max(limit.end, committed, byConnection, byClient));
  }

  /** The group was told by this connection to read on at `offset`. */
  lead(group: string, queue: QueueRef, offset: number, connection: object): void {
    const limit = this.#limit(queue);
    if (limit === undefined || offset <= limit.end) return;
    const { led } = limit;
    const reader = this.#reader(group, connection);
    const before = led.get(reader);
    if (before !== undefined && before >= offset) return;
    // Names can be invented: who is forgotten for them is sent back once more.
    if (before === undefined && led.size >= this.#options.groupsMax)
      for (const oldest of led.keys()) if (led.delete(oldest)) break;
    led.set(reader, offset);
  }

  /** An offset of the queue was told to whoever asks by this connection: it may go on from there. */
  tell(queue: QueueRef, offset: number, connection: object): void {
    if (this.#limit(queue) !== undefined) this.#asked(connection).told.set(queue, offset);
  }

  #limit(queue: QueueRef): Limit | undefined {
    if (this.#limits === undefined) return undefined;
    let limit = this.#limits.get(queue);
    if (limit === undefined) this.#limits.set(queue, (limit = newLimit(0)));
    if (limit.isOver || queue.maxOffset <= limit.end) return limit.isOver ? undefined : limit;
    limit.passedMs ??= this.#nowMs();
    if (this.#nowMs() - limit.passedMs < this.#options.readingLimitMs) return limit;
    limit.isOver = true;
    limit.led.clear();
    return undefined;
  }

  #reader(group: string, connection: object): string {
    const clientId = this.#clientId(group, connection);
    return clientId === undefined ? this.#nameless(group, connection) : `${group}\n${clientId}`;
  }

  #nameless(group: string, connection: object): string {
    return `${group}\n\n${this.#asked(connection).number}`;
  }

  #asked(connection: object): Asked {
    let asked = this.#connections.get(connection);
    if (asked === undefined) this.#connections.set(connection, (asked = { number: this.#connectionCount++, told: new Map() }));
    return asked;
  }
}

interface Limit {
  /** Where the queue ended at the start. */
  readonly end: number;
  /** Monotonic ms when a reader first found more there. */
  passedMs: number | undefined;
  isOver: boolean;
  /** How far each reader was led, the longest known first. */
  readonly led: Map<string, number>;
}

/** What is known of one connection: a number, and which ends and offsets by time it was told. */
interface Asked {
  readonly number: number;
  readonly told: Map<QueueRef, number>;
}

function newLimit(end: number): Limit {
  return { end, passedMs: undefined, isOver: false, led: new Map() };
}
