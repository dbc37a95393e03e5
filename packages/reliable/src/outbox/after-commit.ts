import type { Timers, Turn } from '@tallystick/base';
import type { Session } from '../sql/session.ts';

/**
 * Learns of the commit without a wrapper: a synchronous transaction is nearly always over by the end of the turn in which the message
 * was added, so that is when the handle is asked; one that is still open is asked again a few times. Never certain and never
 * relied upon: `wake` only makes the relay look early, and looking finds nothing before the commit, or after a rollback.
 */
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
    if (this.#session.wrapped !== undefined) {
      const { afterCommit } = this.#session.wrapped;
      if (!afterCommit.includes(this.#wake)) afterCommit.push(this.#wake);
    } else if (!this.#watching) {
      this.#watching = true;
      this.#ports.turn.atEnd(() => this.#ask(0));
    }
  }

  #ask(asked: number): void {
    const open = this.#stillOpen();
    if (typeof open === 'boolean') this.#answered(open, asked);
    else void open.then((answer) => this.#answered(answer, asked));
  }

  #answered(open: boolean, asked: number): void {
    const again = ASK_AGAIN_MS[asked];
    if (open && again !== undefined) {
      this.#ports.timers.after(again, () => this.#ask(asked + 1));
      return;
    }
    this.#watching = false;
    // A transaction that is open for that long is the sweep's business.
    if (!open) this.#wake();
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
