/**
 * Work under way, for who waits for the end of all of it. Only counted: a set of its promises would keep them, long after they are settled,
 * from every collection but that of the whole heap (its tables lead from one to the next).
 */
export class Underway {
  #count = 0;
  #over: (() => void) | undefined;
  #ended: Promise<void> | undefined;

  async run<T>(work: () => Promise<T>): Promise<T> {
    this.#count++;
    try {
      return await work();
    } finally {
      if (--this.#count === 0) this.#over?.();
    }
  }

  /** Resolves as soon as nothing is under way, once; ask when nothing more begins. */
  ended(): Promise<void> {
    this.#ended ??= this.#count === 0 ? Promise.resolve() : new Promise((resolve) => (this.#over = resolve));
    return this.#ended;
  }
}
