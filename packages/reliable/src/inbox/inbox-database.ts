/**
 * The inbox's side of the database: transactions for handlers, and single steps of its own between them. A root that is one connection
 * (a synchronous handle, an asynchronous one) is used for one thing at a time, because the transaction open on it is everybody's.
 */
import type { Dialect } from '../sql/dialect.ts';
import type { Handle } from '../sql/handles.ts';
import { atomically, perform, sessionOf, type Session } from '../sql/session.ts';
import type { Steps } from '../sql/statement.ts';
import { transaction } from '../sql/transaction.ts';

export class InboxDatabase<H extends Handle = Handle> {
  /** What the lease keeper asks for its dialect. */
  readonly session: { readonly dialect: Dialect };
  readonly #db: H;
  #last: Promise<unknown> = Promise.resolve();

  constructor(db: H) {
    this.#db = db;
    this.session = sessionOf(db);
  }

  get dialect(): Dialect {
    return this.session.dialect;
  }

  /** Steps outside any transaction of anybody. */
  run<T>(steps: Steps<T>): Promise<T> {
    return this.#next(async () => perform(sessionOf(this.#db), steps));
  }

  /** Steps in a transaction of their own. */
  atomically<T>(steps: Steps<T>): Promise<T> {
    return this.run(atomically(this.dialect, steps));
  }

  /** One statement's steps: a transaction of their own only where a lock must not be met elsewhere. */
  alone<T>(steps: Steps<T>): Promise<T> {
    return this.dialect.takeWriteLock === undefined ? this.run(steps) : this.atomically(steps);
  }

  /** Steps in a transaction that begins and ends as the library of the handle does it. */
  transaction<T>(steps: (tx: H, session: Session) => Steps<T>): Promise<T> {
    return this.#next(async () => transaction(this.#db, (tx: H) => perform(sessionOf(tx), steps(tx, sessionOf(tx)))) as T);
  }

  #next<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work);
    this.#last = next.catch(() => undefined);
    return next;
  }
}
