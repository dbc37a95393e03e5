/**
 * A batch in which messages of one key go one behind the other: each leaves when the one before it is confirmed, and none after one that
 * was not. So a transport that answers messages one by one may be handed many of a key (`keepsOrder`); keys do not wait for each other.
 */
import type { OutgoingMessage, PublishOutcome } from './transport.ts';

/** Sends one message and tells its outcome, once, now or later; never throws. */
export type SendOne = (message: OutgoingMessage, done: (outcome: PublishOutcome) => void) => void;

export const CONFIRMED: PublishOutcome = { outcome: 'confirmed' };
export const AFTER_A_GAP: PublishOutcome = {
  outcome: 'unavailable',
  reason: 'not sent: an earlier message of its key was not confirmed',
};

/** One outcome per message, in order; never rejects. */
export function publishInChains(batch: readonly OutgoingMessage[], send: SendOne): Promise<PublishOutcome[]> {
  // The heads; each that is confirmed adds the next of its key.
  const { ready, next } = chainsOf(batch);
  return new Promise((resolve) => {
    const outcomes = new Array<PublishOutcome>(batch.length);
    let left = batch.length;
    let started = 0;
    let starting = false;
    const settle = (at: number, outcome: PublishOutcome): void => {
      outcomes[at] = outcome;
      left--;
      let after = next[at]!;
      if (after >= 0 && outcome.outcome === 'confirmed') ready.push(after);
      else
        for (; after >= 0; after = next[after]!) {
          outcomes[after] = AFTER_A_GAP;
          left--;
        }
      startReady();
      if (left === 0) resolve(outcomes);
    };
    /** One loop, so that a sender that answers at once does not grow the stack with the chain. */
    const startReady = (): void => {
      if (starting) return;
      starting = true;
      while (started < ready.length) {
        const at = ready[started++]!;
        send(batch[at]!, (outcome) => settle(at, outcome));
      }
      starting = false;
    };
    if (left === 0) resolve(outcomes);
    else startReady();
  });
}

/** The first of each key, and for each message the next one of its key (-1: none). */
function chainsOf(batch: readonly OutgoingMessage[]): { readonly ready: number[]; readonly next: Int32Array } {
  const next = new Int32Array(batch.length).fill(-1);
  const last = new Map<string, number>();
  const ready: number[] = [];
  for (let at = 0; at < batch.length; at++) {
    const { key } = batch[at]!;
    const before = key === undefined ? undefined : last.get(key);
    if (before === undefined) ready.push(at);
    else next[before] = at;
    if (key !== undefined) last.set(key, at);
  }
  return { ready, next };
}
