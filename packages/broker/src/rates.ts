import type { Counters } from './counters.ts';
import { Meter } from './meter.ts';

/** Messages per second over the last ten seconds, minute and ten minutes, as RocketMQ's tools print them (putTps, getTransferredTps). */
export class Rates {
  readonly #counters: Counters;
  readonly #meters = { sends: new Meter(WINDOWS_MS.at(-1)!), pulledMessages: new Meter(WINDOWS_MS.at(-1)!) };

  constructor(counters: Counters) {
    this.#counters = counters;
  }

  /** To be called every few seconds; `nowMs` is monotonic. */
  look(nowMs: number): void {
    this.#meters.sends.look(nowMs, this.#counters.sends);
    this.#meters.pulledMessages.look(nowMs, this.#counters.pulledMessages);
  }

  /** The three rates with spaces between, shortest window first; while the broker is younger than a window, over its life. */
  text(count: 'sends' | 'pulledMessages', nowMs: number): string {
    return WINDOWS_MS.map((windowMs) => this.#meters[count].rate(nowMs, this.#counters[count], windowMs).toFixed(1)).join(' ');
  }
}

const WINDOWS_MS = [10_000, 60_000, 600_000];
