/**
 * Kysely: `trx` is a handle, `db` a root. Kysely hides its connection, but hands the text of a statement to pg as it is, and pg lets an
 * object stand for a statement (its cursors are such): one that takes note of the connection and asks the server nothing.
 */
import { CompiledQuery } from 'kysely';
import type { AsyncHandle } from '../handles.ts';
import { withArrayLiterals } from './array-literal.ts';
import { borrowInside } from './borrowed.ts';
import { hasMethods, member, type Library, type LibraryRoot } from './library.ts';
import { NativeTransaction } from './native.ts';

interface KyselyShape {
  readonly isTransaction: boolean;
  withoutPlugins(): KyselyShape;
  executeQuery(
    query: CompiledQuery,
  ): Promise<{ readonly rows: readonly unknown[]; readonly numAffectedRows?: bigint | undefined }>;
  transaction(): { execute<T>(work: (trx: object) => Promise<T>): Promise<T> };
  connection(): { execute<T>(work: (db: KyselyShape) => Promise<T>): Promise<T> };
}

export const kysely: Library = {
  name: 'Kysely',
  handle: (given) => (isKysely(given) && given.isTransaction ? handleOf(given) : undefined),
  root: (given) => (isKysely(given) && !given.isTransaction ? rootOf(given) : undefined),
};

/** Only over PostgreSQL: its adapter is the one that has both. */
function isKysely(given: unknown): given is KyselyShape {
  if (!hasMethods(given, 'getExecutor', 'executeQuery', 'withoutPlugins', 'transaction')) return false;
  const adapter = member((given as { getExecutor(): unknown }).getExecutor(), 'adapter');
  return (
    typeof member(given, 'isTransaction') === 'boolean' &&
    member(adapter, 'supportsReturning') === true &&
    member(adapter, 'supportsTransactionalDdl') === true
  );
}

function handleOf(trx: KyselyShape): AsyncHandle {
  return new NativeTransaction({
    // It does not say so before it is asked to do something.
    isOpen: () => member(trx, 'isCommitted') !== true && member(trx, 'isRolledBack') !== true,
    find: () => findConnection(trx),
    execute: executorOf(trx),
  });
}

/** Results must come as they are: a user's plugin may rename columns. */
function executorOf(db: KyselyShape): AsyncHandle['execute'] {
  const plain = db.withoutPlugins();
  return async (sql, parameters) => {
    const { rows, numAffectedRows } = await plain.executeQuery(CompiledQuery.raw(sql, withArrayLiterals(parameters)));
    return { rows: rows as Record<string, unknown>[], changes: Number(numAffectedRows ?? 0) };
  };
}

/** Rejects when Kysely says that the transaction is over; undefined when it is not pg underneath. */
async function findConnection(trx: KyselyShape): Promise<unknown> {
  const probe = new Probe();
  await trx.withoutPlugins().executeQuery({ ...CompiledQuery.raw(probe.toString()), sql: probe as unknown as string });
  return probe.connection;
}

/** A statement for pg: it is told the connection when its turn comes, and ends at once. A text, too, for those who log it. */
class Probe extends String {
  connection: unknown;
  readonly #told: Promise<object>;
  #tell: (result: object) => void = () => undefined;

  constructor() {
    super('-- tallystick looks for the connection');
    this.#told = new Promise((resolve) => (this.#tell = resolve));
  }

  submit(connection: unknown): Error {
    this.connection = connection;
    return new Error('nothing to ask');
  }

  /** How a statement of pg ends that had nothing to say to the server. */
  handleError(): void {
    this.#tell({ command: '', rowCount: 0, rows: [] });
  }

  /** Kysely awaits what pg's query() returned: this object. */
  // eslint-disable-next-line unicorn/no-thenable
  then(resolve: (result: object) => void): void {
    void this.#told.then(resolve);
  }
}

function rootOf(db: KyselyShape): LibraryRoot {
  return {
    dialect: 'postgres',
    hidesFailedCommit: true,
    begin: (work) => db.transaction().execute(work),
    borrow: () => borrowInside((use) => db.connection().execute((connection) => use(executorOf(connection)))),
  };
}
