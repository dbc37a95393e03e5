/**
 * pg: a Client or PoolClient is a handle, a Pool is a root. Whether a transaction is open is what the server said with its last
 * ReadyForQuery; its end is seen in the protocol stream.
 */
import type { AsyncHandle } from '../handles.ts';
import type { Often } from '../statement.ts';
import { endOf } from './control.ts';
import { hasMethods, member, type Borrowed, type Library, type LibraryRoot } from './library.ts';
import { copyOut } from './pg-copy.ts';
import type { PgNative, PgResult } from './pg-client.ts';
import { keptFailed, keptName } from './pg-kept.ts';
import { isPgConnection, openOn, watchEnd, watchUndone, whileOpen, type PgConnection, type Told } from './pg-watch.ts';
import { turnsOf, type Turns } from './turns.ts';

interface PgNativePool {
  connect(): Promise<PgNative>;
}

export const pg: Library = {
  name: 'pg',
  handle: (given) => (isPgClient(given) ? new PgHandle(given) : undefined),
  root: (given) => (isPgPool(given) ? pgRoot(given) : undefined),
};

export function isPgClient(given: unknown): given is PgNative {
  return hasMethods(given, 'query', 'connect', 'end', 'escapeIdentifier') && typeof member(given, 'totalCount') !== 'number';
}

export function isPgPool(given: unknown): given is PgNativePool {
  return hasMethods(given, 'query', 'connect', 'end') && typeof member(given, 'totalCount') === 'number';
}

export class PgHandle implements AsyncHandle {
  readonly tallystick = 'asynchronous';
  readonly dialect = 'postgres';
  readonly #client: PgNative;
  readonly #turns: Turns;

  constructor(client: PgNative) {
    this.#client = client;
    this.#turns = turnsOf(client);
  }

  async execute(sql: string, parameters: readonly unknown[], often?: Often): ReturnType<AsyncHandle['execute']> {
    // A list of results comes back for several statements in one text: ours never are.
    const { rows, rowCount } = await this.#turns.run(() => this.#query(sql, parameters as unknown[], often));
    return { rows: rows ?? [], changes: rowCount ?? 0 };
  }

  #query(text: string, values: unknown[], often: Often | undefined): Promise<PgResult> {
    const name = often === undefined ? undefined : keptName(this.#client, text, often);
    if (name instanceof Promise) return name.then((known) => this.#queryAs(known, text, values));
    return this.#queryAs(name, text, values);
  }

  async #queryAs(name: string | undefined, text: string, values: unknown[]): Promise<PgResult> {
    if (name === undefined) return this.#client.query(text, values);
    try {
      return await this.#client.query({ name, text, values });
    } catch (error) {
      keptFailed(this.#client, error);
      throw error;
    }
  }

  inside(): AsyncHandle['execute'] {
    const { connection } = this.#client;
    const open = isPgConnection(connection) ? openOn(connection, () => this.#text()) : undefined;
    const isOpen = (): boolean => open?.over !== true && statusOf(this.#client) !== 'I' && !this.#endIsSent();
    return (sql, parameters, often) => this.execute(sql, whileOpen(parameters, isOpen), often);
  }

  copyOut(text: string): Promise<readonly Uint8Array[]> | undefined {
    // A pipelined client takes no query but its own.
    if (member(this.#client, 'pipeline') === true) return undefined;
    return this.#turns.run(() => copyOut(this.#client as { query(query: unknown): unknown }, text));
  }

  inTransaction(): boolean | Promise<boolean> {
    const status = statusOf(this.#client);
    // Older drivers do not keep it; then every statement is asked to be inside one by the server.
    return status === undefined ? this.#tried() : status === 'T' || status === 'E';
  }

  onEnd(told: Told): boolean {
    const connection = this.#watched();
    if (connection !== undefined) watchEnd(connection, told, () => this.#text());
    return connection !== undefined;
  }

  onUndone(told: () => void): void {
    const connection = this.#watched();
    if (connection !== undefined) watchUndone(connection, told, () => this.#text());
  }

  #watched(): PgConnection | undefined {
    const { connection } = this.#client;
    const status = statusOf(this.#client);
    return isPgConnection(connection) && status !== 'I' && status !== null ? connection : undefined;
  }

  /** A pipelined client sends before the answers to what it sent are there. */
  #endIsSent(): boolean {
    if (member(this.#client, 'pipeline') !== true) return false;
    const sent = [member(this.#client, '_activeQuery'), ...((member(this.#client, '_sentQueryQueue') ?? []) as unknown[])];
    return sent.some((query) => endOf(String(member(query, 'text'))) !== undefined);
  }

  /** Of the statement that is being answered. */
  #text(): unknown {
    return member(member(this.#client, '_activeQuery'), 'text');
  }

  async #tried(): Promise<boolean> {
    try {
      await this.execute('savepoint tallystick', []);
    } catch (error) {
      if (member(error, 'code') === NO_ACTIVE_TRANSACTION) return false;
      throw error;
    }
    await this.execute('release savepoint tallystick', []);
    return true;
  }
}

const NO_ACTIVE_TRANSACTION = '25P01';

/** What the server said last: I, T or E; null before it said anything; undefined where the driver does not keep it. */
function statusOf(client: PgNative): unknown {
  return typeof client.getTransactionStatus === 'function' ? client.getTransactionStatus() : client._txStatus;
}

function pgRoot(pool: PgNativePool): LibraryRoot {
  return {
    dialect: 'postgres',
    hidesFailedCommit: true,
    async begin(work, givenUp) {
      const client = await pool.connect();
      return beginOn(client, () => work(client), givenUp);
    },
    async borrow(): Promise<Borrowed> {
      const client = await pool.connect();
      // While borrowed, an idle connection that dies would have no listener and end the process.
      const ignore = (): void => undefined;
      (client as unknown as NodeJS.EventEmitter).on('error', ignore);
      return {
        handle: new PgHandle(client),
        giveBack(broken) {
          (client as unknown as NodeJS.EventEmitter).removeListener('error', ignore);
          client.release?.(broken || statusOf(client) === 'T' || statusOf(client) === 'E');
        },
      };
    },
  };
}

/** BEGIN, the work, COMMIT on a client; gives it back, closed when its state cannot be trusted, and at once when it is given up. */
async function beginOn<T>(client: PgNative, work: () => Promise<T>, givenUp: AbortSignal | undefined): Promise<T> {
  const handle = new PgHandle(client);
  const emitter = client as unknown as NodeJS.EventEmitter;
  const ignore = (): void => undefined;
  let broken = false;
  let isBack = false;
  const giveBack = (): void => {
    if (!isBack) client.release?.(broken);
    isBack = true;
  };
  const cut = (): void => {
    broken = true;
    giveBack();
    // A pipelined client waits for its answers before it closes: none will come.
    const stream = member(client.connection, 'stream') as { destroy?(): void } | undefined;
    stream?.destroy?.();
  };
  emitter.on('error', ignore);
  givenUp?.addEventListener('abort', cut, ONCE);
  try {
    // The pool had none for so long.
    givenUp?.throwIfAborted();
    broken = true;
    await handle.execute('begin isolation level read committed', []);
    let value: T;
    try {
      value = await work();
    } catch (error) {
      broken = !(await handle.execute('rollback', []).then(
        () => true,
        () => false,
      ));
      throw error;
    }
    await handle.execute('commit', []);
    broken = false;
    return value;
  } finally {
    givenUp?.removeEventListener('abort', cut);
    emitter.removeListener('error', ignore);
    giveBack();
  }
}

const ONCE = { once: true };
