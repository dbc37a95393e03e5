import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { onTestFinished } from 'vitest';
import { postgres, sqlite, type AsyncHandle, type Handle, type SyncHandle } from '../../src/index.ts';
import { postgresDatabase, postgresUrl, rawPostgres, setPostgresTime } from './postgres/backend.ts';

/**
 * The handles every contract is run with. Without a server in the environment all of them end in libsql and a real file; what differs
 * is the shape that is handed in: libsql's own (better-sqlite3's), node:sqlite's, node:sqlite's before it could say whether a transaction is
 * open, and an asynchronous one. With a server (`npm run test:services`) the same contracts run on PostgreSQL, and only there.
 */
export interface Backend {
  readonly name: string;
  readonly kind: 'sync' | 'async';
  readonly can: Capabilities;
  wrap(raw: RawDatabase): Handle;
}

/** What a contract has to know of a backend, to ask for what it can do and for the refusal of the rest. */
export interface Capabilities {
  readonly dialect: 'sqlite' | 'postgres';
  /** A transaction in which a statement failed can still commit the others. */
  readonly commitAfterFailure: boolean;
  /** One writer at a time: a second transaction that would write is refused or waits. */
  readonly oneWriter: boolean;
  /** Leases and due times follow the database's own clock. */
  readonly ownClock: boolean;
}

const SQLITE: Capabilities = { dialect: 'sqlite', commitAfterFailure: true, oneWriter: true, ownClock: false };
const POSTGRES: Capabilities = { dialect: 'postgres', commitAfterFailure: false, oneWriter: false, ownClock: true };

export type RawDatabase = InstanceType<typeof Database>;

/** An open connection: `handle` is what the package gets, `raw` is for the test's own SQL on the same connection. */
export interface Connection {
  readonly handle: Handle;
  readonly raw: RawDatabase;
}

const sqliteBackends: readonly Backend[] = [
  { name: 'a libsql handle', kind: 'sync', can: SQLITE, wrap: (raw) => raw },
  { name: 'a node:sqlite-shaped handle', kind: 'sync', can: SQLITE, wrap: (raw) => nodeShaped(raw, true) },
  { name: 'an early node:sqlite-shaped handle', kind: 'sync', can: SQLITE, wrap: (raw) => nodeShaped(raw, false) },
  { name: 'an asynchronous handle', kind: 'async', can: SQLITE, wrap: asynchronous },
];

const postgresBackend: Backend = {
  name: 'PostgreSQL',
  kind: 'async',
  can: POSTGRES,
  wrap: (raw) => (raw as unknown as ReturnType<typeof rawPostgres>).handle,
};

/** Whether this run is on a real server. */
export const onPostgres = postgresUrl !== undefined;
export const backends: readonly Backend[] = onPostgres ? [postgresBackend] : sqliteBackends;
/** What holds for SQLite only; none when this run is on a server. */
export const onlySqlite: readonly Backend[] = onPostgres ? [] : sqliteBackends.slice(0, 1);

/** Where Linux keeps files in memory: real files, and a sync that costs nothing when the disk is busy. */
const IN_MEMORY = '/dev/shm';

/** A new folder that goes when the test ends. */
export function folder(): string {
  const path = mkdtempSync(join(existsSync(IN_MEMORY) ? IN_MEMORY : tmpdir(), 'tallystick-reliable-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A path for a database; any number of connections may open it. */
export function databasePath(): string {
  return onPostgres ? postgresDatabase() : join(folder(), 'test.db');
}

export function connect(backend: Backend, path: string, timeout = 0): Connection {
  const raw = openRaw(path, timeout);
  return { handle: backend.wrap(raw), raw };
}

/** Begins a transaction that will write. */
export const BEGIN = onPostgres ? 'begin' : 'begin immediate';

/** Begins a transaction that keeps others from writing to the table, and lets them read it. */
export function lockWriting(table: string): string {
  return onPostgres ? `begin; lock table ${table} in exclusive mode` : BEGIN;
}

/** Whether the database refused a row because its key is taken. */
export function isTaken(error: unknown): boolean {
  return (onPostgres ? postgres : sqlite).isTaken(error);
}

/** Lets the database's own clock follow the test's, where it has one. */
export function setTime(path: string, clock: { now(): number }): void {
  if (onPostgres) setPostgresTime(path, clock);
}

/** A connection for the test's own SQL that is closed when the test ends. On a server it has the few methods the tests use. */
export function openRaw(path: string, timeout = 0): RawDatabase {
  if (onPostgres) return rawPostgres(path) as unknown as RawDatabase;
  const raw = new Database(path, { timeout });
  onTestFinished(() => {
    if (raw.open) raw.close();
  });
  return raw;
}

export function rowsOf(raw: RawDatabase, sql: string, ...parameters: unknown[]): Record<string, unknown>[] {
  return raw.prepare(sql).all(parameters) as Record<string, unknown>[];
}

/** node:sqlite takes parameters one by one and refuses a list, and its blobs are Uint8Array. */
function nodeShaped(raw: RawDatabase, says: boolean): SyncHandle {
  const refuseList = (parameters: unknown[]): unknown[] => {
    if (parameters.some((value) => Array.isArray(value)))
      throw new TypeError('Provided value cannot be bound to SQLite parameter 1.');
    return parameters;
  };
  const handle = {
    get isOpen() {
      return raw.open;
    },
    exec: (sql: string) => void raw.exec(sql),
    prepare(sql: string) {
      const statement = raw.prepare(sql);
      return {
        run: (...parameters: unknown[]) => ({ changes: BigInt(statement.run(refuseList(parameters)).changes) }),
        all: (...parameters: unknown[]) => statement.all(refuseList(parameters)),
      };
    },
  };
  return says ? Object.defineProperty(handle, 'isTransaction', { get: () => raw.inTransaction }) : handle;
}

/** Every answer comes a few microtasks later: other work may run in between, as with a server. */
function asynchronous(raw: RawDatabase): AsyncHandle {
  const later = async (): Promise<void> => {
    for (let hop = 0; hop < 3; hop++) await Promise.resolve();
  };
  return {
    tallystick: 'asynchronous',
    dialect: 'sqlite',
    async execute(sql, parameters) {
      await later();
      if (parameters.length === 0 && !/^\s*(select|pragma)/i.test(sql)) {
        raw.exec(sql);
        return { rows: [], changes: 0 };
      }
      const statement = raw.prepare(sql);
      if (/^\s*(select|pragma)|\breturning\b/i.test(sql))
        return { rows: statement.all([...parameters]) as Record<string, unknown>[], changes: 0 };
      return { rows: [], changes: statement.run([...parameters]).changes };
    },
    async inTransaction() {
      await later();
      return raw.inTransaction;
    },
  };
}

export { statementsInFlight } from './postgres/backend.ts';
