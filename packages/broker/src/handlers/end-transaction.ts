import { EndTransactionLocator, ResponseCode, SysFlag, type Frame, type Peer } from '@tallystick/remoting';
import type { EndClaim } from '../transaction/verdict.ts';
import type { TransactionEnds } from '../transaction/transaction-ends.ts';
import type { Parts } from './parts.ts';

/**
 * Second confirmations (37). Usually one-way: nothing is answered then, not even an error, and check-back mends what gets lost. An
 * "unknown" is never answered.
 */
export class EndTransaction {
  readonly #parts: Parts;
  readonly #ends: TransactionEnds;
  readonly #locator = new EndTransactionLocator();

  constructor(parts: Parts, ends: TransactionEnds) {
    this.#parts = parts;
    this.#ends = ends;
  }

  handle(peer: Peer, frame: Frame): void {
    const locator = this.#locator;
    if (!locator.locate(frame)) {
      this.#parts.counters.faultyRequests++;
      return peer.answer(frame.ref(), ResponseCode.SYSTEM_ERROR, `END_TRANSACTION: ${locator.fault()}`);
    }
    const said = locator.commitOrRollback();
    if (said !== SysFlag.COMMIT && said !== SysFlag.ROLLBACK) return;
    const group = locator.producerGroup();
    const offset = locator.tranStateTableOffset();
    const position = locator.commitLogOffset();
    // The usual case makes no text of the key: it is compared where it lies.
    const fits =
      locator.placeKey() &&
      this.#parts.halves.table.isOpenAs(offset, position, group, frame.bytes, locator.keyStart, locator.keyEnd);
    const outcome = said === SysFlag.COMMIT ? 'committed' : 'rolled-back';
    if (fits && frame.isOneway && this.#ends.settle(outcome, offset, position, peer)) return;
    const claim: EndClaim = {
      outcome,
      group,
      offset,
      position,
      fits,
      messageId: fits ? '' : locator.msgId(),
      transactionId: fits ? '' : locator.transactionId(),
    };
    this.#ends.submit(claim, peer, frame.isOneway ? undefined : frame.ref());
  }
}
