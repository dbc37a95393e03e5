/**
 * Judges whether the page cache is busy: one write of the log (not a sync) has been under way for longer than
 * `osPageCacheBusyTimeOutMills`. RocketMQ asks how long a put has held the lock of its log; here nobody holds a lock, the write itself
 * is the measure.
 *
 * It is asked at the end of a turn, after the callbacks of the disk have run, and counts only time in which the loop was alive: of
 * the gap between two looks at most {@link GAP_MAX_MS}. A collector's pause, user code or SIGSTOP make a write look old that
 * only nobody has looked after; they are not the disk's fault.
 */
export class DiskWatch {
  isBusy = false;
  readonly #limitMs: number;
  #startedMs: number | undefined;
  #seenMs = 0;
  #lookedMs = 0;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** How long the write that is under way has been seen to take. */
  get writeAgeMs(): number {
    return this.#seenMs;
  }

  /** A look at the end of a turn: since when the oldest write of the log is under way, undefined when none is. */
  look(nowMs: number, startedMs: number | undefined): void {
    if (startedMs === undefined) this.#seenMs = 0;
    else if (startedMs !== this.#startedMs) this.#seenMs = Math.min(nowMs - startedMs, GAP_MAX_MS);
    else this.#seenMs += Math.min(nowMs - this.#lookedMs, GAP_MAX_MS);
    this.#startedMs = startedMs;
    this.#lookedMs = nowMs;
    this.isBusy = this.#seenMs > this.#limitMs;
  }
}

/** Looks come every 10 ms while a write is under way, so a loop under load, with turns of 40 ms, is still measured truly. */
export const GAP_MAX_MS = 50;
