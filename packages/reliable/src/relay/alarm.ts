import type { RowOutcome } from './decide.ts';

/** A row that a person should look at. */
export interface TroubledRow {
  readonly id: string;
  readonly topic: string;
  readonly key: string | undefined;
  readonly attempts: number;
  readonly tries: number;
  /** `unconfirmed`: the broker has it, its consumer never said so. */
  readonly outcome: RowOutcome;
  readonly reason: string;
}

/**
 * What a relay reports, once per occasion and not once per retry:
 * - `dead`: a message was given up and waits for a person;
 * - `unroutable`: there is nowhere to put the messages of a route (no queue bound, no such topic); they are tried on, and told of again
 *   only after the route has worked;
 * - `stuck`: a message came back `stuckAfterTries` times without a definite outcome and is tried on;
 * - `outage`, `outage-over`: the broker shows no sign of life since `failures` batches; it is back;
 * - `fenced`: another relay has taken a range of shards while this one was away; nothing was overwritten;
 * - `database`, `database-over`: the database refused the relay's work; it goes on trying.
 */
export type Alarm =
  | { readonly kind: 'dead' | 'stuck'; readonly row: TroubledRow }
  | { readonly kind: 'unroutable'; readonly row: TroubledRow; readonly route: string }
  | { readonly kind: 'outage'; readonly failures: number; readonly reason: string }
  | { readonly kind: 'outage-over' | 'database-over' }
  | { readonly kind: 'fenced'; readonly firstShard: number }
  | { readonly kind: 'database'; readonly error: unknown };

/** Batches without a sign of life before `outage` is reported: one time-out is not an outage. */
export const OUTAGE_AFTER = 3;
