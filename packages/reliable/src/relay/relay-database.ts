/**
 * The relay's side of its database: work on connections of its own, at most `connectionsMax` at once, so that claims and settles need not
 * wait for each other; a pause that grows while the database refuses; and how long its answers took, for the governor. An alarm
 * only when trouble lasts: a moment's lock is everyday life. A connection that breaks, or on which a statement gets no answer (its server
 * may be gone without a word), is replaced at the next piece of work.
 *
 * Looks, flights and retention are counted apart: a database that is read and takes no writes would be claimed from, and its rows pushed, again and
 * again.
 */
import { backoffMs, type Clock, type Random, type Timers } from '@tallystick/base';
import { useInTime, type AnswerLimit } from '../answer-in-time.ts';
import type { Connections } from '../sql/connections.ts';
import type { Dialect } from '../sql/dialect.ts';
import { atomically } from '../sql/session.ts';
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
  readonly #limit: AnswerLimit;
  #slowestMs = 0;
  readonly #failures: Record<RelayWork, number> = { look: 0, flight: 0, retention: 0 };
  /** Whose refusals a person was told of. */
  #told: RelayWork | undefined;

  constructor(
    connections: Connections,
    { connectionsMax, databaseAfterMs }: { readonly connectionsMax: number; readonly databaseAfterMs: number },
    ports: { readonly clock: Clock; readonly random: Random; readonly timers: Timers },
    tell: (alarm: Alarm) => void,
  ) {
    this.dialect = connections.dialect;
    this.#connections = connections;
    this.#connectionsMax = connectionsMax;
    this.#clock = ports.clock;
    this.#random = ports.random;
    this.#limit = { databaseAfterMs, timers: ports.timers };
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
      return await useInTime(this.#connections, () => steps, this.#limit);
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

  /** What was pushed could not be written down: as little as possible is pushed until it can. */
  get refusesFlights(): boolean {
    return this.#failures.flight > 0;
  }

  worked(work: RelayWork): void {
    this.#failures[work] = 0;
    const { look, flight } = this.#failures;
    if (this.#told === undefined || look > 0 || flight > 0 || this.#failures[this.#told] > 0) return;
    this.#told = undefined;
    this.#tell({ kind: 'database-over' });
  }

  /**
   * `times`: how often in a row the same piece of work was refused, when it goes on trying by itself: then nothing else is kept waiting, least of
   * all the renewal of leases, without which what was pushed and is not written down would be pushed again.
   */
  refused(error: unknown, work: RelayWork, times = 1): void {
    const failures = (this.#failures[work] = Math.max(this.#failures[work] + 1, times));
    if (times === 1 && work !== 'retention')
      this.pausedUntilMs = this.#clock.monotonic() + backoffMs(PAUSE, failures, this.#random.u32());
    if (this.#told !== undefined || (this.isLocked(error) && failures < LOCKS_BEFORE_ALARM)) return;
    this.#told = work;
    this.#tell({ kind: 'database', error });
  }

  close(): Promise<void> {
    return this.#connections.close();
  }
}

/** Leases and claims; bodies and settling; what goes in the end, which nothing waits for. */
type RelayWork = 'look' | 'flight' | 'retention';

const PAUSE = { firstMs: 10, maxMs: 5_000 };
/** Refusals in a row of what may pass by itself before a person is told. */
export const LOCKS_BEFORE_ALARM = 8;
