/** How waits between attempts grow. */
export interface BackoffOptions {
  /** Wait before the second attempt. */
  readonly firstMs: number;
  /** No wait is longer. */
  readonly maxMs: number;
  /** Growth per attempt; 2 when absent. */
  readonly factor?: number | undefined;
}

/**
 * The wait after `failures` failed attempts (1, 2, …) in ms: exponential up to `maxMs`, and of that between half and the whole,
 * chosen by `random` (a u32), so that many who failed together do not return together.
 */
export function backoffMs(options: BackoffOptions, failures: number, random: number): number {
  const grown = options.firstMs * (options.factor ?? 2) ** Math.min(Math.max(failures - 1, 0), 64);
  const full = Math.min(grown, options.maxMs);
  return Math.round(full / 2 + (full / 2) * (random / 4294967296));
}
