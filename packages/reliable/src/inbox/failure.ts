import { backoffMs } from '@tallystick/base';
import type { HandlerOptions } from '../options.ts';
import { sqlStateOf } from '../sql/sql-state.ts';
import { reasonText } from '../sql/values.ts';

/**
 * What a failed attempt means for its message: pure, so the whole policy is this page.
 *
 * ```
 * the handler threw, was too slow, lost its lock, is missing    attempts + 1, waits; at attemptsMax it is dead and a person is told
 * the lock was busy, the database went away                     waits, not counted: the message is as good as before
 * ```
 *
 * A message that took its process with it `deathsMax` times is dead without another attempt ({@link quarantined}).
 */
export interface Failure {
  readonly state: 'retrying' | 'dead';
  readonly attempts: number;
  readonly tries: number;
  readonly waitMs: number;
  readonly outcome: FailureOutcome;
  readonly reason: string;
}

export type FailureOutcome =
  'failed' | 'timeout' | 'unhandled' | 'conflict' | 'busy' | 'unavailable' | 'poison' | 'old' | 'unreadable';

/** What the row knows of its past. */
export interface Tried {
  readonly attempts: number;
  readonly tries: number;
}

export function failureOf(
  row: Tried,
  error: unknown,
  options: HandlerOptions,
  random: number,
  outcome = outcomeOf(error),
): Failure {
  const attempts = row.attempts + (UNCOUNTED.includes(outcome) ? 0 : 1);
  const tries = row.tries + 1;
  const dead = attempts >= options.attemptsMax;
  const waitMs = backoffMs({ firstMs: options.retryFirstMs, maxMs: options.retryMaxMs }, tries, random);
  return { state: dead ? 'dead' : 'retrying', attempts, tries, waitMs: dead ? 0 : waitMs, outcome, reason: reasonOf(error) };
}

const UNCOUNTED: readonly FailureOutcome[] = ['busy', 'unavailable'];

function outcomeOf(error: unknown): FailureOutcome {
  const { code } = (error ?? {}) as { code?: unknown };
  const known = typeof code === 'string' ? BY_CODE[code] : undefined;
  return known ?? (isAway(error) ? 'unavailable' : 'failed');
}

const BY_CODE: Readonly<Record<string, FailureOutcome | undefined>> = {
  HANDLER_TIMEOUT: 'timeout',
  NO_HANDLER: 'unhandled',
  VERSION_CONFLICT: 'conflict',
  LOCK_LOST: 'conflict',
  LOCK_BUSY: 'busy',
  COMMIT_UNKNOWN: 'unavailable',
  ALREADY_IN_TRANSACTION: 'unavailable',
  CLOSED: 'unavailable',
  NO_ANSWER: 'unavailable',
};

/** The database's connection broke, or the server went down: connection exceptions, shutdowns, no room for connections. */
function isAway(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state !== undefined) return /^(08|57P|53)/.test(state);
  const { code } = (error ?? {}) as { code?: unknown };
  return AWAY.test(reasonOf(error)) || (typeof code === 'string' && AWAY_CODES.test(code));
}

/** In the words of pg, for a connection that breaks and for one that has broken already. */
const AWAY = /^(Connection (terminated|ended)|Client (has encountered a connection error|was closed))/;
/** Of postgres.js. */
const AWAY_CODES = /^CONNECTION_(CLOSED|ENDED|DESTROYED)$/;

/** A message whose attempts began more often than they ended. */
export function quarantined({ attempts, tries }: Tried, deaths: number): Failure {
  const reason = `${deaths} attempts began and never ended: it kills its process, or something does while it is handled`;
  return { state: 'dead', attempts: attempts + deaths, tries: tries + deaths, waitMs: 0, outcome: 'poison', reason };
}

/** A message that nothing can be done with here. */
export function refused(outcome: FailureOutcome, reason: string): Failure {
  return { state: 'dead', attempts: 0, tries: 0, waitMs: 0, outcome, reason: reasonText(reason) };
}

function reasonOf(error: unknown): string {
  const { message } = (error ?? {}) as { message?: unknown };
  return reasonText(typeof message === 'string' && message !== '' ? message : String(error));
}
