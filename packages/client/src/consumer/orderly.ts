/**
 * Orderly consumption: of each queue one message at a time, in offset order; queues run beside each other, up to `concurrency`. A
 * failed message holds its queue and is tried again in place after `suspendMs`, `maxReconsumeTimes` times; then it is handed on
 * (to the dead-letter topic) and the queue goes on. Nothing of a queue starts unless its lock is held (`mayRun`).
 */
import type { Clock, Timers, Turn } from '@tallystick/base';
import type { Held, ProcessQueue } from './process-queue.ts';
import type { Handle, Runner, RunnerOwner } from './runner.ts';

export interface OrderlyOptions {
  readonly concurrency: number;
  readonly suspendMs: number;
  /** Attempts after the first before a message is handed on; Infinity never hands on. */
  readonly maxReconsumeTimes: number;
}

export interface OrderlyOwner<M> extends RunnerOwner<M> {
  /** True while this member holds the lock of the queue. */
  mayRun(queue: ProcessQueue<M>, nowMs: number): boolean;
  /** Tells the message how often it failed before. */
  repeated(message: M): number;
}

const STARTS_PER_TURN = 512;

export class OrderlyRunner<M> implements Runner<M> {
  running = 0;
  readonly #ports: { readonly clock: Clock; readonly timers: Timers; readonly turn: Turn };
  readonly #options: OrderlyOptions;
  readonly #handle: Handle<M>;
  readonly #owner: OrderlyOwner<M>;
  #ready: ProcessQueue<M>[] = [];
  /** Queues that stand in `#ready`, run or are suspended. */
  readonly #engaged = new Set<ProcessQueue<M>>();
  #scheduled = false;
  #stopped = false;

  constructor(
    ports: { readonly clock: Clock; readonly timers: Timers; readonly turn: Turn },
    options: OrderlyOptions,
    handle: Handle<M>,
    owner: OrderlyOwner<M>,
  ) {
    this.#ports = ports;
    this.#options = options;
    this.#handle = handle;
    this.#owner = owner;
  }

  offer(queue: ProcessQueue<M>): void {
    if (queue.waiting === 0 || this.#engaged.has(queue) || this.#stopped) return;
    this.#engaged.add(queue);
    this.#ready.push(queue);
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#ready = [];
  }

  sweep(): void {
    this.#schedule();
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
    const notNow: ProcessQueue<M>[] = [];
    let starts = STARTS_PER_TURN;
    while (starts-- > 0 && this.running < this.#options.concurrency && !this.#stopped) {
      const queue = this.#ready.shift();
      if (queue === undefined) break;
      if (queue.dropped || queue.waiting === 0) this.#engaged.delete(queue);
      else if (!this.#owner.mayRun(queue, nowMs)) notNow.push(queue);
      else this.#start(queue.take(nowMs)!);
    }
    const more = this.#ready.length > 0;
    for (const queue of notNow) this.#ready.push(queue);
    // Queues without a lock wait for the next sweep; asking again each turn would spin.
    if (more) this.#schedule();
  }

  #start(held: Held<M>): void {
    this.running++;
    let settled = false;
    const settle = (error?: unknown): void => {
      if (settled) return;
      settled = true;
      this.running--;
      if (error === undefined) this.#finish(held);
      else this.#repeat(held, error);
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
    this.#release(held.queue);
  }

  #repeat(held: Held<M>, error: unknown): void {
    if (this.#owner.repeated(held.message) <= this.#options.maxReconsumeTimes) return this.#suspend(held);
    this.#owner.failed(held, error, (handedOn) => (handedOn ? this.#finish(held) : this.#suspend(held)));
  }

  #suspend(held: Held<M>): void {
    held.queue.untake(held);
    if (held.queue.dropped) {
      this.#engaged.delete(held.queue);
      return this.#owner.idle(held.queue);
    }
    this.#ports.timers.after(this.#options.suspendMs, () => this.#release(held.queue));
  }

  /** The queue is free for its next message. */
  #release(queue: ProcessQueue<M>): void {
    this.#engaged.delete(queue);
    this.offer(queue);
  }
}
