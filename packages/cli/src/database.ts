/**
 * Opens the database that a command works on, by an URL (PostgreSQL) or a path (SQLite). The driver is the user's own, found from the folder in which the
 * command is run; for SQLite ours is the last resort. Says what is missing or wrong without ever repeating the password.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Database } from '@tallystick/reliable';
import { InvalidArgumentError, type Command } from 'commander';
import { CliError } from './cli-error.ts';
import { usageOf } from './option-faults.ts';

export interface DatabaseFlag {
  readonly database?: string;
  readonly schema?: string;
}

export interface OpenDatabase {
  /** For `@tallystick/reliable`: a pool of one connection, or a synchronous handle. */
  readonly db: Database;
  /** The URL without its password, or the path. */
  readonly name: string;
  readonly driver: string;
  /** The rows of a statement without parameters. */
  rows(statement: string): Promise<Rows>;
  close(): Promise<void>;
}

type Rows = readonly Readonly<Record<string, unknown>>[];

/** `pretend`: an empty database in memory takes its place. */
type AbsentFile = 'refuse' | 'create' | 'pretend';

export function withDatabase(command: Command): Command {
  return command
    .option('--database <url>', 'postgres://… or the path of a SQLite file (default: the environment variable DATABASE_URL)')
    .option(
      '--schema <name>',
      "PostgreSQL: the schema that holds the tables, if it is not in the user's search_path; migrate makes it",
      schemaName,
    )
    .option('--json', 'prints JSON lines');
}

/** Runs `work` with the database and closes it; its refusals become a CliError. `absent`: what happens when there is no such SQLite file. */
export async function usingDatabase<T>(
  flags: DatabaseFlag,
  work: (open: OpenDatabase) => Promise<T>,
  absent: AbsentFile = 'refuse',
): Promise<T> {
  const url = flags.database ?? process.env['DATABASE_URL'] ?? '';
  if (url === '') throw new CliError('no database was named', 'give --database URL, or set DATABASE_URL', 'usage');
  const open = await openDatabase(url, flags.schema, absent);
  try {
    return await work(open);
  } catch (error) {
    throw databaseError(error, open.name);
  } finally {
    await open.close().catch(() => undefined);
  }
}

function openDatabase(url: string, schema: string | undefined, absent: AbsentFile): Promise<OpenDatabase> {
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(url)?.[1]?.toLowerCase();
  if (scheme === 'postgres' || scheme === 'postgresql') return openPostgres(url, schema);
  if (scheme !== undefined && scheme !== 'file' && scheme !== 'sqlite')
    throw new CliError(
      `${scheme}: is not a database that is known here`,
      'give postgres://… or the path of a SQLite file',
      'usage',
    );
  if (schema !== undefined) throw new CliError('SQLite has no schemas', 'leave --schema out', 'usage');
  return openSqlite(pathOf(url), absent);
}

function schemaName(text: string): string {
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(text))
    throw new InvalidArgumentError('must be lower-case letters, digits and _, at most 63.');
  return text;
}

/** `path`, `sqlite:path` or `file:path`. */
function pathOf(url: string): string {
  if (url.startsWith('file:///')) return fileURLToPath(url);
  return resolve(url.replace(/^(sqlite|file):(\/\/)?/i, ''));
}

async function openPostgres(url: string, schema: string | undefined): Promise<OpenDatabase> {
  const name = withoutPassword(url);
  const pg = await fromProject('pg');
  if (pg !== undefined) {
    const { Pool } = (pg['Pool'] === undefined ? pg['default'] : pg) as { Pool: new (options: object) => PgPoolLike };
    const pool = new Pool({
      connectionString: url,
      max: 1,
      connectionTimeoutMillis: 5_000,
      application_name: 'tallystick',
      ...(schema === undefined ? {} : { options: `-c search_path=${schema}` }),
    });
    // A connection that breaks while idle; the next statement says so.
    pool.on('error', () => undefined);
    const rows = async (statement: string): Promise<Rows> => ((await pool.query(statement)) as { rows: Rows }).rows;
    return { db: pool, name, driver: 'pg', rows, close: () => pool.end() };
  }
  const postgresJs = await fromProject('postgres');
  if (postgresJs !== undefined) {
    const postgres = postgresJs['default'] as (url: string, options: object) => PostgresJsLike;
    const sql = postgres(url, {
      max: 1,
      connect_timeout: 5,
      onnotice: () => undefined,
      connection: { application_name: 'tallystick', ...(schema === undefined ? {} : { search_path: schema }) },
    });
    const rows = (statement: string): Promise<Rows> => sql.unsafe(statement);
    return { db: sql as never, name, driver: 'postgres', rows, close: () => sql.end({ timeout: 1 }) };
  }
  throw new CliError(
    `no PostgreSQL driver was found from ${process.cwd()}`,
    'run this in the folder of a project that has pg or postgres, or install one: npm install pg',
    'usage',
  );
}

interface PgPoolLike {
  connect(): Promise<unknown>;
  query(text: string, values?: unknown[]): unknown;
  readonly totalCount: number;
  readonly idleCount: number;
  on(event: 'error', listener: () => void): unknown;
  end(): Promise<void>;
}

interface PostgresJsLike {
  unsafe(statement: string): Promise<Rows>;
  end(options: { timeout: number }): Promise<void>;
}

interface SqliteLike {
  prepare(sql: string): { run(...parameters: unknown[]): { changes: number | bigint }; all(...parameters: unknown[]): unknown[] };
  exec(sql: string): unknown;
  close(): unknown;
}

async function openSqlite(path: string, absent: AbsentFile): Promise<OpenDatabase> {
  const isThere = existsSync(path);
  if (!isThere && absent === 'refuse')
    throw new CliError(`there is no file ${path}`, 'give --database the path of a SQLite file, or a postgres:// URL', 'usage');
  if (!isThere && absent === 'create' && !existsSync(dirname(path)))
    throw new CliError(`there is no folder ${dirname(path)} for ${path}`, 'make it, or give --database another path', 'usage');
  const [driver, open] = await sqliteDriver();
  const db = open(isThere || absent === 'create' ? path : ':memory:');
  db.exec('pragma busy_timeout = 5000');
  const rows = async (statement: string): Promise<Rows> => db.prepare(statement).all() as Rows;
  return { db: db as never, name: path, driver, rows, close: async () => void db.close() };
}

/** The first that the project has; libsql is a dependency of this command line itself. */
async function sqliteDriver(): Promise<[name: string, open: (path: string) => SqliteLike]> {
  for (const name of ['better-sqlite3', 'libsql']) {
    const found = (await fromProject(name))?.['default'] as (new (path: string) => SqliteLike) | undefined;
    if (found !== undefined) return [name, (path) => new found(path)];
  }
  try {
    const { default: Libsql } = await import('libsql');
    return ['libsql', (path) => new Libsql(path) as unknown as SqliteLike];
  } catch (error) {
    const builtIn = await nodeSqlite();
    if (builtIn === undefined) throw error;
    return ['node:sqlite', (path) => new builtIn(path)];
  }
}

/** From Node 22 on. */
async function nodeSqlite(): Promise<(new (path: string) => SqliteLike) | undefined> {
  const name: string = 'node:sqlite';
  const found = (await import(name).catch(() => undefined)) as { DatabaseSync: new (path: string) => SqliteLike } | undefined;
  return found?.DatabaseSync;
}

/** A package as the project in the present folder would import it; undefined when it has none, or it cannot be loaded. */
async function fromProject(name: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  let path: string;
  try {
    path = createRequire(join(process.cwd(), 'package.json')).resolve(name);
  } catch {
    return undefined;
  }
  try {
    return (await import(pathToFileURL(path).href)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw new CliError(`${path} cannot be loaded: ${textOf(error)}`, 'mend the installation: npm install', 'failed', error);
  }
}

/** What people may see of an URL. */
export function withoutPassword(url: string): string {
  try {
    const shown = new URL(url);
    if (shown.password !== '') shown.password = '***';
    for (const name of shown.searchParams.keys()) if (/pass/i.test(name)) shown.searchParams.set(name, '***');
    return shown.href;
  } catch {
    throw new CliError(
      'the URL of the database cannot be read',
      'write it as postgres://user:password@host:5432/database',
      'usage',
    );
  }
}

const UNREACHABLE: readonly string[] = [
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'ECONNRESET',
  'CONNECT_TIMEOUT',
  '57P03',
];
const REFUSED: readonly string[] = ['28P01', '28000', '3D000'];

function databaseError(error: unknown, name: string): unknown {
  if (error instanceof CliError || !(error instanceof Error)) return error;
  const code = codeOf(error);
  const text = `${name}: ${textOf(error)}`;
  if (UNREACHABLE.includes(code) || /timeout exceeded when trying to connect|Connection terminated/i.test(error.message))
    return new CliError(text, 'is it running, and is the address right?', 'unavailable', error);
  const usage = usageOf(error, 'correct the flag');
  if (usage !== undefined) return usage;
  // pg says these without a code.
  if (REFUSED.includes(code) || /SASL|SSL|TLS|certificate/.test(error.message))
    return new CliError(text, 'correct user, password, database or sslmode in the URL', 'failed', error);
  if (code === '42P01' || code === 'NOT_MIGRATED' || /no such table: tallystick_/.test(error.message))
    return new CliError(`${name} has no tables of tallystick`, `make them: tallystick migrate --database …`, 'failed', error);
  if (code === '42703' || /no such column/.test(error.message))
    return new CliError(
      `${name} has tables of an older version`,
      'upgrade them: tallystick migrate --database …',
      'failed',
      error,
    );
  if (code === '42501') return new CliError(text, 'the user of the URL may not do this; use another', 'failed', error);
  if (code.startsWith('SQLITE_BUSY') || /database is locked/.test(error.message))
    return new CliError(`${name} is locked by another process`, 'try again, or stop what holds it', 'unavailable', error);
  if (/not a database|SQLITE_NOTADB/.test(error.message) || code === 'SQLITE_NOTADB')
    return new CliError(`${name} is no SQLite database`, 'give --database another path', 'usage', error);
  if (code === '' && !('code' in error)) return error;
  return new CliError(text, 'look at the reason', 'failed', error);
}

/** A driver's error may be several, one per address that was tried. */
function codeOf(error: Error): string {
  const { code, errors } = error as { code?: unknown; errors?: readonly { code?: unknown }[] };
  const first = typeof code === 'string' ? code : errors?.[0]?.code;
  return typeof first === 'string' ? first : '';
}

function textOf(error: unknown): string {
  const { message, errors } = (error ?? {}) as { message?: unknown; errors?: readonly { message?: unknown }[] };
  const text = typeof message === 'string' && message !== '' ? message : errors?.[0]?.message;
  return typeof text === 'string' ? text : String(error);
}
