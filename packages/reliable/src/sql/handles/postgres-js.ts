/**
 * postgres.js: the `sql` of `sql.begin` (or of a savepoint) and a reserved connection are handles, the `sql` itself is a root. The
 * library keeps the server's transaction status to itself, so a handle asks once, by a savepoint, which only exists inside a
 * transaction; with that question it also learns its connection, and from then on sees the statements that end the transaction.
 */
import { fail } from '../../errors.ts';
import type { AsyncHandle, TransactionOutcome } from '../handles.ts';
import type { SqlValue } from '../statement.ts';
import { sqlStateOf } from '../sql-state.ts';
import { withArrayLiterals } from './array-literal.ts';
import { ENDS, LentHandle, settled } from './borrowed.ts';
import { hasMethods, member, type Library, type LibraryRoot } from './library.ts';

interface SqlShape {
  unsafe(text: string, values: unknown[], options: object): Promise<SqlResult>;
}

interface SqlResult extends ReadonlyArray<Readonly<Record<string, unknown>>> {
  readonly count?: number | null;
  readonly command?: string;
}

interface SqlRootShape extends SqlShape {
  begin<T>(options: string, work: (sql: object) => Promise<T>): Promise<T>;
  reserve(): Promise<SqlShape & { release(): void }>;
}

export const postgresJs: Library = {
  name: 'postgres.js',
  handle: (given) =>
    isTransactionSql(given) || isReservedSql(given) ? new PostgresJsHandle(given, isTransactionSql(given)) : undefined,
  root: (given) => (isRootSql(given) ? rootOf(given) : undefined),
};

function isTransactionSql(given: unknown): given is SqlShape {
  return typeof given === 'function' && hasMethods(given, 'unsafe', 'savepoint');
}

function isReservedSql(given: unknown): given is SqlShape {
  return typeof given === 'function' && hasMethods(given, 'unsafe', 'release', 'notify') && !hasMethods(given, 'begin');
}

function isRootSql(given: unknown): given is SqlRootShape {
  return typeof given === 'function' && hasMethods(given, 'unsafe', 'begin', 'reserve');
}

async function executeOn(
  sql: SqlShape,
  text: string,
  parameters: readonly SqlValue[],
  isOpen: () => boolean = () => true,
): ReturnType<AsyncHandle['execute']> {
  // Prepared where the user's options allow it: without, every statement with values costs two round trips. Our texts are few.
  const query = sql.unsafe(text, withArrayLiterals(parameters), { prepare: true });
  sendWhileOpen(query, isOpen);
  const result = await query;
  return { rows: asNamed(result), changes: result.count ?? 0 };
}

/** With columns named as they are in the database: the user may have the library write them in camelCase, PascalCase or kebab-case. */
function asNamed(rows: SqlResult): readonly Readonly<Record<string, unknown>>[] {
  if (rows[0] === undefined || !Object.keys(rows[0]).some((name) => /[A-Z-]/.test(name))) return rows;
  return rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [snakeCase(name), value])));
}

function snakeCase(name: string): string {
  return name
    .replaceAll('-', '_')
    .replace(/(?<!^)[A-Z]/g, '_$&')
    .toLowerCase();
}

/** The library sends a query a moment after it was asked to; by then its transaction may have ended. */
function sendWhileOpen(query: unknown, isOpen: () => boolean): void {
  const { handler, reject } = query as { handler?: (query: unknown) => unknown; reject?: (error: unknown) => void };
  if (typeof handler !== 'function' || typeof reject !== 'function') return;
  (query as { handler: unknown }).handler = (sent: unknown) => {
    if (isOpen()) return handler(sent);
    reject(fail('NOT_IN_TRANSACTION', 'it ended before this was written: await every write inside of it'));
    return undefined;
  };
}

type Told = (outcome: TransactionOutcome) => void;

class PostgresJsHandle implements AsyncHandle {
  readonly tallystick = 'asynchronous';
  readonly dialect = 'postgres';
  readonly #sql: SqlShape;
  /** One transaction, and over after it; a reserved connection may begin another. */
  readonly #once: boolean;
  #asking: Promise<boolean> | undefined;
  /** A transaction was found open, and its end has not been seen. */
  #open = false;
  #over = false;
  /** Transactions whose end was seen. */
  #ended = 0;
  #connection: SeenConnection | undefined;

  constructor(sql: SqlShape, once: boolean) {
    this.#sql = sql;
    this.#once = once;
  }

  execute(text: string, parameters: readonly SqlValue[]): ReturnType<AsyncHandle['execute']> {
    return executeOn(this.#sql, text, parameters);
  }

  inside(): AsyncHandle['execute'] {
    const ended = this.#ended;
    return (text, parameters) => executeOn(this.#sql, text, parameters, () => this.#ended === ended);
  }

  inTransaction(): boolean | Promise<boolean> {
    if (this.#over) return false;
    if (this.#open) return true;
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  onEnd(told: Told): boolean {
    if (this.#over) return false;
    if (this.#open) return this.#watch(told);
    // Asked before anything ran through this handle: the question goes out before the statement that ends the transaction.
    if (!this.#once) return false;
    void (async () => {
      if (!(await this.inTransaction()) || !this.#watch(told)) told('unknown');
    })();
    return true;
  }

  async #ask(): Promise<boolean> {
    const ended = this.#ended;
    let forget = (): void => undefined;
    try {
      const asking = this.#sql.unsafe('savepoint tallystick; release savepoint tallystick', [], {
        onexecute: (connection: unknown) => {
          if (!hasMethods(connection, 'execute')) return true;
          this.#connection = connection as SeenConnection;
          // From now on: the end may be sent before the question is answered.
          forget = watchEnd(this.#connection, { issued: () => this.#ends() });
          return true;
        },
      });
      await asking;
    } catch (error) {
      // In a failed transaction every statement is refused, and the next one will say so itself.
      if (sqlStateOf(error) !== IN_FAILED_TRANSACTION) {
        forget();
        this.#over = this.#once;
        return false;
      }
    }
    if (this.#ended !== ended) return false;
    // Without a connection to watch its end cannot be seen, and the next use has to ask again.
    this.#open = this.#connection !== undefined;
    return true;
  }

  /** Whatever comes of it: nothing that is sent from now on can belong to the transaction. */
  #ends(): void {
    this.#ended++;
    this.#open = false;
    this.#over = this.#once;
  }

  #watch(told: Told): boolean {
    if (this.#connection === undefined) return false;
    watchEnd(this.#connection, { told });
    return true;
  }
}

const IN_FAILED_TRANSACTION = '25P02';

/** The library's own connection: every statement on it passes `execute`. */
interface SeenConnection {
  execute: (query: unknown) => unknown;
  /** Set while it is lent to one user. */
  readonly reserved?: unknown;
  /** Called when it is closed; the same object may be connected anew. */
  onclose?: ((error: unknown) => void) | null;
}

interface EndListener {
  /** The statement that ends the transaction is on its way. */
  readonly issued?: () => void;
  readonly told?: Told;
}

/** Answers how to take the listener away again. */
function watchEnd(connection: SeenConnection, listener: EndListener): () => void {
  const list = watches.get(connection) ?? listeners(connection);
  list.add(listener);
  return () => void list.delete(listener);
}

function listeners(connection: SeenConnection): Set<EndListener> {
  const list = new Set<EndListener>();
  watches.set(connection, list);
  const { execute, onclose } = connection;
  const ends = (outcome: Promise<TransactionOutcome>): void => {
    connection.execute = execute;
    if (connection.onclose === closed) connection.onclose = onclose ?? null;
    watches.delete(connection);
    for (const { issued } of list) issued?.();
    void outcome.then((known) => {
      for (const { told } of list) told?.(known);
    });
  };
  // Without its end: whoever gets the connection next must not end it for us.
  const closed = (error: unknown): void => {
    ends(Promise.resolve('unknown'));
    onclose?.(error);
  };
  connection.onclose = closed;
  connection.execute = (query) => {
    if (endsTransaction(query)) ends(outcomeOf(query));
    return execute.call(connection, query);
  };
  return list;
}

const watches = new WeakMap<SeenConnection, Set<EndListener>>();

function endsTransaction(query: unknown): query is Promise<SqlResult> {
  const text = (member(query, 'strings') as readonly unknown[] | undefined)?.[0];
  return typeof text === 'string' && (ENDS.test(text) || /^\s*prepare\s+transaction\b/i.test(text));
}

/** The server tags the commit of a failed transaction as what it is: a rollback. */
async function outcomeOf(query: Promise<SqlResult>): Promise<TransactionOutcome> {
  try {
    const { command } = await query;
    return command === 'COMMIT' ? 'commit' : command === 'ROLLBACK' ? 'rollback' : 'unknown';
  } catch (error) {
    return sqlStateOf(error) === undefined ? 'unknown' : 'rollback';
  }
}

function rootOf(sql: SqlRootShape): LibraryRoot {
  return {
    dialect: 'postgres',
    // A failed statement rejects the whole `begin`, even if its error was caught.
    hidesFailedCommit: false,
    begin: (work) => sql.begin('isolation level read committed', work),
    async borrow() {
      const reserved = await sql.reserve();
      const connection = connectionUnder(reserved);
      // The library has taken back by itself what was closed. Written to, it would end the process; released, it would be lent again.
      const isClosed = (): boolean => {
        const seen = connection();
        return seen !== undefined && typeof seen.reserved !== 'function';
      };
      const handle = new LentHandle(async (text, parameters) => {
        if (isClosed()) throw new Error('the connection is closed');
        return executeOn(reserved, text, parameters);
      });
      return {
        handle,
        async giveBack(broken) {
          // A broken connection is often only about to close: one more question finds out.
          if (broken || handle.inTransaction()) await settled(handle.execute('rollback', []));
          if (!isClosed()) reserved.release();
        },
      };
    },
  };
}

/** The library's connection under a handle, known as soon as its question is on the way; nobody waits for the answer. */
function connectionUnder(sql: SqlShape): () => SeenConnection | undefined {
  let seen: SeenConnection | undefined;
  const onexecute = (connection: unknown): boolean => {
    if (hasMethods(connection, 'execute')) seen = connection as SeenConnection;
    return true;
  };
  sql.unsafe('select 1', [], { onexecute }).then(undefined, () => undefined);
  return () => seen;
}
