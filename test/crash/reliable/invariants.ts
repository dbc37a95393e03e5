/**
 * What must be true of the two databases once all is at rest: pure arithmetic over one reading of both, taken from outside. A violation names
 * its invariant and the numbers seen. In brackets: the invariants of the fault catalogue.
 */
import { noteOf, OPENING } from './bank.ts';

export const INVARIANTS = {
  'sum-exact': 'the balances of both banks add up to the money there was at the beginning (money)',
  'balances-explained': 'every balance is its opening and the amounts of its ledger (money)',
  'branches-explained':
    'the total of a branch, read and written back under its lock, is that of its entries (money, fencing of locks)',
  'made-once':
    'every planned transfer was made once: a lost answer to COMMIT neither loses nor repeats it (money, honest outcome)',
  'nothing-lost': 'what bank A committed has its effect in bank B (outbox)',
  'one-effect': 'every message has one effect in bank B (one effect)',
  'effect-has-commit': 'nothing has an effect in bank B that bank A did not commit (outbox)',
  'key-order': 'the effects of an account happen in the order of its debits (per-aggregate order)',
  'hook-means-commit': 'what was told of its commit (afterCommit) is committed (honest outcome)',
  'bytes-equal': 'account, amount and text arrive as they were written (charsets and numbers)',
  'nothing-dead': 'no message was given up but those that were meant to be (retry)',
  'ends-once':
    'a message ends done or dead, never both, after no more attempts than it may have; the dead one is what was sent, with its cause (retry, dead letters)',
  'outbox-empty': 'the outbox is empty: heads and bodies (liveness)',
  'confirmed-has-effect': 'what the consumer confirmed has its effect, at every moment (one effect, honest outcome)',
  'all-confirmed': 'no message is sent for ever: a confirmation that was lost is made again (liveness)',
  'one-serial': 'a message that is sent again bears the serial it had (one effect)',
  bounded: 'a relay’s memory is that of its batches, and it never walks the whole table, however long the backlog is (bounded)',
  'service-unhurt':
    'while a backlog leaves, the service’s own transactions take a bounded multiple of what they took before (bounded, liveness)',
  'window-kept': 'no key is forgotten while its message may come again, and who would do that is refused (one effect)',
  'settled-by-holder': 'rows of the outbox were changed only by the relay that held their lease (fencing)',
  'child-lives': 'no process ended but those that were killed',
  'came-to-rest': 'everything was delivered before the harness lost patience (liveness)',
  'fault-came-about': 'the fault really happened',
} as const;

export type InvariantName = keyof typeof INVARIANTS;

export interface Violation {
  readonly invariant: InvariantName;
  readonly seen: string;
}

export interface AccountRow {
  readonly id: string;
  readonly balance: bigint;
}

export interface LedgerRow {
  readonly serial: string;
  readonly number: number;
  readonly account: string;
  readonly amount: bigint;
  readonly keySequence: number;
  readonly note: string;
}

export interface CreditRow extends LedgerRow {
  /** How many changes its account has seen, this one included. */
  readonly applied: number;
  /** Whose total it is part of, if any's. */
  readonly branch: number | null;
}

export interface BranchRow {
  readonly id: number;
  readonly total: bigint;
}

export interface Reading {
  readonly accountsA: readonly AccountRow[];
  readonly accountsB: readonly AccountRow[];
  readonly branches: readonly BranchRow[];
  readonly ledgerA: readonly LedgerRow[];
  readonly ledgerB: readonly CreditRow[];
  /** State → rows. */
  readonly outbox: ReadonlyMap<string, number>;
  readonly outboxBodies: number;
  readonly deadInInbox: readonly string[];
  /** Of these: because their keys may be forgotten. */
  readonly heldAsOld: readonly string[];
  /** What the consumer has received, where it notes that. */
  readonly arrivals: readonly { readonly serial: string; readonly number: number }[];
  readonly settlings: readonly { readonly byWhom: string; readonly holder: string | null; readonly count: number }[];
}

export interface Expected {
  readonly transfers: number;
  /** Numbers whose messages no consumer survives, or never handles without failing. */
  readonly poison: ReadonlySet<number>;
  /** Serials whose transactions were told that they are committed. */
  readonly toldCommitted: ReadonlySet<string>;
  /** Messages are settled by their consumer's confirmation; some rows are kept after that. */
  readonly byConsumer: boolean;
}

export function judge(reading: Reading, expected: Expected): Violation[] {
  const found: Violation[] = [];
  const violated = (invariant: InvariantName, seen: string): void => void found.push({ invariant, seen });
  const { ledgerA, ledgerB } = reading;
  const debits = new Map(ledgerA.map((row) => [row.serial, row]));
  const credits = new Map(ledgerB.map((row) => [row.serial, row]));

  const money = sum([...reading.accountsA, ...reading.accountsB].map(({ balance }) => balance));
  const onTheWay = sum(ledgerA.filter(({ number }) => expected.poison.has(number)).map(({ amount }) => amount));
  const before = OPENING * BigInt(reading.accountsA.length + reading.accountsB.length);
  if (money + onTheWay !== before)
    violated(
      'sum-exact',
      `${money} in accounts and ${onTheWay} held by poison, there was ${before}: ${money + onTheWay - before} too much`,
    );
  for (const seen of [...unexplained(reading.accountsA, ledgerA, -1n), ...unexplained(reading.accountsB, ledgerB, 1n)])
    violated('balances-explained', seen);
  for (const { id, total } of reading.branches) {
    const entries = sum(ledgerB.filter(({ branch }) => branch === id).map(({ amount }) => amount));
    if (total !== entries) violated('branches-explained', `branch ${id}: entries ${entries}, total ${total}`);
  }

  const timesMade = countBy(ledgerA.map(({ number }) => number));
  const wrong = Array.from({ length: expected.transfers }, (_, n) => n + 1).filter((number) => timesMade.get(number) !== 1);
  if (wrong.length > 0)
    violated('made-once', `${wrong.length} transfers, such as ${wrong[0]} (made ${timesMade.get(wrong[0]!) ?? 0} times)`);

  const lost = ledgerA.filter(({ serial, number }) => !credits.has(serial) && !expected.poison.has(number));
  if (lost.length > 0)
    violated('nothing-lost', `${lost.length} committed and without effect, such as ${lost[0]!.number} (${lost[0]!.serial})`);
  const strangers = [...credits.values()].filter(({ serial }) => !debits.has(serial));
  if (strangers.length > 0)
    violated(
      'effect-has-commit',
      `${strangers.length} effects without a commit, such as ${strangers[0]!.number} (${strangers[0]!.serial})`,
    );
  const doubles = [...countBy(ledgerB.map(({ serial }) => serial))].filter(([, times]) => times > 1);
  if (doubles.length > 0)
    violated('one-effect', `${doubles.length} messages had several, such as ${doubles[0]![0]} (${doubles[0]![1]})`);

  const deceived = [...expected.toldCommitted].filter((serial) => !debits.has(serial));
  if (deceived.length > 0)
    violated('hook-means-commit', `${deceived.length} were told and are not there, such as ${deceived[0]}`);

  for (const seen of disorder(ledgerB)) violated('key-order', seen);
  for (const seen of changed(debits, credits)) violated('bytes-equal', seen);

  const renamed = reading.arrivals.filter(({ serial, number }) => debits.get(serial)?.number !== number);
  if (renamed.length > 0)
    violated(
      'one-serial',
      `${renamed.length} came under another, such as transfer ${renamed[0]!.number} (${renamed[0]!.serial})`,
    );
  const unconfirmed = reading.outbox.get('sent') ?? 0;
  if (unconfirmed > 0) violated('all-confirmed', `${unconfirmed} are sent and not confirmed`);

  const settled = expected.byConsumer ? ['confirmed'] : [];
  const open = [...reading.outbox].filter(([state]) => !settled.includes(state));
  const left = open.map(([state, rows]) => `${rows} ${state}`);
  if (left.length > 0 || reading.outboxBodies > 0) violated('outbox-empty', `${left.join(', ')}, ${reading.outboxBodies} bodies`);
  const dead = (reading.outbox.get('dead') ?? 0) + (reading.outbox.get('buried') ?? 0);
  const poisoned = new Set(ledgerA.filter(({ number }) => expected.poison.has(number)).map(({ serial }) => serial));
  // What is held because it may be a repeat, and is one, is lost to nobody.
  const repeats = new Set(reading.heldAsOld.filter((serial) => credits.has(serial)));
  const deadInInbox = reading.deadInInbox.filter((serial) => !poisoned.has(serial) && !repeats.has(serial));
  if (dead + deadInInbox.length > 0) violated('nothing-dead', `${dead} in the outbox, ${deadInInbox.length} in the inbox`);
  const missing = [...poisoned].filter((serial) => !reading.deadInInbox.includes(serial));
  if (missing.length > 0) violated('nothing-dead', `${missing.length} poison messages are not dead: ${missing[0]}`);

  for (const { byWhom, holder, count } of reading.settlings)
    if (byWhom.startsWith('relay') && byWhom !== holder)
      violated(
        'settled-by-holder',
        `${byWhom} changed ${count} rows whose lease was ${holder === null ? 'nobody’s' : `${holder}’s`}`,
      );
  return found;
}

function unexplained(accounts: readonly AccountRow[], ledger: readonly LedgerRow[], sign: bigint): string[] {
  const moved = new Map<string, bigint>();
  for (const { account, amount } of ledger) moved.set(account, (moved.get(account) ?? 0n) + sign * amount);
  return accounts
    .filter(({ id, balance }) => balance !== OPENING + (moved.get(id) ?? 0n))
    .map(({ id, balance }) => `${id}: opening ${OPENING}, ledger ${moved.get(id) ?? 0n}, balance ${balance}`);
}

/** Per account, in the order of application: each debit's number is greater than every one before it. */
function disorder(ledger: readonly CreditRow[]): string[] {
  const found: string[] = [];
  const last = new Map<string, LedgerRow>();
  const inOrder = [...ledger].sort((a, b) => a.applied - b.applied);
  for (const row of inOrder) {
    const before = last.get(row.account);
    if (before !== undefined && before.keySequence > row.keySequence)
      found.push(
        `${row.account}: debit ${row.keySequence} (transfer ${row.number}, ${row.serial}) took effect after ${before.keySequence}; all: ` +
          inOrder
            .filter(({ account }) => account === row.account)
            .map(({ keySequence, number }) => `${keySequence} (${number})`)
            .join(', '),
      );
    else last.set(row.account, row);
  }
  return found;
}

function changed(debits: ReadonlyMap<string, LedgerRow>, credits: ReadonlyMap<string, LedgerRow>): string[] {
  const found: string[] = [];
  for (const [serial, { number, account, amount, note, keySequence }] of credits) {
    const sent = debits.get(serial);
    if (sent === undefined) continue;
    const same = sent.account === account && sent.amount === amount && sent.keySequence === keySequence && sent.number === number;
    if (!same || sent.note !== note || note !== noteOf(number)) found.push(`transfer ${number} (${serial}) arrived changed`);
  }
  return found;
}

function countBy<K>(values: readonly K[]): Map<K, number> {
  const counts = new Map<K, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

function sum(values: readonly bigint[]): bigint {
  return values.reduce((total, value) => total + value, 0n);
}
