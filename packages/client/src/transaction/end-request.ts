/** The second confirmation (END_TRANSACTION): what is said about a half message, and the fields that name it. */
import type { Fields } from '../peers.ts';
import type { SendReceipt } from '../producer/receipt.ts';

/** `unknown`: cannot say yet, ask again later. */
export type Verdict = 'commit' | 'rollback' | 'unknown';

/** Names one half message towards the broker that has it. */
export interface HalfName {
  readonly group: string;
  readonly topic: string;
  readonly brokerName: string;
  /** The sender's id, also the transaction id. */
  readonly messageId: string;
  /** Byte address of the half message in the log, and its offset in the half queue. */
  readonly position: number;
  readonly halfOffset: number;
}

const VERDICT_CODES: Readonly<Record<Verdict, number>> = { unknown: 0, commit: 8, rollback: 12 };

export function isVerdict(value: unknown): value is Verdict {
  return value === 'commit' || value === 'rollback' || value === 'unknown';
}

export function endFields(half: HalfName, verdict: Verdict, fromCheck: boolean): Fields {
  return {
    producerGroup: half.group,
    tranStateTableOffset: half.halfOffset,
    commitLogOffset: half.position,
    commitOrRollback: VERDICT_CODES[verdict],
    fromTransactionCheck: fromCheck,
    msgId: half.messageId,
    transactionId: half.messageId,
    topic: half.topic,
    bname: half.brokerName,
  };
}

export function verdictCode(verdict: Verdict): number {
  return VERDICT_CODES[verdict];
}

/** The name of a half message from the receipt of its send; undefined when the broker's id in it is not one. */
export function halfOf(group: string, receipt: SendReceipt): HalfName | undefined {
  const { topic, brokerName, messageId, position } = receipt;
  return position < 0 ? undefined : { group, topic, brokerName, messageId, position, halfOffset: receipt.offset };
}
