/**
 * The inbox's side of the database: transactions for handlers, and single steps of its own between them. Over a pool these run side by
 * side; a single connection (a synchronous handle, a client) does one thing at a time, because the transaction open on it is everybody's.
 */
import { answeredInTime, useInTime, watched, type AnswerLimit, type Asking, type GivenUp } from '../answer-in-time.ts';
import { connectionsOf, type Connections } from '../sql/connections.ts';
import type { Dialect } from '../sql/dialect.ts';
import type { Database } from '../sql/handles.ts';
import { kysely } from '../sql/handles/kysely.ts';
import { member } from '../sql/handles/library.ts';
import { postgresJs } from '../sql/handles/postgres-js.ts';
import { recogniseRoot } from '../sql/handles/recognise.ts';
import { Turns } from '../sql/handles/turns.ts';
import { sqlStateOf } from '../sql/sql-state.ts';
import { atomically, perform, sessionOf, type Session } from '../sql/session.ts';
import type { Steps } from '../sql/statement.ts';
import { transactionUntil } from '../sql/transaction.ts';

export class InboxDatabase<Tx> {
  readonly dialect: Dialect;
  /** Whether its transactions are synchronous. */
  readonly kind: 'sync' | 'async';
  /** Whether a connection may be cut under a handler: there are others, and the driver takes it well. */
  readonly canBeCut: boolean;
  readonly #db: Database;
  readonly #connections: Connections;
  readonly #turns: Turns | undefined;
  readonly #limit: AnswerLimit;

  get databaseAfterMs(): number {
    return this.#limit.databaseAfterMs;
  }

  constructor(db: Database, limit: AnswerLimit) {
    this.#limit = limit;
    this.#db = db;
    this.#connections = connectionsOf(db);
    this.dialect = this.#connections.dialect;
    this.kind = this.#connections.kind;
    this.#turns = recogniseRoot(db) === undefined ? new Turns() : undefined;
    this.canBeCut = this.#turns === undefined && !mayBePostgresJs(db);
  }

  /** What the lease keeper asks for its dialect. */
  get session(): { readonly dialect: Dialect } {
    return this;
  }

  /** Steps outside any transaction of anybody. Rejects with NO_ANSWER when the database says nothing, or the pool lends no connection, for too long. */
  run<T>(steps: Steps<T>): Promise<T> {
    return this.#inTurn(() => useInTime(this.#connections, () => steps, this.#limit));
  }

  /** Steps in a transaction of their own. */
  atomically<T>(steps: Steps<T>): Promise<T> {
    return this.run(atomically(this.dialect, steps));
  }

  /** One writing statement: in a transaction of its own only where locks must not be met outside of one. */
  alone<T>(steps: Steps<T>): Promise<T> {
    return this.dialect.takeWriteLock === undefined ? this.run(steps) : this.atomically(steps);
  }

  /**
   * Steps in a transaction that the library of the database begins and ends. Rejects with NO_ANSWER, too, when the pool has no connection
   * for so long; nothing is done then, however late one comes. The connection of what is given up is closed where it is known.
   */
  transaction<T>(steps: (tx: Tx, session: Session) => Steps<T>): Promise<T> {
    const work = async (asking: Asking, givenUp: GivenUp): Promise<T> => {
      asking(true);
      const inside = (tx: unknown): T | Promise<T> => {
        const session = sessionOf(tx as Database);
        return perform(session, watched(steps(tx as Tx, session), asking));
      };
      const answer: unknown = transactionUntil(this.#db, inside, givenUp.signal);
      return (await answer) as T;
    };
    return this.#inTurn(() => answeredInTime(this.#limit, work));
  }

  /** Another transaction was in the way; the same work may do on what that one left. */
  isConflict(error: unknown): boolean {
    const { code } = (error ?? {}) as { code?: unknown };
    if (code === 'VERSION_CONFLICT' || code === 'ALREADY_IN_TRANSACTION' || code === 'P2034') return true;
    return this.dialect.isLocked(error) || CONFLICTS.includes(sqlStateOf(error) ?? '');
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns === undefined ? work() : this.#turns.run(work);
  }
}

/** Serialization failure, deadlock, lock not available. */
const CONFLICTS: readonly string[] = ['40001', '40P01', '55P03'];

/** postgres.js throws, uncaught, when a transaction goes on whose connection was cut. Kysely does not tell what it is over. */
function mayBePostgresJs(db: Database): boolean {
  return [db, member(db, '$client')].some(
    (given) => given instanceof Object && (postgresJs.root(given) !== undefined || kysely.root(given) !== undefined),
  );
}
