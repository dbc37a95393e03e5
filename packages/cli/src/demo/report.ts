/**
 * The result of a run as one object. Every figure is read back when all is over: from the databases (through the checker), from the broker's store, and
 * from the fault log on disk; nothing is counted from what the demo meant to do.
 */
import type { Observation } from './fault-log.ts';
import { faultTable } from './faults.ts';
import type { Figures, Violation } from './invariants.ts';
import type { PlanOptions } from './plan.ts';
import { plannedFaults } from './plan.ts';

export interface FaultCount {
  readonly name: string;
  readonly count: number;
}

export interface Report {
  readonly seed: number;
  readonly transfers: number;
  readonly settled: number;
  readonly lost: number;
  readonly duplicateEffects: number;
  readonly duplicatesAbsorbed: number;
  readonly checkBacks: number;
  readonly deadLettersMended: number;
  readonly moneyBefore: number;
  readonly moneyAfter: number;
  readonly seconds: number;
  readonly faults: readonly FaultCount[];
  readonly violations: readonly Violation[];
}

/** What the broker's store holds at the end. */
export interface StoreReading {
  /** Half messages, open or parked. */
  readonly halves: readonly { readonly serial: string; readonly state: string }[];
  /** Distinct serials among bank B's dead letters. */
  readonly deadLetters: readonly string[];
}

export interface Evidence {
  readonly figures: Figures;
  readonly duplicatesAbsorbed: number;
  /** Serials that are settled in both banks. */
  readonly settledSerials: ReadonlySet<string>;
  /** Serials in bank A's journal. */
  readonly serialsOfA: ReadonlySet<string>;
  readonly store: StoreReading;
  readonly log: readonly Observation[];
  readonly violations: readonly Violation[];
  readonly seconds: number;
}

export function reportOf(options: PlanOptions, evidence: Evidence): Report {
  const { figures, log, store } = evidence;
  const mended = store.deadLetters.filter((serial) => evidence.settledSerials.has(serial));
  return {
    seed: options.seed,
    transfers: options.transfers,
    settled: figures.settled,
    lost: figures.missingInB,
    duplicateEffects: figures.duplicateEffects,
    duplicatesAbsorbed: evidence.duplicatesAbsorbed,
    checkBacks: log.filter(({ what }) => what === 'check-back').length,
    deadLettersMended: mended.length,
    moneyBefore: figures.moneyBefore,
    moneyAfter: figures.money,
    seconds: Math.round(evidence.seconds * 10) / 10,
    faults: faultCounts(options, log),
    violations: [...brokenMeanwhile(evidence), ...evidence.violations, ...brokenByStore(evidence, mended.length)],
  };
}

/** Faults planned in this run that were never confirmed: the run proves less than it promises, so it does not pass. */
export function unconfirmedFaults(report: Report): string[] {
  return report.faults.filter(({ count }) => count === 0).map(({ name }) => name);
}

function faultCounts(options: PlanOptions, log: readonly Observation[]): FaultCount[] {
  const planned = new Set(plannedFaults(options).map(({ name }) => name));
  return faultTable
    .filter(({ name }) => planned.has(name))
    .map(({ name }) => ({ name, count: log.filter((seen) => seen.what === 'fault-confirmed' && seen.fault === name).length }));
}

/** What the checker saw broken while all was running and what looks whole again at rest. */
function brokenMeanwhile({ log, violations }: Evidence): Violation[] {
  const atRest = new Set<string>(violations.map(({ invariant }) => invariant));
  return log.flatMap((seen) =>
    seen.what === 'violation' && !atRest.has(seen.invariant)
      ? [{ invariant: seen.invariant, seen: `${seen.seen} (while running)` }]
      : [],
  );
}

function brokenByStore({ store, log, serialsOfA }: Evidence, mended: number): Violation[] {
  const found: Violation[] = [];
  if (store.halves.length > 0) {
    const states = store.halves.map(({ serial, state }) => `${serial} ${state}`).join(', ');
    found.push({ invariant: 'halves-settled', seen: `${store.halves.length} half messages left: ${states}` });
  }
  if (mended < store.deadLetters.length) {
    found.push({ invariant: 'dead-letters-mended', seen: `${store.deadLetters.length} dead letters, ${mended} of them settled` });
  }
  const rolledBack = new Set(
    log.flatMap((seen) => (seen.what === 'verdict' && seen.verdict === 'rollback' ? [seen.serial] : [])),
  );
  const moved = [...rolledBack].filter((serial) => serialsOfA.has(serial));
  if (moved.length > 0)
    found.push({ invariant: 'verdict-final', seen: `${moved.join(', ')} rolled back at the broker and debited by bank A` });
  return found;
}
