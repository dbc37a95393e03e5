/**
 * A session is a handle seen our way: it runs statements, says whether a transaction is open and which dialect it speaks. It hides
 * the traps of the drivers: libsql aborts the process when a closed handle is asked for its transaction and still writes through
 * old prepared statements, returns blobs as ArrayBuffer from `all`, adds `_metadata` to rows, and leaves a prepared statement that met
 * a lock "in progress", so that every later commit on the connection fails. Hence locks are only ever met in `exec`, which cleans up:
 * transactions begin by `begin immediate`, and a write inside the user's transaction takes the lock first.
 */
import { fail } from '../errors.ts';
import { copyText } from './copy-text.ts';
import type { Dialect } from './dialect.ts';
import {
  isOpen,
  isSyncHandle,
  saysInTransaction,
  takesList,
  type AsyncHandle,
  type Database,
  type SyncHandle,
  type SyncStatement,
  type TransactionOutcome,
} from './handles.ts';
import type { LibraryRoot } from './handles/library.ts';
import { recogniseHandle, recogniseRoot } from './handles/recognise.ts';
import type { Savepoints } from './handles/savepoints.ts';
import { dialectNamed } from './dialects.ts';
import { Order } from './order.ts';
import { sqlite } from './sqlite.ts';
import { plain, type Call, type SqlValue, type Statement, type StatementResult, type Steps } from './statement.ts';
import { refusePromise } from './synchronous.ts';
import { tracking } from './tracking.ts';

export interface SyncSession {
  readonly kind: 'sync';
  readonly dialect: Dialect;
  execute(statement: Statement): StatementResult;
  inTransaction(): boolean;
  /** The running `transaction(db, fn)` of this handle, if any. */
  wrapped: WrappedTransaction | undefined;
}

export interface AsyncSession {
  readonly kind: 'async';
  readonly dialect: Dialect;
  execute(statement: Statement): Promise<StatementResult>;
  inTransaction(): boolean | Promise<boolean>;
  /** As {@link AsyncHandle.inside}. */
  inside(): (statement: Statement) => Promise<StatementResult>;
  /** As {@link AsyncHandle.ready}. */
  ready(): Promise<void>;
  /** As {@link AsyncHandle.onEnd}. */
  onEnd(told: (outcome: TransactionOutcome) => void): boolean;
  /** As {@link AsyncHandle.onUndone}. */
  onUndone(told: () => void): void;
  wrapped: WrappedTransaction | undefined;
}

export type Session = SyncSession | AsyncSession;

/** What a transaction that we began ourselves knows. */
export interface WrappedTransaction {
  /** Called in order when the commit has returned; forgotten on rollback. */
  readonly afterCommit: (() => void)[];
  /** Told, in order, how the transaction has ended. */
  readonly ended: ((outcome: TransactionOutcome) => void)[];
  /** Those of ours, whoever sees the user's own: `inbox.once` undoes its work alone when that throws. */
  readonly savepoints: Savepoints;
  /** Asynchronous writes of ours that have not ended. */
  readonly writesOpen: Set<Promise<unknown>>;
}

/**
 * The session of a handle; always the same one. A root has a session without a transaction: each statement runs on a connection of its
 * own. Throws UNKNOWN_HANDLE.
 */
export function sessionOf(handle: Database): Session {
  const known = sessions.get(handle);
  if (known !== undefined) return known;
  const session = recogniseSession(handle);
  sessions.set(handle, session);
  return session;
}

function recogniseSession(handle: Database): Session {
  if (isSyncHandle(handle)) return new SyncHandleSession(handle);
  const connection = recogniseHandle(handle);
  if (connection !== undefined) return new AsyncHandleSession(connection);
  const root = recogniseRoot(handle);
  if (root !== undefined) return new RootSession(root);
  throw fail('UNKNOWN_HANDLE');
}

/** What speaks about its key keeps it alive until the whole heap is collected, so nothing that is made for one piece of work stands here. */
const sessions = new WeakMap<object, Session>();

/** Of a connection that a pool has lent for one piece of work. */
export function sessionLent(handle: AsyncHandle): Session {
  return new AsyncHandleSession(handle);
}

/** Does the steps on the session: returns on a synchronous one, returns a promise on an asynchronous one. */
export function perform<T>(session: Session, steps: Steps<T>): T | Promise<T> {
  return session.kind === 'sync' ? performNow(session, steps) : performLater(session, steps);
}

export function performNow<T>(session: SyncSession, steps: Steps<T>): T {
  let next = steps.next();
  while (next.done !== true) {
    let result: StatementResult;
    try {
      result = stepNow(session, next.value);
    } catch (error) {
      next = steps.throw(error);
      continue;
    }
    next = steps.next(result);
  }
  return next.value;
}

function stepNow(session: SyncSession, step: Statement | Call): StatementResult {
  if (!('call' in step)) return session.execute(step);
  const value = step.call();
  refusePromise(value);
  return { rows: [], changes: 0, value };
}

type Execute = (statement: Statement) => Promise<StatementResult>;

async function performLater<T>(
  session: AsyncSession,
  steps: Steps<T>,
  execute: Execute = (statement) => session.execute(statement),
): Promise<T> {
  let next = steps.next();
  while (next.done !== true) {
    let result: StatementResult;
    try {
      const step = next.value;
      result = 'call' in step ? { rows: [], changes: 0, value: await step.call() } : await execute(step);
    } catch (error) {
      next = steps.throw(error);
      continue;
    }
    next = steps.next(result);
  }
  return next.value;
}

/**
 * Does the steps if a transaction is open on the session, else throws NOT_IN_TRANSACTION and does nothing. On an asynchronous session steps
 * with a savepoint of their own go one after the other; `hasSavepoint` says so where the dialect does not ({@link undivided}).
 */
export function performInside<T>(
  session: Session,
  steps: () => Steps<T>,
  hasSavepoint = !session.dialect.failureEndsTransaction,
): T | Promise<T> {
  tracking.tracker?.used(session);
  if (session.kind === 'sync') {
    if (!session.inTransaction()) throw fail('NOT_IN_TRANSACTION');
    return performNow(session, steps());
  }
  return performLaterInside(session, hasSavepoint ? inOrder(session, steps) : steps);
}

function inOrder<T>(session: AsyncSession, steps: () => Steps<T>): () => Steps<T> {
  const order = Order.of(session);
  return () => order.inTurn(steps());
}

function performLaterInside<T>(session: AsyncSession, steps: () => Steps<T>): Promise<T> {
  const write = assertInside(session).then(() => performLater(session, steps(), session.inside()));
  const open = session.wrapped?.writesOpen;
  if (open === undefined) return write;
  const ended = write.finally(() => open.delete(ended));
  open.add(ended);
  return ended;
}

/** The handle looks for its commit signal here, while the transaction is certainly open. */
async function assertInside(session: AsyncSession): Promise<void> {
  if (!(await session.inTransaction())) throw fail('NOT_IN_TRANSACTION');
  await session.ready();
}

/** The steps in a transaction of their own; rolled back when they throw. The session must have none open. */
export function* atomically<T>(dialect: Dialect, steps: Steps<T>): Steps<T> {
  yield plain(dialect.begin);
  try {
    const value = yield* steps;
    yield plain('commit');
    return value;
  } catch (error) {
    yield* quietly('rollback');
    throw error;
  }
}

/** The steps all or not at all, inside the user's transaction, even if the user catches the error and commits. */
export function* undivided<T>(dialect: Dialect, steps: Steps<T>): Steps<T> {
  return yield* dialect.failureEndsTransaction ? steps : savepointed(dialect, steps);
}

/** The same where the steps hold work of the user's, which can fail without any statement having failed. */
export function* savepointed<T>(dialect: Dialect, steps: Steps<T>): Steps<T> {
  yield plain('savepoint tallystick');
  try {
    if (dialect.takeWriteLock !== undefined) yield plain(dialect.takeWriteLock);
    const value = yield* steps;
    yield plain('release savepoint tallystick');
    return value;
  } catch (error) {
    // Some failures (disk full, I/O error) have ended the whole transaction: then there is no savepoint, and nothing to undo.
    yield* quietly('rollback to savepoint tallystick');
    yield* quietly('release savepoint tallystick');
    throw error;
  }
}

/** A clean-up whose own failure must not hide the first error. */
function* quietly(sql: string): Steps<void> {
  try {
    yield plain(sql);
  } catch {
    // The error that led here is the one to report.
  }
}

class SyncHandleSession implements SyncSession {
  readonly kind = 'sync';
  readonly dialect: Dialect = sqlite;
  wrapped: WrappedTransaction | undefined;
  readonly #handle: SyncHandle;
  readonly #takesList: boolean;
  readonly #statements = new Map<string, SyncStatement>();

  constructor(handle: SyncHandle) {
    this.#handle = handle;
    this.#takesList = isOpen(handle) && takesList(handle);
  }

  execute(statement: Statement): StatementResult {
    this.#assertOpen();
    if (statement.parameters.length === 0 && !statement.reads) {
      this.#handle.exec(statement.sql);
      this.wrapped?.savepoints.ran(statement.sql);
      return { rows: [], changes: 0 };
    }
    const prepared = this.#prepare(statement.sql);
    const bound = statement.parameters.map(bindable);
    if (statement.reads) {
      const rows = this.#takesList ? prepared.all(bound) : prepared.all(...bound);
      return { rows: rows as Record<string, unknown>[], changes: 0 };
    }
    const { changes } = this.#takesList ? prepared.run(bound) : prepared.run(...bound);
    return { rows: [], changes: Number(changes) };
  }

  inTransaction(): boolean {
    this.#assertOpen();
    return saysInTransaction(this.#handle) ?? this.#triedInTransaction();
  }

  /** A handle that does not say: a transaction cannot begin inside another, and one that began is ended at once. */
  #triedInTransaction(): boolean {
    try {
      this.#handle.exec('begin');
    } catch {
      return true;
    }
    this.#handle.exec('rollback');
    return false;
  }

  #prepare(sql: string): SyncStatement {
    let prepared = this.#statements.get(sql);
    if (prepared === undefined) {
      prepared = this.#handle.prepare(sql);
      if (this.#statements.size < STATEMENTS_MAX) this.#statements.set(sql, prepared);
    }
    return prepared;
  }

  #assertOpen(): void {
    if (!isOpen(this.#handle)) throw fail('CLOSED');
  }
}

/** Our statements have a few dozen texts; migrations must not fill the cache. */
const STATEMENTS_MAX = 128;

/** SQLite has neither lists nor truth values: ours never get there. */
function bindable(value: SqlValue): SqlValue {
  return value instanceof Uint8Array && !Buffer.isBuffer(value)
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    : value;
}

class AsyncHandleSession implements AsyncSession {
  readonly kind = 'async';
  readonly dialect: Dialect;
  wrapped: WrappedTransaction | undefined;
  readonly #handle: AsyncHandle;

  constructor(handle: AsyncHandle) {
    this.#handle = handle;
    this.dialect = dialectNamed(handle.dialect);
  }

  execute(statement: Statement): Promise<StatementResult> {
    const copied = statement.copies === true ? this.#copied(statement) : undefined;
    return copied ?? this.#handle.execute(statement.sql, statement.parameters, statement.often);
  }

  #copied(statement: Statement): Promise<StatementResult> | undefined {
    const text = this.#handle.copyOut === undefined ? undefined : copyText(statement);
    const rows = text === undefined ? undefined : this.#handle.copyOut!(text);
    return rows?.then((value) => ({ rows: [], changes: 0, value }));
  }

  inside(): (statement: Statement) => Promise<StatementResult> {
    const given = this.#handle.inside?.();
    const execute: Execute =
      given === undefined
        ? (statement) => this.execute(statement)
        : (statement) => given(statement.sql, statement.parameters, statement.often);
    const { wrapped } = this;
    if (wrapped === undefined) return execute;
    return (statement) => {
      const running = execute(statement);
      if (statement.parameters.length > 0) return running;
      return running.then((result) => (wrapped.savepoints.ran(statement.sql), result));
    };
  }

  inTransaction(): boolean | Promise<boolean> {
    return this.#handle.inTransaction();
  }

  async ready(): Promise<void> {
    await this.#handle.ready?.();
  }

  onEnd(told: (outcome: TransactionOutcome) => void): boolean {
    return this.#handle.onEnd?.(told) ?? false;
  }

  onUndone(told: () => void): void {
    this.#handle.onUndone?.(told);
  }
}

/** A pool or a database object: single statements only, never a transaction. */
class RootSession implements AsyncSession {
  readonly kind = 'async';
  readonly dialect: Dialect;
  readonly wrapped = undefined;
  readonly #root: LibraryRoot;

  constructor(root: LibraryRoot) {
    this.#root = root;
    this.dialect = dialectNamed(root.dialect);
  }

  async execute(statement: Statement): Promise<StatementResult> {
    if (TRANSACTION_CONTROL.test(statement.sql)) throw fail('NOT_IN_TRANSACTION', 'a pool has no transaction of its own');
    const { handle, giveBack } = await this.#root.borrow();
    let broken = true;
    try {
      const result = await handle.execute(statement.sql, statement.parameters);
      broken = false;
      return result;
    } finally {
      await giveBack(broken);
    }
  }

  inside(): (statement: Statement) => Promise<StatementResult> {
    return (statement) => this.execute(statement);
  }

  inTransaction(): boolean {
    return false;
  }

  async ready(): Promise<void> {
    // Nothing to look for.
  }

  onEnd(): boolean {
    return false;
  }

  onUndone(): void {
    // Nothing is open on it.
  }
}

const TRANSACTION_CONTROL = /^\s*(begin|start|commit|rollback|savepoint|release)\b/i;
