/**
 * Who wants to know of open transactions while a program is developed (see `guard/`). Nobody does in production: then this is one
 * comparison with undefined.
 */
export interface Tracker {
  /** Runs the work of `transaction(db, fn)`; `ended` is called when its transaction has ended. */
  readonly around: <T>(work: () => T, onEnded: (ended: () => void) => void) => T;
  /** Something is written through a session now, inside of a transaction that somebody else began. */
  readonly used: (session: object) => void;
}

export const tracking: { tracker: Tracker | undefined } = { tracker: undefined };
