/**
 * The child's end of the pipe to the harness: it announces armed steps and waits there, tells what it saw, and takes orders. Where nothing
 * is armed a step costs a map lookup.
 */
import type { DefectName } from '../defects.ts';
import type { Role, StepName } from '../steps.ts';
import type { BrokerKind } from '../servers/broker-server.ts';

export interface ChildOptions {
  readonly role: Role;
  /** Its application_name, and a relay's name in the lease table. */
  readonly name: string;
  readonly broker: { readonly kind: BrokerKind; readonly endpoint: string };
  readonly topic: string;
  /** Databases A and B. */
  readonly a: string;
  readonly b: string;
  readonly keys: number;
  readonly seed: number;
  /** Transfers made at once. */
  readonly workers: number;
  /** Transfers that may be made when it starts; `allow` raises it. */
  readonly allowed: number;
  readonly leaseMs: number;
  readonly defect: DefectName | undefined;
  readonly arm: readonly Arm[];
  /** Numbers whose message kills the consumer that handles it. */
  readonly poison: readonly number[];
  /** Messages whose handler always fails, and after how many failures they are dead. */
  readonly doomed: DoomedOptions | undefined;
  /** Later messages of a key pass its dead one. */
  readonly passDead: boolean;
  /** Only numbers that leave this rest when divided by two. */
  readonly parity: 0 | 1 | undefined;
  /** As a program from before schema version 2: writes and relays by its columns. */
  readonly old: boolean;
  /** Transactions get in each other's way. */
  readonly contention: boolean;
  /** Messages are settled by their consumer's confirmation; absent: by the broker's. */
  readonly confirmation: ConfirmationOptions | undefined;
  /** How long the consumer remembers what it has handled; absent: as long as the package does by default. */
  readonly window: WindowOptions | undefined;
  /** The relay takes as many rows at once as it does by default, not as few as show what happens between batches. */
  readonly bulk: boolean;
  /** The relay is told to spare the database. */
  readonly gentle: boolean;
  /** Of so many branches; the consumer's handler has the first two guards, too: a lock on the branch, and the business's own look. 0: it has neither. */
  readonly branches: number;
  /** How many of the 16 ranges the relay takes at most; absent: all. */
  readonly rangesMax: number | undefined;
}

export interface DoomedOptions {
  readonly numbers: readonly number[];
  readonly attemptsMax: number;
}

export interface ConfirmationOptions {
  readonly withinMs: number;
  /** Transfers with an even number are confirmed by message to this topic. */
  readonly replies: string;
  /** The others by request to this port of bank A. */
  readonly port: number;
  /** Which proves that they may. */
  readonly token: string;
  /** The confirmation of one in so many transfers is lost on its way once: neither broker nor bank A ever sees it. */
  readonly lostEvery: number;
}

export interface WindowOptions {
  readonly keepKeysMs: number;
  readonly redeliveryMs: number;
  readonly forgetIntervalMs: number;
  readonly oldMessages: 'handle' | 'hold';
}

/** Wait at this step, at its n-th time from now (default: the next). */
export interface Arm {
  readonly step: StepName;
  readonly nth?: number;
}

export type FromChild =
  | { readonly event: 'ready' }
  | { readonly event: 'reached'; readonly step: StepName; readonly number: number; readonly serial: string }
  /** A transaction's afterCommit has run. */
  | { readonly event: 'committed'; readonly serial: string }
  /** A transaction of the service. */
  | { readonly event: 'took'; readonly ms: number }
  | { readonly event: 'count'; readonly what: string; readonly detail?: string };

export type ToChild =
  | { readonly order: 'arm'; readonly arm: Arm }
  | { readonly order: 'allow'; readonly upTo: number }
  | { readonly order: 'go' }
  | { readonly order: 'stop' };

export class Line {
  /** Called when `allow` has come. */
  onAllow: () => void = () => undefined;
  onStop: () => void = () => process.exit(0);
  allowed: number;
  readonly #armed = new Map<StepName, number>();
  readonly #waiting: (() => void)[] = [];

  constructor(options: ChildOptions) {
    this.allowed = options.allowed;
    for (const arm of options.arm) this.#arm(arm);
    process.on('message', (message: ToChild) => this.#take(message));
    // The harness has gone: nobody wants this process any more.
    process.on('disconnect', () => process.exit(1));
  }

  ready(): void {
    this.#tell({ event: 'ready' });
  }

  /** Undefined where nobody waits for this step; else a promise that resolves when the harness says go. */
  reached(step: StepName, number: number, serial: string): Promise<void> | undefined {
    const left = this.#armed.get(step);
    if (left === undefined) return undefined;
    if (left > 1) {
      this.#armed.set(step, left - 1);
      return undefined;
    }
    this.#armed.delete(step);
    this.#tell({ event: 'reached', step, number, serial });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  armed(step: StepName): boolean {
    return this.#armed.has(step);
  }

  count(what: string, detail?: string): void {
    this.#tell(detail === undefined ? { event: 'count', what } : { event: 'count', what, detail });
  }

  took(ms: number): void {
    this.#tell({ event: 'took', ms });
  }

  committed(serial: string): void {
    this.#tell({ event: 'committed', serial });
  }

  #arm({ step, nth }: Arm): void {
    this.#armed.set(step, nth ?? 1);
  }

  #take(message: ToChild): void {
    if (message.order === 'arm') this.#arm(message.arm);
    else if (message.order === 'go') for (const go of this.#waiting.splice(0)) go();
    else if (message.order === 'stop') this.onStop();
    else {
      this.allowed = Math.max(this.allowed, message.upTo);
      this.onAllow();
    }
  }

  #tell(message: FromChild): void {
    process.send?.(message);
  }
}
