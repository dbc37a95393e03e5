/**
 * A process that can die, as far as a test needs one: what was started under it runs on the time that is given, until `die()`; then no
 * timer and no turn of it fires any more, and nothing it waits for comes back.
 */
import type { Clock, Timer, Timers, Turn } from '@tallystick/base';

export class Mortal implements Clock, Timers, Turn {
  readonly #time: Clock & Timers & Turn;
  #dead = false;

  constructor(time: Clock & Timers & Turn) {
    this.#time = time;
  }

  get dead(): boolean {
    return this.#dead;
  }

  die(): void {
    this.#dead = true;
  }

  now(): number {
    return this.#time.now();
  }

  monotonic(): number {
    return this.#time.monotonic();
  }

  after(ms: number, run: () => void): Timer {
    return this.#time.after(ms, () => {
      if (!this.#dead) run();
    });
  }

  cancel(timer: Timer): void {
    this.#time.cancel(timer);
  }

  atEnd(run: () => void): void {
    this.#time.atEnd(() => {
      if (!this.#dead) run();
    });
  }
}

/** What a dead process waits for. */
export function never<T>(): Promise<T> {
  return new Promise(() => undefined);
}
