import type { HalfState, HalfTable } from './half-table.ts';

/** What a producer says about one of its half messages. */
export interface EndClaim {
  readonly outcome: 'committed' | 'rolled-back';
  readonly group: string;
  /** Half-queue offset and log position, as the answer to the half (or the check) told them. */
  readonly offset: number;
  readonly position: number;
  /** It has been held against all that is known of the open half and fits; the key is not asked for again. */
  readonly fits?: boolean | undefined;
  /** The sender's unique key; either of the two fields that carry it. '' in a claim that fits. */
  readonly messageId: string;
  readonly transactionId: string;
}

/**
 * The judgement on a claim, before anything is read or written.
 *
 *   apply      the first definite answer: append it
 *   same       said before: nothing to append, acknowledged once more
 *   opposite   the other outcome has been decided: refused
 *   wrong      the claim does not fit the half it names: refused with that text, whoever sent it
 */
export type Verdict =
  | { readonly kind: 'apply' | 'same' | 'opposite'; readonly decided?: HalfState }
  | { readonly kind: 'wrong'; readonly text: string };

export function judge(table: HalfTable, claim: EndClaim): Verdict {
  const state = table.state(claim.offset);
  if (state === 'absent') return wrong('Find prepared transaction message failed');
  if (state === 'committed' || state === 'rolled-back')
    return { kind: state === claim.outcome ? 'same' : 'opposite', decided: state };
  if (claim.fits === true) return APPLY;
  const row = table.row(claim.offset)!;
  const text = claimFault(claim, row.group, row.offset, row.position, row.id);
  return text === undefined ? APPLY : wrong(text);
}

/** Checks a claim against the facts of a half message, in RocketMQ's order and words (the key is our addition). */
export function claimFault(claim: EndClaim, group: string, offset: number, position: number, id: string): string | undefined {
  if (claim.group !== group) return 'The producer group wrong';
  if (claim.offset !== offset) return 'The transaction state table offset wrong';
  if (claim.position !== position) return 'The commit log offset wrong';
  if (claim.fits !== true && claim.messageId !== id && claim.transactionId !== id) return 'The unique key wrong';
  return undefined;
}

const APPLY: Verdict = { kind: 'apply' };

function wrong(text: string): Verdict {
  return { kind: 'wrong', text };
}
