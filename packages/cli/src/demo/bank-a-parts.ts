/** What bank A's two paths and its sweeps share. */
import type { Client } from '@tallystick/client';
import type { LocalTransactionTable, MessageIds } from '@tallystick/reliable';
import type { ParentLine } from './child.ts';
import type { BankDatabase } from './database.ts';
import type { DefectName } from './defects.ts';
import type { LedgerA } from './ledger-a.ts';

/** The first half of a transfer's key in the local-transaction table; the second is its serial. */
export const bizType = 'transfer';

/** Check-backs about a transaction nobody knows before it is ruled out for good. */
export const absentMax = 2;

export interface BankA {
  readonly line: ParentLine;
  readonly db: BankDatabase;
  readonly ledger: LedgerA;
  readonly client: Client;
  readonly transactions: LocalTransactionTable<BankDatabase>;
  readonly serials: MessageIds;
  readonly defect: DefectName | undefined;
}
