/**
 * How fast a count grows. It is shown the count now and then and keeps what it needs to tell the rate over any time up to the longest
 * window; nothing is done per event.
 */
export class Meter {
  readonly #windowMs: number;
  /** Oldest first; the first may be older than the longest window, so that this one has a beginning. */
  readonly #looks: Look[] = [];

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** To be called every few seconds; `nowMs` is monotonic. */
  look(nowMs: number, count: number): void {
    this.#looks.push({ atMs: nowMs, count });
    while (this.#looks.length > 1 && this.#looks[1]!.atMs <= nowMs - this.#windowMs) this.#looks.shift();
  }

  /** Per second over the last `windowMs`; since the first look, if that was later. */
  rate(nowMs: number, count: number, windowMs = this.#windowMs): number {
    const since = this.#looks.findLast(({ atMs }) => atMs <= nowMs - windowMs) ?? this.#looks[0];
    if (since === undefined) return 0;
    return ((count - since.count) * 1000) / Math.max(nowMs - since.atMs, LEAST_MS);
  }
}

interface Look {
  readonly atMs: number;
  readonly count: number;
}

/** Over less than this a rate says nothing. */
const LEAST_MS = 1000;
