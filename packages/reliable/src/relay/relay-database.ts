/**
 * The relay's side of its database handle: one piece of work at a time, never inside somebody else's transaction, and a pause that
 * grows while the database refuses. An alarm only when that lasts: a moment's lock is everyday life.
 */
import { backoffMs, type Clock, type Random } from '@tallystick/base';
import { fail } from '../errors.ts';
import { atomically, perform, type Session } from '../sql/session.ts';
import type { Steps } from '../sql/statement.ts';
import type { Alarm } from './alarm.ts';

export class RelayDatabase {
  readonly session: Session;
  /** Monotonic time before which the database is left in peace. */
  pausedUntilMs = 0;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #tell: (alarm: Alarm) => void;
  #failures = 0;
  #told = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(session: Session, ports: { readonly clock: Clock; readonly random: Random }, tell: (alarm: Alarm) => void) {
    this.session = session;
    this.#clock = ports.clock;
    this.#random = ports.random;
    this.#tell = tell;
  }

  run<T>(steps: Steps<T>): Promise<T> {
    return this.session.kind === 'sync' ? this.#runNow(steps) : this.#runNext(steps);
  }

  atomically<T>(steps: Steps<T>): Promise<T> {
    return this.run(atomically(this.session.dialect, steps));
  }

  /** On a synchronous handle steps end before anything else can begin. An open transaction there is the application's, and would swallow them. */
  async #runNow<T>(steps: Steps<T>): Promise<T> {
    const open = this.session.inTransaction();
    // No await for a synchronous handle: its answer must still be true when the steps begin.
    if (open === true || (open !== false && (await open))) throw fail('ALREADY_IN_TRANSACTION');
    return perform(this.session, steps);
  }

  /** On an asynchronous one they queue: looks and landings share the connection. */
  #runNext<T>(steps: Steps<T>): Promise<T> {
    const next = this.#last.then(() => this.#runNow(steps));
    this.#last = next.catch(() => undefined);
    return next;
  }

  isLocked(error: unknown): boolean {
    return this.session.dialect.isLocked(error);
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
}

const PAUSE = { firstMs: 10, maxMs: 5_000 };
const LOCKS_BEFORE_ALARM = 8;
