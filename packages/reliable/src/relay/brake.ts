import { backoffMs } from '@tallystick/base';

/**
 * The governor keeps a recovery from dragging the service down. It holds a window: how many rows may be in the air. While the broker shows
 * no sign of life the relay waits, longer each time, and probes with one message; when it comes back the window doubles per round up to
 * half of what it was, and grows by a batch per round from there; when broker or database answer slowly it shrinks by a third, once
 * per round. So the backlog of an outage leaves as fast as both carry it, and no faster. Pure.
 *
 * ```
 * no sign of life (only unavailable, unknown)    window 1, wait brakeFirstMs … brakeMaxMs
 * busy (some unavailable, others definite)       window / 2, wait brakeFirstMs
 * slow (confirmMs or databaseMs over its target) window × 2/3, unless it was cut after this batch took off
 * good, window below the threshold               window + rows
 * good, above it                                 window + rows × batchRows / window
 * ```
 */
export interface Brake {
  /** Batches in a row without a sign of life. */
  readonly failures: number;
  /** Nothing is claimed before this monotonic time. */
  readonly untilMs: number;
  /** Most rows in the air. */
  readonly window: number;
  /** Below it the window doubles per round. */
  readonly threshold: number;
  /** Monotonic time at which the window was cut last. */
  readonly cutAtMs: number;
}

export interface BrakePolicy {
  readonly brakeFirstMs: number;
  readonly brakeMaxMs: number;
  readonly batchRows: number;
  readonly batchesMax: number;
  /** A broker that takes longer to confirm a batch is given less. */
  readonly confirmTargetMs: number;
  /** A database that takes longer to claim or settle a batch is asked for less. */
  readonly databaseTargetMs: number;
}

/** How a batch, or a wave of it, has landed. */
export interface Landing {
  readonly rows: number;
  /** Outcomes that show that the broker lives: confirmed, rejected, unroutable. */
  readonly definite: number;
  readonly unavailable: number;
  /** Monotonic time of its take-off. */
  readonly tookOffMs: number;
  /** From take-off to the last outcome. */
  readonly confirmMs: number;
  /** The longest wait for the database since. */
  readonly databaseMs: number;
}

export function released(policy: BrakePolicy): Brake {
  const window = windowMax(policy);
  return { failures: 0, untilMs: 0, window, threshold: window, cutAtMs: -1 };
}

export function afterLanding(brake: Brake, landing: Landing, policy: BrakePolicy, monotonicMs: number, random: number): Brake {
  if (landing.rows === 0) return brake;
  if (landing.definite === 0) {
    const failures = brake.failures + 1;
    const threshold = brake.failures === 0 ? half(brake.window) : brake.threshold;
    return { failures, untilMs: monotonicMs + waitMs(policy, failures, random), window: 1, threshold, cutAtMs: monotonicMs };
  }
  if (landing.unavailable > 0) return cut(brake, half(brake.window), monotonicMs + waitMs(policy, 1, random), monotonicMs);
  const slow = landing.confirmMs > policy.confirmTargetMs || landing.databaseMs > policy.databaseTargetMs;
  if (slow) {
    // A batch that took off before the last cut says nothing about the window that followed.
    if (landing.tookOffMs < brake.cutAtMs) return { ...brake, failures: 0, untilMs: 0 };
    return cut(brake, Math.max(1, Math.floor((brake.window * 2) / 3)), 0, monotonicMs);
  }
  return { ...brake, failures: 0, untilMs: 0, window: grown(brake, landing.rows, policy) };
}

/** Rows of the next batch: the window's share, none when it is full. */
export function batchRowsOf(brake: Brake, policy: BrakePolicy, rowsFlying: number): number {
  return Math.max(0, Math.min(policy.batchRows, brake.window - rowsFlying));
}

function cut(brake: Brake, window: number, untilMs: number, monotonicMs: number): Brake {
  return { failures: 0, untilMs: Math.max(0, untilMs), window, threshold: window, cutAtMs: Math.max(brake.cutAtMs, monotonicMs) };
}

function grown({ window, threshold }: Brake, rows: number, policy: BrakePolicy): number {
  const more = window < threshold ? Math.min(rows, threshold - window) : Math.ceil((rows * policy.batchRows) / window);
  return Math.min(windowMax(policy), window + Math.max(1, more));
}

function windowMax({ batchRows, batchesMax }: BrakePolicy): number {
  return batchRows * batchesMax;
}

function half(window: number): number {
  return Math.max(1, Math.floor(window / 2));
}

function waitMs(policy: BrakePolicy, failures: number, random: number): number {
  return backoffMs({ firstMs: policy.brakeFirstMs, maxMs: policy.brakeMaxMs }, failures, random);
}
