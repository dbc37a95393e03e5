/**
 * What a run will do, derived from its seed alone: every transfer (who pays whom how much by which path), the opening balances, and
 * which fault fires at which transfer. Pure: the same options give the same plan in every process, so children get the options, not
 * the plan.
 */
import { defectRow, type DefectName } from './defects.ts';
import { faultTable, type FaultName, type FaultRow, type Path, type Step } from './faults.ts';
import { Seeded } from './seeded.ts';

export interface PlanOptions {
  readonly seed: number;
  readonly transfers: number;
  readonly path: Path | 'both';
  readonly defect?: DefectName | undefined;
}

export interface Transfer {
  /** 1 … transfers. */
  readonly number: number;
  /** A customer of bank A, who pays. */
  readonly from: string;
  /** A customer of bank B, who is paid. */
  readonly to: string;
  /** Minor units (cents). */
  readonly amountMinor: number;
  readonly path: Path;
  /** The message of this transfer is written in a form that bank B cannot handle. */
  readonly poison: boolean;
}

export interface PlannedFault {
  readonly name: FaultName;
  /** Fires when the transfer of this number reaches `step`. */
  readonly at: number;
  readonly step: Step | undefined;
  /** Only a transfer of this path will do. */
  readonly path: Path | undefined;
}

export interface Opening {
  readonly id: string;
  readonly openingMinor: number;
}

export const customersOfA = ['Ann', 'Abel', 'Ada', 'Alan', 'Amy', 'Axel'] as const;
export const customersOfB = ['Bob', 'Bea', 'Ben', 'Bess', 'Bill', 'Bo'] as const;

const amountMaxMinor = 500_00;

/** The transfer of a number. */
export function transferOf(options: PlanOptions, number: number): Transfer {
  const random = new Seeded(options.seed, `transfer ${number}`);
  return {
    number,
    from: random.pick(customersOfA),
    to: random.pick(customersOfB),
    amountMinor: random.between(1, amountMaxMinor),
    path: pathOf(options, number),
    poison: plannedFaults(options).some((fault) => fault.name === 'poison' && fault.at === number),
  };
}

/** With both paths, odd transfers go by half message and even ones by outbox: half and half. */
export function pathOf(options: PlanOptions, number: number): Path {
  if (options.path !== 'both') return options.path;
  return number % 2 === 1 ? 'half' : 'outbox';
}

/** Opening balances of bank A's customers; each could pay all transfers alone, so no transfer ever fails for want of money. */
export function openingsOfA(options: PlanOptions): readonly Opening[] {
  return openings(options, customersOfA, options.transfers * amountMaxMinor);
}

export function openingsOfB(options: PlanOptions): readonly Opening[] {
  return openings(options, customersOfB, 0);
}

function openings(options: PlanOptions, ids: readonly string[], atLeastMinor: number): readonly Opening[] {
  const random = new Seeded(options.seed, `openings ${ids[0]}`);
  return ids.map((id) => ({ id, openingMinor: atLeastMinor + random.between(100_00, 9_999_99) }));
}

/** The first of the last transfers, which are kept back until every fault has been seen. */
export function keptBackFrom({ transfers }: PlanOptions): number {
  return transfers - Math.min(12, Math.floor(transfers * 0.15)) + 1;
}

const remembered = new WeakMap<PlanOptions, readonly PlannedFault[]>();

/** The faults of a run in the order in which they are met. */
export function plannedFaults(options: PlanOptions): readonly PlannedFault[] {
  const known = remembered.get(options);
  if (known !== undefined) return known;
  const planned = options.defect === undefined ? allFaults(options) : exposingFault(options, options.defect);
  remembered.set(options, planned);
  return planned;
}

/**
 * Each fault gets its own slice of the transfers between 6 % and 70 %, in an order drawn from the seed, and a transfer inside its slice; the rest
 * of the run is left for what has to be repeated. The poison comes first: its way through the retries takes longest.
 */
function allFaults(options: PlanOptions): readonly PlannedFault[] {
  const random = new Seeded(options.seed, 'faults');
  const wanted = faultTable.flatMap((row: FaultRow & { readonly name: FaultName }) => occurrences(options, row));
  const [poison, ...others] = wanted;
  const ordered = [poison!, ...random.shuffle(others)];
  const first = Math.ceil(options.transfers * 0.06);
  const slice = Math.floor((options.transfers * 0.64) / ordered.length);
  return ordered.map(({ row, path }, i) => {
    const at = first + i * slice + random.below(Math.max(1, slice - 1));
    return { name: row.name, at: onPath(options, at, path), step: row.step, path };
  });
}

function occurrences(options: PlanOptions, row: FaultRow & { readonly name: FaultName }) {
  const paths = row.paths.filter((path) => options.path === 'both' || options.path === path);
  if (paths.length === 0) return [];
  if (row.eachPath) return paths.map((path) => ({ row, path }));
  return [{ row, path: paths.length === 1 ? paths[0] : undefined }];
}

function exposingFault(options: PlanOptions, defect: DefectName): readonly PlannedFault[] {
  const { exposedBy, step, path } = defectRow(defect)!;
  const row = faultTable.find(({ name }) => name === exposedBy)!;
  const at = new Seeded(options.seed, 'defect').between(Math.ceil(options.transfers * 0.2), Math.ceil(options.transfers * 0.5));
  return [{ name: exposedBy, at: onPath(options, at, path), step: step ?? row.step, path }];
}

function onPath(options: PlanOptions, at: number, path: Path | undefined): number {
  return path === undefined || pathOf(options, at) === path ? at : at + 1;
}
