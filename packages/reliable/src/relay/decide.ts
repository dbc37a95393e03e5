import { backoffMs } from '@tallystick/base';
import { reasonText } from '../sql/values.ts';
import type { PublishOutcome, PublishResult } from '../transports/transport.ts';

/**
 * What one outcome means for one row: pure, so the whole policy is this page.
 *
 * ```
 * confirmed     head and body are deleted; kept as `confirmed`, without its body, while its status may be asked for (`keep_for`);
 *               `sent` when only the consumer's confirmation settles it (`confirm_within`): due again after that, under the same id
 * rejected      attempts + 1, waits; at attemptsMax it is dead and a person is told
 * unroutable    waits, not counted: the message is good and its queue may yet be bound; told by an alarm of its own
 * unknown       waits, not counted: the broker may hold it, the id makes the repeat harmless
 * unavailable   nothing is written: the message is as good as before, the relay brakes instead
 * ```
 *
 * One that was `sent` confirmAttemptsMax times, and is due again, is not pushed: it is dead, `unconfirmed`, and a person is told. What the
 * consumer still confirms after that settles it.
 */
export type Settlement =
  | { readonly kind: 'deleted' }
  | { readonly kind: 'left' }
  | Change<'sent' | 'confirmed', null>
  | Change<'retrying' | 'dead', number>;

/** `Account`: null leaves attempts and tries as the row has them now, whatever a person has done to them meanwhile. */
interface Change<Kind, Account> {
  readonly kind: Kind;
  readonly attempts: Account;
  readonly tries: Account;
  /** From the database's present: until it is due, or kept no longer. */
  readonly waitMs: number;
  readonly outcome: RowOutcome;
  readonly reason: string;
}

/** What a row remembers of its last push; or that its consumer never confirmed it. */
export type RowOutcome = PublishResult | 'unconfirmed';

export interface RetryPolicy {
  readonly attemptsMax: number;
  readonly retryFirstMs: number;
  readonly retryMaxMs: number;
}

/** What the row knows of its past and its end. */
export interface Tried {
  readonly attempts: number;
  readonly tries: number;
  readonly confirmWithin: number;
  readonly keepFor: number;
}

const DELETED: Settlement = { kind: 'deleted' };
const LEFT: Settlement = { kind: 'left' };

export function decide(row: Tried, { outcome, reason }: PublishOutcome, policy: RetryPolicy, random: number): Settlement {
  if (outcome === 'confirmed') return confirmedBy(row);
  if (outcome === 'unavailable') return LEFT;
  const attempts = row.attempts + (outcome === 'rejected' ? 1 : 0);
  const tries = row.tries + 1;
  const dead = attempts >= policy.attemptsMax;
  const waitMs = backoffMs({ firstMs: policy.retryFirstMs, maxMs: policy.retryMaxMs }, tries, random);
  return {
    kind: dead ? 'dead' : 'retrying',
    attempts,
    tries,
    waitMs: dead ? 0 : Math.ceil(waitMs),
    outcome,
    reason: reasonText(reason ?? outcome),
  };
}

function confirmedBy({ confirmWithin, keepFor }: Tried): Settlement {
  if (confirmWithin === 0 && keepFor === 0) return DELETED;
  const kind = confirmWithin > 0 ? 'sent' : 'confirmed';
  const waitMs = confirmWithin > 0 ? confirmWithin : keepFor;
  return { kind, attempts: null, tries: null, waitMs, outcome: 'confirmed', reason: '' };
}

/** Whether it was sent as often as it may be without its consumer's confirmation. */
export function isSpent(
  { state, started }: { readonly state: string; readonly started: number },
  { confirmAttemptsMax }: { readonly confirmAttemptsMax: number },
): boolean {
  return state === 'sent' && confirmAttemptsMax > 0 && started >= confirmAttemptsMax;
}

export function unconfirmed({
  attempts,
  tries,
  started,
}: Pick<Tried, 'attempts' | 'tries'> & { readonly started: number }): Settlement {
  const reason = `sent ${started} times, never confirmed by its consumer (confirmAttemptsMax)`;
  return { kind: 'dead', attempts, tries, waitMs: 0, outcome: 'unconfirmed', reason };
}

/** Whether the broker has it, so that the next of its key may follow. */
export function hasLeft({ kind }: Settlement): boolean {
  return kind === 'deleted' || kind === 'sent' || kind === 'confirmed';
}

const RESULTS: readonly string[] = ['confirmed', 'rejected', 'unroutable', 'unavailable', 'unknown'];

/** The outcomes of a batch, one per message, whatever the transport answered: what is missing or no outcome is unknown. */
export function outcomesOf(answer: unknown, count: number): PublishOutcome[] {
  const list: readonly unknown[] = Array.isArray(answer) ? answer : [];
  return Array.from({ length: count }, (_, i) => outcomeOf(list[i]));
}

export const CONFIRMED: PublishOutcome = { outcome: 'confirmed' };

function outcomeOf(answer: unknown): PublishOutcome {
  const { outcome, reason } = (answer ?? {}) as { outcome?: unknown; reason?: unknown };
  if (outcome === 'confirmed') return CONFIRMED;
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
