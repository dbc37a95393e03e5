/**
 * Reads both banks for the checker: bank B first, then bank A, one read transaction each. In this order a credit that is seen always has its debit
 * in view, because the debit was committed before the message could leave; the other order would see money twice.
 */
import { read, type BankDatabase } from './database.ts';
import { holdAccount } from './schema.ts';

export interface AccountRow {
  readonly id: string;
  readonly opening: number;
  readonly balance: number;
}

export interface JournalRow {
  readonly serial: string;
  readonly account: string;
  readonly amount: number;
  readonly state: string;
}

/** One bank as of one transaction. */
export interface BankReading {
  readonly accounts: readonly AccountRow[];
  readonly journal: readonly JournalRow[];
  /** How many times the database saw a customer's balance change. */
  readonly movements: number;
}

export interface Reading {
  readonly a: BankReading;
  readonly b: BankReading;
}

/** Reads B, then A; undefined while one of them has no tables yet. */
export function readBanks(bankA: BankDatabase, bankB: BankDatabase): Reading | undefined {
  const b = read(bankB, () => readBank(bankB));
  const a = read(bankA, () => readBank(bankA));
  if (a === undefined || b === undefined) return undefined;
  return { a, b };
}

function readBank(db: BankDatabase): BankReading | undefined {
  const tables = db
    .prepare(`SELECT count(*) AS n FROM sqlite_master WHERE type = 'table' AND name IN ('account', 'journal', 'movement')`)
    .get();
  if ((tables as { n: number }).n !== 3) return undefined;
  const accounts = db.prepare('SELECT id, opening, balance FROM account').all() as AccountRow[];
  const journal = db.prepare('SELECT serial, account, amount, state FROM journal').all() as JournalRow[];
  const { n } = db.prepare('SELECT count(*) AS n FROM movement WHERE account <> ?').get(holdAccount) as { n: number };
  return { accounts, journal, movements: n };
}
