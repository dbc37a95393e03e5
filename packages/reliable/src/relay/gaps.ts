/**
 * Numbers that were passed over: a number is given out when a row is written and shows when its transaction commits, so a row with a lower
 * number may come after one with a higher. The next looks begin below the lowest number that was missing a moment ago; what takes longer
 * (or was rolled back, or is another channel's) the sweep finds. Only the end of the table is watched: a backlog's gaps are old.
 */
export class Gaps {
  /** Missing numbers, ascending, apart from each other. */
  #ranges: Range[] = [];
  /** The highest number seen; -1: none yet. */
  #highest = -1;

  /** The number below the lowest that is missing, if that is lower than `mark`. */
  below(mark: number, nowMs: number): number {
    this.#drop(nowMs);
    const first = this.#ranges[0];
    return first === undefined ? mark : Math.min(mark, first.from - 1);
  }

  /** These numbers are there, ascending; `atEnd`: nothing follows the last. */
  seen(numbers: readonly number[], atEnd: boolean, nowMs: number): void {
    for (const number of numbers) {
      if (number <= this.#highest) {
        if (this.#ranges.length > 0) this.#fill(number);
        continue;
      }
      const missing = number - this.#highest - 1;
      if (atEnd && missing > 0 && missing <= NUMBERS_MAX && this.#highest >= 0 && this.#ranges.length < RANGES_MAX)
        this.#ranges.push({ from: this.#highest + 1, to: number - 1, untilMs: nowMs + WAIT_MS });
      this.#highest = number;
    }
  }

  forget(): void {
    this.#ranges = [];
    this.#highest = -1;
  }

  #fill(number: number): void {
    const at = this.#ranges.findIndex(({ from, to }) => from <= number && number <= to);
    if (at < 0) return;
    const { from, to, untilMs } = this.#ranges[at]!;
    const left = [
      { from, to: number - 1, untilMs },
      { from: number + 1, to, untilMs },
    ].filter((range) => range.from <= range.to);
    this.#ranges.splice(at, 1, ...left);
  }

  #drop(nowMs: number): void {
    const lowest = this.#highest - NUMBERS_MAX;
    if (this.#ranges.some(({ from, untilMs }) => untilMs <= nowMs || from < lowest))
      this.#ranges = this.#ranges.filter(({ from, untilMs }) => untilMs > nowMs && from >= lowest);
  }
}

interface Range {
  readonly from: number;
  readonly to: number;
  /** Monotonic. */
  readonly untilMs: number;
}

/** The next sweep is due by then. */
const WAIT_MS = 300;
/** Further behind than that, going back costs more than the sweep. */
const NUMBERS_MAX = 5_000;
const RANGES_MAX = 256;
