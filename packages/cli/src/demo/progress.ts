/**
 * Follows the checker's account while all is running: writes down what it finds violated, and says when the run has come to its end: at rest (everything settled, every
 * fault seen, no half message left), or stuck (nothing has moved for long).
 */
import type { RunningAccount } from './checker.ts';
import type { Director } from './director.ts';
import type { FaultLog } from './fault-log.ts';
import type { InvariantName, Violation } from './invariants.ts';
import { plannedFaults, type PlanOptions } from './plan.ts';
import type { StoreReader } from './store-reader.ts';

export type Rest = { readonly kind: 'at-rest' } | { readonly kind: 'stuck'; readonly why: string };

/** Nothing settled, started or was confirmed for so long: the run has come to rest without being complete. */
const stuckMs = 45_000;
const stuckWithDefectMs = 7_000;

export class Progress {
  private readonly plan: PlanOptions;
  private readonly log: FaultLog;
  private readonly broken = new Set<InvariantName>();
  private latest: RunningAccount | undefined;
  private movedAt = performance.now();
  private shape = '';
  private mended = false;

  constructor(plan: PlanOptions, log: FaultLog) {
    this.plan = plan;
    this.log = log;
    log.listen((seen) => {
      if (seen.what === 'mended') this.mended = true;
      if (seen.what === 'fault-fired' || seen.what === 'fault-confirmed') this.movedAt = performance.now();
    });
  }

  /** The checker has added up once more. */
  account(account: RunningAccount): void {
    this.latest = account;
    const shape = JSON.stringify(account.figures);
    if (shape !== this.shape) this.movedAt = performance.now();
    this.shape = shape;
    for (const violation of account.violations) this.violated(violation);
  }

  /** Whether the run is over; undefined while it is not. */
  async look(director: Director, store: StoreReader): Promise<Rest | undefined> {
    if (this.settled && director.idle && (this.mended || !this.poisoned)) {
      const halves = await store.halves();
      if (halves?.length === 0) return { kind: 'at-rest' };
    }
    const limitMs = this.plan.defect === undefined || !director.idle ? stuckMs : stuckWithDefectMs;
    if (performance.now() - this.movedAt < limitMs) return undefined;
    const outstanding = director.outstanding();
    const waitingFor = outstanding.length === 0 ? '' : `, faults that did not come about: ${outstanding.join(', ')}`;
    return { kind: 'stuck', why: `nothing has moved for ${limitMs / 1000} s${waitingFor}` };
  }

  private get settled(): boolean {
    return this.latest?.figures.settled === this.plan.transfers && this.latest.figures.inProcess === 0;
  }

  private get poisoned(): boolean {
    return plannedFaults(this.plan).some(({ name }) => name === 'poison');
  }

  /** A violation does not end the run: what it leads to is read back at rest, like everything else. */
  private violated(violation: Violation): void {
    if (this.broken.has(violation.invariant)) return;
    this.broken.add(violation.invariant);
    this.log.add({ what: 'violation', ...violation });
  }
}
