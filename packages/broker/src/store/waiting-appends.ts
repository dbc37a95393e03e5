import type { Clock, Timer, Timers } from '@tallystick/base';
import type { GroupBuilder } from './group-builder.ts';
import type { StoreOptions } from './options.ts';
import type { AckLevel, AppendOutcome, AppendSink } from './store-types.ts';
import type { TransientPool } from './transient-pool.ts';
import { Waiters } from './waiters.ts';

/**
 * Appends whose callers have not been told yet, by what they wait for: the end of their turn (a buffer of the transient store pool is enough
 * for them), a write, or a sync. Whoever waits for the disk longer than syncFlushTimeoutMs is told that it is not known.
 */
export class WaitingAppends {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #options: StoreOptions;
  readonly #builder: GroupBuilder;
  readonly #pool: TransientPool | undefined;
  readonly #buffered = new Waiters();
  readonly #written = new Waiters();
  readonly #durable = new Waiters();
  #timer: Timer | undefined;

  constructor(
    ports: { readonly clock: Clock; readonly timers: Timers },
    options: StoreOptions,
    builder: GroupBuilder,
    pool: TransientPool | undefined,
  ) {
    this.#clock = ports.clock;
    this.#timers = ports.timers;
    this.#options = options;
    this.#builder = builder;
    this.#pool = pool;
  }

  /** Those who wait for the disk. */
  get count(): number {
    return this.#written.count + this.#durable.count;
  }

  /** Address up to which the first one waits for a sync; Infinity: nobody. */
  get syncWantedFrom(): number {
    return this.#durable.firstEnd;
  }

  /** Address up to which the last one waits for a write or a sync; 0: nobody. */
  get writeWantedTo(): number {
    return Math.max(this.#durable.lastEnd, this.#written.lastEnd);
  }

  /** How long the oldest has waited for its write or sync; 0 when none does. */
  get oldestMs(): number {
    const firstMs = this.#firstSinceMs;
    return firstMs === Number.POSITIVE_INFINITY ? 0 : Math.max(0, this.#clock.monotonic() - firstMs);
  }

  /** Whether that level asks for a sync. */
  isDurable(level: AckLevel): boolean {
    return level === 'synced' || this.#options.flush === 'sync';
  }

  add(level: AckLevel, sink: AppendSink, token: number, end: number, position: number, queueOffset: number, nowMs: number): void {
    const isDurable = this.isDurable(level);
    const isBuffered = !isDurable && this.#pool !== undefined && this.#mayBuffer(this.#pool);
    const waiters = isDurable ? this.#durable : isBuffered ? this.#buffered : this.#written;
    waiters.add(sink, token, end, position, queueOffset, nowMs);
    if (isBuffered) return;
    this.#timer ??= this.#timers.after(this.#options.syncFlushTimeoutMs, () => this.#timeOut());
  }

  /** The turn is over: all before `end` lies in buffers. */
  buffered(end: number): void {
    this.#buffered.releaseTo(end, 'ok');
  }

  written(end: number): void {
    this.#written.releaseTo(end, 'ok');
  }

  durable(end: number): void {
    this.#durable.releaseTo(end, 'ok');
  }

  /** Nobody need wait any longer. */
  endAll(outcome: AppendOutcome): void {
    for (const waiters of [this.#buffered, this.#written, this.#durable]) waiters.releaseTo(Number.POSITIVE_INFINITY, outcome);
  }

  /** No one is told of lateness from now on. */
  stop(): void {
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
  }

  /**
   * Whether an append may count as done in its buffer: there is one, what it holds is sure to get a place on the disk, and nobody
   * appended earlier is still waiting for a write.
   */
  #mayBuffer(pool: TransientPool): boolean {
    return this.#written.count === 0 && this.#builder.segment.isReady && !pool.isOverdrawn;
  }

  #timeOut(): void {
    this.#timer = undefined;
    const timeoutMs = this.#options.syncFlushTimeoutMs;
    const nowMs = this.#clock.monotonic();
    this.#written.releaseSince(nowMs - timeoutMs, 'timeout');
    this.#durable.releaseSince(nowMs - timeoutMs, 'timeout');
    const firstMs = this.#firstSinceMs;
    if (firstMs !== Number.POSITIVE_INFINITY)
      this.#timer ??= this.#timers.after(Math.max(1, firstMs + timeoutMs - nowMs), () => this.#timeOut());
  }

  get #firstSinceMs(): number {
    return Math.min(this.#written.firstSinceMs, this.#durable.firstSinceMs);
  }
}
