/**
 * Holds the relay's leases: takes what is free, renews after a third of the lease, notices what was lost, gives back at the end. It
 * knows two monotonic times: when to renew, and until when its own clock is certain that nobody else may push.
 */
import type { Clock } from '@tallystick/base';
import type { Alarm } from './alarm.ts';
import type { ClaimedRow } from './batch.ts';
import {
  keepLeases,
  makeLeases,
  planLeases,
  RANGES,
  releaseLeases,
  seeLeases,
  shortenLeases,
  type LeaseIdentity,
  type LeaseSeen,
} from './leases.ts';
import type { Dialect } from '../sql/dialect.ts';
import type { Steps } from '../sql/statement.ts';

/** Where the leases lie. */
export interface LeaseDatabase {
  readonly session: { readonly dialect: Dialect };
  run<T>(steps: Steps<T>): Promise<T>;
  atomically<T>(steps: Steps<T>): Promise<T>;
}

/** How often a relay that wants more ranges looks for them. */
const SEE_INTERVAL_MS = 100;

export class LeaseKeeper {
  readonly #database: LeaseDatabase;
  readonly #identity: LeaseIdentity;
  readonly #rangesMax: number;
  readonly #clock: Clock;
  readonly #tell: (alarm: Alarm) => void;
  /** A renewal or taking ended without an answer: leases may be ours that we do not know of, and nothing is claimed beside them. */
  #lostTrack = false;
  /** Range → epoch. */
  #held: ReadonlyMap<number, number> = new Map();
  #renewAtMs = 0;
  #seeAtMs = 0;
  #safeUntilMs = 0;

  constructor(database: LeaseDatabase, identity: LeaseIdentity, rangesMax: number, clock: Clock, tell: (alarm: Alarm) => void) {
    this.#database = database;
    this.#identity = identity;
    this.#rangesMax = rangesMax;
    this.#clock = clock;
    this.#tell = tell;
  }

  get held(): ReadonlyMap<number, number> {
    return this.#held;
  }

  /** Monotonic time of the next renewal. */
  get renewAtMs(): number {
    return this.#renewAtMs;
  }

  /** Whether the rows' leases are certainly still ours, by our own clock and knowledge. */
  safe(rows: readonly ClaimedRow[]): boolean {
    return this.#clock.monotonic() < this.#safeUntilMs && rows.every(({ range, epoch }) => this.#held.get(range) === epoch);
  }

  /** What is free is looked for at the next occasion, however short ago it was. */
  seeSoon(): void {
    this.#seeAtMs = 0;
  }

  /** Renews what is due and takes what is free; one that has nothing to write only reads. Answers whether other ranges are held now. */
  async keep(): Promise<boolean> {
    const { dialect } = this.#database.session;
    const now = this.#clock.monotonic();
    const renewDue = this.#held.size > 0 && now >= this.#renewAtMs;
    if (!renewDue && (this.#held.size >= this.#rangesMax || now < this.#seeAtMs)) return false;
    this.#seeAtMs = now + Math.min(SEE_INTERVAL_MS, this.#identity.leaseMs / 20);
    const wallMs = this.#clock.now();
    const lostTrack = this.#lostTrack ? this.#identity.owner : '';
    const plan = planLeases(await this.#see(wallMs), this.#held, this.#rangesMax, lostTrack);
    this.lost(plan.lost);
    if (plan.take.length === 0 && !(renewDue && plan.renew.length > 0)) return plan.lost.length > 0;
    const before = this.#held;
    const keeping = keepLeases(dialect, this.#identity, plan, wallMs, lostTrack);
    this.#lostTrack = true;
    this.#held = await this.#write(keeping);
    this.#lostTrack = false;
    this.#safeUntilMs = now + this.#identity.leaseMs;
    this.#renewAtMs = now + this.#identity.leaseMs / 3;
    for (const firstShard of before.keys()) if (!this.#held.has(firstShard)) this.#tell({ kind: 'fenced', firstShard });
    return plan.lost.length > 0 || plan.take.length > 0 || this.#held.size !== before.size;
  }

  /** On a server each row by itself: a process that is stopped inside a transaction would keep its heir waiting for its locks. */
  #write<T>(steps: Steps<T>): Promise<T> {
    return this.#database.session.dialect.name === 'sqlite' ? this.#database.atomically(steps) : this.#database.run(steps);
  }

  /** All leases of the scope; those that are not there, at first or because somebody has emptied the table, are made. */
  async #see(wallMs: number): Promise<LeaseSeen[]> {
    const { dialect } = this.#database.session;
    const seen = await this.#database.run(seeLeases(dialect, this.#identity, wallMs));
    if (seen.some(({ farAhead }) => farAhead === true)) await this.#write(shortenLeases(dialect, this.#identity, wallMs));
    if (seen.length >= RANGES) return seen;
    await this.#database.atomically(makeLeases(dialect, this.#identity.scope));
    return this.#database.run(seeLeases(dialect, this.#identity, wallMs));
  }

  /** These ranges have changed hands. */
  lost(ranges: readonly number[]): void {
    for (const firstShard of ranges) if (this.#held.has(firstShard)) this.#tell({ kind: 'fenced', firstShard });
    if (ranges.length > 0) this.#held = new Map([...this.#held].filter(([range]) => !ranges.includes(range)));
  }

  /** Gives all back. If the database refuses they expire by themselves. */
  async release(): Promise<void> {
    const held = this.#held;
    this.#held = new Map();
    if (held.size === 0) return;
    await this.#database.atomically(releaseLeases(this.#database.session.dialect, this.#identity, held)).catch(() => undefined);
  }
}
