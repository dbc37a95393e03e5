/**
 * Handles on the banks' SQLite files (libsql). A writer's handle keeps what it commits over a power cut: WAL with synchronous=FULL, set and read
 * back. Only the bank's own main handle copies the WAL back into the database file; every other handle leaves that alone, because the SQLite inside
 * libsql 0.5.29 must not checkpoint from two connections at once.
 */
import { existsSync } from 'node:fs';
import { verifyDurability } from '@tallystick/reliable';
import Database from 'libsql';

export type BankDatabase = InstanceType<typeof Database>;

const busyTimeoutMs = 10_000;

/** Opens a bank's database for writing, making the file if it is new. `checkpoints`: this is the one handle that may checkpoint. */
export function openForWriting(path: string, checkpoints: boolean): BankDatabase {
  const db = new Database(path, { timeout: busyTimeoutMs });
  db.exec(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
  verifyDurability(db, checkpoints ? {} : { checkpoints: 'elsewhere' });
  return db;
}

/** Opens a bank's database for reading only. The driver's own read-only flag is without effect, so SQLite is told to refuse writes. */
export function openForReading(path: string): BankDatabase | undefined {
  if (!existsSync(path)) return undefined;
  const db = new Database(path, { timeout: busyTimeoutMs });
  db.exec(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
  db.exec('PRAGMA wal_autocheckpoint = 0');
  db.exec('PRAGMA query_only = ON');
  return db;
}

/** Runs `work` inside one write transaction that holds the write lock from its first line; what it throws rolls back. */
export function write<T>(db: BankDatabase, work: () => T): T {
  return within(db, 'BEGIN IMMEDIATE', work);
}

/** Runs `work` on one snapshot of the database. */
export function read<T>(db: BankDatabase, work: () => T): T {
  return within(db, 'BEGIN', work);
}

function within<T>(db: BankDatabase, begin: string, work: () => T): T {
  db.exec(begin);
  try {
    const value = work();
    db.exec('COMMIT');
    return value;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** Copies the WAL into the database file, so that the file alone tells everything; for the handle that may checkpoint, at its end. */
export function leave(db: BankDatabase): void {
  db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
}
