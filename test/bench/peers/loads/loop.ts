/**
 * The closed loop that drives every JavaScript client of the comparison, made to weigh almost nothing (some 10 ns per message): the
 * clock is read once in 64 completions, latency is taken of one operation in 64, and no closure is made for the others.
 */

export interface LoopOptions {
  /** Operations kept open at once. */
  readonly window: number;
  /** Time before counting begins, ms. */
  readonly warmUpMs: number;
  /** Time during which completions are counted, ms. */
  readonly windowMs: number;
}

export interface LoopFigure {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly completed: number;
  /** Processor time of this process per counted message, µs. */
  readonly clientCpuUs: number;
}

/** Begins operation `n`. Its end is told by `finished` or `failed` of the loop; `sample`, when given, is called besides. */
export type Start = (n: number, sample: (() => void) | undefined) => void;

/** One operation in so many is timed, and so often the clock is read. */
const SAMPLE_EVERY = 64;

export class Loop {
  readonly #options: LoopOptions;
  readonly #messagesPerOperation: number;
  readonly #samples: number[] = [];
  #start: Start = () => {};
  #resolve: (figure: LoopFigure) => void = () => {};
  #reject: (error: Error) => void = () => {};
  #next = 0;
  #done = 0;
  #lookAt = SAMPLE_EVERY;
  #began = 0;
  #countedFrom = -1;
  #countedAt = 0;
  #stopping = false;
  #perSecond = 0;
  #cpuFrom = process.cpuUsage();
  #clientCpuUs = 0;

  /** @param messagesPerOperation what one operation counts for in the figure */
  constructor(options: LoopOptions, messagesPerOperation = 1) {
    this.#options = options;
    this.#messagesPerOperation = messagesPerOperation;
  }

  /** Resolves when everything begun has ended; rejects with the first failure, so that a figure never hides one. */
  run(start: Start): Promise<LoopFigure> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#start = start;
      this.#began = performance.now();
      for (let i = 0; i < this.#options.window; i++) this.#launch();
    });
  }

  /** An operation has ended well. */
  readonly finished = (): void => {
    if (++this.#done === this.#lookAt) this.#look();
    if (!this.#stopping) this.#launch();
    else if (this.#done === this.#next) this.#end();
  };

  readonly failed = (error: unknown): void => {
    this.#stopping = true;
    this.#reject(error instanceof Error ? error : new Error(String(error)));
  };

  #launch(): void {
    const n = this.#next++;
    this.#start(n, n % SAMPLE_EVERY === 0 ? this.#sampler() : undefined);
  }

  #sampler(): () => void {
    const startedAt = performance.now();
    return () => {
      if (this.#countedFrom >= 0) this.#samples.push(performance.now() - startedAt);
    };
  }

  #look(): void {
    this.#lookAt += SAMPLE_EVERY;
    const now = performance.now();
    const { warmUpMs, windowMs } = this.#options;
    if (this.#countedFrom < 0) {
      if (now - this.#began < warmUpMs) return;
      this.#countedFrom = this.#done;
      this.#countedAt = now;
      this.#cpuFrom = process.cpuUsage();
    } else if (!this.#stopping && now - this.#countedAt >= windowMs) {
      this.#stopping = true;
      const counted = (this.#done - this.#countedFrom) * this.#messagesPerOperation;
      this.#perSecond = Math.round((counted / (now - this.#countedAt)) * 1000);
      const { user, system } = process.cpuUsage(this.#cpuFrom);
      this.#clientCpuUs = Number(((user + system) / counted).toPrecision(3));
    }
  }

  #end(): void {
    const completed = this.#done * this.#messagesPerOperation;
    this.#resolve({ perSecond: this.#perSecond, ...percentiles(this.#samples), completed, clientCpuUs: this.#clientCpuUs });
  }
}

/** p50 and p99 of some latencies, ms, to three digits. */
export function percentiles(latencies: readonly number[]): { readonly p50Ms: number; readonly p99Ms: number } {
  const sorted = Float64Array.from(latencies).sort();
  const at = (quantile: number): number =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * quantile))] ?? 0).toPrecision(3));
  return { p50Ms: at(0.5), p99Ms: at(0.99) };
}
