/** What a case found: sentences that held or did not, each with what was seen, and the figures behind them. */
export interface Check {
  readonly holds: boolean;
  readonly sentence: string;
  readonly seen: string;
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
    this.list.push({ holds, sentence, seen: typeof seen === 'string' ? seen : JSON.stringify(seen) });
  }
}

export function failed(result: CaseResult): readonly Check[] {
  return result.checks.filter(({ holds }) => !holds);
}
