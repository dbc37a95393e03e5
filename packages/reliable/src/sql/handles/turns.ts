/** Work on one connection, one piece after the other: a driver's own queue is not to be relied upon (pg ends it with version 9). */
export class Turns {
  #last: Promise<unknown> | undefined;

  run<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last === undefined ? work() : this.#last.then(work);
    const settled: Promise<unknown> = next.then(
      () => this.#forget(settled),
      () => this.#forget(settled),
    );
    this.#last = settled;
    return next;
  }

  #forget(settled: Promise<unknown>): void {
    if (this.#last === settled) this.#last = undefined;
  }
}

/** The turns of a connection: everyone who shares it shares them. */
export function turnsOf(connection: object): Turns {
  let turns = all.get(connection);
  if (turns === undefined) all.set(connection, (turns = new Turns()));
  return turns;
}

const all = new WeakMap<object, Turns>();
