/**
 * A limit on how long a statement of background work may be without an answer: its server may be gone without a word, and whoever waited
 * for it would wait for ever, in silence. The work is given up then, and a connection that a pool has lent for it is thrown away.
 */
import type { Timer, Timers } from '@tallystick/base';
import { fail } from './errors.ts';
import type { Connections } from './sql/connections.ts';
import { perform, type Session } from './sql/session.ts';
import type { StatementResult, Steps } from './sql/statement.ts';

export interface AnswerLimit {
  /** For each statement by itself. */
  readonly databaseAfterMs: number;
  readonly timers: Timers;
}

/** Performs the steps; in place on a synchronous session. Rejects with NO_ANSWER when a statement has no answer for too long. */
export function performInTime<T>(session: Session, steps: Steps<T>, limit: AnswerLimit): T | Promise<T> {
  if (session.kind === 'sync') return perform(session, steps);
  return answeredInTime(limit, (asking) => Promise.resolve(perform(session, watched(steps, asking))));
}

/**
 * Performs the steps on a connection that is borrowed for them. Rejects with NO_ANSWER, too, when a pool has none to lend for so long: its
 * server may have gone while the connection was being made. One that comes after all goes back as it came.
 */
export function useInTime<T>(connections: Connections, steps: (session: Session) => Steps<T>, limit: AnswerLimit): Promise<T> {
  const work = (session: Session): T | Promise<T> => performInTime(session, steps(session), limit);
  if (!connections.areLent) return connections.use(work);
  return answeredInTime(limit, (asking, givenUp) => {
    asking(true);
    return connections.use((session) => {
      if (givenUp.is) return undefined as T;
      asking(false);
      return work(session);
    });
  });
}

/** Whether from now on an answer of the database is waited for. Throws, once, when the work was given up meanwhile: it shall undo itself. */
export type Asking = (asked: boolean) => void;

/** Whether nobody waits any more. The signal is made when somebody asks for it: it costs as much as all else that a statement needs here. */
export class GivenUp {
  #error: Error | undefined;
  #abort: AbortController | undefined;

  get is(): boolean {
    return this.#error !== undefined;
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#error !== undefined) this.#abort.abort(this.#error);
    return this.#abort.signal;
  }

  giveUp(error: Error): void {
    this.#error = error;
    this.#abort?.abort(error);
  }
}

/** The same for work that says itself when it asks, and is told by `givenUp`. */
export function answeredInTime<T>(
  { databaseAfterMs, timers }: AnswerLimit,
  work: (asking: Asking, givenUp: GivenUp) => Promise<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer: Timer | undefined;
    let state: 'asking' | 'given up' | 'undoing' | 'ended' = 'asking';
    const silent = (): Error => fail('NO_ANSWER', `for ${databaseAfterMs} ms (databaseAfterMs)`);
    const givenUp = new GivenUp();
    const giveUp = (): void => {
      state = 'given up';
      const error = silent();
      reject(error);
      givenUp.giveUp(error);
    };
    const asking = (asked: boolean): void => {
      if (timer !== undefined) timers.cancel(timer);
      timer = undefined;
      if (state === 'given up') {
        state = 'undoing';
        throw silent();
      }
      if (asked && state === 'asking') timer = timers.after(databaseAfterMs, giveUp);
    };
    const end = (): void => {
      state = 'ended';
      asking(false);
    };
    work(asking, givenUp).then(resolve, reject).finally(end);
  });
}

/** The same steps, which say when they ask. Calls have limits of their own. What follows their end (a commit) is asked for, too. */
export function* watched<T>(steps: Steps<T>, asking: Asking): Steps<T> {
  let next = steps.next();
  while (next.done !== true) {
    let result: StatementResult;
    try {
      asking(!('call' in next.value));
      result = yield next.value;
    } catch (error) {
      next = steps.throw(error);
      continue;
    }
    next = steps.next(result);
  }
  asking(true);
  return next.value;
}
