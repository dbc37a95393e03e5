/**
 * What nobody needs any more leaves the relay's table, a bounded step at a time: settled rows that were kept so that their status can be asked
 * for, when their time is over, and what a person has buried, `keepBuriedMs` later. At most every five seconds, at every look while more is due,
 * and also under a load that never ends.
 */
import type { Clock } from '@tallystick/base';
import { forgetBuried, type OldBuried } from '../buried.ts';
import { run, type Steps } from '../sql/statement.ts';
import type { MessageTable } from '../sql/tables.ts';
import type { RelayDatabase } from './relay-database.ts';
import type { RelayStatements } from './relay-statements.ts';

const ROWS_MAX = 1000;
const INTERVAL_MS = 5_000;

interface RetentionOptions {
  readonly table: MessageTable;
  readonly channel: string;
  readonly keepBuriedMs: number;
}

export class Retention {
  readonly #statements: RelayStatements;
  readonly #database: RelayDatabase;
  readonly #buried: OldBuried;
  readonly #clock: Clock;
  #atMs = 0;

  constructor(
    statements: RelayStatements,
    database: RelayDatabase,
    { table, channel, keepBuriedMs }: RetentionOptions,
    clock: Clock,
  ) {
    this.#statements = statements;
    this.#database = database;
    this.#buried = { table, channel, olderThanMs: keepBuriedMs, rowsMax: ROWS_MAX };
    this.#clock = clock;
  }

  /** Answers whether there was something to look at. */
  async step(): Promise<boolean> {
    if (this.#clock.monotonic() < this.#atMs) return false;
    // Also after a failure: what fails is tried again then, and not at each look.
    this.#atMs = this.#clock.monotonic() + INTERVAL_MS;
    const settled = await this.#database.atomically(this.#forgetSettled());
    const buried = await this.#database.atomically(forgetBuried(this.#database.dialect, this.#clock, this.#buried));
    // A full step is followed by the next one at the next look.
    if (Math.max(settled, buried) >= ROWS_MAX) this.#atMs = 0;
    return true;
  }

  *#forgetSettled(): Steps<number> {
    const old = { channel: this.#buried.channel, now: this.#clock.now(), limit: ROWS_MAX };
    yield this.#statements.forgetBodies(old);
    return (yield* run(this.#statements.forgetHeads(old))).changes;
  }
}
