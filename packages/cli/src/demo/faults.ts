/**
 * The faults of the bank demo, as one table: what each does, which paths can have it, and the step of a transfer at which it
 * fires. A fault fires when the n-th transfer reaches its step, never by time; how it is done and how it is seen from outside
 * stands in fault-scripts.ts.
 */

/** How a transfer's message is made safe: a half message that is checked back, or a row in the outbox. */
export type Path = 'half' | 'outbox';

/**
 * Steps at which a bank reports and waits when a fault may fire there.
 * bank-a: `begin` before anything, `worked` half message stored and business logic done but nothing committed, `committed` its
 * transaction is durable and nothing confirmed yet, `sending` the message or half is about to leave, `published` (only with the
 * defect publish-before-commit) the message is out and the transaction is not committed. bank-b: `credited` its transaction is durable
 * and the message not yet acknowledged, `acked` (only with the defect ack-before-commit) the reverse.
 */
export type Step = 'begin' | 'worked' | 'committed' | 'sending' | 'published' | 'credited' | 'acked';

export interface FaultRow {
  readonly name: string;
  readonly step: Step | undefined;
  /** A later step of the same transfer at which the script has something to do as well. */
  readonly laterStep?: Step;
  /** Paths on which it can happen; with both paths it is planned once, unless `eachPath`. */
  readonly paths: readonly Path[];
  readonly eachPath?: true;
  readonly sentence: string;
}

export const faultTable = [
  {
    name: 'poison',
    step: undefined,
    paths: ['half', 'outbox'],
    sentence: 'a message that bank B cannot handle becomes a dead letter, is mended and sent again',
  },
  {
    name: 'confirmation-lost',
    step: 'begin',
    laterStep: 'committed',
    paths: ['half'],
    sentence: 'the second confirmation never arrives and the broker checks back',
  },
  {
    name: 'bank-b-killed',
    step: 'credited',
    paths: ['half', 'outbox'],
    sentence: 'bank B is killed after its commit, before its acknowledgement',
  },
  {
    name: 'bank-a-killed',
    step: 'committed',
    paths: ['half', 'outbox'],
    eachPath: true,
    sentence: 'bank A is killed after its commit, before the confirmation',
  },
  {
    name: 'bank-a-paused',
    step: 'begin',
    laterStep: 'worked',
    paths: ['half'],
    sentence: 'bank A stands still between work and commit until the verdict was given without it',
  },
  {
    name: 'broker-killed',
    step: 'sending',
    paths: ['half', 'outbox'],
    sentence: 'the broker is killed with requests unanswered',
  },
  {
    name: 'connection-cut',
    step: 'sending',
    paths: ['half', 'outbox'],
    sentence: 'the connection between bank A and the broker is cut for some seconds',
  },
] as const satisfies readonly FaultRow[];

export type FaultName = (typeof faultTable)[number]['name'];

/** The row of a fault. */
export function faultRow(name: FaultName): FaultRow {
  return faultTable.find((row) => row.name === name)!;
}
