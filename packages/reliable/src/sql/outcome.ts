/**
 * What became of a transaction whose commit was not answered. PostgreSQL remembers it by the transaction's number, and says so to any
 * other connection; only for transactions so old that their number is forgotten it does not know. A standby that was promoted without the last
 * commits gives their numbers to others: so the timeline goes with the number, and of another timeline's transactions nothing is known.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TransactionOutcome } from './handles.ts';
import type { LibraryRoot } from './handles/library.ts';
import type { AsyncSession } from './session.ts';
import { plain } from './statement.ts';
import { asText } from './values.ts';

/** A transaction of one server and its faithful standbys. */
export interface TransactionId {
  readonly number: string;
  readonly timeline: string;
}

/** Begins the name of the file that is written to; a server that is still recovering refuses to tell, and is asked again. */
const TIMELINE = 'left(pg_walfile_name(pg_current_wal_lsn()), 8)';

/** The transaction that is open; undefined where the database numbers none. By the names that PostgreSQL 12 has, too. */
export async function currentTransactionId(session: AsyncSession): Promise<TransactionId | undefined> {
  if (session.dialect.name !== 'postgres') return undefined;
  const { rows } = await session.execute(plain(`select txid_current()::text as number, ${TIMELINE} as timeline`, true));
  return { number: asText(rows[0]?.['number']), timeline: asText(rows[0]?.['timeline']) };
}

/**
 * Asks on a new connection, again and again while the database cannot be reached or still holds the transaction open: at most
 * {@link ASKING_MS}. A transaction that is still open then is not ours to end: `unknown`.
 */
export async function askOutcome(root: LibraryRoot, transactionId: TransactionId): Promise<TransactionOutcome> {
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

async function ask(root: LibraryRoot, { number, timeline }: TransactionId): Promise<string> {
  const { handle, giveBack } = await root.borrow();
  let broken = true;
  try {
    const { rows } = await handle.execute(
      `select case when ${TIMELINE} = $2::text then txid_status($1::text::bigint) end as status`,
      [number, timeline],
    );
    broken = false;
    return asText(rows[0]?.['status']);
  } finally {
    await giveBack(broken);
  }
}
