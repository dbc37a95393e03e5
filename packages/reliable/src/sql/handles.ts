/**
 * What a user may hand in, as types. Handles are known by structure, never by package, so this package depends on none of the
 * libraries and their own types fit without a cast. A {@link Handle} is one connection or one transaction: what is written through it
 * belongs to the transaction that is open on it. A {@link Root} is what transactions are begun from: a pool, a client, the library's
 * own database object. Which library a value belongs to is decided in `handles/recognise.ts`, one file per library.
 */
/* eslint-disable @typescript-eslint/no-explicit-any -- each library types its members differently; here only their presence counts */
import type { Often, SqlValue } from './statement.ts';

export interface SyncStatement {
  run(...parameters: any[]): { readonly changes: number | bigint };
  all(...parameters: any[]): unknown[];
}

/** A connection of better-sqlite3, libsql or node:sqlite. Every call on it returns at once. */
export interface SyncHandle {
  prepare(sql: string): SyncStatement;
  exec(sql: string): unknown;
}

/** How a transaction ended. `unknown`: the connection went before the database answered. */
export type TransactionOutcome = 'commit' | 'rollback' | 'unknown';

/** A connection whose calls return promises. Implement it around any driver; the statements are in the dialect it names. */
export interface AsyncHandle {
  readonly tallystick: 'asynchronous';
  readonly dialect: 'sqlite' | 'postgres' | 'mysql';
  /**
   * Runs one statement on this connection. Bytes are Uint8Array, 64-bit integers numbers or numeric strings; lists are PostgreSQL's arrays.
   * `often`: the same text comes again and again, so a driver that has to be asked to keep it prepared may be asked; see {@link Often}.
   */
  execute(
    sql: string,
    parameters: readonly SqlValue[],
    often?: Often,
  ): Promise<{ readonly rows: readonly Readonly<Record<string, unknown>>[]; readonly changes: number }>;
  /** Whether a transaction is open on this connection now, and it is still the one this handle stands for. */
  inTransaction(): boolean | Promise<boolean>;
  /** Finds out, where that takes a question, whether {@link onEnd} will work; called inside the transaction, before `onEnd`. */
  ready?(): Promise<void>;
  /** Calls `told` once, when the transaction that is open now has ended. Answers false where this handle cannot see its end. */
  onEnd?(told: (outcome: TransactionOutcome) => void): boolean;
  /**
   * Calls `told`, at most once, when what is done now has been undone although the transaction goes on: a savepoint made before was rolled
   * back. Absent, where this handle cannot see that. Called, like `onEnd`, after {@link ready}.
   */
  onUndone?(told: () => void): void;
  /**
   * What `execute` is for as long as the transaction that is open now lasts: once that has ended, a statement is refused with
   * NOT_IN_TRANSACTION, even if its turn on the connection comes only then. Absent: statements go wherever the connection is by then.
   */
  inside?(): AsyncHandle['execute'];
  /** Runs `copy (…) to stdout (format binary)`: its stream, in pieces that end where a row ends. Undefined where this connection cannot. */
  copyOut?(text: string): Promise<readonly Uint8Array[]> | undefined;
}

/** A client of pg, from a pool or of its own. */
export interface PgClient {
  query(text: string, values?: any[]): any;
  escapeIdentifier(text: string): string;
}

/** The `sql` that postgres.js gives to the function of `sql.begin`. */
export interface PostgresJsTransaction {
  unsafe(text: string, values?: any[], options?: any): any;
  savepoint(work: (sql: any) => any): any;
}

/** A connection that postgres.js reserved: `await sql.reserve()`. */
export interface PostgresJsReserved {
  unsafe(text: string, values?: any[], options?: any): any;
  release(): any;
}

/** Kysely's `trx`. */
export interface KyselyTransaction {
  readonly isTransaction: boolean;
  getExecutor(): any;
  executeQuery(query: any): Promise<any>;
}

/** Drizzle's `tx`, over node-postgres or postgres.js. */
export interface DrizzleTransaction {
  execute(query: any): any;
  rollback(): any;
  transaction(work: (tx: any) => Promise<any>): Promise<any>;
}

/** Knex's `trx`. */
export interface KnexTransaction {
  raw(sql: string, bindings: any): any;
  isCompleted(): boolean;
  readonly isTransaction?: boolean | undefined;
}

/** TypeORM's EntityManager inside a transaction. */
export interface TypeormManager {
  query(sql: string, parameters?: any[]): Promise<any>;
  readonly queryRunner?: any;
  readonly connection?: any;
}

/** TypeORM's QueryRunner. */
export interface TypeormQueryRunner {
  query(sql: string, parameters?: any[]): Promise<any>;
  connect(): Promise<any>;
  readonly isTransactionActive: boolean;
}

/** MikroORM's EntityManager inside a transaction. */
export interface MikroormManager {
  isInTransaction(): boolean;
  getTransactionContext(): any;
  getConnection(type?: any): any;
}

/** The client that Prisma gives to the function of `$transaction`. */
export interface PrismaTransaction {
  $queryRawUnsafe(query: string, ...values: any[]): any;
  $executeRawUnsafe(query: string, ...values: any[]): any;
}

/** A transaction, or a connection, of one of the libraries. */
export type LibraryHandle =
  | PgClient
  | PostgresJsTransaction
  | PostgresJsReserved
  | KyselyTransaction
  | DrizzleTransaction
  | KnexTransaction
  | TypeormManager
  | TypeormQueryRunner
  | MikroormManager
  | PrismaTransaction;

/** One connection, or the transaction on it. */
export type Handle = SyncHandle | AsyncHandle | LibraryHandle;

/** A pool of pg. */
export interface PgPool {
  connect(): Promise<any>;
  query(text: string, values?: any[]): any;
  readonly totalCount: number;
  readonly idleCount: number;
}

/** The `sql` of postgres.js. */
export interface PostgresJs {
  unsafe(text: string, values?: any[], options?: any): any;
  begin(work: (sql: any) => any): Promise<any>;
  reserve(): Promise<any>;
}

export interface KyselyRoot {
  readonly isTransaction: boolean;
  getExecutor(): any;
  connection(): any;
  transaction(): any;
}

export interface DrizzleRoot {
  execute(query: any): any;
  transaction(work: (tx: any) => Promise<any>): Promise<any>;
  readonly $client: any;
}

export interface KnexRoot {
  raw(sql: string, bindings: any): any;
  transaction(work: (trx: any) => any): any;
  readonly client: any;
}

export interface TypeormDataSource {
  createQueryRunner(mode?: any): any;
  transaction(work: (manager: any) => Promise<any>): Promise<any>;
  readonly isInitialized: boolean;
}

/** MikroORM itself. */
export interface Mikroorm {
  readonly em: any;
  isConnected(): Promise<boolean>;
}

/** A Prisma client. */
export interface PrismaRoot {
  $queryRawUnsafe(query: string, ...values: any[]): any;
  $transaction(work: (tx: any) => Promise<any>, options?: any): Promise<any>;
}

export type LibraryRoot =
  PgPool | PostgresJs | KyselyRoot | DrizzleRoot | KnexRoot | TypeormDataSource | MikroormManager | Mikroorm | PrismaRoot;

/** What transactions are begun from. A single connection is one, too. */
export type Root = SyncHandle | AsyncHandle | PgClient | LibraryRoot;

/** Whatever stands for a database: a root, or a handle of it. */
export type Database = Root | Handle;

/** The handle that `transaction(db, fn)` gives to `fn`: what the library itself gives. */
export type TransactionOf<R> = R extends SyncHandle | AsyncHandle
  ? R
  : R extends { totalCount: number; connect(told: (error: any, client: infer C, ...rest: any[]) => any): any }
    ? NonNullable<C>
    : R extends { reserve(): any; begin(options: string, work: (sql: infer S) => any): any }
      ? S
      : R extends { readonly isTransaction: boolean; transaction(): { execute(work: (trx: infer X) => Promise<any>): any } }
        ? X
        : R extends { $transaction(work: (tx: infer P) => Promise<any>, options?: any): any }
          ? P
          : R extends { createQueryRunner(mode?: any): any; transaction(level: any, work: (manager: infer M) => any): any }
            ? M
            : R extends { isConnected(): Promise<boolean>; em: infer E }
              ? E
              : R extends { transaction(work: (tx: infer T) => any, options?: any): any }
                ? T
                : R;

/** A value on a synchronous handle, a promise of it on every other. */
export type Answer<H, T> = H extends SyncHandle ? T : Promise<T>;
/* eslint-enable @typescript-eslint/no-explicit-any */

export function isAsyncHandle(handle: unknown): handle is AsyncHandle {
  const shape = handle as Partial<AsyncHandle> | null;
  return shape?.tallystick === 'asynchronous' && typeof shape.execute === 'function' && typeof shape.inTransaction === 'function';
}

export function isSyncHandle(handle: unknown): handle is SyncHandle {
  const shape = handle as Partial<SyncHandle> | null;
  return typeof shape === 'object' && shape !== null && typeof shape.prepare === 'function' && typeof shape.exec === 'function';
}

/** `open` of better-sqlite3 and libsql, `isOpen` of node:sqlite; absent counts as open. */
export function isOpen(handle: SyncHandle): boolean {
  const { open, isOpen: opened } = handle as { open?: unknown; isOpen?: unknown };
  return (typeof open === 'boolean' ? open : true) && (typeof opened === 'boolean' ? opened : true);
}

/**
 * Whether parameters go as one list (better-sqlite3, libsql: a lone buffer or null would be taken for named parameters) or spread
 * (node:sqlite, which takes a list for names).
 */
export function takesList(handle: SyncHandle): boolean {
  return 'inTransaction' in handle;
}

/** True or false where the handle says so itself; undefined where it has to be tried. Asked only of open handles. */
export function saysInTransaction(handle: SyncHandle): boolean | undefined {
  const { inTransaction, isTransaction } = handle as { inTransaction?: unknown; isTransaction?: unknown };
  if (typeof inTransaction === 'boolean') return inTransaction;
  return typeof isTransaction === 'boolean' ? isTransaction : undefined;
}
