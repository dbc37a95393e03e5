/**
 * A message that was promised at a commit must survive the power cut after it. SQLite only promises that with `synchronous` at FULL
 * or above, per connection, and says nothing when a pragma was ignored; so it is set *and* read back. Other databases have their
 * own settings, which their administrators own.
 */
import { fail } from '../errors.ts';
import { sessionOf, type SyncSession } from './session.ts';
import type { Handle, SyncHandle } from './handles.ts';
import { plain } from './statement.ts';
import { asNumber, asText } from './values.ts';

export interface DurabilityOptions {
  /** `false`: only look. Default: set write-ahead logging and `synchronous=FULL` first, where no transaction is open. */
  readonly set?: boolean | undefined;
  /**
   * `elsewhere`: this connection never checkpoints, another one does. SQLite before 3.51.3 can damage a database when two
   * connections checkpoint at the same moment, so one per database should. Default: leave as it is.
   */
  readonly checkpoints?: 'elsewhere' | undefined;
}

export interface DurabilityReport {
  readonly journalMode: string;
  /** 2 = FULL, 3 = EXTRA. */
  readonly synchronous: number;
  readonly sqliteVersion: string;
  readonly warnings: readonly string[];
}

/** Makes a SQLite handle durable and verifies it. Throws NOT_DURABLE, naming what was found. */
export function verifyDurability(db: SyncHandle, options: DurabilityOptions = {}): DurabilityReport {
  const session = sessionOf(db);
  if (session.kind !== 'sync') throw fail('UNKNOWN_HANDLE', 'only SQLite handles can be verified');
  if (options.set !== false && !session.inTransaction()) makeDurable(session);
  if (options.checkpoints === 'elsewhere') leaveCheckpoints(session);
  const report = look(session);
  const fault = faultOf(report);
  if (fault !== undefined) throw fail('NOT_DURABLE', fault);
  return report;
}

function makeDurable(session: SyncSession): void {
  if (asText(pragma(session, 'journal_mode')) !== 'wal') pragma(session, 'journal_mode=wal');
  if (asNumber(pragma(session, 'synchronous')) < FULL) pragma(session, 'synchronous=full');
  // Apple's fsync does not reach the platter without this; elsewhere it does nothing.
  pragma(session, 'fullfsync=on');
}

function leaveCheckpoints(session: SyncSession): void {
  pragma(session, 'wal_autocheckpoint=0');
  const pages = asNumber(pragma(session, 'wal_autocheckpoint'));
  if (pages > 0) throw fail('NOT_DURABLE', `wal_autocheckpoint stays at ${pages} although it was set to 0`);
}

function look(session: SyncSession): DurabilityReport {
  const sqliteVersion = asText(firstValue(session, 'select sqlite_version() as version'));
  return {
    journalMode: asText(pragma(session, 'journal_mode')),
    synchronous: asNumber(pragma(session, 'synchronous')),
    sqliteVersion,
    warnings: warningsFor(sqliteVersion),
  };
}

const FULL = 2;

/** What is wrong, or undefined: pure, from what was read back. */
export function faultOf(report: Pick<DurabilityReport, 'journalMode' | 'synchronous'>): string | undefined {
  if (!DURABLE_JOURNALS.includes(report.journalMode)) return `journal_mode is ${report.journalMode}, wanted wal`;
  if (report.synchronous < FULL) return `synchronous is ${report.synchronous}, wanted 2 (FULL)`;
  return undefined;
}

const DURABLE_JOURNALS: readonly string[] = ['wal', 'delete', 'truncate', 'persist'];

/** Known flaws of a SQLite version that a configuration avoids. */
export function warningsFor(sqliteVersion: string): string[] {
  const [major = 0, minor = 0, patch = 0] = sqliteVersion.split('.').map(Number);
  const fixed = major > 3 || (major === 3 && (minor > 51 || (minor === 51 && patch >= 3)));
  return fixed
    ? []
    : [
        `SQLite ${sqliteVersion} can damage the database when two connections checkpoint at once (mended in 3.51.3): open all but one with { checkpoints: 'elsewhere' }`,
      ];
}

/** libsql's own `pragma()` returns rows in an odd shape; a prepared statement's first value is the same everywhere. */
function pragma(session: SyncSession, text: string): unknown {
  return firstValue(session, `pragma ${text}`);
}

function firstValue(session: SyncSession, text: string): unknown {
  const row = session.execute(plain(text, true)).rows[0];
  return row === undefined ? undefined : Object.entries(row).find(([name]) => name !== '_metadata')?.[1];
}

/**
 * Verifies a handle once: makes it durable where no transaction is open, and refuses it where it is not. Asynchronous handles belong to
 * databases whose settings are their administrator's and are not asked here.
 */
export function assertDurable(db: Handle): void {
  if (verified.has(db) || sessionOf(db).kind === 'async') return;
  verifyDurability(db as SyncHandle);
  verified.add(db);
}

const verified = new WeakSet<object>();
