/**
 * Fires the planned faults and believes none of them until it was seen from outside. A child that reaches a watched step waits here; when it is the
 * planned transfer's turn, the fault's script runs; when the script comes back with evidence, the fault is confirmed, else it is planned again
 * for a later transfer (someone else may have killed the process in between).
 *
 * states of a fault: planned → active (its script runs; one at a time) → confirmed, or → planned again, or → given up after `attemptsMax`.
 * A planned transfer that reaches its step while another fault is active waits there for that one's end; all others pass.
 *
 * The last transfers are kept back at their beginning while a fault is outstanding, so that one that has to be repeated finds a transfer to
 * happen to; `spare` lets them go one by one.
 */
import type { Leave, Place } from './child.ts';
import type { FaultLog } from './fault-log.ts';
import { faultRow, type FaultName, type Path, type Step } from './faults.ts';
import type { PlannedFault } from './plan.ts';

/** A child waiting at a step. */
export interface ReachedStep {
  readonly child: string;
  readonly id: number;
  readonly step: Step;
  readonly number: number;
  readonly serial: string;
  readonly place: Place | undefined;
  /** Lets the child go on; only the first call counts. */
  leave(leave: Leave): void;
}

/** Does a fault and watches it from outside: a sentence of what was seen, or undefined when it did not come about. */
export type Script = (reached: ReachedStep, expect: Expect) => Promise<string | undefined>;

/** Waits until the same transfer reaches a later step; that step must stand in the fault's row. */
export type Expect = (step: Step, number: number) => Promise<ReachedStep>;

interface Tracked {
  readonly planned: PlannedFault;
  state: 'planned' | 'active' | 'confirmed' | 'given-up';
  attempts: number;
}

/** Transfers run side by side; the n-th is given up for its fault when one so much later reaches the step. */
const overtakenBy = 8;
const attemptsMax = 15;

export class Director {
  private readonly faults: Tracked[];
  private readonly scripts: ReadonlyMap<FaultName, Script>;
  private readonly log: FaultLog;
  private readonly pathOf: (number: number) => Path;
  private readonly keptFrom: number;
  private waiting: ReachedStep[] = [];
  private kept: ReachedStep[] = [];
  private active: Tracked | undefined;
  private expected:
    { readonly step: Step; readonly number: number; readonly resolve: (reached: ReachedStep) => void } | undefined;
  /** Called when the list of watched steps has become shorter. */
  onWatchesChanged: () => void = () => {};

  /** `keptFrom`: number of the first transfer that is kept back. */
  constructor(
    planned: readonly PlannedFault[],
    scripts: ReadonlyMap<FaultName, Script>,
    pathOf: (number: number) => Path,
    keptFrom: number,
    log: FaultLog,
  ) {
    this.keptFrom = keptFrom;
    this.faults = planned.map((fault) => ({ planned: fault, state: 'planned', attempts: 0 }));
    this.scripts = scripts;
    this.pathOf = pathOf;
    this.log = log;
  }

  /** Steps at which children have to wait, each from the first transfer that can matter. */
  watches(): { step: Step; from: number }[] {
    if (this.idle) return [];
    const wanted = this.faults.filter(isOutstanding).flatMap(({ planned }) => {
      const { laterStep } = faultRow(planned.name);
      return [planned.step!, ...(laterStep === undefined ? [] : [laterStep])].map((step) => ({ step, from: planned.at }));
    });
    return [...wanted, { step: 'begin', from: this.keptFrom }];
  }

  /** True when no fault is active and none that could still fire is planned. */
  get idle(): boolean {
    return !this.faults.some(isOutstanding);
  }

  /** Names of the faults that still wait for their transfer. */
  outstanding(): FaultName[] {
    return this.faults.filter(isOutstanding).map(({ planned }) => planned.name);
  }

  reached(step: ReachedStep): void {
    if (this.expected?.step === step.step && this.expected.number === step.number) {
      this.expected.resolve(step);
      this.expected = undefined;
      return;
    }
    if (this.faultFor(step) !== undefined) {
      this.waiting.push(step);
      this.serve();
    } else if (step.step === 'begin' && step.number >= this.keptFrom && !this.idle) this.kept.push(step);
    else step.leave('go');
  }

  /** To be called now and then: lets one transfer go that was kept back, if nothing else is going on. */
  spare(): void {
    if (this.active === undefined && this.waiting.length === 0) this.kept.shift()?.leave('go');
  }

  /** Forgets what a dead child was waiting for. */
  gone(child: string): void {
    this.waiting = this.waiting.filter((step) => step.child !== child);
    this.kept = this.kept.filter((step) => step.child !== child);
  }

  /** Lets everyone go and fires nothing more. */
  stop(): void {
    this.faults.length = 0;
    for (const step of [...this.waiting.splice(0), ...this.kept.splice(0)]) step.leave('go');
  }

  private serve(): void {
    while (this.active === undefined) {
      const step = this.waiting.shift();
      if (step === undefined) return;
      const fault = this.faultFor(step);
      if (fault === undefined) {
        step.leave('go');
        continue;
      }
      this.active = fault;
      this.fire(fault, step);
    }
  }

  private faultFor(step: ReachedStep): Tracked | undefined {
    return this.faults.find(({ state, planned, attempts }) => {
      if (state !== 'planned' || planned.step !== step.step) return false;
      if (planned.path !== undefined && this.pathOf(step.number) !== planned.path) return false;
      return step.number === planned.at || step.number > planned.at + (attempts > 0 ? 0 : overtakenBy);
    });
  }

  private fire(fault: Tracked, step: ReachedStep): void {
    const { name } = fault.planned;
    fault.state = 'active';
    fault.attempts++;
    this.log.add({ what: 'fault-fired', fault: name, number: step.number, serial: step.serial });
    const script = this.scripts.get(name);
    const done = script === undefined ? Promise.resolve(undefined) : script(step, (next, number) => this.expect(next, number));
    void done.catch((error: unknown) => this.miss(fault, step, String(error))).then((seen) => this.settle(fault, step, seen));
  }

  private expect(step: Step, number: number): Promise<ReachedStep> {
    return new Promise((resolve) => (this.expected = { step, number, resolve }));
  }

  private settle(fault: Tracked, step: ReachedStep, seen: string | undefined): void {
    step.leave('go');
    const { name } = fault.planned;
    if (seen !== undefined) {
      fault.state = 'confirmed';
      this.log.add({ what: 'fault-confirmed', fault: name, number: step.number, serial: step.serial, seen });
    } else {
      this.miss(fault, step, 'not seen from outside');
      fault.state = fault.attempts < attemptsMax ? 'planned' : 'given-up';
    }
    if (this.active === fault) {
      this.active = undefined;
      this.expected = undefined;
    }
    this.onWatchesChanged();
    this.serve();
    if (this.idle) for (const kept of this.kept.splice(0)) kept.leave('go');
  }

  private miss(fault: Tracked, step: ReachedStep, why: string): undefined {
    this.log.add({ what: 'fault-missed', fault: fault.planned.name, number: step.number, why });
  }
}

function isOutstanding({ state, planned }: Tracked): boolean {
  return (state === 'planned' || state === 'active') && planned.step !== undefined;
}
