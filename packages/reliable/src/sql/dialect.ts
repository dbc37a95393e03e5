import { DummyDriver, Kysely } from 'kysely';
import type { DialectAdapter, InsertQueryBuilder, QueryCompiler, RawBuilder } from 'kysely';
import { sqlStateOf } from './sql-state.ts';
import type { ColumnKind, Tables } from './tables.ts';

/**
 * Everything in which the databases differ, in one small object per database. Statements are built by Kysely used as a compiler
 * only (no connection behind it); what its builders cannot even out is a member here. Outbox, relay, inbox and tables never ask
 * which database they run on.
 */
export interface Dialect {
  readonly name: 'sqlite' | 'postgres' | 'mysql';
  /** Builds and compiles statements; cannot run any. */
  readonly build: Kysely<Tables>;
  readonly columnTypes: Readonly<Record<ColumnKind, string>>;
  /** Appended to `create table (…)`. */
  readonly tableSuffix: string;
  /** Begins a transaction that may write: it must not fail later because it began as a reader. */
  readonly begin: string;
  /** A failed statement has spoilt its transaction, so nothing of it can be committed and no savepoint is needed around two writes. */
  readonly failureEndsTransaction: boolean;
  /** Takes the lock for writing without writing, where a transaction may be open without it. */
  readonly takeWriteLock: string | undefined;
  /** Lets the statements of the open transaction wait for locks for a second at most, where they would wait for ever. */
  readonly waitBriefly: string | undefined;
  /** How long the statements of the open transaction wait for locks, as a setting; undefined where it cannot be changed by a value. */
  readonly lockWait: { readonly now: RawBuilder<string>; set(limit: unknown): RawBuilder<string> } | undefined;
  /** Whether `create table` and `create index` roll back with their transaction. */
  readonly transactionalSchema: boolean;
  /** Whether tables are changed while programs use them, in steps that keep nobody waiting for long. */
  readonly changesInUse: boolean;
  /** Gives a row when the table of versions is there. */
  readonly hasSchemaTable: string;
  /** A table's or index's name as it stands in SQL text. */
  tableName(name: string): string;
  /** Whether an index may cover some rows only. */
  readonly partialIndexes: boolean;
  /**
   * The database's own clock in ms, for leases and due times; undefined where the database has none of its own (SQLite lives in the
   * process, so the process's clock is the database's).
   */
  readonly now: RawBuilder<number> | undefined;
  /** An expression of 32 random hex digits, for printed SQL. */
  readonly randomHex: string;
  /** Ends the connection it runs on, from the server's side: nothing that is still sent over it can do anything. */
  readonly cutOff: string | undefined;
  /** Makes an insert do nothing when the key is taken; `changes` tells. */
  ignoreTaken<DB, TB extends keyof DB, O>(insert: InsertQueryBuilder<DB, TB, O>): InsertQueryBuilder<DB, TB, O>;
  /** Somebody else holds the lock; the same statement may work later. */
  isLocked(error: unknown): boolean;
  /** A unique or primary key is taken. */
  isTaken(error: unknown): boolean;
}

/** A Kysely without a database. */
export function compilerOnly(adapter: () => DialectAdapter, compiler: () => QueryCompiler): Kysely<Tables> {
  return new Kysely<Tables>({
    dialect: {
      createAdapter: adapter,
      createDriver: () => new DummyDriver(),
      createIntrospector: () => {
        throw new Error('this Kysely compiles statements and has no database to look into');
      },
      createQueryCompiler: compiler,
    },
  });
}

/** One thing per dialect, made at first use. */
export function perDialect<T>(make: (dialect: Dialect) => T): (dialect: Dialect) => T {
  const made = new Map<Dialect, T>();
  return (dialect) => {
    let thing = made.get(dialect);
    if (thing === undefined) made.set(dialect, (thing = make(dialect)));
    return thing;
  };
}

/** The SQLSTATE in a driver's error, whichever library has wrapped it, else its `code`, else ''. */
export function codeOf(error: unknown): string {
  const state = sqlStateOf(error);
  if (state !== undefined) return state;
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : '';
}

/** A numeric field of a driver's error, or -1. */
export function numberOf(error: unknown, field: string): number {
  const value = (error as Record<string, unknown> | null | undefined)?.[field];
  return typeof value === 'number' ? value : -1;
}
