/** Counts a consumer through a backlog: the first tenth warms up, the rest is timed. */
const WARM_UP_SHARE = 0.1;

export class Backlog {
  readonly #total: number;
  readonly #from: number;
  #handled = 0;
  #startedAt = 0;
  #resolve: (figure: { readonly perSecond: number }) => void = () => {};
  /** Messages per second, once all were handled. */
  readonly done: Promise<{ readonly perSecond: number }>;

  constructor(total: number) {
    this.#total = total;
    this.#from = Math.floor(total * WARM_UP_SHARE);
    this.done = new Promise((resolve) => (this.#resolve = resolve));
  }

  /** One message was handled; true for the last. */
  handled(): boolean {
    const handled = ++this.#handled;
    if (handled === this.#from) this.#startedAt = performance.now();
    if (handled !== this.#total) return false;
    const seconds = (performance.now() - this.#startedAt) / 1000;
    this.#resolve({ perSecond: Math.round((this.#total - this.#from) / seconds) });
    return true;
  }
}
