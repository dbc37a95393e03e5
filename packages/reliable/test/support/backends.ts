import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import { onTestFinished } from 'vitest';
import type { AsyncHandle, Handle, SyncHandle } from '../../src/index.ts';

/**
 * The handles every contract is run with. All of them end in libsql and a real file; what differs is the shape that is handed in:
 * libsql's own (better-sqlite3's), node:sqlite's, node:sqlite's before it could say whether a transaction is open, and an asynchronous one.
 */
export interface Backend {
  readonly name: string;
  readonly kind: 'sync' | 'async';
  wrap(raw: RawDatabase): Handle;
}

export type RawDatabase = InstanceType<typeof Database>;

/** An open connection: `handle` is what the package gets, `raw` is for the test's own SQL on the same connection. */
export interface Connection {
  readonly handle: Handle;
  readonly raw: RawDatabase;
}

export const backends: readonly Backend[] = [
  { name: 'a libsql handle', kind: 'sync', wrap: (raw) => raw },
  { name: 'a node:sqlite-shaped handle', kind: 'sync', wrap: (raw) => nodeShaped(raw, true) },
  { name: 'an early node:sqlite-shaped handle', kind: 'sync', wrap: (raw) => nodeShaped(raw, false) },
  { name: 'an asynchronous handle', kind: 'async', wrap: asynchronous },
];

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
  return join(folder(), 'test.db');
}

export function connect(backend: Backend, path: string, timeout = 0): Connection {
  const raw = openRaw(path, timeout);
  return { handle: backend.wrap(raw), raw };
}

/** A libsql connection that is closed when the test ends. */
export function openRaw(path: string, timeout = 0): RawDatabase {
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
