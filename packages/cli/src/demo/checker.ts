/**
 * The fourth process: it opens both databases for reading only, adds the money up again and again while everything is being killed around it, and gives
 * the final account when the parent asks. It takes part in nothing.
 */
import { openForReading, type BankDatabase } from './database.ts';
import { ParentLine } from './child.ts';
import { atRest, figuresOf, whileRunning, type Figures, type Violation } from './invariants.ts';
import { readBanks, type AccountRow, type Reading } from './reading.ts';

/** What the checker sends while all is running. */
export interface RunningAccount {
  readonly figures: Figures;
  readonly violations: readonly Violation[];
  readonly accountsA: readonly AccountRow[];
  readonly accountsB: readonly AccountRow[];
}

/** What it answers at the end. */
export interface FinalAccount extends RunningAccount {
  readonly duplicatesAbsorbed: number;
  readonly resends: number;
  readonly serialsOfA: readonly string[];
  readonly settledSerials: readonly string[];
}

export interface CheckerOptions {
  readonly bankA: string;
  readonly bankB: string;
  readonly transfers: number;
}

const everyMs = 200;

export function runChecker(options: CheckerOptions): void {
  const line = new ParentLine();
  let banks: { a: BankDatabase; b: BankDatabase } | undefined;
  const readNow = (): Reading | undefined => {
    banks ??= openBoth(options);
    return banks === undefined ? undefined : readBanks(banks.a, banks.b);
  };
  const timer = setInterval(() => {
    const reading = attempt(readNow);
    if (reading !== undefined) line.reading(runningAccount(reading));
  }, everyMs);
  line.onAsk = () => {
    const reading = attempt(readNow);
    return reading === undefined || banks === undefined ? undefined : finalAccount(reading, banks, options.transfers);
  };
  line.onStop = () => {
    clearInterval(timer);
    process.exit(0);
  };
  line.ready();
}

function openBoth(options: CheckerOptions): { a: BankDatabase; b: BankDatabase } | undefined {
  const a = openForReading(options.bankA);
  const b = a === undefined ? undefined : openForReading(options.bankB);
  return a === undefined || b === undefined ? undefined : { a, b };
}

/** A database that is being made or is busy is read the next time. */
function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    console.error(`not read: ${String(error)}`);
    return undefined;
  }
}

function runningAccount(reading: Reading): RunningAccount {
  const figures = figuresOf(reading);
  return { figures, violations: whileRunning(figures), accountsA: reading.a.accounts, accountsB: reading.b.accounts };
}

function finalAccount(reading: Reading, banks: { a: BankDatabase; b: BankDatabase }, transfers: number): FinalAccount {
  const figures = figuresOf(reading);
  const serialsOfB = new Set(reading.b.journal.map((row) => row.serial));
  const settled = reading.a.journal.filter((row) => row.state === 'succeeded' && serialsOfB.has(row.serial));
  return {
    ...runningAccount(reading),
    violations: atRest(reading, figures, transfers),
    duplicatesAbsorbed: numberOf(banks.b, 'SELECT count(*) AS n FROM absorbed'),
    resends: numberOf(banks.a, 'SELECT coalesce(sum(resends), 0) AS n FROM journal'),
    serialsOfA: reading.a.journal.map((row) => row.serial),
    settledSerials: settled.map((row) => row.serial),
  };
}

function numberOf(db: BankDatabase, sql: string): number {
  return (db.prepare(sql).get() as { n: number }).n;
}
