/**
 * Makes the tables what `tables.ts` says, one version after the other; each version is applied once, in a transaction where the
 * database can roll back its schema. May run at every start of every process: what is there already is left alone. The same steps
 * can be printed for teams that migrate by hand.
 */
import { randomBytes } from 'node:crypto';
import { sql, type Compilable } from 'kysely';
import { fail } from '../errors.ts';
import { perDialect, type Dialect } from './dialect.ts';
import type { Answer, Handle } from './handles.ts';
import { atomically, perform, sessionOf, type Session } from './session.ts';
import { hole, plain, prepared, run, type Steps } from './statement.ts';
import { SCHEMA, TABLES, type Column, type Index, type Table } from './tables.ts';
import { asNumber } from './values.ts';

export interface MigrationReport {
  readonly from: number;
  readonly to: number;
}

export interface MigrationSettings {
  /** What is written as the time of each step, ms since 1970. */
  readonly nowMs?: number | undefined;
  /** By what this database is told from every other one, 32 hex digits; made once, when it has none. Default: random. */
  readonly databaseId?: string | undefined;
  readonly tables?: readonly Table[] | undefined;
}

/** Creates or upgrades the tables. Throws ALREADY_IN_TRANSACTION, SCHEMA_TOO_NEW. */
export function migrate<H extends Handle>(db: H, settings: MigrationSettings = {}): Answer<H, MigrationReport> {
  const session = sessionOf(db);
  const given: Given = {
    tables: settings.tables ?? TABLES,
    nowMs: settings.nowMs ?? Date.now(),
    databaseId: settings.databaseId ?? randomBytes(16).toString('hex'),
  };
  return outside(session, () => migration(session.dialect, given)) as Answer<H, MigrationReport>;
}

interface Given {
  readonly tables: readonly Table[];
  readonly nowMs: number;
  readonly databaseId: string;
}

function outside<T>(session: Session, steps: () => Steps<T>): T | Promise<T> {
  if (session.kind === 'sync') {
    if (session.inTransaction()) throw fail('ALREADY_IN_TRANSACTION');
    return perform(session, steps());
  }
  return (async () => {
    if (await session.inTransaction()) throw fail('ALREADY_IN_TRANSACTION');
    return perform(session, steps());
  })();
}

function* migration(dialect: Dialect, given: Given): Steps<MigrationReport> {
  const newest = newestVersion(given.tables);
  yield plain(createTable(dialect, SCHEMA, SCHEMA.since));
  // Most starts find everything done and take no write lock.
  const found = yield* versionOf(dialect);
  if (found > newest) throw fail('SCHEMA_TOO_NEW', `found version ${found}, this package knows ${newest}`);
  if (found === newest) return { from: found, to: found };
  const upgrade = upgradeTo(dialect, given, newest);
  return yield* dialect.transactionalSchema ? atomically(dialect, upgrade) : upgrade;
}

function* upgradeTo(dialect: Dialect, given: Given, newest: number): Steps<MigrationReport> {
  const { tables, nowMs: at, databaseId } = given;
  // Read again under the lock: another process may have been faster.
  const from = yield* versionOf(dialect);
  for (let version = from + 1; version <= newest; version++) {
    for (const statement of migrationTo(dialect, tables, version)) yield plain(statement);
    yield identifies(tables, version)
      ? statementsOf(dialect).recordIdentity({ version, at, databaseId })
      : statementsOf(dialect).record({ version, at });
  }
  return { from, to: Math.max(from, newest) };
}

function* versionOf(dialect: Dialect): Steps<number> {
  const { rows } = yield* run(statementsOf(dialect).version({}));
  return asNumber(rows[0]?.['version']);
}

const statementsOf = perDialect(({ build }) => ({
  version: prepared<never>(build.selectFrom('tallystick_schema').select((of) => of.fn.max('version').as('version'))),
  record: prepared<'version' | 'at'>(
    build.insertInto('tallystick_schema').values({ version: hole('version'), applied_at: hole('at') }),
  ),
  recordIdentity: prepared<'version' | 'at' | 'databaseId'>(
    build
      .insertInto('tallystick_schema')
      .values({ version: hole('version'), applied_at: hole('at'), database_id: hole('databaseId') }),
  ),
}));

/** Whether it is at this version that a database gets its id. */
function identifies(tables: readonly Table[], version: number): boolean {
  return tables.some((table) => table.name === SCHEMA.name && table.columns['database_id']?.since === version);
}

/** The version of the newest table, column or index. */
export function newestVersion(tables: readonly Table[]): number {
  return Math.max(
    ...tables.flatMap((table) => [
      table.since,
      ...Object.values(table.columns).map((column) => column.since ?? 1),
      ...table.indexes.map((index) => index.since),
    ]),
  );
}

/** The statements that lead from the version before to `version`. */
export function migrationTo(dialect: Dialect, tables: readonly Table[], version: number): string[] {
  return tables.flatMap((table) => {
    const created = table.since === version && table.name !== SCHEMA.name ? [createTable(dialect, table, version)] : [];
    const added =
      table.since < version ? newColumns(table, version).map(([name, column]) => addColumn(dialect, table, name, column)) : [];
    const indexes = table.indexes.filter((index) => index.since === version).map((index) => createIndex(dialect, table, index));
    return [...created, ...added, ...indexes];
  });
}

/** All statements from nothing to the newest version, as plain SQL text. */
export function migrationSql(dialect: Dialect, tables: readonly Table[] = TABLES): string {
  const steps = [createTable(dialect, SCHEMA, SCHEMA.since)];
  for (let version = 1; version <= newestVersion(tables); version++) {
    const [columns, values] = identifies(tables, version)
      ? ['version, applied_at, database_id', `${version}, 0, ${dialect.randomHex}`]
      : ['version, applied_at', `${version}, 0`];
    steps.push(...migrationTo(dialect, tables, version), `insert into ${SCHEMA.name} (${columns}) values (${values})`);
  }
  return steps.map((step) => `${step};\n`).join('');
}

function newColumns(table: Table, version: number): [string, Column][] {
  return Object.entries(table.columns).filter(([, column]) => column.since === version);
}

function createTable(dialect: Dialect, table: Table, version: number): string {
  let create = dialect.build.schema.createTable(table.name).ifNotExists();
  for (const [name, column] of Object.entries(table.columns)) {
    if ((column.since ?? table.since) > version) continue;
    create = create.addColumn(name, sql.raw(typeOf(dialect, column)), (of) => (column.nullable ? of : of.notNull()));
  }
  create = create.addPrimaryKeyConstraint(`${table.name}_pk`, table.primaryKey as never[]);
  return textOf(create) + (dialect.tableSuffix === '' ? '' : ` ${dialect.tableSuffix}`);
}

function addColumn(dialect: Dialect, table: Table, name: string, column: Column): string {
  const { default: fallback } = column;
  return textOf(
    dialect.build.schema.alterTable(table.name).addColumn(name, sql.raw(typeOf(dialect, column)), (of) => {
      const withDefault = fallback === undefined ? of : of.defaultTo(fallback);
      return column.nullable ? withDefault : withDefault.notNull();
    }),
  );
}

function createIndex(dialect: Dialect, table: Table, index: Index): string {
  const create = dialect.build.schema
    .createIndex(index.name)
    .on(table.name)
    .columns([...index.columns]);
  const text = textOf(index.unique ? create.unique() : create);
  return index.where !== undefined && dialect.partialIndexes ? `${text} where ${index.where}` : text;
}

function typeOf(dialect: Dialect, column: Column): string {
  return dialect.columnTypes[column.kind];
}

function textOf(query: Compilable): string {
  return query.compile().sql;
}
