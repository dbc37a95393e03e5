/**
 * A message that was promised at a commit must survive the power cut after it. SQLite only promises that with `synchronous` at FULL
 * or above, per connection, and says nothing when a pragma was ignored; so it is set *and* read back. A server's settings belong to its
 * administrator: PostgreSQL's are read, and what is wrong is named with what to do.
 */
import { fail } from '../errors.ts';
import { connectionsOf } from './connections.ts';
import type { Dialect } from './dialect.ts';
import { isSyncHandle, type Database, type SyncHandle } from './handles.ts';
import { recogniseRoot } from './handles/recognise.ts';
import { lookAtServer, serverFaults, type ServerDurabilityReport } from './postgres-durability.ts';
import { perform, sessionOf, type Session, type SyncSession } from './session.ts';
import { plain, type Steps } from './statement.ts';
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

/**
 * Makes a SQLite handle durable and verifies it; looks at the settings of a PostgreSQL. Throws NOT_DURABLE, naming what was found and,
 * for a server, what to do. `options` are SQLite's.
 */
export function verifyDurability<D extends Database>(
  db: D,
  options: DurabilityOptions = {},
): D extends SyncHandle ? DurabilityReport : Promise<ServerDurabilityReport> {
  const verified = isSyncHandle(db) ? verifySqlite(db, options) : onSession(db, verifyServer);
  return verified as D extends SyncHandle ? DurabilityReport : Promise<ServerDurabilityReport>;
}

function verifyServer(session: Session): ServerDurabilityReport | Promise<ServerDurabilityReport> {
  if (session.dialect.name !== 'postgres') throw fail('UNKNOWN_HANDLE', `settings of ${session.dialect.name} are not known here`);
  return perform(session, durableServer());
}

function* durableServer(): Steps<ServerDurabilityReport> {
  const report = yield* lookAtServer();
  const faults = serverFaults(report);
  if (faults.length > 0) throw fail('NOT_DURABLE', faults.join('; '));
  return report;
}

/** A single connection may have its user's transaction open, and looking does not disturb it. */
async function onSession<T>(db: Database, look: (session: Session) => T | Promise<T>): Promise<T> {
  return recogniseRoot(db) === undefined ? look(sessionOf(db)) : connectionsOf(db).use(look);
}

function verifySqlite(db: SyncHandle, options: DurabilityOptions): DurabilityReport {
  const session = sessionOf(db) as SyncSession;
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
 * Verifies a database once: at once for a synchronous handle, which is made durable where no transaction is open; with a promise for
 * every other. Throws NOT_DURABLE.
 */
export function assertDurable<D extends Database>(db: D): D extends SyncHandle ? void : Promise<void> {
  if (!isSyncHandle(db)) return assertDurableServer(db) as ReturnType<typeof assertDurable<D>>;
  if (!verified.has(db)) verifySqlite(db, {});
  verified.add(db);
  return undefined as ReturnType<typeof assertDurable<D>>;
}

async function assertDurableServer(db: Database): Promise<void> {
  if (!verified.has(db)) await onSession(db, (session) => perform(session, durably(db, session.dialect)));
}

/**
 * The same inside steps, for those who meet their database only there: asks a server the first time, with the connection in hand, and
 * does nothing elsewhere.
 */
export function* durably(db: Database, dialect: Dialect): Steps<void> {
  if (dialect.name !== 'postgres' || verified.has(db)) return;
  yield* durableServer();
  verified.add(db);
}

const verified = new WeakSet<object>();
