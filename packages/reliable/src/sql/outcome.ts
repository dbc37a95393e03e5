/**
 * What became of a transaction whose commit was not answered. PostgreSQL remembers it by the transaction's number, and says so to any
 * other connection; only for transactions so old that their number is forgotten it does not know.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TransactionOutcome } from './handles.ts';
import type { LibraryRoot } from './handles/library.ts';
import type { AsyncSession } from './session.ts';
import { plain } from './statement.ts';
import { asText } from './values.ts';

/** The number of the transaction that is open; undefined where the database has none. By the names that PostgreSQL 12 has, too. */
export async function currentTransactionId(session: AsyncSession): Promise<string | undefined> {
  if (session.dialect.name !== 'postgres') return undefined;
  const { rows } = await session.execute(plain('select txid_current()::text as id', true));
  return asText(rows[0]?.['id']);
}

/**
 * Asks on a new connection, again and again while the database cannot be reached or still holds the transaction open: at most
 * {@link ASKING_MS}. A transaction that is still open then is not ours to end: `unknown`.
 */
export async function askOutcome(root: LibraryRoot, transactionId: string): Promise<TransactionOutcome> {
  const until = Date.now() + ASKING_MS;
  for (let wait = 10; ; wait = Math.min(wait * 2, 500)) {
    const status = await ask(root, transactionId).catch(() => 'unreachable');
    if (status === 'committed') return 'commit';
    if (status === 'aborted') return 'rollback';
    if (status === '' || Date.now() >= until) return 'unknown';
    await sleep(wait);
  }
}

const ASKING_MS = 30_000;

async function ask(root: LibraryRoot, transactionId: string): Promise<string> {
  const { handle, giveBack } = await root.borrow();
  let broken = true;
  try {
    const { rows } = await handle.execute('select txid_status($1::text::bigint) as status', [transactionId]);
    broken = false;
    return asText(rows[0]?.['status']);
  } finally {
    await giveBack(broken);
  }
}
