import { backoffMs } from '@tallystick/base';
import type { PublishOutcome, PublishResult } from '../transports/transport.ts';

/**
 * What one outcome means for one row: pure, so the whole policy is this page.
 *
 * ```
 * confirmed              row and body are deleted
 * rejected, unroutable   attempts + 1, waits; at attemptsMax it is dead and a person is told
 * unknown                waits, not counted: the broker may hold it, the id makes the repeat harmless
 * unavailable            nothing is written: the message is as good as before, the relay brakes instead
 * ```
 */
export type Settlement =
  | { readonly kind: 'confirmed' }
  | { readonly kind: 'left' }
  | {
      readonly kind: 'retrying' | 'dead';
      readonly attempts: number;
      readonly tries: number;
      readonly dueAt: number;
      readonly outcome: PublishResult;
      readonly reason: string;
    };

export interface RetryPolicy {
  readonly attemptsMax: number;
  readonly retryFirstMs: number;
  readonly retryMaxMs: number;
}

/** What the row knows of its past. */
export interface Tried {
  readonly attempts: number;
  readonly tries: number;
}

export function decide(
  row: Tried,
  { outcome, reason }: PublishOutcome,
  policy: RetryPolicy,
  nowMs: number,
  random: number,
): Settlement {
  if (outcome === 'confirmed') return { kind: 'confirmed' };
  if (outcome === 'unavailable') return { kind: 'left' };
  const attempts = row.attempts + (outcome === 'unknown' ? 0 : 1);
  const tries = row.tries + 1;
  const dead = attempts >= policy.attemptsMax;
  const waitMs = backoffMs({ firstMs: policy.retryFirstMs, maxMs: policy.retryMaxMs }, tries, random);
  return {
    kind: dead ? 'dead' : 'retrying',
    attempts,
    tries,
    dueAt: nowMs + (dead ? 0 : waitMs),
    outcome,
    reason: shortened(reason ?? outcome),
  };
}

/** Longest reason that is kept, in characters. */
const REASON_MAX = 500;

function shortened(reason: string): string {
  return reason.length <= REASON_MAX ? reason : `${reason.slice(0, REASON_MAX - 1)}…`;
}

const RESULTS: readonly string[] = ['confirmed', 'rejected', 'unroutable', 'unavailable', 'unknown'];

/** The outcomes of a batch, one per message, whatever the transport answered: what is missing or no outcome is unknown. */
export function outcomesOf(answer: unknown, count: number): PublishOutcome[] {
  const list: readonly unknown[] = Array.isArray(answer) ? answer : [];
  return Array.from({ length: count }, (_, i) => outcomeOf(list[i]));
}

function outcomeOf(answer: unknown): PublishOutcome {
  const { outcome, reason } = (answer ?? {}) as { outcome?: unknown; reason?: unknown };
  if (!RESULTS.includes(outcome as string))
    return { outcome: 'unknown', reason: `the transport answered no outcome but ${JSON.stringify(answer)}` };
  return typeof reason === 'string' ? { outcome: outcome as PublishResult, reason } : { outcome: outcome as PublishResult };
}

/** The outcome of a batch whose promise was rejected. Errors are known by their `outcome` field, never by their class. */
export function outcomeOfError(error: unknown): PublishOutcome {
  const { outcome, message } = (error ?? {}) as { outcome?: unknown; message?: unknown };
  const reason = typeof message === 'string' ? message : String(error);
  // A batch cannot have been confirmed by failing.
  return outcome !== 'confirmed' && RESULTS.includes(outcome as string)
    ? { outcome: outcome as PublishResult, reason }
    : { outcome: 'unknown', reason };
}
