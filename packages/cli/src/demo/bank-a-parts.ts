/** What bank A's two paths and its sweeps share. */
import type { Client } from '@tallystick/client';
import type { LocalTransactionTable } from '@tallystick/reliable';
import type { ParentLine } from './child.ts';
import type { BankDatabase } from './database.ts';
import type { DefectName } from './defects.ts';
import type { LedgerA } from './ledger-a.ts';

/** The first half of a transfer's key in the local-transaction table; the second is its serial. */
export const bizType = 'transfer';

export interface BankA {
  readonly line: ParentLine;
  readonly db: BankDatabase;
  readonly ledger: LedgerA;
  readonly client: Client;
  readonly transactions: LocalTransactionTable<BankDatabase>;
  readonly defect: DefectName | undefined;
}
