import { run, type Steps } from '@tallystick/base';

/**
 * The store's housekeeping, one thing at a time in each of two lanes: preparing segments, snapshots and retention in one, index files in the
 * other. With the log's write and sync that can be all four threads of libuv's pool for a moment, while the disk is slow; one lane less
 * lets index files fall behind.
 */
export class Chores {
  readonly #waiting: Chore[] = [];
  #whenIdle = (): void => {};
  #isBusy = false;
  #isStopped = false;
  /** The chore begun last came before others. */
  #isFirstBegun = false;

  /** Does the steps after all that were added before. `done` also hears a thrown disk error. */
  add(steps: () => Steps<void>, done: (error: ChoreError | undefined) => void): void {
    if (this.#isStopped) return done(new Error('the store is closing'));
    this.#waiting.push({ steps, done, isFirst: false });
    this.#next();
  }

  /**
   * Does the steps before all that have not begun. After one of its kind one that waits is let through: each may ask for the next when
   * it ends, and the others would never have their turn. So are those that {@link BEHIND_MAX} others wait behind: what waits to be written
   * is held in memory.
   */
  addFirst(steps: () => Steps<void>, done: (error: ChoreError | undefined) => void): void {
    if (this.#isStopped) return done(new Error('the store is closing'));
    const before = Math.max(this.#isFirstBegun ? 1 : 0, this.#waiting.length - BEHIND_MAX);
    this.#waiting.splice(before, 0, { steps, done, isFirst: true });
    this.#next();
  }

  /** How many have not begun. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Turns away what has not begun and takes nothing more; `done` when the present one has ended. */
  stop(done: () => void): void {
    this.#isStopped = true;
    for (const chore of this.#waiting.splice(0)) chore.done(new Error('the store is closing'));
    if (this.#isBusy) this.#whenIdle = done;
    else done();
  }

  #next(): void {
    if (this.#isBusy) return;
    const chore = this.#waiting.shift();
    if (chore === undefined) {
      if (this.#isStopped) this.#whenIdle();
      return;
    }
    this.#isBusy = true;
    this.#isFirstBegun = chore.isFirst;
    run(chore.steps, (error) => {
      this.#isBusy = false;
      chore.done(error);
      this.#next();
    });
  }
}

/** A disk error carries its errno's name in `code`. */
export type ChoreError = Error & { readonly code?: unknown };

interface Chore {
  readonly steps: () => Steps<void>;
  readonly done: (error: ChoreError | undefined) => void;
  readonly isFirst: boolean;
}

/** Chores that may wait behind those that come first. */
const BEHIND_MAX = 8;
