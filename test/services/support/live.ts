/** Writers that go on while something else happens to their table, and a wait that ends with a condition. */
import { Client } from 'pg';
import { setTimeout as pause } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

const WITHIN_MS = 60_000;

/** Asks until the answer is true. Throws with `what` when it never is. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const began = performance.now(); !(await condition()); await pause(10))
    if (performance.now() - began > WITHIN_MS) throw new Error(`never: ${what}`);
}

/** A row for each connection of this database that waits for a lock: other tests use the same server. */
export const WAITING_FOR_LOCK = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";

/** A connection that is closed when the test ends. */
export async function connected(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  onTestFinished(() => client.end().catch(() => undefined));
  return client;
}

/** Clients that insert one row per transaction, again and again. */
export class Writers {
  commits = 0;
  readonly errors: unknown[] = [];
  #stopped = false;
  readonly #running: Promise<void>[] = [];

  static async start(url: string, count: number, insert: (n: number) => { sql: string; values: unknown[] }): Promise<Writers> {
    const writers = new Writers();
    const clients = await Promise.all(Array.from({ length: count }, () => connected(url)));
    let n = 0;
    for (const client of clients) writers.#running.push(writers.#write(client, () => insert(n++)));
    onTestFinished(() => void writers.stop());
    return writers;
  }

  /** Ends when every writer has ended what it was at. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  /** Whether `more` rows get committed before `end` resolves. */
  async goOn(more: number): Promise<void> {
    const from = this.commits;
    await until(`${more} more commits`, () => this.commits >= from + more);
  }

  async #write(client: Client, next: () => { sql: string; values: unknown[] }): Promise<void> {
    while (!this.#stopped) {
      const { sql, values } = next();
      try {
        await client.query('begin');
        await client.query(sql, values);
        await client.query('commit');
        this.commits++;
      } catch (error) {
        this.errors.push(error);
        return;
      }
    }
  }
}
