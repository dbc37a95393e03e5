/** Drizzle, over node-postgres or postgres.js: `tx` is a handle, `db` a root. Its session shows the driver's own handle. */
import type { AsyncHandle } from '../handles.ts';
import { hasMethods, member, type Library, type LibraryRoot } from './library.ts';
import { NativeTransaction } from './native.ts';
import { isPgClient, pg } from './pg.ts';
import { postgresJs } from './postgres-js.ts';

interface DrizzleShape {
  transaction<T>(work: (tx: object) => Promise<T>): Promise<T>;
  readonly $client: object;
}

export const drizzle: Library = {
  name: 'Drizzle',
  handle: (given) => (isDrizzle(given) && hasMethods(given, 'rollback') ? handleOf(driverOf(given)) : undefined),
  root: (given) => (isDrizzle(given) && !hasMethods(given, 'rollback') ? rootOf(given as unknown as DrizzleShape) : undefined),
};

function isDrizzle(given: unknown): given is object {
  return hasMethods(given, 'execute', 'transaction', 'select') && driverOf(given) !== undefined;
}

/** A client of pg, a pool, or an `sql` of postgres.js. */
function driverOf(given: unknown): unknown {
  return member(member(member(given, '_'), 'session') ?? member(given, 'session'), 'client');
}

function handleOf(driver: unknown): AsyncHandle | undefined {
  if (isPgClient(driver)) return new NativeTransaction({ isOpen: () => true, find: () => driver });
  return postgresJs.handle(driver as object);
}

function rootOf(db: DrizzleShape): LibraryRoot | undefined {
  const driver = driverOf(db) as object;
  const inner = pg.root(driver) ?? postgresJs.root(driver) ?? singleClient(driver);
  if (inner === undefined) return undefined;
  return { ...inner, begin: (work) => db.transaction(work) };
}

/** Drizzle over one client of pg: there is only that to lend. */
function singleClient(driver: object): LibraryRoot | undefined {
  const handle = pg.handle(driver);
  if (handle === undefined) return undefined;
  return {
    dialect: 'postgres',
    hidesFailedCommit: true,
    begin: () => Promise.reject(new Error('Drizzle begins')),
    borrow: () => Promise.resolve({ handle, giveBack: () => undefined }),
  };
}
