/**
 * PostgreSQL through `pg`, one database per path, for the suites of this package. It is there when the environment names a server
 * (`npm run test:services` does). The database's clock is a function that the test's time stands behind, so leases and due times
 * obey a test as they do on SQLite.
 */
import { randomBytes } from 'node:crypto';
import { onTestFinished } from 'vitest';
import type { AsyncHandle } from '../../../src/index.ts';
import { Bridge } from './bridge.ts';

/** Address of a server on which databases may be made and dropped. */
export const postgresUrl = process.env['TALLYSTICK_TEST_POSTGRES'];

/** As far as the suites use libsql's connection. */
export interface RawPostgres {
  readonly open: boolean;
  readonly inTransaction: boolean;
  exec(sql: string): void;
  prepare(sql: string): { run(parameters?: unknown[]): { changes: number }; all(parameters?: unknown[]): unknown[] };
  close(): void;
}

const ADMIN = 0;
let bridge: Bridge | undefined;
let made = ADMIN;
const clocks = new Map<string, { now(): number }>();

function theBridge(): Bridge {
  if (bridge === undefined) {
    bridge = new Bridge();
    bridge.now({ connection: ADMIN, what: 'open', sql: postgresUrl! });
  }
  return bridge;
}

export function statementsInFlight(): number {
  return bridge?.inFlight ?? 0;
}

/** A new database, gone when the test ends; its name is the path. */
export function postgresDatabase(): string {
  const name = `t_${randomBytes(8).toString('hex')}`;
  const admin = (sql: string): unknown => theBridge().now({ connection: ADMIN, what: 'run', sql });
  admin(`create database "${name}" template template0`);
  // A schema before the system's own: its functions are found first.
  admin(`alter database "${name}" set search_path = stand_in, pg_catalog, public`);
  onTestFinished(() => {
    clocks.delete(name);
    admin(`drop database if exists "${name}" with (force)`);
  });
  // A lock that somebody holds is told soon, as it is on SQLite.
  admin(`alter database "${name}" set lock_timeout = '50ms'`);
  const raw = rawPostgres(name);
  raw.exec(STAND_INS);
  raw.close();
  return name;
}

/** The time of this database is the clock's from now on. */
export function setPostgresTime(path: string, clock: { now(): number }): void {
  clocks.set(path, clock);
}

const STAND_INS = `
  create schema stand_in;
  create function stand_in.clock_timestamp() returns timestamptz volatile language sql as
    $$ select coalesce(to_timestamp(nullif(current_setting('test.now_ms', true), '')::numeric / 1000), pg_catalog.clock_timestamp()) $$;
  create function stand_in.hex(bytea) returns text immutable language sql as $$ select upper(encode($1, 'hex')) $$;
  create domain stand_in.blob as bytea;
`;

/** A connection for the tests' own SQL; `?` are its parameters. */
export function rawPostgres(path: string): RawPostgres & { readonly handle: AsyncHandle } {
  const connection = ++made;
  const on = theBridge();
  const address = new URL(postgresUrl!);
  address.pathname = `/${path}`;
  on.now({ connection, what: 'open', sql: address.href });
  let open = true;
  let status = 'I';
  const question = (sql: string, parameters: readonly unknown[], numbers: boolean) => {
    if (!open) throw new Error('the connection is closed');
    return { connection, what: 'run' as const, sql, parameters, numbers, nowMs: clocks.get(path)?.now() };
  };
  const run = (sql: string, parameters: readonly unknown[] = []) => {
    try {
      const told = on.now(question(sql, parameters, true));
      status = told.status;
      return told;
    } catch (error) {
      status = statusOf(error) ?? status;
      throw error;
    }
  };
  const close = (): void => {
    if (open) on.now({ connection, what: 'close', sql: '' });
    open = false;
  };
  onTestFinished(close);
  return {
    get open() {
      return open;
    },
    get inTransaction() {
      return isOpen(status);
    },
    exec: (sql) => void run(sql),
    prepare: (sql) => {
      let hole = 0;
      const text = sql.replace(/\?/g, () => `$${++hole}`);
      return {
        run: (parameters) => ({ changes: run(text, parameters).changes }),
        all: (parameters) => run(text, parameters).rows,
      };
    },
    close,
    handle: {
      tallystick: 'asynchronous',
      dialect: 'postgres',
      async execute(sql, parameters) {
        try {
          const told = await on.later(question(sql, parameters, false));
          status = told.status;
          return told;
        } catch (error) {
          status = statusOf(error) ?? status;
          throw error;
        }
      },
      // The state that the server sends with every answer.
      inTransaction: () => isOpen(status),
    },
  };
}

function statusOf(error: unknown): string | undefined {
  return (error as { status?: string }).status;
}

function isOpen(status: string): boolean {
  return status === 'T' || status === 'E';
}
