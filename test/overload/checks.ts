/** What a case found: sentences that held or did not, each with what was seen, and the figures behind them. */
export interface Check {
  readonly holds: boolean;
  readonly sentence: string;
  readonly seen: string;
  /** A time on the clock decides: on a machine that has other work too it may fail for that. */
  readonly isTimed: boolean;
  /** It is timed, and holds so well that it fails the run even where times are only shown. */
  readonly isFirm: boolean;
}

export interface CaseResult {
  readonly name: string;
  readonly checks: readonly Check[];
  readonly figures: Readonly<Record<string, unknown>>;
}

/** How long answers of one kind took. */
export interface Span {
  readonly count: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export class Checks {
  readonly list: Check[] = [];

  /** Notes whether the sentence holds; `seen` is shown either way. */
  that(holds: boolean, sentence: string, seen: unknown): void {
    this.#note(holds, sentence, seen, false, false);
  }

  /** As `that`, for a sentence about time. */
  inTime(holds: boolean, sentence: string, seen: unknown, isFirm = false): void {
    this.#note(holds, sentence, seen, true, isFirm);
  }

  /**
   * Each kind of answer came within `maxMs` (p99), as far as it came. Of nothing nothing can be said: fewer than `countMin` in all do not
   * hold, and where none has to come `none` is what was seen.
   */
  allWithin(spans: readonly Span[], maxMs: number, countMin: number, sentence: string, isFirm = false): void {
    const came = spans
      .filter(({ count }) => count > 0)
      .map(({ count, p99Ms, maxMs: longestMs }) => ({ count, p99Ms, maxMs: longestMs }));
    const sum = came.reduce((all, { count }) => all + count, 0);
    if (sum < countMin) this.that(false, sentence, `${sum} came, at least ${countMin} have to`);
    else
      this.inTime(
        came.every(({ p99Ms }) => p99Ms <= maxMs),
        sentence,
        sum === 0 ? 'none' : came,
        isFirm,
      );
  }

  #note(holds: boolean, sentence: string, seen: unknown, isTimed: boolean, isFirm: boolean): void {
    this.list.push({ holds, sentence, seen: typeof seen === 'string' ? seen : JSON.stringify(seen), isTimed, isFirm });
  }
}

export function failed(result: CaseResult): readonly Check[] {
  return result.checks.filter(({ holds }) => !holds);
}
