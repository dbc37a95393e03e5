/**
 * `transaction(db, fn)`: begins, runs `fn`, commits; rolls back when it throws. Nobody has to use it (any transaction of the handle
 * will do), but it sees the commit itself, so the relay is woken at once and volatile messages are possible; it tells a commit that
 * the database turned into a rollback from a real one; and it refuses the mistake that libsql accepts silently: an asynchronous
 * function on a synchronous handle, whose transaction would end at the first await.
 */
import { fail } from '../errors.ts';
import type { Answer, Database, TransactionOf, TransactionOutcome } from './handles.ts';
import type { LibraryRoot } from './handles/library.ts';
import { recogniseRoot } from './handles/recognise.ts';
import { Savepoints } from './handles/savepoints.ts';
import { again, type RetryOptions } from './retry.ts';
import { sessionOf, type AsyncSession, type SyncSession, type WrappedTransaction } from './session.ts';
import { plain } from './statement.ts';
import { refuseAsyncFunction, refusePromise } from './synchronous.ts';
import { tracking } from './tracking.ts';
import { askOutcome, currentTransactionId, type TransactionId } from './outcome.ts';
import { isRefusal, sqlStateOf } from './sql-state.ts';

export interface TransactionOptions extends RetryOptions {
  /**
   * When the connection is lost while the commit is on its way: ask PostgreSQL, on a new connection, what became of it. Costs one more
   * statement per transaction. Default: false, the error COMMIT_UNKNOWN says that nobody knows.
   */
  readonly resolveOutcome?: boolean | undefined;
}

/**
 * Runs `fn` in a transaction on `db`, with the library's own handle of it, and returns what `fn` returned; a promise, except on a
 * synchronous handle. Throws ALREADY_IN_TRANSACTION, ASYNC_IN_SYNC, ADD_STILL_OPEN, NOT_COMMITTED, COMMIT_UNKNOWN, and whatever `fn`
 * or the commit throws.
 */
export function transaction<R extends Database, T>(
  db: R,
  fn: (tx: TransactionOf<R>) => T,
  options: TransactionOptions = {},
): Answer<R, Awaited<T>> {
  return transactionUntil(db, fn, undefined, options);
}

/** The same for work that nobody waits for any more once `givenUp` is aborted; see {@link LibraryRoot.begin}. */
export function transactionUntil<R extends Database, T>(
  db: R,
  fn: (tx: TransactionOf<R>) => T,
  givenUp: AbortSignal | undefined,
  options: TransactionOptions = {},
): Answer<R, Awaited<T>> {
  const work = fn as (tx: unknown) => T;
  const root = recogniseRoot(db);
  if (root !== undefined) {
    const later = work as (tx: unknown) => Promise<T>;
    return again(() => transactionOfLibrary(root, later, options, givenUp), options) as Answer<R, Awaited<T>>;
  }
  const session = sessionOf(db);
  if (session.kind === 'sync') {
    refuseAsyncFunction(work);
    return transactionNow(session, () => work(db)) as Answer<R, Awaited<T>>;
  }
  return again(() => transactionLater(session, async () => work(db)), options) as Answer<R, Awaited<T>>;
}

function transactionNow<T>(session: SyncSession, fn: () => T): T {
  if (session.inTransaction()) throw fail('ALREADY_IN_TRANSACTION');
  session.execute(plain(session.dialect.begin));
  const wrapped = wrap();
  session.wrapped = wrapped;
  let value: T;
  try {
    value = tracked(wrapped, fn);
    refusePromise(value);
    session.execute(plain('commit'));
  } catch (error) {
    rollBack(session);
    tell(wrapped, 'rollback');
    throw error;
  } finally {
    session.wrapped = undefined;
  }
  tell(wrapped, 'commit');
  return value;
}

/** A failed commit may have ended the transaction, `fn` may have closed the handle: the first error is the one to report. */
function rollBack(session: SyncSession): void {
  try {
    session.execute(plain('rollback'));
  } catch {
    // Nothing left to roll back.
  }
}

/** On a single connection. Its commit was refused, or nobody knows: without another connection there is nobody to ask. */
async function transactionLater<T>(session: AsyncSession, fn: () => Promise<T>): Promise<T> {
  // Asked again after the wait: of two that begin at once on one connection the second would join the first.
  if ((await session.inTransaction()) || session.wrapped !== undefined) throw fail('ALREADY_IN_TRANSACTION');
  const wrapped = wrap();
  const ending: Ending = { working: true, committing: false, seen: undefined };
  session.wrapped = wrapped;
  try {
    await session.execute(plain(session.dialect.begin));
  } catch (error) {
    session.wrapped = undefined;
    throw error;
  }
  let value: T;
  try {
    watch(session, ending);
    value = await tracked(wrapped, fn).finally(() => (ending.working = false));
    await refuseOpenWrites(wrapped);
    ending.committing = true;
    await session.execute(plain('commit'));
  } catch (error) {
    await settleWrites(wrapped);
    const outcome = outcomeOf(ending, error);
    if (!ending.committing || outcome === 'rollback') await session.execute(plain('rollback')).catch(() => undefined);
    session.wrapped = undefined;
    tell(wrapped, outcome);
    throw outcome === 'unknown' ? fail('COMMIT_UNKNOWN', undefined, error) : error;
  } finally {
    session.wrapped = undefined;
  }
  return committed(wrapped, ending, value);
}

/** By the library's own begin and commit. */
async function transactionOfLibrary<T>(
  root: LibraryRoot,
  fn: (tx: unknown) => Promise<T>,
  options: TransactionOptions,
  givenUp: AbortSignal | undefined,
): Promise<T> {
  const wrapped = wrap();
  const ending: Ending = { working: true, committing: false, seen: undefined };
  let transactionId: TransactionId | undefined;
  let value: T;
  const work = async (tx: object): Promise<T> => {
    const session = sessionOf(tx as Database) as AsyncSession;
    session.wrapped = wrapped;
    try {
      if (root.hidesFailedCommit) await session.ready();
      const watched = root.hidesFailedCommit && watch(session, ending);
      value = await tracked(wrapped, async () => fn(tx)).finally(() => (ending.working = false));
      await refuseOpenWrites(wrapped);
      if (options.resolveOutcome === true) transactionId = await currentTransactionId(session);
      else if (root.hidesFailedCommit && !watched) await refuseFailed(session);
      ending.committing = true;
      return value;
    } finally {
      await settleWrites(wrapped);
      session.wrapped = undefined;
    }
  };
  try {
    value = await root.begin(work, givenUp);
  } catch (error) {
    const seen = outcomeOf(ending, error);
    const outcome = seen === 'unknown' && transactionId !== undefined ? await askOutcome(root, transactionId) : seen;
    tell(wrapped, outcome);
    if (outcome === 'commit') return value!;
    if (outcome === 'unknown') throw fail('COMMIT_UNKNOWN', undefined, error);
    throw seen === 'unknown' ? fail('NOT_COMMITTED', 'the connection was lost before the commit', error) : error;
  }
  return committed(wrapped, ending, value);
}

const SWALLOWED = 'a statement in it had failed, and its error was swallowed';

interface Ending {
  /** The user's function is running, and whatever ends the transaction now is a statement of his own. */
  working: boolean;
  /** The work is done, whatever fails from now on is the commit. */
  committing: boolean;
  /** What the driver saw, where it can. */
  seen: TransactionOutcome | undefined;
}

function watch(session: AsyncSession, ending: Ending): boolean {
  return session.onEnd((outcome) => {
    ending.seen = outcome;
    // It may have begun another, which is the one that the commit to come is about.
    if (ending.working) watch(session, ending);
  });
}

/** Where the end cannot be watched, the database is asked before it: a failed transaction refuses every statement. */
async function refuseFailed(session: AsyncSession): Promise<void> {
  try {
    await session.execute(plain('select 1', true));
  } catch (error) {
    throw sqlStateOf(error) === IN_FAILED_TRANSACTION ? fail('NOT_COMMITTED', SWALLOWED, error) : error;
  }
}

const IN_FAILED_TRANSACTION = '25P02';

function outcomeOf(ending: Ending, error: unknown): TransactionOutcome {
  if (!ending.committing) return 'rollback';
  if (ending.seen === 'commit' || ending.seen === 'rollback') return ending.seen;
  return isRefusal(error) ? 'rollback' : 'unknown';
}

/** A commit that returned without an error; the database says by its tag when it was a rollback all the same. */
function committed<T>(wrapped: WrappedTransaction, ending: Ending, value: T): T {
  if (ending.seen === 'rollback') {
    tell(wrapped, 'rollback');
    throw fail('NOT_COMMITTED', SWALLOWED);
  }
  tell(wrapped, 'commit');
  return value;
}

async function refuseOpenWrites(wrapped: WrappedTransaction): Promise<void> {
  const { size } = wrapped.writesOpen;
  if (size === 0) return;
  await settleWrites(wrapped);
  throw fail('ADD_STILL_OPEN', `${size} open`);
}

/** They are waited for before the rollback: a write that began inside the transaction must not end outside of it. */
async function settleWrites({ writesOpen }: WrappedTransaction): Promise<void> {
  while (writesOpen.size > 0) await Promise.allSettled([...writesOpen]);
}

function wrap(): WrappedTransaction {
  return { afterCommit: [], ended: [], savepoints: new Savepoints(), writesOpen: new Set() };
}

/** The work of a transaction, followed by whoever watches for wrong use. */
function tracked<T>(wrapped: WrappedTransaction, fn: () => T): T {
  const { tracker } = tracking;
  return tracker === undefined ? fn() : tracker.around(fn, (ended) => void wrapped.ended.unshift(ended));
}

function tell(wrapped: WrappedTransaction, outcome: TransactionOutcome): void {
  for (const told of wrapped.ended) told(outcome);
  if (outcome === 'commit') for (const run of wrapped.afterCommit) run();
}
