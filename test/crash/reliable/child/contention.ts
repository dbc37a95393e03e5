/**
 * Transactions that get in each other's way, between the debit and its message. Which of the four ways a transfer takes is its number's;
 * each lets its victims fail now and then, or once, and PostgreSQL ends the whole transaction.
 */
import { accountOf } from '../bank.ts';
import type { PgRunner } from './pg-runner.ts';

/** SQLSTATE of each way to fail. */
export const GIVES_WAY = {
  deadlock: '40P01',
  'serialization failure': '40001',
  'lock timeout': '55P03',
  'statement timeout': '57014',
} as const;

/** How long a lock is held before the next is asked for, or a snapshot before it is used. */
const WINDOW_S = 0.01;
const TIMEOUT_MS = 5;
/** Others change these meanwhile, or lock them. */
const CONTENDED = [0, 1].map(accountOf);

export class Contention {
  readonly #tooLong = new Set<number>();

  /** Where the way begins with the transaction. */
  async before(tx: PgRunner, number: number): Promise<void> {
    if (number % 6 === 1) await tx.query('set transaction isolation level repeatable read');
  }

  async meet(tx: PgRunner, number: number): Promise<void> {
    if (number % 2 === 0) await inTurn(tx, number % 4 === 0 ? CONTENDED : [...CONTENDED].reverse());
    else if (number % 6 === 1) await fromSnapshot(tx);
    else if (number % 6 === 3) await impatiently(tx);
    else await this.#atLength(tx, number);
  }

  /** Takes too long the first time. */
  async #atLength(tx: PgRunner, number: number): Promise<void> {
    const seconds = this.#tooLong.has(number) ? 0 : 10 * WINDOW_S;
    this.#tooLong.add(number);
    await tx.query(`set local statement_timeout = ${TIMEOUT_MS}`);
    await tx.query(`select pg_sleep(${seconds})`);
    await tx.query('set local statement_timeout = 0');
  }
}

/** The same two rows locked in opposite orders: one of two neighbours has to die now and then. */
async function inTurn(tx: PgRunner, accounts: readonly string[]): Promise<void> {
  for (const id of accounts) {
    await tx.query('select balance from account where id = $1 for update', [id]);
    await tx.query(`select pg_sleep(${WINDOW_S})`);
  }
}

/** Rows locked by what the snapshot says: PostgreSQL refuses when they have been changed since. */
async function fromSnapshot(tx: PgRunner): Promise<void> {
  await tx.query(`select pg_sleep(${WINDOW_S})`);
  await tx.query('select balance from account for update');
}

async function impatiently(tx: PgRunner): Promise<void> {
  await tx.query(`set local lock_timeout = ${TIMEOUT_MS}`);
  for (const id of CONTENDED) await tx.query('select balance from account where id = $1 for update', [id]);
  await tx.query('set local lock_timeout = 0');
}
