/**
 * Measures a closed loop: keeps `inFlight` operations open, counts completions over a window after a warm-up and samples latency.
 * It promises that every operation counted was completed successfully; what an operation is, the caller decides.
 */

/** What one run of a loop found. */
export interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly completed: number;
}

export interface LoopOptions {
  /** Operations kept open at once. */
  readonly inFlight: number;
  /** Time before counting begins, ms. */
  readonly warmUpMs: number;
  /** Time during which completions are counted, ms. */
  readonly windowMs: number;
}

/**
 * Runs `start(n, done)` in a closed loop.
 *
 * @param options sizes and times of the loop
 * @param start begins operation `n`; calls `done` once, with an error if it failed
 * @returns rate and latency; rejects with the first error of any operation, so a figure never hides a failure, and when nothing was completed
 *   in the window
 */
export function closedLoop(options: LoopOptions, start: (n: number, done: (error?: Error) => void) => void): Promise<Measured> {
  const latencies = new LatencyHistogram();
  const begin = performance.now();
  const countFrom = begin + options.warmUpMs;
  const stopAt = countFrom + options.windowMs;
  let next = 0;
  let open = 0;
  let completed = 0;
  let failed = false;

  return new Promise((resolve, reject) => {
    // Refills are done in a macrotask-free trampoline: completions usually arrive in bursts, one burst per acknowledged frame.
    const launch = (): void => {
      const startedAt = performance.now();
      open += 1;
      start(next++, (error) => {
        open -= 1;
        if (failed) return;
        if (error) {
          failed = true;
          reject(error);
          return;
        }
        const now = performance.now();
        if (now >= countFrom && now < stopAt) {
          completed += 1;
          latencies.add(now - startedAt);
        }
        if (now < stopAt) launch();
        else if (open === 0) {
          if (completed === 0) return reject(new Error(`nothing was completed in ${options.windowMs} ms: measure for longer`));
          resolve({
            perSecond: Math.round((completed / options.windowMs) * 1000),
            p50Ms: latencies.at(0.5),
            p99Ms: latencies.at(0.99),
            completed,
          });
        }
      });
    };
    for (let i = 0; i < options.inFlight; i++) launch();
  });
}

/** Latencies in buckets of 1 % width from 1 µs to about 100 s; adding one costs a logarithm and no allocation. */
class LatencyHistogram {
  readonly #counts = new Uint32Array(1900);
  #total = 0;

  add(ms: number): void {
    const bucket = Math.min(1899, Math.max(0, Math.round(Math.log(Math.max(ms, 0.001) / 0.001) / Math.log(1.01))));
    this.#counts[bucket]!++;
    this.#total++;
  }

  /** The latency in ms below which a share `quantile` of all operations lies, to three digits. */
  at(quantile: number): number {
    let left = Math.ceil(this.#total * quantile);
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      left -= this.#counts[bucket]!;
      if (left <= 0) return Number((0.001 * 1.01 ** bucket).toPrecision(3));
    }
    return 0;
  }
}
