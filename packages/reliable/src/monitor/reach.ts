import { useInTime, type AnswerLimit } from '../answer-in-time.ts';
import { fail } from '../errors.ts';
import { connectionsOf } from '../sql/connections.ts';
import { isSyncHandle, type Database } from '../sql/handles.ts';
import { perform, sessionOf, type Session } from '../sql/session.ts';
import type { Steps } from '../sql/statement.ts';

/** How people and alarms reach a database: a synchronous handle answers in place, of everything else a connection is borrowed for the steps. */
export interface Reach {
  perform<T>(steps: (session: Session) => Steps<T>): T | Promise<T>;
  /** The same for steps that begin a transaction of their own. */
  performAlone<T>(steps: (session: Session) => Steps<T>): T | Promise<T>;
}

/** `limit`: how long an asynchronous database may be without an answer; without end when absent. */
export function reach(db: Database, limit?: AnswerLimit): Reach {
  return isSyncHandle(db) ? inPlace(sessionOf(db)) : borrowing(db, limit);
}

function inPlace(session: Session): Reach {
  return {
    perform: (steps) => perform(session, steps(session)),
    performAlone(steps) {
      if (session.inTransaction() === true) throw fail('ALREADY_IN_TRANSACTION');
      return perform(session, steps(session));
    },
  };
}

function borrowing(db: Database, limit: AnswerLimit | undefined): Reach {
  const connections = connectionsOf(db);
  const borrowed = <T>(steps: (session: Session) => Steps<T>): Promise<T> =>
    limit === undefined ? connections.use((session) => perform(session, steps(session))) : useInTime(connections, steps, limit);
  return { perform: borrowed, performAlone: borrowed };
}
