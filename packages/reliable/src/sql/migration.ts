/** What a migration is told and tells, whichever way it goes. */
import { fail } from '../errors.ts';
import type { Dialect } from './dialect.ts';
import type { Table } from './tables.ts';

export interface MigrationReport {
  readonly from: number;
  readonly to: number;
}

/** What the steps need, checked. */
export interface Migration {
  readonly dialect: Dialect;
  readonly tables: readonly Table[];
  readonly newest: number;
  readonly nowMs: number;
  readonly databaseId: string;
  readonly schema: string | undefined;
  readonly lockWaitMs: number;
  readonly patienceMs: number;
}

export function assertNotNewer({ newest }: Migration, found: number): void {
  if (found > newest) throw fail('SCHEMA_TOO_NEW', `found version ${found}, this package knows ${newest}`);
}
