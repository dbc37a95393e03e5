/**
 * Concurrent consumption: up to `concurrency` handlers at once, over all queues in turn, no order between messages. A failed message
 * is handed back to the broker; if even that fails, it is tried again here after `localRetryMs`. A handler that has had a message
 * for `consumeTimeoutMs` loses it: it is handed back too, so that one stuck call does not hold the queue's offset for ever (the
 * call keeps its place among the `concurrency`, because it still runs).
 *
 * A turn starts at most `STARTS_PER_TURN` handlers: quick synchronous ones must not starve the connections.
 */
import type { Clock, Timers, Turn } from '@tallystick/base';
import type { Held, ProcessQueue } from './process-queue.ts';
import type { Handle, Runner, RunnerOwner } from './runner.ts';

export interface ConcurrentOptions {
  readonly concurrency: number;
  readonly consumeTimeoutMs: number;
  readonly localRetryMs: number;
}

const STARTS_PER_TURN = 512;

export class ConcurrentRunner<M> implements Runner<M> {
  running = 0;
  readonly #ports: { readonly clock: Clock; readonly timers: Timers; readonly turn: Turn };
  readonly #options: ConcurrentOptions;
  readonly #handle: Handle<M>;
  readonly #owner: RunnerOwner<M>;
  /** Queues with messages to start, each once, served in turn. */
  #ready: ProcessQueue<M>[] = [];
  readonly #all = new Set<ProcessQueue<M>>();
  #scheduled = false;
  #stopped = false;

  constructor(
    ports: { readonly clock: Clock; readonly timers: Timers; readonly turn: Turn },
    options: ConcurrentOptions,
    handle: Handle<M>,
    owner: RunnerOwner<M>,
  ) {
    this.#ports = ports;
    this.#options = options;
    this.#handle = handle;
    this.#owner = owner;
  }

  offer(queue: ProcessQueue<M>): void {
    this.#all.add(queue);
    if (queue.waiting > 0 && !this.#ready.includes(queue)) this.#ready.push(queue);
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#ready = [];
  }

  sweep(nowMs: number): void {
    const before = nowMs - this.#options.consumeTimeoutMs;
    for (const queue of this.#all) {
      if (queue.dropped) this.#all.delete(queue);
      else queue.startedBefore(before, (held) => this.#takeAway(held));
    }
  }

  #schedule(): void {
    if (this.#scheduled || this.#stopped || this.#ready.length === 0 || this.running >= this.#options.concurrency) return;
    this.#scheduled = true;
    this.#ports.turn.atEnd(() => {
      this.#scheduled = false;
      this.#startSome();
    });
  }

  #startSome(): void {
    const nowMs = this.#ports.clock.monotonic();
    let starts = STARTS_PER_TURN;
    while (starts-- > 0 && this.running < this.#options.concurrency && !this.#stopped) {
      const queue = this.#ready.shift();
      if (queue === undefined) return;
      const held = queue.dropped ? undefined : queue.take(nowMs);
      if (held !== undefined && queue.waiting > 0) this.#ready.push(queue);
      if (held !== undefined) this.#start(held);
    }
    this.#schedule();
  }

  #start(held: Held<M>): void {
    this.running++;
    let settled = false;
    const settle = (error?: unknown): void => {
      if (settled) return;
      settled = true;
      this.running--;
      if (error === undefined) this.#finish(held);
      else this.#giveBack(held, error);
      this.#schedule();
    };
    try {
      this.#handle(held.message, settle);
    } catch (thrown) {
      settle(thrown ?? new Error('the handler threw nothing'));
    }
  }

  #finish(held: Held<M>): void {
    if (held.queue.finish(held)) this.#owner.finished(held);
  }

  #giveBack(held: Held<M>, error: unknown): void {
    // One that is being handed back already (taken from a handler that fails only now) must not go back twice.
    if (held.finished || held.queue.dropped || held.startedMs < 0) return;
    // From here on the message waits for the broker, not for the handler: the sweep must leave it alone.
    held.startedMs = -1;
    this.#owner.failed(held, error, (handedOn) => {
      if (handedOn || held.queue.dropped) this.#finish(held);
      else this.#ports.timers.after(this.#options.localRetryMs, () => this.#again(held));
    });
  }

  #again(held: Held<M>): void {
    if (this.#stopped || held.queue.dropped || held.finished) return;
    held.startedMs = this.#ports.clock.monotonic();
    this.#start(held);
  }

  #takeAway(held: Held<M>): void {
    this.#giveBack(
      held,
      new Error(`the handler has not finished within ${this.#options.consumeTimeoutMs} ms (consumeTimeoutMs)`),
    );
  }
}
