import { describe, expect, it } from 'vitest';
import { atRest, figuresOf, whileRunning } from '../../src/demo/invariants.ts';
import type { AccountRow, BankReading, JournalRow, Reading } from '../../src/demo/reading.ts';

/** Ann 1000 and hold in bank A, Bob 100 in bank B; each helper changes the books like the banks do, or wrongly. */
class Books {
  private readonly a = new Map([
    ['Ann', 1_000],
    ['hold', 0],
  ]);
  private readonly b = new Map([['Bob', 100]]);
  private readonly journalA: { serial: string; account: string; amount: number; state: string }[] = [];
  private readonly journalB: JournalRow[] = [];
  private movementsA = 0;
  private movementsB = 0;

  debit(serial: string, amount: number): this {
    this.a.set('Ann', this.a.get('Ann')! - amount);
    this.a.set('hold', this.a.get('hold')! + amount);
    this.journalA.push({ serial, account: 'Ann', amount: -amount, state: 'in-process' });
    this.movementsA++;
    return this;
  }

  credit(serial: string, amount: number): this {
    if (!this.journalB.some((row) => row.serial === serial))
      this.journalB.push({ serial, account: 'Bob', amount, state: 'succeeded' });
    this.b.set('Bob', this.b.get('Bob')! + amount);
    this.movementsB++;
    return this;
  }

  settle(serial: string): this {
    const row = this.journalA.find((entry) => entry.serial === serial)!;
    row.state = 'succeeded';
    this.a.set('hold', this.a.get('hold')! + row.amount);
    return this;
  }

  steal(amount: number): this {
    this.a.set('Ann', this.a.get('Ann')! - amount);
    return this;
  }

  reading(): Reading {
    const openings = new Map([
      ['Ann', 1_000],
      ['Bob', 100],
      ['hold', 0],
    ]);
    const accounts = (balances: ReadonlyMap<string, number>): AccountRow[] =>
      [...balances].map(([id, balance]) => ({ id, opening: openings.get(id)!, balance }));
    const bank = (balances: ReadonlyMap<string, number>, journal: readonly JournalRow[], movements: number): BankReading => {
      return { accounts: accounts(balances), journal: journal.map((row) => ({ ...row })), movements };
    };
    return { a: bank(this.a, this.journalA, this.movementsA), b: bank(this.b, this.journalB, this.movementsB) };
  }
}

const running = (books: Books) => whileRunning(figuresOf(books.reading())).map(({ invariant }) => invariant);
const resting = (books: Books, transfers: number) =>
  atRest(books.reading(), figuresOf(books.reading()), transfers).map(({ invariant }) => invariant);

describe('the checker', () => {
  it.each([
    ['nothing has happened', new Books()],
    ['a debit is on its way', new Books().debit('S1', 300)],
    ['a credit is not confirmed yet', new Books().debit('S1', 300).credit('S1', 300)],
    ['a transfer is settled', new Books().debit('S1', 300).credit('S1', 300).settle('S1')],
    [
      'transfers of all kinds stand side by side',
      new Books().debit('S1', 1).debit('S2', 2).debit('S3', 3).credit('S2', 2).credit('S3', 3).settle('S3'),
    ],
  ])('finds the money whole when %s', (_, books) => {
    expect(running(books)).toEqual([]);
  });

  it.each([
    ['money credited twice', new Books().debit('S1', 300).credit('S1', 300).credit('S1', 300), ['sum-of-money', 'one-effect']],
    ['a credit without a debit', new Books().credit('S9', 50), ['sum-of-money', 'credit-has-debit']],
    ['money that vanished', new Books().steal(5), ['sum-of-money']],
    ['a settlement that came too early', new Books().debit('S1', 300).settle('S1').debit('S2', 1), []],
  ])('names the invariant for %s', (_, books, names) => {
    expect(running(books)).toEqual(names);
  });

  it('sees a hold account that does not match the transfers in process', () => {
    const reading = new Books().debit('S1', 300).reading();
    const hold = reading.a.accounts.map((row) => (row.id === 'hold' ? { ...row, balance: 299 } : row));
    const found = whileRunning(figuresOf({ ...reading, a: { ...reading.a, accounts: hold } }));
    expect(found.map(({ invariant }) => invariant)).toEqual(['hold-covers-in-process']);
  });

  it('is content at rest when every transfer is in both journals', () => {
    expect(resting(new Books().debit('S1', 300).credit('S1', 300).settle('S1'), 1)).toEqual([]);
  });

  it('names what is lost and what is missing at rest', () => {
    const books = new Books().debit('S1', 300).credit('S1', 300).settle('S1').debit('S2', 20);
    expect(resting(books, 2)).toEqual(['nothing-lost', 'everything-settled']);
    expect(resting(new Books(), 1)).toEqual(['everything-settled']);
  });

  it('explains every balance by its opening and its journal rows', () => {
    expect(resting(new Books().steal(5), 0)).toEqual(['sum-of-money', 'balances-explained']);
  });

  it('counts what was settled, lost and applied twice', () => {
    const books = new Books().debit('S1', 300).credit('S1', 300).credit('S1', 300).settle('S1').debit('S2', 20);
    const { settled, missingInB, duplicateEffects, moneyBefore, money } = figuresOf(books.reading());
    expect({ settled, missingInB, duplicateEffects, moneyBefore, money }).toEqual({
      settled: 1,
      missingInB: 1,
      duplicateEffects: 1,
      moneyBefore: 1_100,
      money: 1_380,
    });
  });
});
