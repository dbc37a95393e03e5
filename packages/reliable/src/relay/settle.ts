import { run, pieces, type Steps } from '../sql/statement.ts';
import type { ClaimedRow } from './batch.ts';
import type { Settlement } from './decide.ts';
import type { RelayStatements } from './relay-statements.ts';

/** A row and what was decided about it. */
export interface Decided {
  readonly row: ClaimedRow;
  readonly settlement: Settlement;
}

export interface SettleOrder {
  readonly channel: string;
  readonly scope: string;
  readonly owner: string;
  readonly nowMs: number;
}

/** Writes decisions down; one transaction of the caller. Returns the ranges whose fence did not hold: nothing of theirs was changed. */
export function* settleRows(statements: RelayStatements, order: SettleOrder, decided: readonly Decided[]): Steps<number[]> {
  const fenced: number[] = [];
  for (const [, group] of byLease(decided)) {
    const { range, epoch } = group[0]!.row;
    const fence = { channel: order.channel, scope: order.scope, owner: order.owner, range, epoch };
    const { rows } = yield* run(statements.fenceHolds(fence));
    if (rows.length === 0) {
      fenced.push(range);
      continue;
    }
    for (const ids of pieces(group.filter(({ settlement }) => settlement.kind === 'confirmed').map(({ row }) => row.id))) {
      yield statements.deleteHeads(fence, ids);
      yield statements.deleteBodies(fence, ids);
    }
    for (const { row, settlement } of group) {
      if (settlement.kind !== 'retrying' && settlement.kind !== 'dead') continue;
      const { kind: state, attempts, tries, dueAt, outcome, reason } = settlement;
      yield statements.failed({ ...fence, id: row.id, state, attempts, tries, dueAt, outcome, reason, now: order.nowMs });
    }
  }
  return fenced;
}

function byLease(decided: readonly Decided[]): Map<string, Decided[]> {
  const groups = new Map<string, Decided[]>();
  for (const one of decided) {
    const lease = `${one.row.range}:${one.row.epoch}`;
    const group = groups.get(lease);
    if (group === undefined) groups.set(lease, [one]);
    else group.push(one);
  }
  return groups;
}
