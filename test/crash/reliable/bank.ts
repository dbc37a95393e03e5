/**
 * Two banks in two databases. A debits in the transaction that adds the message; B credits in the transaction of its inbox. Each keeps a
 * ledger (its journal) that lets an outsider recompute every balance and the order per account. No unique key in B's journal: what comes twice
 * must be seen, not prevented. A's audit notes who settled a message and who held the lease then. B's branches have a total each, which is
 * read and written back by whoever holds the branch's lock: without the lock, or without its fence, an entry is missing from it.
 */
import type { PgRunner } from './child/pg-runner.ts';

export const OPENING = 9_007_199_254_740_993n;

export interface Transfer {
  readonly number: number;
  readonly account: string;
  /** Minor units. */
  readonly amount: bigint;
}

/** Everything that must come out at the other side byte by byte: beyond Latin, beyond the BMP, quotes and controls. */
const NOTES = [
  'für Ann',
  '送金 №',
  'emoji 🧾🐈‍⬛',
  'O\'Brien \\ "q"',
  'tab\tline\nend',
  'e\u0301 combining',
  '\u{10FFFD} last plane',
];

export function transferOf(number: number, keys: number, seed: number): Transfer {
  const mixed = Math.imul(number ^ (seed * 0x9e37_79b1), 0x85eb_ca6b) >>> 0;
  return { number, account: accountOf(number % keys), amount: 1n + BigInt(mixed % 10_000) };
}

export function accountOf(n: number): string {
  return `account-${n}-é🧾`;
}

/** One in so many messages fails the first time it is handled, after its effect was written. */
const FAILS_EVERY = 5;

export function failsAtFirst(number: number): boolean {
  return number % FAILS_EVERY === 0;
}

/** There are fewer branches than accounts, so that messages of several keys meet in one. */
export function branchOf(account: string, branches: number): number {
  return Number(/\d+/.exec(account)?.[0]) % branches;
}

export function noteOf(number: number): string {
  return NOTES[number % NOTES.length]!;
}

/** What the handler of a doomed transfer says each time. */
export function causeOf(number: number): string {
  return `transfer ${number} cannot be credited: ${noteOf(number)}`;
}

/** The message as it travels. */
export interface TransferMessage {
  readonly number: number;
  readonly account: string;
  /** Decimal digits: it may be larger than a double holds. */
  readonly amount: string;
  readonly keySequence: number;
  readonly note: string;
}

const ACCOUNTS = `
  create table account (id text primary key, balance bigint not null, changes bigint not null default 0, check (balance >= 0));
`;

export const BANK_A = `${ACCOUNTS}
  create table journal (
    place bigint generated always as identity primary key, serial text not null unique, number integer not null, account text not null,
    amount bigint not null, key_sequence bigint not null, note text not null
  );
  create index journal_number on journal (number);
  create table settling (message_id text not null, what text not null, state text, by_whom text not null, holder text);
  create function note_settling() returns trigger language plpgsql as $$
  begin
    insert into settling
    select old.id, tg_op, case when tg_op = 'UPDATE' then new.state end, current_setting('application_name'),
      regexp_replace(l.owner, '-[0-9a-f]{16}$', '')
    from (select 1) as one
    left join tallystick_lease l on l.scope = 'tallystick_outbox' and old.shard between l.first_shard and l.last_shard;
    return null;
  end $$;
  create trigger settled after delete or update on tallystick_outbox for each row execute function note_settling();
`;

export const BANK_B = `${ACCOUNTS}
  create table journal (
    place bigint generated always as identity primary key, serial text not null, number integer not null, account text not null,
    amount bigint not null, key_sequence bigint not null, applied bigint not null, note text not null, branch integer
  );
  create table branch (id integer primary key, total bigint not null);
  create index journal_serial on journal (serial);
  create table arrival (serial text not null, number integer not null);
  create table attempt (serial text not null, number integer not null);
  create table noted_as_done (serial text primary key);
`;

export function openingRows(keys: number): string {
  const rows = Array.from({ length: keys }, (_, n) => `('${accountOf(n)}', ${OPENING})`);
  return `insert into account (id, balance) values ${rows.join(', ')}`;
}

/** Debits and journals; the lock on the account makes the order of commits per account the order of `key_sequence`. */
export async function debit(tx: PgRunner, transfer: Transfer, serial: string): Promise<TransferMessage> {
  const { number, account, amount } = transfer;
  const { rows } = await tx.query(
    'update account set balance = balance - $1, changes = changes + 1 where id = $2 returning changes',
    [String(amount), account],
  );
  const keySequence = Number(rows[0]?.['changes']);
  const note = noteOf(number);
  await tx.query('insert into journal (serial, number, account, amount, key_sequence, note) values ($1, $2, $3, $4, $5, $6)', [
    serial,
    number,
    account,
    String(amount),
    keySequence,
    note,
  ]);
  return { number, account, amount: String(amount), keySequence, note };
}

/** `branch`: whose total it becomes part of. */
export async function credit(tx: PgRunner, message: TransferMessage, serial: string, branch?: number): Promise<void> {
  const { number, account, amount, keySequence, note } = message;
  const { rows } = await tx.query(
    'update account set balance = balance + $1, changes = changes + 1 where id = $2 returning changes',
    [amount, account],
  );
  await tx.query(
    'insert into journal (serial, number, account, amount, key_sequence, applied, note, branch) values ($1, $2, $3, $4, $5, $6, $7, $8)',
    [serial, number, account, amount, keySequence, Number(rows[0]?.['changes']), note, branch ?? null],
  );
}

/** The same, and its part of the branch's total, as a program does it that has the branch to itself. */
export async function creditUnderLock(
  tx: PgRunner,
  message: TransferMessage,
  serial: string,
  branch: number,
  decided: () => Promise<void> | undefined,
): Promise<void> {
  const { rows } = await tx.query('select total from branch where id = $1', [branch]);
  const total = String(BigInt((rows[0]?.['total'] as string | undefined) ?? 0) + BigInt(message.amount));
  await decided();
  await credit(tx, message, serial, branch);
  await tx.query('insert into branch (id, total) values ($1, $2) on conflict (id) do update set total = excluded.total', [
    branch,
    total,
  ]);
}

export async function isCredited(tx: PgRunner, serial: string): Promise<boolean> {
  const { rowCount } = await tx.query('select 1 from journal where serial = $1 limit 1', [serial]);
  return rowCount === 1;
}
