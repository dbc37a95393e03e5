/**
 * Keeps one queue's window of messages filled: one pull under way at a time, the next as soon as the answer is in, unless the
 * window is full (then `wake` goes on). The broker holds an empty pull, so an idle queue costs one request per long-poll time.
 *
 *    answer                     next
 *    found, unmatched           pull from nextOffset at once
 *    none                       the same; one that came back quicker than `quickMs` waits `idleMs` first, so that a broker that
 *                               does not hold pulls is not asked in a tight circle
 *    moved                      the owner drops the window and starts anew at nextOffset
 *    unregistered, any error,   again after `retryMs`
 *    a record that is none
 */
import type { Clock, Timer, Timers } from '@tallystick/base';
import type { GroupCalls, PullAnswer } from './group-calls.ts';
import type { ProcessQueue } from './process-queue.ts';

export interface PullerOptions {
  readonly retryMs: number;
  readonly quickMs: number;
  readonly idleMs: number;
}

export interface PullerOwner<M> {
  /**
   * Puts the answer's messages into the queue and moves its `nextOffset` behind them. A sentence when a record cannot be read: the
   * queue then stands in front of that record, for a broken message must be seen and not skipped.
   */
  pulled(queue: ProcessQueue<M>, answer: PullAnswer): string | undefined;
  /** The queue's offsets moved; called once, the puller has stopped. */
  moved(queue: ProcessQueue<M>, answer: PullAnswer): void;
  /** The broker does not know the group: a heartbeat is due. */
  unregistered(): void;
  report(sentence: string, cause: unknown): void;
}

export class Puller<M> {
  readonly #queue: ProcessQueue<M>;
  readonly #calls: GroupCalls<M>;
  readonly #ports: { readonly clock: Clock; readonly timers: Timers };
  readonly #options: PullerOptions;
  readonly #owner: PullerOwner<M>;
  #stopped = false;
  #pulling = false;
  #failing = false;
  #timer: Timer | undefined;

  constructor(
    queue: ProcessQueue<M>,
    calls: GroupCalls<M>,
    ports: { readonly clock: Clock; readonly timers: Timers },
    options: PullerOptions,
    owner: PullerOwner<M>,
  ) {
    this.#queue = queue;
    this.#calls = calls;
    this.#ports = ports;
    this.#options = options;
    this.#owner = owner;
  }

  start(): void {
    this.#next();
  }

  /** The queue has room again. */
  wake(): void {
    if (this.#queue.stalled && !this.#queue.isFull) this.#next();
  }

  /** No further pull; the answer of one under way is dropped. */
  stop(): void {
    this.#stopped = true;
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    this.#timer = undefined;
  }

  #next(): void {
    if (this.#stopped || this.#pulling || this.#queue.dropped) return;
    this.#queue.stalled = this.#queue.isFull;
    if (this.#queue.stalled) return;
    const askedMs = this.#ports.clock.monotonic();
    this.#pulling = true;
    this.#calls.pull(this.#queue.key, this.#queue.nextOffset, this.#queue.commitOffset, (error, answer) => {
      this.#pulling = false;
      if (this.#stopped || this.#queue.dropped) return;
      if (error === undefined) this.#take(answer, askedMs);
      else this.#retry(error);
    });
  }

  #take(answer: PullAnswer, askedMs: number): void {
    if (answer.status === 'moved') {
      this.stop();
      this.#owner.moved(this.#queue, answer);
    } else if (answer.status === 'unregistered') {
      this.#owner.unregistered();
      this.#later(this.#options.retryMs);
    } else {
      const fault = answer.status === 'found' ? this.#owner.pulled(this.#queue, answer) : undefined;
      if (fault !== undefined) return this.#retry(new Error(fault));
      this.#queue.nextOffset = answer.nextOffset;
      this.#failing = false;
      const quick = this.#ports.clock.monotonic() - askedMs < this.#options.quickMs;
      if (answer.status === 'none' && quick) this.#later(this.#options.idleMs);
      else this.#next();
    }
  }

  #retry(error: Error): void {
    const { topic, brokerName, queueId } = this.#queue.key;
    // Once per trouble: a broker that is away for an hour is one line per queue, not a line per second.
    if (!this.#failing)
      this.#owner.report(`pull of ${topic}/${brokerName}/${queueId} failed; again every ${this.#options.retryMs} ms`, error);
    this.#failing = true;
    this.#later(this.#options.retryMs);
  }

  #later(ms: number): void {
    this.#timer = this.#ports.timers.after(ms, () => {
      this.#timer = undefined;
      this.#next();
    });
  }
}
