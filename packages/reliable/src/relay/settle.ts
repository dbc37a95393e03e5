/**
 * Writing decisions down. On PostgreSQL a batch is one statement: heads and bodies of what is confirmed go, if every lease under which the
 * rows were claimed still names this owner and epoch; when one does not, the batch is split by lease. What failed is one more statement.
 * Elsewhere it is a transaction of small statements.
 */
import { run, pieces, type Steps } from '../sql/statement.ts';
import { asNumber, asText } from '../sql/values.ts';
import type { ClaimedRow } from './batch.ts';
import type { Settlement } from './decide.ts';
import { listText, type PostgresStatements } from './postgres-statements.ts';
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
  /** It was ordered before, and no answer came: it may be written already. */
  readonly repeated: boolean;
}

/** What was not written: nothing of the ranges whose fence did not hold, and no failure of rows that somebody has decided about meanwhile. */
export interface Unwritten {
  readonly fenced: readonly number[];
  readonly decidedElsewhere: ReadonlySet<ClaimedRow>;
}

/** On PostgreSQL: no transaction around it is needed. */
export function* settleTogether(
  statements: PostgresStatements,
  order: SettleOrder,
  decided: readonly Decided[],
): Steps<Unwritten> {
  const fenced: number[] = [];
  const decidedElsewhere = new Set<ClaimedRow>();
  if (!(yield* settleUnder(statements, order, decided, decidedElsewhere)))
    for (const group of byLease(decided).values())
      if (!(yield* settleUnder(statements, order, group, decidedElsewhere))) fenced.push(group[0]!.row.range);
  return { fenced, decidedElsewhere };
}

/** False: not all leases hold, and nothing was changed. */
function* settleUnder(
  statements: PostgresStatements,
  order: SettleOrder,
  decided: readonly Decided[],
  decidedElsewhere: Set<ClaimedRow>,
): Steps<boolean> {
  const leases = new Map<number, number>();
  const gone: ClaimedRow[] = [];
  const changed: Changed[] = [];
  for (const { row, settlement } of decided) {
    leases.set(row.range, row.epoch);
    if (settlement.kind === 'deleted') gone.push(row);
    else if (settlement.kind !== 'left') changed.push({ row, settlement });
  }
  const { channel, scope, owner, repeated } = order;
  const fence = {
    channel,
    scope,
    owner,
    ranges: listText([...leases.keys()]),
    epochs: listText([...leases.values()]),
    leases: leases.size,
  };
  if (gone.length > 0) {
    const { rows } = yield* run(statements.settle({ ids: listText(gone.map(({ id }) => id)), ...fence }));
    if (asNumber(rows[0]?.['leases']) !== leases.size) return false;
  }
  if (changed.length === 0) return true;
  const { sequences, changes } = changesOf(changed, repeated);
  const { rows } = yield* run(statements.changed({ sequences, changes, ...fence }));
  if (asNumber(rows[0]?.['leases']) !== leases.size) return false;
  const written = new Set(asText(rows[0]?.['written']).split(',').map(Number));
  for (const { row, settlement } of changed)
    if (accountOf(row, settlement.kind) !== null && !written.has(row.sequence)) decidedElsewhere.add(row);
  return true;
}

interface Changed {
  readonly row: ClaimedRow;
  readonly settlement: Exclude<Settlement, { readonly kind: 'deleted' | 'left' }>;
}

function changesOf(changed: readonly Changed[], repeated: boolean) {
  const byRow = changed.map(({ row, settlement }) => {
    const { kind, attempts, tries, waitMs, outcome, reason } = settlement;
    const given = [kind, attempts, tries, waitMs, outcome, reason];
    return [row.sequence, [...given, accountOf(row, kind), row.id, givenUpFrom(settlement), repeated ? row.started : null]];
  });
  return {
    sequences: listText(changed.map(({ row }) => row.sequence)),
    changes: JSON.stringify(Object.fromEntries(byRow)),
  };
}

/** Of which account of tries a failure is one: where a person has begun a new one meanwhile, it counts for nothing. What was confirmed always counts. */
function accountOf(row: ClaimedRow, kind: Settlement['kind']): number | null {
  return kind === 'retrying' || kind === 'dead' ? row.tries : null;
}

/** The state in which a message must be yet if nobody shall send it any more: a person may have wanted it tried again meanwhile. */
function givenUpFrom({ outcome }: Changed['settlement']): string | null {
  return outcome === 'unconfirmed' ? 'sent' : null;
}

/** Anywhere: one transaction of the caller. */
export function* settleApart(statements: RelayStatements, order: SettleOrder, decided: readonly Decided[]): Steps<Unwritten> {
  const fenced: number[] = [];
  const decidedElsewhere = new Set<ClaimedRow>();
  for (const group of byLease(decided).values()) {
    const { range, epoch } = group[0]!.row;
    const fence = { channel: order.channel, scope: order.scope, owner: order.owner, range, epoch };
    const { rows } = yield* run(statements.fenceHolds(fence));
    if (rows.length === 0) {
      fenced.push(range);
      continue;
    }
    const idsOf = (kind: Settlement['kind']): string[] =>
      group.filter(({ settlement }) => settlement.kind === kind).map(({ row }) => row.id);
    for (const { row, settlement } of group) {
      if (settlement.kind === 'deleted' || settlement.kind === 'left') continue;
      const { kind: state, attempts, tries, waitMs: wait, outcome, reason } = settlement;
      const before = accountOf(row, state);
      const found = { before, from: givenUpFrom(settlement), counted: order.repeated ? row.started : null };
      const given = { id: row.id, now: order.nowMs, ...fence, ...found };
      const { changes: written } = yield* run(statements.changed({ state, attempts, tries, wait, outcome, reason, ...given }));
      if (written === 0 && before !== null) decidedElsewhere.add(row);
    }
    for (const ids of pieces(idsOf('deleted'))) yield statements.deleteHeads(fence, ids);
    for (const ids of pieces([...idsOf('deleted'), ...idsOf('confirmed')])) yield statements.deleteBodies(fence, ids);
  }
  return { fenced, decidedElsewhere };
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
