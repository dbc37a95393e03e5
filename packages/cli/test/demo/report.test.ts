import { describe, expect, it } from 'vitest';
import type { Observation } from '../../src/demo/fault-log.ts';
import type { Figures } from '../../src/demo/invariants.ts';
import { reportOf, unconfirmedFaults, type Evidence } from '../../src/demo/report.ts';

const figures: Figures = {
  moneyBefore: 1_000,
  money: 1_000,
  onTheWay: 0,
  hold: 0,
  inProcess: 0,
  inProcessAmount: 0,
  rowsA: 50,
  rowsB: 50,
  settled: 50,
  missingInB: 0,
  missingInA: 0,
  duplicateEffects: 0,
};

function evidence(changes: Partial<Evidence>): Evidence {
  return {
    figures,
    duplicatesAbsorbed: 3,
    settledSerials: new Set(['S1', 'S2']),
    serialsOfA: new Set(['S1', 'S2']),
    store: { halves: [], deadLetters: ['S1'] },
    log: [],
    violations: [],
    seconds: 12.34,
    ...changes,
  };
}

const plan = { seed: 7, transfers: 50, path: 'outbox' } as const;

describe('the report', () => {
  it('has the promised fields in the promised order', () => {
    const fields = Object.keys(reportOf(plan, evidence({})));
    expect(fields.slice(0, 12)).toEqual([
      'seed',
      'transfers',
      'settled',
      'lost',
      'duplicateEffects',
      'duplicatesAbsorbed',
      'checkBacks',
      'deadLettersMended',
      'moneyBefore',
      'moneyAfter',
      'seconds',
      'faults',
    ]);
  });

  it('counts a fault only when it was confirmed, and lists only those the path can have', () => {
    const log: Observation[] = [
      { what: 'fault-fired', fault: 'bank-b-killed', number: 9, serial: 'S1' },
      { what: 'fault-fired', fault: 'broker-killed', number: 12, serial: 'S2' },
      { what: 'fault-confirmed', fault: 'broker-killed', number: 12, serial: 'S2', seen: 'SIGKILL' },
    ];
    const report = reportOf(plan, evidence({ log }));
    expect(report.faults.map(({ name }) => name)).toEqual([
      'poison',
      'bank-b-killed',
      'bank-a-killed',
      'broker-killed',
      'connection-cut',
    ]);
    expect(report.faults.find(({ name }) => name === 'broker-killed')!.count).toBe(1);
    expect(unconfirmedFaults(report)).toEqual(['poison', 'bank-b-killed', 'bank-a-killed', 'connection-cut']);
  });

  it('counts check-backs from the frames that passed', () => {
    const log: Observation[] = [
      { what: 'check-back', serial: 'S1' },
      { what: 'check-back', serial: 'S1' },
      { what: 'swallowed', serial: 'S1' },
    ];
    expect(reportOf(plan, evidence({ log })).checkBacks).toBe(2);
  });

  it('counts a dead letter as mended only when its transfer is settled in both banks', () => {
    const report = reportOf(plan, evidence({ store: { halves: [], deadLetters: ['S1', 'S9'] } }));
    expect(report.deadLettersMended).toBe(1);
    expect(report.violations.map(({ invariant }) => invariant)).toEqual(['dead-letters-mended']);
  });

  it('keeps a violation that was only seen while all was running', () => {
    const log: Observation[] = [{ what: 'violation', invariant: 'sum-of-money', seen: '1 too many' }];
    expect(reportOf(plan, evidence({ log })).violations).toEqual([
      { invariant: 'sum-of-money', seen: '1 too many (while running)' },
    ]);
  });

  it('names half messages that were left and verdicts that were not kept', () => {
    const log: Observation[] = [{ what: 'verdict', serial: 'S2', verdict: 'rollback', checkedBack: true }];
    const store = { halves: [{ serial: 'S3', state: 'parked' }], deadLetters: [] };
    expect(reportOf(plan, evidence({ log, store })).violations.map(({ invariant }) => invariant)).toEqual([
      'halves-settled',
      'verdict-final',
    ]);
  });
});
