/**
 * Settled rows that were kept so that their status can be asked for leave when their time is over: a bounded step at a time, between looks
 * that found nothing else to do, and at least once a second.
 */
import type { Clock } from '@tallystick/base';
import { run, type Steps } from '../sql/statement.ts';
import type { RelayDatabase } from './relay-database.ts';
import type { RelayStatements } from './relay-statements.ts';

const ROWS_MAX = 1000;
const INTERVAL_MS = 5_000;

export class Retention {
  readonly #statements: RelayStatements;
  readonly #database: RelayDatabase;
  readonly #channel: string;
  readonly #clock: Clock;
  #atMs = 0;

  constructor(statements: RelayStatements, database: RelayDatabase, channel: string, clock: Clock) {
    this.#statements = statements;
    this.#database = database;
    this.#channel = channel;
    this.#clock = clock;
  }

  async step(): Promise<void> {
    if (this.#clock.monotonic() < this.#atMs) return;
    const forgotten = await this.#database.atomically(this.#forget());
    // A full step is followed by the next one at the next look.
    if (forgotten < ROWS_MAX) this.#atMs = this.#clock.monotonic() + INTERVAL_MS;
  }

  *#forget(): Steps<number> {
    const old = { channel: this.#channel, now: this.#clock.now(), limit: ROWS_MAX };
    yield this.#statements.forgetBodies(old);
    return (yield* run(this.#statements.forgetHeads(old))).changes;
  }
}
