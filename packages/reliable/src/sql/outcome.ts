/**
 * What became of a transaction whose commit was not answered. PostgreSQL remembers it by the transaction's number, and says so to any
 * other connection; only for transactions so old that their number is forgotten it does not know. But numbers are given again, and then it
 * tells what became of somebody else's transaction:
 *
 * - by a standby that was promoted without the last commits: so the timeline goes with the number, and of another timeline's transactions
 *   nothing is known;
 * - by a server that crashed before anything of the transaction had come to the disk, its number included: so the moment goes with it in which
 *   the server began to count (`stats_reset` of `pg_stat_bgwriter`), which it does anew after a crash. What is said to be committed after a
 *   crash may be another's; what is not, is not ours either.
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
  /** When the server began to count; the same until it crashes, or somebody resets it. */
  readonly since: string;
}

/** Begins the name of the file that is written to; a server that is still recovering refuses to tell, and is asked again. */
const TIMELINE = 'left(pg_walfile_name(pg_current_wal_lsn()), 8)';
const SINCE = `coalesce(extract(epoch from pg_stat_get_bgwriter_stat_reset_time())::text, '')`;

/** The transaction that is open; undefined where the database numbers none. By the names that PostgreSQL 12 has, too. */
export async function currentTransactionId(session: AsyncSession): Promise<TransactionId | undefined> {
  if (session.dialect.name !== 'postgres') return undefined;
  const statement = plain(`select txid_current()::text as number, ${TIMELINE} as timeline, ${SINCE} as since`, true);
  const [row] = (await session.execute(statement)).rows;
  return { number: asText(row?.['number']), timeline: asText(row?.['timeline']), since: asText(row?.['since']) };
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

/** A number that nobody has had since the crash is not asked about: the server would call that an error. */
const STATUS = `
  case when ${TIMELINE} <> $2::text then null
    when ${SINCE} = $3::text then txid_status($1::text::bigint)
    when $1::text::bigint >= txid_snapshot_xmax(txid_current_snapshot()) then 'aborted'
    else nullif(txid_status($1::text::bigint), 'committed') end`;

async function ask(root: LibraryRoot, { number, timeline, since }: TransactionId): Promise<string> {
  const { handle, giveBack } = await root.borrow();
  let broken = true;
  try {
    const { rows } = await handle.execute(`select ${STATUS} as status`, [number, timeline, since]);
    broken = false;
    return asText(rows[0]?.['status']);
  } finally {
    await giveBack(broken);
  }
}
