/**
 * One scenario's world: two fresh databases, a topic, the three kinds of processes, and the accounts of what was done to them. A scenario
 * starts and hurts the processes; the stage waits until all is at rest and reads both sides from outside.
 */
import { pgHandle } from './child/pg-handle.ts';
import { migrate } from '@tallystick/reliable';
import type { Arm, ChildOptions, ConfirmationOptions, DoomedOptions, WindowOptions } from './child/line.ts';
import { BANK_A, BANK_B } from './bank.ts';
import { Child, type Reached } from './child-process.ts';
import type { DefectName } from './defects.ts';
import { judge, type Violation } from './invariants.ts';
import { dropDatabase, layDatabase } from './lay-database.ts';
import { confirmedWithoutEffect, readAll, readProgress, whyStill, type Databases, type Progress } from './reading.ts';
import type { BrokerServer } from './servers/broker-server.ts';
import type { PostgresServer } from './servers/postgres-server.ts';
import type { Role, StepName } from './steps.ts';
import { until, within } from './until.ts';

export interface Servers {
  readonly a: PostgresServer;
  readonly b: PostgresServer;
  readonly broker: BrokerServer;
  /** The bundled child. */
  readonly program: string;
}

export interface StageOptions {
  readonly name: string;
  readonly transfers: number;
  readonly seed: number;
  readonly defect: DefectName | undefined;
  /** Runs that nobody waits for: longer outages and pauses. */
  readonly full: boolean;
  readonly outageMs: number;
  readonly schemaVersion: 1 | undefined;
  readonly trace: boolean;
  /** Rows of the scenario that begins with a backlog. */
  readonly backlog: number;
}

export interface Spawn {
  readonly arm?: readonly Arm[];
  /** Another way to its database: through a proxy. */
  readonly databasePort?: number;
  readonly defect?: DefectName | undefined;
  readonly parity?: 0 | 1;
  readonly old?: boolean;
  readonly window?: WindowOptions;
  readonly bulk?: boolean;
  /** Another topic than the transfers'. */
  readonly topic?: string;
  readonly gentle?: boolean;
  readonly rangesMax?: number;
}

export const KEYS = 23;
export const LEASE_MS = 900;
/** Few enough that accounts meet, enough that locks of the killed are not in everybody's way. */
export const BRANCHES = 11;
const WORKERS = 6;
/** How long a child may take to come to a step; with a defect in it, it may never. */
const STEP_WITHIN_MS = { sound: 30_000, defect: 4000 };
const POLL_MS = 100;
/** All is over and nothing has changed for so long: at rest. */
const QUIET_MS = 600;
/** With a defect in it, it may go on for ever. */
const REST_WITHIN_MS = { sound: Number.POSITIVE_INFINITY, defect: 10_000 };
/** Nothing has changed for so long and it is not over: it will never be. */
const STALLED_MS = { sound: 25_000, defect: 5000 };

export class Stage {
  readonly servers: Servers;
  readonly options: StageOptions;
  readonly poison = new Set<number>();
  /** What was done to the processes. */
  readonly faults = new Map<string, number>();
  /** What they told. */
  readonly counts = new Map<string, number>();
  readonly details = new Map<string, string>();
  /** How long each of the service's transactions took, in ms. */
  readonly took: number[] = [];
  readonly violations: Violation[] = [];
  contention = false;
  /** Messages are settled by their consumer's confirmation. */
  confirmation: ConfirmationOptions | undefined;
  window: WindowOptions | undefined;
  doomed: DoomedOptions | undefined;
  /** Later messages of a key pass its dead one. */
  passDead = false;
  /** Consumers have all three guards, with a lock for each of so many branches; 0: only the unique key. */
  branches = 0;
  allowed = 0;
  readonly #children = new Set<Child>();
  readonly #databases: Databases;
  readonly #suffix: string;
  /** Serials whose afterCommit has run. */
  readonly #told = new Set<string>();
  #started = 0;
  #rested = false;
  #givenUp = false;

  private constructor(servers: Servers, options: StageOptions) {
    this.servers = servers;
    this.options = options;
    this.#suffix = `${options.name.replaceAll('-', '_')}_${options.defect?.replaceAll('-', '_') ?? 'sound'}_${servers.broker.kind}`;
    this.#databases = { serverA: servers.a, serverB: servers.b, a: `a_${this.#suffix}`, b: `b_${this.#suffix}` };
  }

  static async set(servers: Servers, options: StageOptions): Promise<Stage> {
    const stage = new Stage(servers, options);
    const { a, b } = stage.#databases;
    await Promise.all([
      layDatabase(servers.a, a, { bank: BANK_A, keys: KEYS, version: options.schemaVersion }),
      layDatabase(servers.b, b, { bank: BANK_B, keys: KEYS }),
    ]);
    return stage;
  }

  get databaseA(): string {
    return this.#databases.a;
  }

  get databaseB(): string {
    return this.#databases.b;
  }

  get topic(): string {
    return `transfers-${this.#suffix.replaceAll('_', '-')}`;
  }

  get transfers(): number {
    return this.options.transfers;
  }

  async spawn(role: Role, spawn: Spawn = {}): Promise<Child> {
    const { arm = [], databasePort, defect, parity, old = false, bulk = false } = spawn;
    const { servers, options } = this;
    const name = `${role}-${++this.#started}`;
    const childOptions: ChildOptions = {
      role,
      name,
      broker: { kind: servers.broker.kind, endpoint: servers.broker.endpoint },
      topic: spawn.topic ?? this.topic,
      a: servers.a.url(this.#databases.a, name, role === 'consumer' ? undefined : databasePort),
      b: servers.b.url(this.#databases.b, name, role === 'consumer' ? databasePort : undefined),
      keys: KEYS,
      seed: options.seed,
      workers: WORKERS,
      allowed: this.allowed,
      leaseMs: LEASE_MS,
      defect: defect ?? options.defect,
      arm,
      poison: [...this.poison],
      parity,
      old,
      doomed: this.doomed,
      passDead: this.passDead || this.#hopeless().size > 0,
      contention: this.contention,
      confirmation: this.confirmation,
      window: spawn.window ?? this.window,
      bulk,
      gentle: spawn.gentle ?? false,
      branches: this.branches,
      rangesMax: spawn.rangesMax,
    };
    const child = await Child.start(servers.program, childOptions, {
      count: (what, detail) => {
        this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
        this.#trace(name, what, detail);
        if (detail !== '') this.details.set(what, detail);
      },
      committed: (serial) => this.#told.add(serial),
      took: (ms) => this.took.push(ms),
    });
    this.#children.add(child);
    return child;
  }

  /** The consumer first: it declares what the relay publishes to. */
  async spawnAll(): Promise<{ app: Child; relay: Child; consumer: Child }> {
    const consumer = await this.spawn('consumer');
    const [relay, app] = await Promise.all([this.spawn('relay'), this.spawn('app')]);
    return { app, relay, consumer };
  }

  /** Lets transfers up to this share of all be made. */
  allow(share: number): void {
    this.allowed = Math.max(this.allowed, Math.min(this.transfers, Math.ceil(share * this.transfers)));
    for (const child of this.#children) if (child.alive && child.role === 'app') child.allow(this.allowed);
  }

  /** With --trace: what was done and told, as it happens. */
  #trace(...words: readonly string[]): void {
    if (this.options.trace) console.error((performance.now() / 1000).toFixed(3), ...words);
  }

  fault(name: string, times = 1): void {
    this.#trace('fault', name);
    this.faults.set(name, (this.faults.get(name) ?? 0) + times);
  }

  /** Resolves when the child waits at the step; undefined, and a violation, when it never gets there. */
  async arrived(child: Child, step: StepName): Promise<Reached | undefined> {
    const reached = await this.arrivedIfAny(child, step, this.#patience(STEP_WITHIN_MS));
    if (reached === undefined)
      this.violations.push({ invariant: 'fault-came-about', seen: `${child.name} never came to ${step}` });
    return reached;
  }

  /** The same where it is no harm when it never gets there. */
  async arrivedIfAny(child: Child, step: StepName, limitMs = STEP_WITHIN_MS.defect): Promise<Reached | undefined> {
    this.#trace(child.name, 'is awaited at', step);
    return within(`${child.name} is at ${step}`, limitMs, child.at(step)).catch(() => undefined);
  }

  /** Brings database A to the newest schema, on a connection of its own. */
  async migrateA(): Promise<{ readonly from: number; readonly to: number }> {
    return this.servers.a.with(this.databaseA, (client) => migrate(pgHandle(client)));
  }

  progress(): Promise<Progress> {
    return readProgress(this.#databases);
  }

  /** Until the figures say so; false after the limit. */
  async reaches(what: string, holds: (progress: Progress) => boolean, limitMs = STEP_WITHIN_MS.sound): Promise<boolean> {
    return this.comesTrue(what, async () => holds(await this.progress().catch(() => NOTHING)), limitMs);
  }

  /** The same for anything that can be asked. */
  async comesTrue(what: string, holds: () => boolean | Promise<boolean>, limitMs = STEP_WITHIN_MS.sound): Promise<boolean> {
    const came = await this.sees(what, holds, limitMs);
    if (!came) this.violations.push({ invariant: 'came-to-rest', seen: `never: ${what}` });
    return came;
  }

  /** The same where it is no harm when it does not come true. */
  async sees(what: string, holds: () => boolean | Promise<boolean>, limitMs: number): Promise<boolean> {
    return until(what, limitMs, holds, POLL_MS).then(
      () => true,
      () => false,
    );
  }

  /** Asks again and again for so long: whatever bank A counts as confirmed has its effect. */
  async watchConfirmed(ms: number): Promise<void> {
    const limitMs = performance.now() + ms;
    do {
      const [first, ...more] = await confirmedWithoutEffect(this.#databases);
      if (first === undefined) continue;
      this.violations.push({ invariant: 'confirmed-has-effect', seen: `${first} has none, and ${more.length} more` });
      return;
    } while (performance.now() < limitMs);
  }

  /** What was to be seen has been seen: nobody waits for the rest. */
  giveUp(violation: Violation): void {
    this.violations.push(violation);
    this.#givenUp = true;
  }

  /** Lets the rest be made and waits until nothing moves any more; for scenarios that own something the processes need until then. */
  async rest(): Promise<void> {
    this.allow(1);
    await this.#rest();
    await this.#endAll();
  }

  /** Comes to rest, stops all and judges. */
  async finish(): Promise<Violation[]> {
    if (this.#givenUp) return this.violations;
    await this.rest();
    const reading = await readAll(this.#databases);
    this.violations.push(
      ...judge(reading, {
        transfers: this.transfers,
        poison: this.#hopeless(),
        toldCommitted: this.#told,
        byConsumer: this.confirmation !== undefined,
      }),
    );
    return this.violations;
  }

  async #endAll(): Promise<void> {
    for (const child of this.#children)
      if (!child.alive && !child.expectedToEnd)
        this.violations.push({
          invariant: 'child-lives',
          seen: `${child.name} ended (${child.ending}): ${child.output.trim().slice(-600)}`,
        });
    await this.stopAll();
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.stop()));
  }

  async strike(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.kill()));
    await dropDatabase(this.servers.a, this.#databases.a);
    await dropDatabase(this.servers.b, this.#databases.b);
  }

  async #rest(): Promise<void> {
    if (this.#rested) return;
    this.#rested = true;
    const stalledMs = this.#patience(STALLED_MS);
    let seen = '';
    const limitMs = performance.now() + this.#patience(REST_WITHIN_MS);
    let sinceMs = performance.now();
    for (;;) {
      const progress = await this.progress().catch(() => NOTHING);
      const now = JSON.stringify(progress);
      if (now !== seen) {
        seen = now;
        sinceMs = performance.now();
      }
      const stillMs = performance.now() - sinceMs;
      if (this.#over(progress) && stillMs >= QUIET_MS) return;
      if (stillMs >= stalledMs || performance.now() > limitMs) {
        const why = await whyStill(this.#databases).catch(String);
        this.violations.push({ invariant: 'came-to-rest', seen: `stands still at ${seen} of ${this.transfers}; ${why}` });
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Transfers that have no effect for all the time. */
  #hopeless(): ReadonlySet<number> {
    return new Set([...this.poison, ...(this.doomed?.numbers ?? [])]);
  }

  #patience({ sound, defect }: { readonly sound: number; readonly defect: number }): number {
    return this.options.defect === undefined ? sound : defect;
  }

  #over({ made, open, distinctEffects, deadInInbox, unsaid }: Progress): boolean {
    const poison = this.#hopeless().size;
    return made >= this.transfers && open === 0 && unsaid === 0 && distinctEffects >= made - poison && deadInInbox >= poison;
  }
}

const NOTHING: Progress = { made: -1, open: -1, effects: -1, distinctEffects: -1, deadInInbox: -1, unsaid: -1 };
