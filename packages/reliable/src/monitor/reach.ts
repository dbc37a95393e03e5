import { fail } from '../errors.ts';
import type { Handle } from '../sql/handles.ts';
import { perform, sessionOf, type Session } from '../sql/session.ts';
import type { Steps } from '../sql/statement.ts';

/** How background readers reach a database: a synchronous handle answers in place, everything else by a connection that is borrowed for the steps. */
export interface Reach {
  perform<T>(steps: (session: Session) => Steps<T>): T | Promise<T>;
  /** The same for steps that begin a transaction of their own. */
  performAlone<T>(steps: (session: Session) => Steps<T>): T | Promise<T>;
}

export function reach(db: Handle): Reach {
  const session = sessionOf(db);
  return {
    perform: (steps) => perform(session, steps(session)),
    performAlone(steps) {
      if (session.kind === 'sync') {
        if (session.inTransaction()) throw fail('ALREADY_IN_TRANSACTION');
        return perform(session, steps(session));
      }
      return (async () => {
        if (await session.inTransaction()) throw fail('ALREADY_IN_TRANSACTION');
        return perform(session, steps(session));
      })();
    },
  };
}
