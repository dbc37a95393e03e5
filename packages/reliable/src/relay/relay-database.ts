/**
 * The relay's side of its database: work on connections of its own, at most `connectionsMax` at once, so that claims and settles need not
 * wait for each other; a pause that grows while the database refuses; and how long its answers took, for the governor. An alarm
 * only when trouble lasts: a moment's lock is everyday life. A connection that breaks is replaced at the next piece of work.
 */
import { backoffMs, type Clock, type Random } from '@tallystick/base';
import type { Connections } from '../sql/connections.ts';
import type { Dialect } from '../sql/dialect.ts';
import { atomically, perform } from '../sql/session.ts';
import type { Steps } from '../sql/statement.ts';
import type { Alarm } from './alarm.ts';

export class RelayDatabase {
  readonly dialect: Dialect;
  /** Monotonic time before which the database is left in peace. */
  pausedUntilMs = 0;
  readonly #connections: Connections;
  readonly #connectionsMax: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #tell: (alarm: Alarm) => void;
  #inUse = 0;
  readonly #waiting: (() => void)[] = [];
  #slowestMs = 0;
  #failures = 0;
  #told = false;

  constructor(
    connections: Connections,
    connectionsMax: number,
    ports: { readonly clock: Clock; readonly random: Random },
    tell: (alarm: Alarm) => void,
  ) {
    this.dialect = connections.dialect;
    this.#connections = connections;
    this.#connectionsMax = connectionsMax;
    this.#clock = ports.clock;
    this.#random = ports.random;
    this.#tell = tell;
  }

  /** As the lease keeper asks for the dialect. */
  get session(): { readonly dialect: Dialect } {
    return this;
  }

  /** `felt`: how long it takes says something about the database; a sweep may walk far. */
  async run<T>(steps: Steps<T>, felt = true): Promise<T> {
    const began = this.#clock.monotonic();
    if (this.#inUse >= this.#connectionsMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#inUse++;
    try {
      return await this.#connections.use((session) => perform(session, steps));
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#inUse--;
      else next();
      if (felt) this.#slowestMs = Math.max(this.#slowestMs, this.#clock.monotonic() - began);
    }
  }

  atomically<T>(steps: Steps<T>): Promise<T> {
    return this.run(atomically(this.dialect, steps));
  }

  /** The longest a piece of work has taken, waiting included, since this was asked last. */
  slowestMs(): number {
    const slowest = this.#slowestMs;
    this.#slowestMs = 0;
    return slowest;
  }

  isLocked(error: unknown): boolean {
    return this.dialect.isLocked(error);
  }

  worked(): void {
    this.#failures = 0;
    if (!this.#told) return;
    this.#told = false;
    this.#tell({ kind: 'database-over' });
  }

  refused(error: unknown): void {
    this.#failures++;
    this.pausedUntilMs = this.#clock.monotonic() + backoffMs(PAUSE, this.#failures, this.#random.u32());
    if (this.#told || (this.isLocked(error) && this.#failures < LOCKS_BEFORE_ALARM)) return;
    this.#told = true;
    this.#tell({ kind: 'database', error });
  }

  close(): Promise<void> {
    return this.#connections.close();
  }
}

const PAUSE = { firstMs: 10, maxMs: 5_000 };
const LOCKS_BEFORE_ALARM = 8;
