/**
 * The window in which repeats are recognised: keys are kept for `keepKeysMs`, anew when a repeat comes in the second half of that time, and
 * forgotten afterwards. Whatever sends or tries a message again later than that (an operator's retry, a broker that held it for a month)
 * must know that nobody can tell it from a new one.
 */
import type { Delivery } from '../transports/transport.ts';
import { madeAt, type KeptRow } from './kept.ts';

/** Why a repeat of the message may be taken for new; undefined when it is young enough, or nobody knows how old it is. */
export function windowWarning(message: Pick<Delivery, 'id' | 'sentAt'>, keepKeysMs: number, nowMs: number): string | undefined {
  const made = madeAt(message);
  const ageMs = made === undefined ? 0 : nowMs - made;
  if (ageMs <= keepKeysMs) return undefined;
  return `it is ${days(ageMs)} old, and keys are kept for ${days(keepKeysMs)} (keepKeysMs): whether it was handled before may be forgotten`;
}

/** The same for a row of the inbox, which is as old as the earliest of its arrival, its id, and what its sender said. */
export function rowWarning(
  { id, createdAt, sentAt }: Pick<KeptRow, 'id' | 'createdAt'> & Pick<Delivery, 'sentAt'>,
  keepKeysMs: number,
  nowMs: number,
): string | undefined {
  const known = [sentAt, undefined].map((told) => madeAt({ id, sentAt: told }) ?? createdAt);
  return windowWarning({ id, sentAt: Math.min(createdAt, ...known) }, keepKeysMs, nowMs);
}

function days(ms: number): string {
  const count = ms / 86_400_000;
  return `${count >= 10 ? Math.round(count) : Math.round(count * 10) / 10} days`;
}
