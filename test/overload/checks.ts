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

  #note(holds: boolean, sentence: string, seen: unknown, isTimed: boolean, isFirm: boolean): void {
    this.list.push({ holds, sentence, seen: typeof seen === 'string' ? seen : JSON.stringify(seen), isTimed, isFirm });
  }
}

export function failed(result: CaseResult): readonly Check[] {
  return result.checks.filter(({ holds }) => !holds);
}
