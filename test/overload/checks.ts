/** What a case found: sentences that held or did not, each with what was seen, and the figures behind them. */
export interface Check {
  readonly holds: boolean;
  readonly sentence: string;
  readonly seen: string;
  /** A time on the clock decides: on a machine that has other work too it may fail for that. */
  readonly isTimed: boolean;
  /** It is timed, and holds so well that it fails the run even where times are only shown. */
  readonly isFirm: boolean;
  /** There was nothing that could have broken it: it neither held nor failed, and is shown as that. */
  readonly isEmpty: boolean;
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
    this.#note(holds, sentence, seen);
  }

  /** As `that`, for a sentence about each of `count` things: of none it says nothing. */
  ofEach(count: number, holds: boolean, sentence: string, seen: unknown): void {
    this.#note(holds, sentence, count === 0 ? NOTHING : seen, { isEmpty: count === 0 });
  }

  /** As `that`, for a sentence about time. */
  inTime(holds: boolean, sentence: string, seen: unknown, isFirm = false): void {
    this.#note(holds, sentence, seen, { isTimed: true, isFirm });
  }

  /**
   * Each kind of answer came within `maxMs` (p99), as far as it came. Of nothing nothing can be said: fewer than `countMin` in all do not
   * hold, and where none has to come the sentence is empty.
   */
  allWithin(spans: readonly Span[], maxMs: number, countMin: number, sentence: string, isFirm = false): void {
    const came = spans
      .filter(({ count }) => count > 0)
      .map(({ count, p99Ms, maxMs: longestMs }) => ({ count, p99Ms, maxMs: longestMs }));
    const sum = came.reduce((all, { count }) => all + count, 0);
    if (sum < countMin) this.that(false, sentence, `${sum} came, at least ${countMin} have to`);
    else if (sum === 0) this.ofEach(0, true, sentence, NOTHING);
    else
      this.inTime(
        came.every(({ p99Ms }) => p99Ms <= maxMs),
        sentence,
        came,
        isFirm,
      );
  }

  #note(holds: boolean, sentence: string, seen: unknown, more: Partial<Check> = {}): void {
    const text = typeof seen === 'string' ? seen : JSON.stringify(seen);
    this.list.push({ holds, sentence, seen: text, isTimed: false, isFirm: false, isEmpty: false, ...more });
  }
}

export function failed(result: CaseResult): readonly Check[] {
  return result.checks.filter(({ holds }) => !holds);
}

/** A case as people read it. `counts`: whether the run fails for a check that does not hold. */
export function toldLines(result: CaseResult, counts: (check: Check) => boolean): string[] {
  const late = failed(result).some(counts) ? 'FAILS' : 'too slow here';
  const empty = result.checks.filter(({ isEmpty }) => isEmpty).length;
  const verdict =
    failed(result).length > 0 ? late : empty === 0 ? 'holds' : `holds, as far as there was anything to judge (${empty} not)`;
  const word = ({ holds, isEmpty }: Check): string => (!holds ? 'FAIL' : isEmpty ? '--  ' : 'ok  ');
  return [`${result.name}: ${verdict}`, ...result.checks.map((check) => `  ${word(check)} ${check.sentence}: ${check.seen}`)];
}

const NOTHING = 'none came, nothing was judged';
