/**
 * The tables as text of SQL, one version after the other. Pure: a dialect and a list of tables go in. Names are quoted by the compiler.
 */
import { sql, type Compilable } from 'kysely';
import type { Dialect } from './dialect.ts';
import { SCHEMA, TABLES, type Column, type Index, type Table } from './tables.ts';

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

/** The statements that lead from the version before to `version`, for tables that nobody uses at the moment. */
export function migrationTo(dialect: Dialect, tables: readonly Table[], version: number): string[] {
  return tables.flatMap((table) => [
    ...(isNew(table, version) ? [createTable(dialect, table, version)] : []),
    ...newColumns(dialect, table, version),
    ...newIndexes(table, version).map((index) => createIndex(dialect, table, index)),
  ]);
}

/** All statements from nothing to the newest version, as plain SQL text. The database makes its own id. */
export function migrationSql(dialect: Dialect, tables: readonly Table[] = TABLES): string {
  const row = { nowMs: 0, databaseId: dialect.randomHex };
  return asScript(migrationFromNothing(dialect, tables, row));
}

/** What is written into the row of a version. */
export interface VersionRow {
  readonly nowMs: number;
  /** An expression of SQL. */
  readonly databaseId: string;
}

export function migrationFromNothing(dialect: Dialect, tables: readonly Table[], row: VersionRow): string[] {
  const steps = [createSchemaTable(dialect)];
  for (let version = 1; version <= newestVersion(tables); version++)
    steps.push(...migrationTo(dialect, tables, version), recordVersion(dialect, tables, version, row));
  return steps;
}

export function asScript(statements: readonly string[]): string {
  return statements.map((statement) => `${statement};\n`).join('');
}

/** The table of versions, as the first version made it: it comes before all others. */
export function createSchemaTable(dialect: Dialect): string {
  return createTable(dialect, SCHEMA, SCHEMA.since);
}

/** Says that a version is there; a database gets its id at the version whose table has a column for it. */
export function recordVersion(dialect: Dialect, tables: readonly Table[], version: number, row: VersionRow): string {
  const identifies = tables.some((table) => table.name === SCHEMA.name && table.columns['database_id']?.since === version);
  const name = dialect.tableName(SCHEMA.name);
  return identifies
    ? `insert into ${name} (version, applied_at, database_id) values (${version}, ${row.nowMs}, ${row.databaseId})`
    : `insert into ${name} (version, applied_at) values (${version}, ${row.nowMs})`;
}

/** Whether the table appears at this version. The table of versions is there already. */
export function isNew(table: Table, version: number): boolean {
  return table.since === version && table.name !== SCHEMA.name;
}

/** The columns that a table which is there already gets at this version. */
export function newColumns(dialect: Dialect, table: Table, version: number): string[] {
  if (table.since >= version) return [];
  return Object.entries(table.columns)
    .filter(([, column]) => column.since === version)
    .map(([name, column]) => addColumn(dialect, table, name, column));
}

export function newIndexes(table: Table, version: number): Index[] {
  return table.indexes.filter((index) => index.since === version);
}

export function createTable(dialect: Dialect, table: Table, version: number): string {
  let create = dialect.build.schema.createTable(table.name).ifNotExists();
  for (const [name, column] of Object.entries(table.columns)) {
    if ((column.since ?? table.since) > version) continue;
    create = create.addColumn(name, sql.raw(typeOf(dialect, column)), (of) => (column.nullable ? of : of.notNull()));
  }
  create = create.addPrimaryKeyConstraint(`${table.name}_pk`, table.primaryKey as never[]);
  return textOf(create) + (dialect.tableSuffix === '' ? '' : ` ${dialect.tableSuffix}`);
}

/** A constant default is not written into the rows that are there, where the database can do that. */
function addColumn(dialect: Dialect, table: Table, name: string, column: Column): string {
  const { default: fallback } = column;
  return textOf(
    dialect.build.schema.alterTable(table.name).addColumn(name, sql.raw(typeOf(dialect, column)), (of) => {
      const once = dialect.changesInUse ? of.ifNotExists() : of;
      const withDefault = fallback === undefined ? once : once.defaultTo(fallback);
      return column.nullable ? withDefault : withDefault.notNull();
    }),
  );
}

export function createIndex(dialect: Dialect, table: Table, index: Index): string {
  const create = dialect.build.schema
    .createIndex(index.name)
    .on(table.name)
    .columns([...index.columns]);
  const text = textOf(index.unique ? create.unique() : create);
  return index.where !== undefined && dialect.partialIndexes ? `${text} where ${index.where}` : text;
}

/** The same, without keeping writers out; outside of any transaction. */
export function createIndexInUse(dialect: Dialect, table: Table, index: Index): string {
  return createIndex(dialect, table, index).replace(/^create (unique )?index /, 'create $1index concurrently if not exists ');
}

function typeOf(dialect: Dialect, column: Column): string {
  return dialect.columnTypes[column.kind];
}

function textOf(query: Compilable): string {
  return query.compile().sql;
}
