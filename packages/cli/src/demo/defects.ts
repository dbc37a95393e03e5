/**
 * Defects that can be built into the demo's own code (never into the packages it uses), each with the fault that exposes it. A run with
 * a defect must end with a violated invariant: that proves that the faults bite and that the checker sees.
 *
 * With a defect in, two nets under it are taken away, because they would mend what it broke and hide it: bank A does not send
 * unconfirmed transfers again, and only the exposing fault is planned.
 */
import type { FaultName, Path, Step } from './faults.ts';

export interface DefectRow {
  readonly name: string;
  readonly exposedBy: FaultName;
  /** Where the fault fires when that differs from its usual step. */
  readonly step?: Step;
  /** The path the exposing transfer must take. */
  readonly path?: Path;
  readonly sentence: string;
}

export const defectTable = [
  {
    name: 'no-inbox',
    exposedBy: 'bank-b-killed',
    sentence: 'bank B credits every delivery without remembering what it has seen',
  },
  {
    name: 'publish-before-commit',
    exposedBy: 'bank-a-killed',
    step: 'published',
    path: 'outbox',
    sentence: 'bank A publishes first and commits afterwards',
  },
  {
    name: 'ack-before-commit',
    exposedBy: 'bank-b-killed',
    step: 'acked',
    sentence: 'bank B acknowledges a message first and commits its effect afterwards',
  },
  {
    name: 'no-check-back',
    exposedBy: 'confirmation-lost',
    path: 'half',
    sentence: 'bank A answers every check-back with "unknown"',
  },
  {
    name: 'no-fence',
    exposedBy: 'bank-a-paused',
    path: 'half',
    sentence: 'bank A answers "rollback" without making a later commit impossible',
  },
  {
    name: 'ack-before-sync',
    exposedBy: 'broker-killed',
    path: 'outbox',
    sentence: 'the broker acknowledges what its disk has not synced',
  },
] as const satisfies readonly DefectRow[];

export type DefectName = (typeof defectTable)[number]['name'];

/** The row of a defect, or undefined when there is none of that name. */
export function defectRow(name: string): (DefectRow & { readonly name: DefectName }) | undefined {
  return defectTable.find((row) => row.name === name);
}
