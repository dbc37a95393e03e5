/**
 * What has been pulled from one queue and is not finished yet. It answers the two questions everything else hangs on: may the
 * puller fetch more (`isFull`), and which offset is safe to commit.
 *
 *    pulled in offset order:   5✓ 6✓ 7… 8✓ 9   | nextOffset 10
 *                                    ↑ commitOffset = 7: the lowest unfinished one; 10 when none is left
 *
 * A queue is `dropped` when it goes to another member, when its lock is lost or when the broker moved its offsets; from then on
 * finishing an entry changes nothing that is committed.
 */
import type { QueueKey } from '../route/queue-key.ts';

/** What one pull has brought: bytes that become messages when handlers get them. */
export interface MessageSource<M> {
  /** The message whose record begins at byte `at`. */
  messageAt(at: number): M;
}

/** A message on its way through a handler. */
export interface Held<M> {
  readonly queue: ProcessQueue<M>;
  readonly message: M;
  readonly offset: number;
  readonly bytes: number;
  /** Monotonic ms at which a handler got it; -1 before. */
  startedMs: number;
  finished: boolean;
}

export interface QueueLimits {
  readonly cachedMessagesMax: number;
  readonly cachedBytesMax: number;
}

export class ProcessQueue<M> {
  readonly key: QueueKey;
  /** Where the next pull starts. */
  nextOffset: number;
  dropped = false;
  /** The puller waits for room. */
  stalled = false;
  /** Messages and bytes pulled and unfinished. */
  count = 0;
  bytes = 0;
  readonly #limits: QueueLimits;
  // Entries, column by column. What waits is numbers and bytes: message objects are made when a handler takes them, so that they die
  // young; thousands of them kept per queue cost the collector a fifth of a consumer's time.
  #sources: (MessageSource<M> | undefined)[] = [];
  #places: number[] = [];
  #offsets: number[] = [];
  #sizes: number[] = [];
  #held: (Held<M> | undefined)[] = [];
  /** Index of the lowest unfinished entry, and of the next entry no handler has got. */
  #head = 0;
  #next = 0;

  constructor(key: QueueKey, nextOffset: number, limits: QueueLimits) {
    this.key = key;
    this.nextOffset = nextOffset;
    this.#limits = limits;
  }

  /** The offset up to which everything is finished; what a commit may say. */
  get commitOffset(): number {
    return this.#offsets[this.#head] ?? this.nextOffset;
  }

  get isFull(): boolean {
    return this.count >= this.#limits.cachedMessagesMax || this.bytes >= this.#limits.cachedBytesMax;
  }

  get waiting(): number {
    return this.#offsets.length - this.#next;
  }

  get running(): number {
    return this.count - this.waiting;
  }

  /** Adds a pulled message, `bytes` long, at byte `at` of `source`; offsets come in ascending order. */
  put(source: MessageSource<M>, at: number, offset: number, bytes: number): void {
    this.#sources.push(source);
    this.#places.push(at);
    this.#offsets.push(offset);
    this.#sizes.push(bytes);
    this.count++;
    this.bytes += bytes;
  }

  /** The next message for a handler, in offset order. */
  take(nowMs: number): Held<M> | undefined {
    const at = this.#next;
    if (at === this.#offsets.length) return undefined;
    this.#next = at + 1;
    const before = this.#held[at];
    if (before !== undefined) {
      before.startedMs = nowMs;
      return before;
    }
    const message = this.#sources[at]!.messageAt(this.#places[at]!);
    this.#sources[at] = undefined;
    const held = { queue: this, message, offset: this.#offsets[at]!, bytes: this.#sizes[at]!, startedMs: nowMs, finished: false };
    this.#held[at] = held;
    return held;
  }

  /** Puts the message taken last back to be taken again: orderly consumption repeats in place. */
  untake(held: Held<M>): void {
    if (this.#held[this.#next - 1] !== held || held.finished) return;
    held.startedMs = -1;
    this.#next--;
  }

  /** Marks a message finished; false when it was before. */
  finish(held: Held<M>): boolean {
    if (held.finished) return false;
    held.finished = true;
    this.count--;
    this.bytes -= held.bytes;
    while (this.#head < this.#next && this.#held[this.#head]!.finished) this.#held[this.#head++] = undefined;
    if (this.#head >= 512 && this.#head * 2 >= this.#offsets.length) this.#compact();
    return true;
  }

  /** Forgets what no handler has started (closing, dropped). */
  forgetWaiting(): void {
    const { length } = this.#offsets;
    for (let at = this.#next; at < length; at++) {
      this.count--;
      this.bytes -= this.#sizes[at]!;
    }
    if (this.#next < length) this.nextOffset = Math.min(this.nextOffset, this.#offsets[this.#next]!);
    for (const column of [this.#sources, this.#places, this.#offsets, this.#sizes]) column.length = this.#next;
    this.#held.length = Math.min(this.#held.length, this.#next);
  }

  /** Calls `visit` for entries that a handler has had since before `beforeMs`. */
  startedBefore(beforeMs: number, visit: (held: Held<M>) => void): void {
    for (let at = this.#head; at < this.#next; at++) {
      const held = this.#held[at]!;
      if (!held.finished && held.startedMs >= 0 && held.startedMs < beforeMs) visit(held);
    }
  }

  #compact(): void {
    this.#sources = this.#sources.slice(this.#head);
    this.#places = this.#places.slice(this.#head);
    this.#offsets = this.#offsets.slice(this.#head);
    this.#sizes = this.#sizes.slice(this.#head);
    this.#held = this.#held.slice(this.#head);
    this.#next -= this.#head;
    this.#head = 0;
  }
}
