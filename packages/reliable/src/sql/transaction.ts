/**
 * `transaction(db, fn)`: begins, runs `fn`, commits; rolls back when it throws. Nobody has to use it (any transaction of the handle
 * will do), but it sees the commit itself, so the relay is woken at once and volatile messages are possible, and it refuses the
 * mistake that libsql accepts silently: an asynchronous function on a synchronous handle, whose transaction would end at the first
 * await.
 */
import { fail } from '../errors.ts';
import type { Answer, Handle } from './handles.ts';
import { sessionOf, type AsyncSession, type SyncSession, type WrappedTransaction } from './session.ts';
import { plain } from './statement.ts';
import { refuseAsyncFunction, refusePromise } from './synchronous.ts';

/**
 * Runs `fn` in a transaction on `db` and returns what it returned; on an asynchronous handle `fn` may be asynchronous and a promise
 * is returned. Throws ALREADY_IN_TRANSACTION, ASYNC_IN_SYNC, ADD_STILL_OPEN, and whatever `fn` or the commit throws.
 */
export function transaction<H extends Handle, T>(db: H, fn: (tx: H) => T): Answer<H, Awaited<T>> {
  const session = sessionOf(db);
  if (session.kind === 'sync') refuseAsyncFunction(fn);
  const answer = session.kind === 'sync' ? transactionNow(session, () => fn(db)) : transactionLater(session, async () => fn(db));
  return answer as Answer<H, Awaited<T>>;
}

function transactionNow<T>(session: SyncSession, fn: () => T): T {
  if (session.inTransaction()) throw fail('ALREADY_IN_TRANSACTION');
  session.execute(plain(session.dialect.begin));
  const wrapped = wrap(session);
  let value: T;
  try {
    value = fn();
    refusePromise(value);
    session.execute(plain('commit'));
  } catch (error) {
    rollBack(session);
    throw error;
  } finally {
    session.wrapped = undefined;
  }
  for (const run of wrapped.afterCommit) run();
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

async function transactionLater<T>(session: AsyncSession, fn: () => Promise<T>): Promise<T> {
  if (await session.inTransaction()) throw fail('ALREADY_IN_TRANSACTION');
  await session.execute(plain(session.dialect.begin));
  const wrapped = wrap(session);
  let value: T;
  try {
    value = await fn();
    await refuseOpenWrites(wrapped);
    await session.execute(plain('commit'));
  } catch (error) {
    await session.execute(plain('rollback')).catch(() => undefined);
    throw error;
  } finally {
    session.wrapped = undefined;
  }
  for (const run of wrapped.afterCommit) run();
  return value;
}

/** Waits for them before the rollback: a write that began inside the transaction must not end outside of it. */
async function refuseOpenWrites(wrapped: WrappedTransaction): Promise<void> {
  const open = [...wrapped.writesOpen];
  if (open.length === 0) return;
  await Promise.allSettled(open);
  throw fail('ADD_STILL_OPEN', `${open.length} open`);
}

function wrap(session: SyncSession | AsyncSession): WrappedTransaction {
  return (session.wrapped = { afterCommit: [], writesOpen: new Set() });
}
