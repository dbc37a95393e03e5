/**
 * Statements that a connection of pg keeps under a name: the server reads and plans them once instead of every time. Only where the
 * connection leads to one server process: behind a pool of connections (pgbouncer by transaction) the next transaction may go to another
 * process, which does not know the name. The server tells its process's number at the beginning; where that is not the number of the process
 * that answers, somebody stands between.
 */
import { createHash } from 'node:crypto';
import type { Often } from '../statement.ts';
import { sqlStateOf } from '../sql-state.ts';
import type { PgNative } from './pg-client.ts';
import { isPgConnection } from './pg-watch.ts';

/**
 * The name under which this connection keeps the statement; undefined: it goes without one. A connection is asked about only when it says
 * the same again: one that serves a single request would pay for the question and never use the answer.
 */
export function keptName(client: PgNative, text: string, often: Often): string | undefined | Promise<string | undefined> {
  const kept = connections.get(client);
  if (kept !== undefined) return kept instanceof Promise ? kept.then((one) => one.name(text, often)) : kept.name(text, often);
  if (!used.has(client)) {
    used.add(client);
    return undefined;
  }
  const asking = ask(client).then((direct) => {
    const known = new Kept(direct ? client : undefined);
    connections.set(client, known);
    return known;
  });
  connections.set(client, asking);
  return asking.then((one) => one.name(text, often));
}

/**
 * A statement that was kept failed. When that is for the name, or the error is none of the server's (it was refused here, halfway
 * to the server), nobody knows any more what is kept, and the connection keeps nothing from then on.
 */
export function keptFailed(client: PgNative, error: unknown): void {
  const state = sqlStateOf(error);
  if (state === undefined || OF_THE_NAME.includes(state)) connections.set(client, new Kept(undefined));
}

/** There is none, there is one already, and: what it answers is no longer what it answered when it was planned (a column's type was changed). */
const OF_THE_NAME = ['26000', '42P05', '0A000'];
const used = new WeakSet<object>();
const connections = new WeakMap<object, Kept | Promise<Kept>>();

async function ask(client: PgNative): Promise<boolean> {
  if (!isPgConnection(client.connection) || typeof client.processID !== 'number') return false;
  try {
    const { rows } = await client.query('select pg_backend_pid() as pid', []);
    return rows?.[0]?.['pid'] === client.processID;
  } catch {
    // The transaction has failed already, or the connection is gone: the statement itself will say so.
    return false;
  }
}

class Kept {
  /** Undefined: nothing is kept. */
  readonly #client: PgNative | undefined;
  /** Part of the name; grows when the server has thrown away what it kept. */
  #generation = 0;

  #plannedAtMs = Number.NEGATIVE_INFINITY;

  constructor(client: PgNative | undefined) {
    this.#client = client;
    const connection = client?.connection;
    if (!isPgConnection(connection)) return;
    connection.on('commandComplete', (message: { readonly text?: unknown }) => {
      const { text } = message;
      if (text === 'DISCARD ALL' || text === 'DEALLOCATE ALL') this.#generation++;
    });
  }

  /**
   * How a statement is done is decided by the size of the tables, and the server goes by what they were when it decided: an empty table is
   * read from end to end. So plans of statements that look for something are thrown away once a second.
   */
  name(text: string, often: Often): string | undefined | Promise<string | undefined> {
    if (this.#client === undefined) return undefined;
    const name = `tallystick_${this.#generation}_${digest(text)}`;
    const now = performance.now();
    if (often === 'insert' || now - this.#plannedAtMs < PLANS_KEPT_MS) return name;
    this.#plannedAtMs = now;
    return this.#client.query('discard plans', []).then(
      () => name,
      () => undefined,
    );
  }
}

const PLANS_KEPT_MS = 1_000;

function digest(text: string): string {
  let known = digests.get(text);
  if (known === undefined) digests.set(text, (known = createHash('sha256').update(text).digest('hex').slice(0, 16)));
  return known;
}

/** Texts are ours and few. */
const digests = new Map<string, string>();
