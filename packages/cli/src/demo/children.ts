/** The demo's child processes: their names, and the command line that starts each. Pure. */
import type { ChildOptions } from './child-options.ts';
import type { DemoFolder } from './folder.ts';
import type { PlanOptions } from './plan.ts';
import type { ChildSpec } from './supervisor.ts';

export interface Ports {
  readonly broker: number;
  /** The proxies in front of it. */
  readonly bankA: number;
  readonly bankB: number;
}

/** All transfers start within about so long, so that there is something to see and faults meet a running system. */
const spreadMs = 12_000;
const paceMsMax = 30;
/** Short for a demo; the broker's own defaults are minutes. */
const brokerTimes = [
  ['--check-after', '600'],
  ['--check-interval', '400'],
  ['--check-max', '250'],
  ['--delay-levels', '100,200,300,400,500,600,700,800'],
].flat();

export class Children {
  private readonly plan: PlanOptions;
  private readonly folder: DemoFolder;
  private readonly ports: Ports;

  constructor(plan: PlanOptions, folder: DemoFolder, ports: Ports) {
    this.plan = plan;
    this.folder = folder;
    this.ports = ports;
  }

  /** `loseUnsynced`: its disk forgets at a kill what was not synced. */
  broker(loseUnsynced: boolean): ChildSpec {
    const args = ['broker', '--json', '--port', String(this.ports.broker), '--data', this.folder.broker, ...brokerTimes];
    if (loseUnsynced) args.push('--lose-unsynced');
    if (this.plan.defect === 'ack-before-sync') args.push('--ack-before-sync');
    return { name: 'broker', args, readyLine: /"event":"ready"/ };
  }

  bankA(): ChildSpec {
    return this.child('bank-a', this.ports.bankA);
  }

  /** A second instance of bank A, which only answers check-backs. */
  standby(): ChildSpec {
    return this.child('bank-a-standby', this.ports.bankA);
  }

  bankB(): ChildSpec {
    return this.child('bank-b', this.ports.bankB);
  }

  checker(): ChildSpec {
    return this.child('checker', 0);
  }

  private child(name: string, brokerPort: number): ChildSpec {
    const { plan, folder } = this;
    const paceMs = Math.min(paceMsMax, spreadMs / plan.transfers);
    const options: ChildOptions = { plan, bankA: folder.bankA, bankB: folder.bankB, brokerPort, paceMs };
    return { name, args: [`demo-${name}`, JSON.stringify(options)] };
  }
}
