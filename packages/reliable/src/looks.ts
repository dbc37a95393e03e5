/**
 * When somebody looks for work: at the end of this turn (any number of wishes in a turn are one look), or after a while; one look after
 * the other. What is looked for, and when the next look is due, the owner says.
 */
import type { Timer, Timers, Turn } from '@tallystick/base';

export interface LooksOwner {
  readonly turn: Turn;
  readonly timers: Timers;
  /** Whether wishes still count. */
  running(): boolean;
  /** Answers how much work was found; never rejects. */
  look(): Promise<number>;
}

export class Looks {
  readonly #owner: LooksOwner;
  #last: Promise<unknown> = Promise.resolve();
  #wished = false;
  #timer: Timer | undefined;

  constructor(owner: LooksOwner) {
    this.#owner = owner;
  }

  /** At the end of this turn. */
  soon(): void {
    if (this.#wished) return;
    this.#wished = true;
    this.#owner.turn.atEnd(() => {
      this.#wished = false;
      if (this.#owner.running()) void this.now();
    });
  }

  /** As soon as the look before has ended. */
  now(): Promise<number> {
    const look = this.#last.then(() => this.#owner.look());
    this.#last = look;
    return look;
  }

  /** Instead of what was planned before. */
  after(ms: number): void {
    this.#cancel();
    if (!this.#owner.running()) return;
    this.#timer = this.#owner.timers.after(Math.max(1, Math.ceil(ms)), () => {
      this.#timer = undefined;
      this.soon();
    });
  }

  /** Nothing is planned any more; resolves when the look in hand has ended. */
  async end(): Promise<void> {
    this.#cancel();
    await this.#last;
  }

  #cancel(): void {
    if (this.#timer !== undefined) this.#owner.timers.cancel(this.#timer);
    this.#timer = undefined;
  }
}
