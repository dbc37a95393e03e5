/**
 * Up to which number everything that will ever be there is there. Numbers are given out in ascending order while transactions run, so what a
 * transaction has not shown yet lies above every number that had been given out before it began. A snapshot tells which of the server's
 * transactions are still open; whatever began after an earlier snapshot got numbers above those known then:
 *
 * ```
 * snapshot 1: newest transaction 900, highest number seen 5,000
 * snapshot 2: oldest open transaction 950  →  all that began up to 900 have ended: numbers up to 5,000 are final,
 *                                             once they have been looked at under snapshot 2 or later
 * ```
 *
 * A hint like the low-water mark: who takes a number and begins to write much later (a cached sequence) is found by the sweep of everything.
 * Transactions are those of the whole server, so one that writes for long in another database delays what is final here, too.
 */
export interface Snapshot {
  /** The oldest transaction that is still open. */
  readonly oldestOpen: number;
  /** All transactions from this number on had not begun. */
  readonly next: number;
}

export class Horizon {
  /** Ascending in both. */
  #seen: { readonly next: number; readonly highest: number }[] = [];
  #floor = -1;
  #next = 0;

  /** Nothing will appear at or below this number any more, and what is there was looked at. -1: nothing is known. */
  get floor(): number {
    return this.#floor;
  }

  /** This snapshot is of a server that knows less than an earlier one: a standby was promoted without the last commits, and gives their numbers again. */
  isBehind({ next }: Snapshot): boolean {
    return next < this.#next;
  }

  /**
   * A sweep begins. Answers up to which number it makes everything final; to be told by {@link swept} when it has arrived.
   * @param highest a number that had been given out before the snapshot was taken
   */
  begin({ oldestOpen, next }: Snapshot, highest: number): number {
    this.#next = next;
    let final = this.#floor;
    while (this.#seen.length > 0 && this.#seen[0]!.next <= oldestOpen) final = this.#seen.shift()!.highest;
    // Kept until a sweep that began with it has arrived: one that is given up gives nothing up.
    if (final > this.#floor) this.#seen.unshift({ next: 0, highest: final });
    const last = this.#seen.at(-1);
    if (this.#seen.length < KEPT_MAX && (last === undefined || (last.next < next && last.highest < highest)))
      this.#seen.push({ next, highest });
    return final;
  }

  swept(upTo: number): void {
    this.#floor = Math.max(this.#floor, upTo);
    this.#seen = this.#seen.filter(({ highest }) => highest > this.#floor);
  }

  forget(): void {
    this.#seen = [];
    this.#floor = -1;
    this.#next = 0;
  }
}

/** While a transaction stays open for long nothing becomes final, so more would only be kept. */
const KEPT_MAX = 64;
