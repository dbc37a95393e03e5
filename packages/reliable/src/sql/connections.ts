/**
 * Connections for background work: the relay, retries, alarms. A root lends one per piece of work and takes it back; a single
 * connection is lent to one piece at a time. A connection on which something broke, or a transaction was left open, is never lent again
 * by a pool, so the next piece of work gets a new one.
 */
import { fail } from '../errors.ts';
import type { Dialect } from './dialect.ts';
import { dialectNamed } from './dialects.ts';
import type { Database } from './handles.ts';
import type { LibraryRoot } from './handles/library.ts';
import { recogniseRoot } from './handles/recognise.ts';
import { Turns } from './handles/turns.ts';
import { isRefusal, sqlStateOf } from './sql-state.ts';
import { sessionLent, sessionOf, type Session } from './session.ts';
import { Underway } from '../underway.ts';

export interface Connections {
  readonly dialect: Dialect;
  readonly kind: 'sync' | 'async';
  /** Whether they come from a pool, which may have none to lend, or wait for a server that says nothing. */
  readonly areLent: boolean;
  /** Lends a connection, with no transaction open, to `work`. Throws ALREADY_IN_TRANSACTION when a single connection has one open. */
  use<T>(work: (session: Session) => T | Promise<T>): Promise<T>;
  /** Waits for the work in hand; whoever made the pool ends it. */
  close(): Promise<void>;
}

/** Where background work gets its connections from. Throws UNKNOWN_HANDLE. */
export function connectionsOf(db: Database): Connections {
  const root = recogniseRoot(db);
  return root === undefined ? new OneConnection(sessionOf(db)) : new LentConnections(root);
}

class LentConnections implements Connections {
  readonly kind = 'async';
  readonly areLent = true;
  readonly dialect: Dialect;
  readonly #root: LibraryRoot;
  readonly #lent = new Underway();
  #closed = false;

  constructor(root: LibraryRoot) {
    this.#root = root;
    this.dialect = dialectNamed(root.dialect);
  }

  use<T>(work: (session: Session) => T | Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(fail('CLOSED'));
    const used = this.#lent.run(() => this.#use(work));
    // Whoever asks for several things at once and awaits one after the other shall not end his process.
    void used.catch(() => undefined);
    return used;
  }

  async #use<T>(work: (session: Session) => T | Promise<T>): Promise<T> {
    const { handle, giveBack } = await this.#root.borrow();
    let broken = false;
    try {
      return await work(sessionLent(handle));
    } catch (error) {
      // What the server itself refused has left the connection whole; anything else may not have. One that has become read-only has been
      // replaced by another, which only a new connection finds.
      broken = !isRefusal(error) || sqlStateOf(error) === READ_ONLY;
      throw error;
    } finally {
      await giveBack(broken);
    }
  }

  close(): Promise<void> {
    this.#closed = true;
    return this.#lent.ended();
  }
}

/** `read_only_sql_transaction`: a primary that has become a standby, or a disk that was full. */
const READ_ONLY = '25006';

class OneConnection implements Connections {
  readonly dialect: Dialect;
  readonly kind: 'sync' | 'async';
  readonly areLent = false;
  readonly #session: Session;
  readonly #turns = new Turns();

  constructor(session: Session) {
    this.#session = session;
    this.dialect = session.dialect;
    this.kind = session.kind;
  }

  use<T>(work: (session: Session) => T | Promise<T>): Promise<T> {
    return this.#turns.run(() => this.#use(work));
  }

  async #use<T>(work: (session: Session) => T | Promise<T>): Promise<T> {
    const open = this.#session.inTransaction();
    // No await for a synchronous handle: its answer must still be true when the work begins.
    if (open === true || (open !== false && (await open))) throw fail('ALREADY_IN_TRANSACTION');
    return work(this.#session);
  }

  async close(): Promise<void> {
    await this.#turns.run(async () => undefined);
  }
}
