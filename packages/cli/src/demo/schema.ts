/**
 * The banks' tables. `account` and `journal` are the demo's contract with anyone who opens the files; the rest is the banks' own. Amounts are
 * integers in minor units.
 *
 * `movement` is written by a trigger, so the database itself, not the code under suspicion, counts how often a balance was changed: an
 * effect applied twice shows as a movement without a journal row of its own.
 */
import { write, type BankDatabase } from './database.ts';
import type { Opening } from './plan.ts';

/** The account into which bank A puts what has left a customer and has not yet been confirmed by bank B. */
export const holdAccount = 'hold';

const commonTables = `
  CREATE TABLE IF NOT EXISTS account (
    id TEXT PRIMARY KEY,
    opening INTEGER NOT NULL,
    balance INTEGER NOT NULL
  );
  CREATE TABLE IF NOT EXISTS movement (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    change INTEGER NOT NULL
  );
  CREATE TRIGGER IF NOT EXISTS account_moved AFTER UPDATE OF balance ON account
    BEGIN INSERT INTO movement (account, change) VALUES (NEW.id, NEW.balance - OLD.balance); END;
`;

/** Bank A: one row per transfer, `in-process` until bank B's confirmation makes it `succeeded`. */
const bankATables = `
  CREATE TABLE IF NOT EXISTS journal (
    serial TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('in-process', 'succeeded')),
    number INTEGER NOT NULL UNIQUE,
    path TEXT NOT NULL,
    message TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    resends INTEGER NOT NULL DEFAULT 0
  );
  CREATE INDEX IF NOT EXISTS journal_in_process ON journal (sent_at) WHERE state = 'in-process';
`;

/** Bank B: rows are only inserted, with the credit they describe. `absorbed` remembers each repeated delivery that had no effect. */
const bankBTables = `
  CREATE TABLE IF NOT EXISTS journal (
    serial TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state = 'succeeded')
  );
  CREATE TABLE IF NOT EXISTS absorbed (
    id INTEGER PRIMARY KEY,
    serial TEXT NOT NULL
  );
`;

/** Makes bank A's tables and accounts where they are missing; harmless on every later start. */
export function layOutBankA(db: BankDatabase, openings: readonly Opening[]): void {
  layOut(db, bankATables, [...openings, { id: holdAccount, openingMinor: 0 }]);
}

/** Makes bank B's tables and accounts where they are missing; harmless on every later start. */
export function layOutBankB(db: BankDatabase, openings: readonly Opening[]): void {
  layOut(db, bankBTables, openings);
}

function layOut(db: BankDatabase, tables: string, openings: readonly Opening[]): void {
  write(db, () => {
    db.exec(commonTables);
    db.exec(tables);
    const insert = db.prepare('INSERT OR IGNORE INTO account (id, opening, balance) VALUES (?, ?, ?)');
    for (const { id, openingMinor } of openings) insert.run(id, openingMinor, openingMinor);
  });
}
