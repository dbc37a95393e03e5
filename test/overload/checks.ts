/** What a case found: sentences that held or did not, each with what was seen, and the figures behind them. */
export interface Check {
  readonly holds: boolean;
  readonly sentence: string;
  readonly seen: string;
  /** A time on the clock decides: on a machine that has other work too it may fail for that. */
  readonly isTimed: boolean;
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
    this.#note(holds, sentence, seen, false);
  }

  /** As `that`, for a sentence about time. */
  inTime(holds: boolean, sentence: string, seen: unknown): void {
    this.#note(holds, sentence, seen, true);
  }

  #note(holds: boolean, sentence: string, seen: unknown, isTimed: boolean): void {
    this.list.push({ holds, sentence, seen: typeof seen === 'string' ? seen : JSON.stringify(seen), isTimed });
  }
}

export function failed(result: CaseResult): readonly Check[] {
  return result.checks.filter(({ holds }) => !holds);
}
