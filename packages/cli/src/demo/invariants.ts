/**
 * What must be true of the two banks. Pure arithmetic over one reading: `whileRunning` holds at every moment, kills included; `atRest` holds once nothing is
 * on its way any more. A violation names its invariant and the numbers seen.
 */
import { holdAccount } from './schema.ts';
import type { BankReading, Reading } from './reading.ts';

export interface Violation {
  readonly invariant: InvariantName;
  readonly seen: string;
}

/** The invariants, each with the sentence it stands for. */
export const invariantTable = {
  'sum-of-money': 'the balances of all customers and the amounts on their way add up to the money there was at the beginning',
  'hold-covers-in-process': 'the hold account is exactly the sum of the transfers in process',
  'credit-has-debit': 'no serial is credited by bank B that bank A has not debited',
  'nothing-lost': 'every transfer that bank A debited is credited by bank B',
  'one-effect': 'every serial changes a balance once in each bank',
  'balances-explained': 'every balance is its opening plus the amounts of its journal rows',
  'everything-settled': 'bank A has one succeeded journal row per transfer and its hold account is empty',
  'halves-settled': 'the broker holds no half message, open or parked, whose transfer is over',
  'verdict-final': 'a serial whose half message was rolled back has not moved any money',
  'dead-letters-mended': 'every dead letter was mended and its transfer settled',
} as const;

export type InvariantName = keyof typeof invariantTable;

export interface Figures {
  readonly moneyBefore: number;
  /** Balances of all customers, without the hold account. */
  readonly money: number;
  /** Amounts debited by A under serials that B has not. */
  readonly onTheWay: number;
  readonly hold: number;
  readonly inProcess: number;
  readonly inProcessAmount: number;
  readonly rowsA: number;
  readonly rowsB: number;
  /** Serials in both journals, succeeded in both. */
  readonly settled: number;
  /** Serials that A has and B lacks. */
  readonly missingInB: number;
  /** Serials that B has and A lacks. */
  readonly missingInA: number;
  /** Changes of a customer's balance beyond one per journal row. */
  readonly duplicateEffects: number;
}

/** Adds one reading up. */
export function figuresOf({ a, b }: Reading): Figures {
  const serialsOfB = new Set(b.journal.map((row) => row.serial));
  const inProcess = a.journal.filter((row) => row.state === 'in-process');
  const missingInB = a.journal.filter((row) => !serialsOfB.has(row.serial));
  const settled = a.journal.filter((row) => row.state === 'succeeded' && serialsOfB.has(row.serial)).length;
  return {
    moneyBefore: sum([...a.accounts, ...b.accounts].map((row) => row.opening)),
    money: sum(customers(a).map((row) => row.balance)) + sum(customers(b).map((row) => row.balance)),
    onTheWay: sum(missingInB.map((row) => Math.abs(row.amount))),
    hold: holdOf(a),
    inProcess: inProcess.length,
    inProcessAmount: sum(inProcess.map((row) => Math.abs(row.amount))),
    rowsA: a.journal.length,
    rowsB: b.journal.length,
    settled,
    missingInB: missingInB.length,
    missingInA: b.journal.length - (a.journal.length - missingInB.length),
    duplicateEffects: Math.max(0, a.movements - a.journal.length) + Math.max(0, b.movements - b.journal.length),
  };
}

/** What holds at every moment, whatever is killed. */
export function whileRunning(figures: Figures): Violation[] {
  const found: Violation[] = [];
  const { money, onTheWay, moneyBefore, hold, inProcessAmount, missingInA, duplicateEffects } = figures;
  if (money + onTheWay !== moneyBefore) {
    found.push({
      invariant: 'sum-of-money',
      seen: `${money} in accounts + ${onTheWay} on the way = ${money + onTheWay}, was ${moneyBefore}`,
    });
  }
  if (hold !== inProcessAmount)
    found.push({ invariant: 'hold-covers-in-process', seen: `hold ${hold}, in process ${inProcessAmount}` });
  if (missingInA > 0)
    found.push({ invariant: 'credit-has-debit', seen: `${missingInA} serials credited by bank B and unknown to bank A` });
  if (duplicateEffects > 0) found.push({ invariant: 'one-effect', seen: `${duplicateEffects} changes of a balance too many` });
  return found;
}

/** What holds when everything has come to rest, on top of `whileRunning`. */
export function atRest(reading: Reading, figures: Figures, transfers: number): Violation[] {
  const found = whileRunning(figures);
  const { settled, rowsA, rowsB, hold, missingInB } = figures;
  if (missingInB > 0)
    found.push({ invariant: 'nothing-lost', seen: `${missingInB} transfers debited by bank A and never credited by bank B` });
  for (const seen of [...unexplained(reading.a), ...unexplained(reading.b)])
    found.push({ invariant: 'balances-explained', seen });
  if (settled !== transfers || rowsA !== transfers || rowsB !== transfers || hold !== 0) {
    const seen = `${settled} of ${transfers} settled, ${rowsA} rows in bank A, ${rowsB} in bank B, hold ${hold}`;
    found.push({ invariant: 'everything-settled', seen });
  }
  return found;
}

function unexplained(bank: BankReading): string[] {
  const changes = new Map<string, number>();
  for (const { account, amount } of bank.journal) changes.set(account, (changes.get(account) ?? 0) + amount);
  return customers(bank)
    .filter((row) => row.balance !== row.opening + (changes.get(row.id) ?? 0))
    .map((row) => `${row.id}: opening ${row.opening}, journal ${changes.get(row.id) ?? 0}, balance ${row.balance}`);
}

function customers(bank: BankReading) {
  return bank.accounts.filter((row) => row.id !== holdAccount);
}

function holdOf(bank: BankReading): number {
  return bank.accounts.find((row) => row.id === holdAccount)?.balance ?? 0;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
