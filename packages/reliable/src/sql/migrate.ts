/**
 * Makes the tables what `tables.ts` says, one version after the other. May run at every start of every process: what is there already
 * is left alone, and two that start at once do it once. Where the database can roll back its schema, a version is there wholly or not at
 * all; PostgreSQL's tables are changed while they are in use (`migrate-in-use.ts`). The same steps can be printed for teams that
 * migrate by hand.
 */
import { randomBytes } from 'node:crypto';
import { fail } from '../errors.ts';
import { connectionsOf } from './connections.ts';
import type { Dialect } from './dialect.ts';
import type { Answer, Database } from './handles.ts';
import { isSyncHandle } from './handles.ts';
import { migrateInUse, planInUse } from './migrate-in-use.ts';
import { assertNotNewer, type Migration, type MigrationReport } from './migration.ts';
import {
  asScript,
  createSchemaTable,
  migrationFromNothing,
  migrationTo,
  newestVersion,
  recordVersion,
} from './migration-text.ts';
import { atomically, perform, sessionOf, type Session } from './session.ts';
import { schemaNamed } from './schema-name.ts';
import { plain, run, type Steps } from './statement.ts';
import { TABLES, type Table } from './tables.ts';
import { asNumber } from './values.ts';

export interface MigrationSettings {
  /** What is written as the time of each step, ms since 1970. */
  readonly nowMs?: number | undefined;
  /** By what this database is told from every other one, 32 hex digits; made once, when it has none. Default: random. */
  readonly databaseId?: string | undefined;
  readonly tables?: readonly Table[] | undefined;
  /**
   * PostgreSQL: the schema that shall hold the tables; made when it is not there. Default: the first of the connection's `search_path`.
   * The connections of the program must find it: put it into their `search_path`.
   */
  readonly schema?: string | undefined;
  /**
   * PostgreSQL: how long a change of a table waits for its lock at a time, ms; everybody else who wants the table waits behind it.
   * Default 500; then it steps back, lets the others pass, and tries again.
   */
  readonly lockWaitMs?: number | undefined;
  /** PostgreSQL: after how long without getting the lock it gives up with LOCK_BUSY, ms. Default five minutes. */
  readonly patienceMs?: number | undefined;
}

export interface MigrationPlan extends MigrationReport {
  /** In order; none when nothing is to do. Those of PostgreSQL begin and commit their own transactions. */
  readonly statements: readonly string[];
  /** The same as a script. */
  readonly sql: string;
}

/** Creates or upgrades the tables. Throws ALREADY_IN_TRANSACTION, SCHEMA_TOO_NEW, LOCK_BUSY, BAD_NAME. */
export function migrate<D extends Database>(db: D, settings: MigrationSettings = {}): Answer<D, MigrationReport> {
  return outside(db, settings, (migration) =>
    migration.dialect.changesInUse ? migrateInUse(migration, () => versionOf(migration)) : migrateAlone(migration),
  );
}

/** What {@link migrate} would do now, without doing anything. Throws as it does. */
export function migrationPlan<D extends Database>(db: D, settings: MigrationSettings = {}): Answer<D, MigrationPlan> {
  return outside(db, settings, function* (migration) {
    const from = yield* versionOf(migration);
    assertNotNewer(migration, from);
    const statements = from === migration.newest ? [] : planned(migration, from);
    return { from, to: migration.newest, statements, sql: asScript(statements) };
  });
}

function outside<D extends Database, T>(
  db: D,
  settings: MigrationSettings,
  steps: (migration: Migration) => Steps<T>,
): Answer<D, T> {
  const checked = (session: Session): Steps<T> => steps(checkedMigration(session.dialect, settings));
  if (!isSyncHandle(db)) return connectionsOf(db).use((session) => perform(session, checked(session))) as Answer<D, T>;
  const session = sessionOf(db);
  if (session.inTransaction() === true) throw fail('ALREADY_IN_TRANSACTION');
  return perform(session, checked(session)) as Answer<D, T>;
}

function checkedMigration(named: Dialect, settings: MigrationSettings): Migration {
  const { tables = TABLES, nowMs = Date.now(), databaseId = randomBytes(16).toString('hex') } = settings;
  if (!/^[0-9a-fA-F]{32}$/.test(databaseId))
    throw fail('BAD_NAME', `databaseId is ${JSON.stringify(databaseId)}, wanted 32 hex digits`);
  if (!Number.isSafeInteger(nowMs)) throw fail('BAD_NAME', `nowMs is ${nowMs}, wanted ms since 1970`);
  return {
    dialect: settings.schema === undefined ? named : schemaNamed(named, settings.schema),
    tables,
    newest: newestVersion(tables),
    nowMs,
    databaseId: `'${databaseId}'`,
    schema: settings.schema,
    lockWaitMs: settings.lockWaitMs ?? 500,
    patienceMs: settings.patienceMs ?? 300_000,
  };
}

function planned(migration: Migration, from: number): string[] {
  const { dialect } = migration;
  if (dialect.changesInUse) return planInUse(migration, from);
  const statements = from === 0 ? migrationFromNothing(dialect, migration.tables, migration) : upgrade(migration, from);
  return dialect.transactionalSchema ? [dialect.begin, ...statements, 'commit'] : statements;
}

function upgrade({ dialect, tables, newest, nowMs, databaseId }: Migration, from: number): string[] {
  const statements: string[] = [];
  for (let version = from + 1; version <= newest; version++)
    statements.push(...migrationTo(dialect, tables, version), recordVersion(dialect, tables, version, { nowMs, databaseId }));
  return statements;
}

/** Where changing a table keeps everybody out anyway, all in one go. */
function* migrateAlone(migration: Migration): Steps<MigrationReport> {
  const { dialect, newest } = migration;
  yield plain(createSchemaTable(dialect));
  // Most starts find everything done and take no write lock.
  const found = yield* versionOf(migration);
  assertNotNewer(migration, found);
  if (found === newest) return { from: found, to: found };
  const upgrading = upgradeAlone(migration);
  return yield* dialect.transactionalSchema ? atomically(dialect, upgrading) : upgrading;
}

function* upgradeAlone(migration: Migration): Steps<MigrationReport> {
  // Read again under the lock: another process may have been faster.
  const from = yield* versionOf(migration);
  for (const statement of upgrade(migration, from)) yield plain(statement);
  return { from, to: Math.max(from, migration.newest) };
}

/** 0 when there is nothing yet. */
function* versionOf({ dialect }: Migration): Steps<number> {
  const there = yield* run(plain(dialect.hasSchemaTable, true));
  if (there.rows.length === 0) return 0;
  const { rows } = yield* run(plain(`select max(version) as version from ${dialect.tableName('tallystick_schema')}`, true));
  return asNumber(rows[0]?.['version']);
}

export type { MigrationReport } from './migration.ts';
export { migrationSql, migrationTo, newestVersion } from './migration-text.ts';
