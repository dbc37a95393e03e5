/** Times in buckets of 2 % width from 1 µs to about 40 min, as plain numbers that one process can hand to another. */
export class Histogram {
  readonly counts: number[] = new Array<number>(BUCKETS).fill(0);
  total = 0;
  maxMs = 0;

  add(ms: number): void {
    const bucket = ms <= FIRST_MS ? 0 : Math.min(BUCKETS - 1, Math.round(Math.log(ms / FIRST_MS) * PER_LOG));
    this.counts[bucket]!++;
    this.total++;
    if (ms > this.maxMs) this.maxMs = ms;
  }

  /** The time below which a share `quantile` lies, ms to three digits; 0 when nothing was counted. */
  at(quantile: number): number {
    let left = Math.ceil(this.total * quantile);
    if (left === 0) return 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      left -= this.counts[bucket]!;
      if (left <= 0) return Number(Math.min(this.maxMs, FIRST_MS * Math.exp(bucket / PER_LOG)).toPrecision(3));
    }
    return this.maxMs;
  }

  summary(): Spread {
    return { count: this.total, p50Ms: this.at(0.5), p99Ms: this.at(0.99), maxMs: Number(this.maxMs.toPrecision(3)) };
  }
}

/** What of a histogram goes from process to process. */
export interface Spread {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const FIRST_MS = 0.001;
const PER_LOG = 1 / Math.log(1.02);
const BUCKETS = 1100;
