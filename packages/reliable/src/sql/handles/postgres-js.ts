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
import { LentHandle, settled } from './borrowed.ts';
import { controlsOf, endOf } from './control.ts';
import { hasMethods, member, type Library, type LibraryRoot, textOr } from './library.ts';
import { OF_SAVEPOINTS, Savepoints } from './savepoints.ts';

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
    return this.#whileWatched(
      (watch) => void watch.listeners.add({ told }),
      () => told('unknown'),
    );
  }

  onUndone(told: () => void): void {
    this.#whileWatched(({ savepoints }) => savepoints.whenUndone(told));
  }

  /** Answers false where nothing can be watched; `unseen` is called where that is found out only later. */
  #whileWatched(use: (watch: Watch) => void, unseen?: () => void): boolean {
    if (this.#over) return false;
    if (this.#open) return this.#watch(use);
    // Asked before anything ran through this handle: the question goes out before the statement that ends the transaction.
    if (!this.#once) return false;
    void (async () => {
      if (!(await this.inTransaction()) || !this.#watch(use)) unseen?.();
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
          const { listeners } = watchOf(this.#connection);
          const listener = { issued: (goesOn: boolean) => this.#ends(goesOn) };
          listeners.add(listener);
          forget = () => void listeners.delete(listener);
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
  #ends(goesOn: boolean): void {
    this.#ended++;
    this.#open = false;
    this.#over = this.#once && !goesOn;
  }

  #watch(use: (watch: Watch) => void): boolean {
    if (this.#connection !== undefined) use(watchOf(this.#connection));
    return this.#connection !== undefined;
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
  /** The statement that ends the transaction is on its way; `goesOn`: another follows at once. */
  readonly issued?: (goesOn: boolean) => void;
  readonly told?: Told;
}

/** Of the transaction that is open on a connection. */
interface Watch {
  readonly listeners: Set<EndListener>;
  readonly savepoints: Savepoints;
}

function watchOf(connection: SeenConnection): Watch {
  return watches.get(connection) ?? watchAnew(connection);
}

function watchAnew(connection: SeenConnection): Watch {
  const watch: Watch = { listeners: new Set(), savepoints: new Savepoints() };
  const { listeners, savepoints } = watch;
  watches.set(connection, watch);
  const { execute, onclose } = connection;
  const ends = (outcome: Promise<TransactionOutcome>, goesOn: boolean): void => {
    connection.execute = execute;
    if (connection.onclose === closed) connection.onclose = onclose ?? null;
    watches.delete(connection);
    for (const { issued } of listeners) issued?.(goesOn);
    void outcome.then((known) => {
      for (const { told } of listeners) told?.(known);
    });
  };
  // Without its end: whoever gets the connection next must not end it for us.
  const closed = (error: unknown): void => {
    ends(Promise.resolve('unknown'), false);
    onclose?.(error);
  };
  connection.onclose = closed;
  connection.execute = (query) => {
    const accepted = execute.call(connection, query);
    // Only now has the library put it together, with the names in it.
    const text = textOr(member(query, 'string'));
    const end = endOf(text);
    if (end === undefined) follow(savepoints, text, query as Promise<SqlResult>);
    else ends(outcomeOf(query as Promise<SqlResult>, end.at), end.chains);
    return accepted;
  };
  return watch;
}

const watches = new WeakMap<SeenConnection, Watch>();

/** What is done from now on is done after this statement; undone is only what was done before it, and only when it succeeds. */
function follow(savepoints: Savepoints, text: string, query: Promise<SqlResult>): void {
  if (!OF_SAVEPOINTS.test(text)) return;
  const controls = controlsOf(text);
  for (const control of controls) {
    if (control?.does === 'save') savepoints.made(control.name);
    else if (control?.does === 'release') savepoints.released(control.name);
    else if (control?.does === 'undo') undoneBy(savepoints, control.name, query);
  }
}

function undoneBy(savepoints: Savepoints, name: string | undefined, query: Promise<SqlResult>): void {
  const before = savepoints.here();
  query.then(
    () => savepoints.undone(name, before),
    () => undefined,
  );
}

/** The server tags the commit of a failed transaction as what it is: a rollback. `at` is the place of the statement in its text. */
async function outcomeOf(query: Promise<SqlResult>, at: number): Promise<TransactionOutcome> {
  try {
    const result = await query;
    // One text of several statements has several results.
    const command = result.command ?? member((result as unknown as readonly unknown[])[at], 'command');
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
