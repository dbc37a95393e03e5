import { backoffMs } from '@tallystick/base';
import type { PublishOutcome } from '../transports/transport.ts';

/**
 * The brake keeps a recovery from dragging the service down: while the broker shows no sign of life the relay waits, longer each
 * time, and probes with one message; when it comes back, batches double from there instead of starting with the whole backlog.
 *
 * ```
 * no sign of life (only unavailable, unknown)   wait brakeFirstMs … brakeMaxMs, then one message
 * busy (some unavailable, others confirmed)     half the batch, wait brakeFirstMs
 * all definite                                  twice the batch, up to batchRows, no wait
 * ```
 */
export interface Brake {
  /** Batches in a row without a sign of life. */
  readonly failures: number;
  /** Nothing is claimed before this monotonic time. */
  readonly untilMs: number;
  /** Most messages of the next batch. */
  readonly batchRows: number;
}

export interface BrakePolicy {
  readonly brakeFirstMs: number;
  readonly brakeMaxMs: number;
  readonly batchRows: number;
}

export function released(policy: BrakePolicy): Brake {
  return { failures: 0, untilMs: 0, batchRows: policy.batchRows };
}

export function afterOutcomes(
  brake: Brake,
  outcomes: readonly PublishOutcome[],
  policy: BrakePolicy,
  monotonicMs: number,
  random: number,
): Brake {
  if (outcomes.length === 0) return brake;
  const definite = outcomes.filter(({ outcome }) => outcome !== 'unavailable' && outcome !== 'unknown').length;
  const waitMs = (failures: number): number =>
    backoffMs({ firstMs: policy.brakeFirstMs, maxMs: policy.brakeMaxMs }, failures, random);
  if (definite === 0) {
    const failures = brake.failures + 1;
    return { failures, untilMs: monotonicMs + waitMs(failures), batchRows: 1 };
  }
  const busy = outcomes.some(({ outcome }) => outcome === 'unavailable');
  if (busy) return { failures: 0, untilMs: monotonicMs + waitMs(1), batchRows: Math.max(1, Math.floor(brake.batchRows / 2)) };
  return { failures: 0, untilMs: 0, batchRows: Math.min(policy.batchRows, brake.batchRows * 2) };
}
