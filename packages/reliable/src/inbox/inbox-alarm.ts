/** A message that a person should look at. */
export interface TroubledMessage {
  readonly id: string;
  readonly topic: string;
  readonly type: string | undefined;
  readonly key: string | undefined;
  readonly attempts: number;
  readonly tries: number;
  readonly outcome: string;
  readonly reason: string;
}

/**
 * What an inbox reports, once per occasion and not once per attempt:
 * - `dead`: a message was given up and waits for a person; `poison`: the same, because it took its process with it again and again;
 * - `stuck`: a message failed `stuckAfterTries` times without its fault and is tried on;
 * - `old`: a message came that is older than the keys that are kept, and its own is not there: it may be a repeat whose key is forgotten;
 * - `unconfirmed`: a sender asked for a confirmation and this inbox has nothing to send it with, or nothing to name the message by;
 * - `hanging`: a handler does not end, long after its time; the attempt has failed, but its connection is not free. Or an open transaction
 *   of another process holds the message for that long, so that it cannot be tried again here;
 * - `fenced`: another process has taken a range of shards while this one was away;
 * - `database`, `database-over`: the database refused the inbox's work; it goes on trying.
 */
export type InboxAlarm =
  | { readonly kind: 'dead' | 'poison' | 'stuck'; readonly row: TroubledMessage }
  | { readonly kind: 'old'; readonly id: string; readonly warning: string }
  | { readonly kind: 'unconfirmed' | 'hanging'; readonly id: string; readonly reason: string }
  | { readonly kind: 'fenced'; readonly firstShard: number }
  | { readonly kind: 'database'; readonly error: unknown }
  | { readonly kind: 'database-over' };
