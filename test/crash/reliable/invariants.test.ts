import { expect, test } from 'vitest';
import { noteOf, OPENING } from './bank.ts';
import { type CreditRow, INVARIANTS, type InvariantName, judge, type LedgerRow, type Reading } from './invariants.ts';

/** Two transfers from one account, both made, delivered and at rest. */
function sound(): { -readonly [K in keyof Reading]: Reading[K] } {
  const debits: LedgerRow[] = [1, 2].map((number) => ({
    serial: `S${number}`,
    number,
    account: 'a',
    amount: 10n,
    keySequence: number,
    note: noteOf(number),
  }));
  return {
    accountsA: [{ id: 'a', balance: OPENING - 20n }],
    accountsB: [{ id: 'a', balance: OPENING + 20n }],
    branches: [{ id: 0, total: 10n }],
    ledgerA: debits,
    ledgerB: debits.map((row): CreditRow => ({
      ...row,
      applied: row.keySequence,
      branch: row.number === 1 ? 0 : null,
    })),
    outbox: new Map(),
    outboxBodies: 0,
    deadInInbox: [],
    heldAsOld: [],
    arrivals: debits.map(({ serial, number }) => ({ serial, number })),
    settlings: [{ byWhom: 'relay-1', holder: 'relay-1', count: 2 }],
  };
}

function judged(change: (reading: ReturnType<typeof sound>) => void, told: readonly string[] = []): InvariantName[] {
  const reading = sound();
  change(reading);
  const found = judge(reading, { transfers: 2, poison: new Set(), toldCommitted: new Set(told), byConsumer: false });
  return [...new Set(found.map(({ invariant }) => invariant))];
}

test('a sound reading violates nothing', () => {
  expect(judged(() => undefined, ['S1', 'S2'])).toEqual([]);
});

test.each<[InvariantName, (reading: ReturnType<typeof sound>) => void]>([
  ['sum-exact', (of) => (of.accountsB = [{ id: 'a', balance: OPENING + 21n }])],
  ['balances-explained', (of) => (of.accountsA = [{ id: 'a', balance: OPENING - 19n }])],
  ['branches-explained', (of) => (of.branches = [{ id: 0, total: 0n }])],
  ['made-once', (of) => (of.ledgerA = [of.ledgerA[0]!])],
  ['made-once', (of) => (of.ledgerA = [...of.ledgerA, { ...of.ledgerA[0]!, serial: 'S3' }])],
  ['nothing-lost', (of) => (of.ledgerB = [of.ledgerB[0]!])],
  ['one-effect', (of) => (of.ledgerB = [...of.ledgerB, of.ledgerB[0]!])],
  ['effect-has-commit', (of) => (of.ledgerB = [...of.ledgerB, { ...of.ledgerB[0]!, serial: 'stranger' }])],
  ['key-order', (of) => (of.ledgerB = of.ledgerB.map((row) => ({ ...row, applied: 3 - row.keySequence })))],
  ['bytes-equal', (of) => (of.ledgerB = of.ledgerB.map((row) => ({ ...row, note: `${row.note}?` })))],
  ['bytes-equal', (of) => (of.ledgerB = of.ledgerB.map((row) => ({ ...row, amount: row.amount + 1n })))],
  ['nothing-dead', (of) => (of.outbox = new Map([['dead', 1]]))],
  ['nothing-dead', (of) => (of.deadInInbox = ['S1'])],
  ['outbox-empty', (of) => (of.outbox = new Map([['waiting', 1]]))],
  ['outbox-empty', (of) => (of.outboxBodies = 1)],
  ['outbox-empty', (of) => (of.outbox = new Map([['confirmed', 1]]))],
  ['all-confirmed', (of) => (of.outbox = new Map([['sent', 1]]))],
  ['one-serial', (of) => (of.arrivals = [...of.arrivals, { serial: 'S9', number: 1 }])],
  ['one-serial', (of) => (of.arrivals = [...of.arrivals, { serial: 'S1', number: 2 }])],
  ['settled-by-holder', (of) => (of.settlings = [{ byWhom: 'relay-1', holder: 'relay-2', count: 1 }])],
  ['settled-by-holder', (of) => (of.settlings = [{ byWhom: 'relay-1', holder: null, count: 1 }])],
])('%s is named', (invariant, change) => {
  expect(judged(change)).toContain(invariant);
});

test('a commit that was told and is not there is named', () => {
  expect(judged(() => undefined, ['S9'])).toEqual(['hook-means-commit']);
});

test('poison may be without effect, if it is dead and its amount is known', () => {
  const reading = sound();
  reading.ledgerB = [reading.ledgerB[0]!];
  reading.accountsB = [{ id: 'a', balance: OPENING + 10n }];
  const expected = { transfers: 2, poison: new Set([2]), toldCommitted: new Set<string>(), byConsumer: false };
  expect(judge(reading, expected).map(({ invariant }) => invariant)).toEqual(['nothing-dead']);
  reading.deadInInbox = ['S2'];
  expect(judge(reading, expected)).toEqual([]);
});

test('what its consumer confirmed may be kept', () => {
  const reading = { ...sound(), outbox: new Map([['confirmed', 2]]) };
  const expected = { transfers: 2, poison: new Set<number>(), toldCommitted: new Set<string>(), byConsumer: true };
  expect(judge(reading, expected)).toEqual([]);
});

test('what is held as too old may lie there if it is a repeat, and is lost if it is none', () => {
  const held = { deadInInbox: ['S2'], heldAsOld: ['S2'] };
  expect(judged((of) => Object.assign(of, held))).toEqual([]);
  expect(judged((of) => Object.assign(of, held, { ledgerB: [of.ledgerB[0]!] }))).toContain('nothing-dead');
  expect(judged((of) => Object.assign(of, { deadInInbox: ['S2'] }))).toEqual(['nothing-dead']);
});

test('every invariant says what it stands for', () => {
  for (const sentence of Object.values(INVARIANTS)) expect(sentence.length).toBeGreaterThan(10);
});
