/**
 * Bank A's books. `debit` runs inside the caller's transaction, beside whatever makes the message safe; `settle` is a transaction of its own and may be
 * called any number of times for one serial.
 */
import { write, type BankDatabase } from './database.ts';
import type { Transfer } from './plan.ts';
import { holdAccount } from './schema.ts';

export interface Unconfirmed {
  readonly serial: string;
  readonly number: number;
  readonly message: string;
}

export class LedgerA {
  private readonly db: BankDatabase;

  constructor(db: BankDatabase) {
    this.db = db;
  }

  /** Takes the money from the customer into the hold account and writes the journal. To be called inside a transaction. */
  debit(serial: string, transfer: Transfer, message: string, now: number): void {
    const { from, amountMinor, number, path } = transfer;
    const taken = this.db
      .prepare('UPDATE account SET balance = balance - ? WHERE id = ? AND balance >= ?')
      .run(amountMinor, from, amountMinor);
    if (taken.changes !== 1) throw new Error(`${from} cannot pay ${amountMinor}`);
    this.db.prepare('UPDATE account SET balance = balance + ? WHERE id = ?').run(amountMinor, holdAccount);
    this.db
      .prepare(
        `INSERT INTO journal (serial, account, amount, state, number, path, message, sent_at) VALUES (?, ?, ?, 'in-process', ?, ?, ?, ?)`,
      )
      .run(serial, from, -amountMinor, number, path, message, now);
  }

  /** Bank B has confirmed: the money leaves the hold account. False when that had been done before. */
  settle(serial: string): boolean {
    return write(this.db, () => {
      const row = this.db.prepare(`SELECT amount FROM journal WHERE serial = ? AND state = 'in-process'`).get(serial) as
        { amount: number } | undefined;
      if (row === undefined) return false;
      this.db.prepare(`UPDATE journal SET state = 'succeeded' WHERE serial = ?`).run(serial);
      this.db.prepare('UPDATE account SET balance = balance + ? WHERE id = ?').run(row.amount, holdAccount);
      return true;
    });
  }

  /** Numbers of the transfers that have been made. */
  numbersMade(): Set<number> {
    const rows = this.db.prepare('SELECT number FROM journal').all() as { number: number }[];
    return new Set(rows.map((row) => row.number));
  }

  /** Transfers in process that were last sent before a moment, oldest first. */
  unconfirmedSince(before: number, limit: number): Unconfirmed[] {
    const sql = `SELECT serial, number, message FROM journal WHERE state = 'in-process' AND sent_at < ? ORDER BY sent_at LIMIT ?`;
    return this.db.prepare(sql).all(before, limit) as Unconfirmed[];
  }

  markSent(serial: string, now: number): void {
    write(this.db, () =>
      this.db.prepare('UPDATE journal SET sent_at = ?, resends = resends + 1 WHERE serial = ?').run(now, serial),
    );
  }
}
