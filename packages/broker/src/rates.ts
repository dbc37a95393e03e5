import type { Counters } from './counters.ts';

/**
 * Messages per second over the last ten seconds, minute and ten minutes, as RocketMQ's tools print them (putTps, getTransferredTps). It
 * looks at the counters now and then and keeps the looks of ten minutes; nothing is done per message.
 */
export class Rates {
  readonly #counters: Counters;
  /** Oldest first; the first may be older than the longest window, so that this one has a beginning. */
  readonly #looks: Look[] = [];

  constructor(counters: Counters) {
    this.#counters = counters;
  }

  /** To be called every few seconds; `nowMs` is monotonic. */
  look(nowMs: number): void {
    const { sends, pulledMessages } = this.#counters;
    this.#looks.push({ atMs: nowMs, sends, pulledMessages });
    while (this.#looks.length > 1 && this.#looks[1]!.atMs <= nowMs - WINDOWS_MS.at(-1)!) this.#looks.shift();
  }

  /** The three rates with spaces between, shortest window first; while the broker is younger than a window, over its life. */
  text(count: 'sends' | 'pulledMessages', nowMs: number): string {
    return WINDOWS_MS.map((windowMs) => this.#rate(count, nowMs, windowMs).toFixed(1)).join(' ');
  }

  #rate(count: 'sends' | 'pulledMessages', nowMs: number, windowMs: number): number {
    const since = this.#looks.findLast(({ atMs }) => atMs <= nowMs - windowMs) ?? this.#looks[0];
    if (since === undefined) return 0;
    return ((this.#counters[count] - since[count]) * 1000) / Math.max(nowMs - since.atMs, LEAST_MS);
  }
}

interface Look {
  readonly atMs: number;
  readonly sends: number;
  readonly pulledMessages: number;
}

/** Over less than this a rate says nothing. */
const LEAST_MS = 1000;
const WINDOWS_MS = [10_000, 60_000, 600_000];
