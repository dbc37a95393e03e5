/**
 * Lets work run side by side, except work that must run alone: a message under suspicion of killing its process must have no company
 * that would share the blame. First come, first served: what comes after one that waits to be alone waits behind it.
 */
interface Waiting {
  readonly alone: boolean;
  readonly go: () => void;
}

export class Gate {
  readonly #waiting: Waiting[] = [];
  #running = 0;
  #alone = false;

  shared<T>(work: () => Promise<T>): Promise<T> {
    return this.#through(false, work);
  }

  alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#through(true, work);
  }

  async #through<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    if (this.#waiting.length === 0 && this.#mayEnter(alone)) this.#enter(alone);
    else await new Promise<void>((go) => this.#waiting.push({ alone, go }));
    try {
      return await work();
    } finally {
      this.#running--;
      this.#alone = false;
      this.#admit();
    }
  }

  #mayEnter(alone: boolean): boolean {
    return alone ? this.#running === 0 : !this.#alone;
  }

  #enter(alone: boolean): void {
    this.#running++;
    this.#alone = alone;
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#mayEnter(next.alone); next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#enter(next.alone);
      next.go();
    }
  }
}
