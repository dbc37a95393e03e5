import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openForReading, openForWriting, write, type BankDatabase } from '../../src/demo/database.ts';
import { figuresOf, whileRunning } from '../../src/demo/invariants.ts';
import { LedgerA } from '../../src/demo/ledger-a.ts';
import { openingsOfA, openingsOfB, transferOf } from '../../src/demo/plan.ts';
import { readBanks } from '../../src/demo/reading.ts';
import { layOutBankA, layOutBankB } from '../../src/demo/schema.ts';

const plan = { seed: 1, transfers: 50, path: 'half' } as const;
let folder: string;
let a: BankDatabase;
let b: BankDatabase;
let ledger: LedgerA;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ledger-'));
  a = openForWriting(join(folder, 'a.db'), true);
  b = openForWriting(join(folder, 'b.db'), true);
  layOutBankA(a, openingsOfA(plan));
  layOutBankB(b, openingsOfB(plan));
  ledger = new LedgerA(a);
});
afterEach(() => {
  a.close();
  b.close();
  rmSync(folder, { recursive: true });
});

const debit = (serial: string, number: number) =>
  write(a, () => ledger.debit(serial, transferOf(plan, number), 'message', 1_000));
const figures = () => figuresOf(readBanks(a, b)!);

describe("bank A's books", () => {
  it('put a debit on hold until it is settled, once however often it is confirmed', () => {
    debit('S1', 1);
    expect(figures()).toMatchObject({
      inProcess: 1,
      hold: transferOf(plan, 1).amountMinor,
      onTheWay: transferOf(plan, 1).amountMinor,
    });
    expect(ledger.settle('S1')).toBe(true);
    expect(ledger.settle('S1')).toBe(false);
    expect(ledger.settle('S2')).toBe(false);
    expect(figures()).toMatchObject({ inProcess: 0, hold: 0 });
    expect(whileRunning(figures())).toEqual([]);
  });

  it('write nothing at all when the transaction fails', () => {
    const failing = () =>
      write(a, () => {
        ledger.debit('S1', transferOf(plan, 1), 'message', 1_000);
        throw new Error('fenced');
      });
    expect(failing).toThrow('fenced');
    expect(figures()).toMatchObject({ rowsA: 0, hold: 0, onTheWay: 0 });
    expect(ledger.numbersMade()).toEqual(new Set());
  });

  it('refuse a second row for one transfer', () => {
    debit('S1', 1);
    expect(() => debit('S2', 1)).toThrow();
    expect(figures().rowsA).toBe(1);
  });

  it('name what is unconfirmed, oldest first, and wait again after it was sent', () => {
    debit('S1', 1);
    debit('S2', 2);
    debit('S3', 3);
    ledger.settle('S2');
    expect(ledger.unconfirmedSince(1_001, 10).map(({ serial }) => serial)).toEqual(['S1', 'S3']);
    ledger.markSent('S1', 5_000);
    expect(ledger.unconfirmedSince(1_001, 10).map(({ serial }) => serial)).toEqual(['S3']);
  });

  it('open again with the same balances', () => {
    debit('S1', 1);
    layOutBankA(a, openingsOfA(plan));
    expect(figures().rowsA).toBe(1);
    expect(whileRunning(figures())).toEqual([]);
  });

  it('let a reader see but not write', () => {
    const reader = openForReading(join(folder, 'a.db'))!;
    expect(reader.prepare('SELECT count(*) AS n FROM account').get()).toMatchObject({ n: 7 });
    expect(() => reader.exec('DELETE FROM account')).toThrow();
    reader.close();
    expect(openForReading(join(folder, 'absent.db'))).toBeUndefined();
  });
});
