/**
 * After the commit. Where the end of a transaction can be seen (by `transaction(db, fn)`, or in the driver), what is registered here is
 * told exactly once how it ended. Where it cannot, the handle is asked a few times whether its transaction is still open: enough to
 * wake a relay early, never to be relied upon, since nobody knows then whether it was a commit.
 */
import type { Timers, Turn } from '@tallystick/base';
import { fail } from '../errors.ts';
import type { Handle, TransactionOutcome } from '../sql/handles.ts';
import { sessionOf, type Session } from '../sql/session.ts';

/**
 * Runs `fn` once the transaction that is open on `tx` has been committed; never when it is rolled back or its outcome is unknown (that
 * is reported). `fn` stands alone: an error of it is reported (to `onError`, else as a process warning) and changes nothing. What is registered inside a nested
 * transaction belongs to the outermost one, and is undone with the nested one where the handle lets savepoints be seen. Throws NOT_IN_TRANSACTION, and COMMIT_UNSEEN where only a wrapper could see the commit.
 */
export function afterCommit(tx: Handle, fn: () => void | Promise<void>, onError: (error: unknown) => void = warn): void {
  const session = sessionOf(tx);
  const seen = whenEnded(session, (outcome) => {
    if (outcome === 'commit') runAlone(fn, onError);
    else if (outcome === 'unknown') onError(fail('COMMIT_UNKNOWN', 'so the function was not run'));
  });
  if (seen) return;
  const open = session.inTransaction();
  if (open === false) throw fail('NOT_IN_TRANSACTION');
  if (open !== true) open.catch(() => undefined);
  throw fail('COMMIT_UNSEEN');
}

/**
 * Tells how the open transaction ended, once; false where that cannot be seen. Where savepoints can be seen, one that is rolled back ends what
 * was begun inside of it: a rollback. On an asynchronous handle call it after `await session.ready()`.
 */
export function whenEnded(session: Session, told: (outcome: TransactionOutcome) => void): boolean {
  let undone = false;
  const undo = (): void => {
    if (!undone) told('rollback');
    undone = true;
  };
  const ended = (outcome: TransactionOutcome): void => {
    if (!undone) told(outcome);
  };
  if (session.wrapped !== undefined) {
    session.wrapped.ended.push(ended);
    session.wrapped.savepoints.whenUndone(undo);
  } else if (session.kind === 'sync' || !session.onEnd(ended)) return false;
  if (session.kind === 'sync') return true;
  session.onUndone(undo);
  // The user's own `rollback and chain` inside of `transaction(db, fn)`, which only sees the end of what was chained.
  if (session.wrapped !== undefined) session.onEnd((outcome) => outcome === 'rollback' && undo());
  return true;
}

function runAlone(fn: () => void | Promise<void>, onError: (error: unknown) => void): void {
  try {
    const running = fn();
    // Libraries' own promises are often none of the language's, and some begin only when they are awaited.
    if (typeof (running as { then?: unknown } | undefined)?.then === 'function') Promise.resolve(running).catch(onError);
  } catch (error) {
    onError(error);
  }
}

function warn(error: unknown): void {
  process.emitWarning(
    `afterCommit: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    'TallystickAfterCommit',
  );
}

/** Wakes the relay soon after a commit with messages in it, as early as the handle lets it know. */
export class AfterCommit {
  readonly #session: Session;
  readonly #ports: { readonly turn: Turn; readonly timers: Timers };
  readonly #wake: () => void;
  #watching = false;

  constructor(session: Session, ports: { readonly turn: Turn; readonly timers: Timers }, wake: () => void) {
    this.#session = session;
    this.#ports = ports;
    this.#wake = wake;
  }

  /** A message was added in the handle's transaction. */
  added(): void {
    if (this.#watching) return;
    this.#watching = true;
    // An unknown outcome may be a commit, and waking for nothing does no harm.
    const seen = whenEnded(this.#session, (outcome) => this.#over(outcome !== 'rollback'));
    if (!seen) this.#ports.turn.atEnd(() => this.#ask(0));
  }

  #over(wake: boolean): void {
    this.#watching = false;
    if (wake) this.#wake();
  }

  #ask(asked: number): void {
    const open = this.#stillOpen();
    if (typeof open === 'boolean') this.#answered(open, asked);
    else void open.then((answer) => this.#answered(answer, asked));
  }

  #answered(open: boolean, asked: number): void {
    const again = ASK_AGAIN_MS[asked];
    if (open && again !== undefined) this.#ports.timers.after(again, () => this.#ask(asked + 1));
    // A transaction that is open for that long is the sweep's business.
    else this.#over(!open);
  }

  /** A handle that cannot say (closed, broken) counts as done. */
  #stillOpen(): boolean | Promise<boolean> {
    try {
      const open = this.#session.inTransaction();
      return typeof open === 'boolean' ? open : open.catch(() => false);
    } catch {
      return false;
    }
  }
}

const ASK_AGAIN_MS = [1, 5, 25, 100, 400];
