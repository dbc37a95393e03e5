/**
 * A transfer by half message: the broker stores the message out of everyone's sight, the bank commits its own transaction, then confirms. If the
 * confirmation is lost, the broker asks; the local-transaction table, written in the same transaction as the debit, knows the answer.
 */
import { transaction, type Verdict } from '@tallystick/reliable';
import type { TransactionProducer } from '@tallystick/client';
import { absentMax, bizType, type BankA } from './bank-a-parts.ts';
import type { BankDatabase } from './database.ts';
import { bankAProducers, numberHeader, transferTopic, writeTransfer } from './messages.ts';
import type { Transfer } from './plan.ts';

export class HalfPath {
  private readonly bank: BankA;
  private readonly producer: TransactionProducer;

  constructor(bank: BankA) {
    this.bank = bank;
    this.producer = bank.client.transactionProducer({ group: bankAProducers, listener: listenerOf(bank) });
  }

  start(): Promise<void> {
    return this.producer.start();
  }

  /** Resolves when the transfer is committed; throws when it certainly is not and must be made again. */
  async make(transfer: Transfer): Promise<void> {
    const { line, db, ledger, transactions, serials } = this.bank;
    const { number } = transfer;
    const serial = serials.next();
    await line.reached('begin', number, serial);
    await line.reached('sending', number, serial);
    const message = writeTransfer(transfer, transfer.poison);
    const half = await this.producer.half({
      topic: transferTopic,
      id: serial,
      key: serial,
      value: message,
      headers: { [numberHeader]: String(number) },
    });
    await line.reached('worked', number, serial);
    try {
      transaction(db, (tx) => {
        transactions.record(tx, bizType, serial);
        ledger.debit(serial, transfer, message, Date.now());
      });
    } catch (error) {
      void half.rollback();
      throw error;
    }
    await line.reached('committed', number, serial);
    void half.commit();
  }
}

interface Listener {
  check(message: { readonly id: string }): Verdict | Promise<Verdict>;
}

/** The table's listener, or what a defect makes of it. */
function listenerOf({ db, transactions, defect }: BankA): Listener {
  if (defect === 'no-check-back') return { check: () => 'unknown' };
  if (defect === 'no-fence') return withoutFence(db);
  return { check: ({ id }) => transactions.check(bizType, id) };
}

/** The defect: a transaction that nobody knows is called rolled back, and nothing keeps it from committing later. */
function withoutFence(db: BankDatabase): Listener {
  const asked = new Map<string, number>();
  const find = db.prepare('SELECT outcome FROM tallystick_local_transaction WHERE biz_type = ? AND biz_no = ?');
  return {
    check: ({ id }) => {
      if (find.get(bizType, id) !== undefined) return 'commit';
      asked.set(id, (asked.get(id) ?? 0) + 1);
      return asked.get(id)! < absentMax ? 'unknown' : 'rollback';
    },
  };
}
