/**
 * What a user may hand in. Handles are known by structure, never by package: better-sqlite3 and libsql (`prepare`, `exec`,
 * `inTransaction`), node:sqlite (`prepare`, `exec`, `isTransaction` where it has it), and for everything else the small
 * asynchronous interface below. One handle is one connection: the transaction on it is the transaction that is joined.
 */
export interface SyncStatement {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- each library types its parameters differently
  run(...parameters: any[]): { readonly changes: number | bigint };
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  all(...parameters: any[]): unknown[];
}

/** A connection of better-sqlite3, libsql or node:sqlite. Every call on it returns at once. */
export interface SyncHandle {
  prepare(sql: string): SyncStatement;
  exec(sql: string): unknown;
}

/** A connection whose calls return promises. Implement it around any driver; the statements are in the dialect it names. */
export interface AsyncHandle {
  readonly tallystick: 'asynchronous';
  readonly dialect: 'sqlite' | 'postgres' | 'mysql';
  /** Runs one statement on this connection. Bytes are Uint8Array, 64-bit integers numbers or numeric strings. */
  execute(
    sql: string,
    parameters: readonly (string | number | Uint8Array | null)[],
  ): Promise<{ readonly rows: readonly Readonly<Record<string, unknown>>[]; readonly changes: number }>;
  /** Whether a transaction is open on this connection now. */
  inTransaction(): boolean | Promise<boolean>;
}

export type Handle = SyncHandle | AsyncHandle;

/** A value on a synchronous handle, a promise of it on an asynchronous one. */
export type Answer<H, T> = H extends AsyncHandle ? Promise<T> : T;

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
