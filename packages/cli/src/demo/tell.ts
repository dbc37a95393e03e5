/** Puts into words what happens during a run and what came of it. */
import { exitCodes } from '../cli-error.ts';
import type { Observation } from './fault-log.ts';
import { faultRow } from './faults.ts';
import { invariantTable } from './invariants.ts';
import { unconfirmedFaults, type Report } from './report.ts';
import { money, type View } from './view.ts';

/** Shows what was seen from outside. */
export function show(view: View, seen: Observation): void {
  switch (seen.what) {
    case 'fault-fired':
      view.fault(seen.fault, 'fired');
      return view.event(`fault ${seen.fault} at transfer ${seen.number}: ${faultRow(seen.fault).sentence}`);
    case 'fault-confirmed':
      view.fault(seen.fault, 'confirmed');
      return view.event(`seen  ${seen.fault}: ${seen.seen}`);
    case 'fault-missed':
      view.fault(seen.fault, 'missed');
      return view.event(`fault ${seen.fault} did not come about (${seen.why}); it is tried again`);
    case 'exit':
      return view.event(`${seen.name} (${seen.pid}) is gone: ${seen.signal ?? `exit ${seen.code}`}`);
    case 'check-back':
      return view.event(`the broker asks bank A about ${seen.serial}`);
    case 'dead-letter':
      view.fault('poison', 'fired');
      return view.event(`dead letter ${seen.serial}: a person reads it`);
    case 'mended':
      view.fault('poison', 'confirmed');
      return view.event(`${seen.serial} mended and sent again`);
    case 'violation':
      return view.event(`VIOLATED ${seen.invariant}: ${seen.seen}`);
    default:
  }
}

export interface Outcome {
  readonly report: Report;
  /** The run did not come to rest: why it was ended. */
  readonly stuck: string | undefined;
  readonly json: boolean;
  /** The folder of the run. */
  readonly folder: string;
}

/** Prints the outcome, complaints to standard error and the report last, and gives the exit code. */
export function tell({ report, stuck, json, folder }: Outcome): number {
  const missing = unconfirmedFaults(report);
  if (!json) console.log(forPeople(report, folder));
  for (const { invariant, seen } of report.violations)
    console.error(`invariant violated: ${invariant} (${invariantTable[invariant]}): ${seen}`);
  if (stuck !== undefined) console.error(`ended because ${stuck}`);
  if (missing.length > 0) console.error(`not seen in this run: ${missing.join(', ')}`);
  if (json) console.log(JSON.stringify(report));
  const good = report.violations.length === 0 && missing.length === 0 && stuck === undefined;
  if (good && !json) console.log('every invariant held');
  return good ? exitCodes.ok.code : exitCodes.failed.code;
}

function forPeople(report: Report, folder: string): string {
  const faults = report.faults.map(({ name, count }) => `${name} ${count}`).join(', ');
  return [
    '',
    `${report.settled} of ${report.transfers} transfers settled in ${report.seconds} s; lost ${report.lost}, effects applied twice ${report.duplicateEffects}`,
    `money before ${money(report.moneyBefore)}, after ${money(report.moneyAfter)}`,
    `repeated deliveries absorbed ${report.duplicatesAbsorbed}, check-backs ${report.checkBacks}, dead letters mended ${report.deadLettersMended}`,
    `faults seen: ${faults}`,
    `databases, store and fault log: ${folder}`,
  ].join('\n');
}
