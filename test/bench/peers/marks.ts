/**
 * From figures to marks: which are held. A ratio of at least its mark is held, whatever the row measures: limits are turned round
 * (limit ÷ ours, mark 1), and so are absolute marks (measured ÷ required or required ÷ measured, mark 1).
 */
import type { Mark, Value, Work } from './works.ts';

/** One side's figures of one work: a value per round, and the median. Null with a reason when there is none. */
export interface SideResult {
  readonly work: string;
  readonly who: string;
  readonly values: Readonly<Partial<Record<Value, number>>>;
  readonly rounds: readonly Readonly<Partial<Record<Value, number>>>[];
  readonly way: string;
  readonly durability: string;
  readonly note: string;
  readonly missing?: string | undefined;
}

/** One entry of the JSON's `marks`. */
export interface MarkResult {
  readonly work: string;
  /** Null: one of the two was not measured; `missing` says why. */
  readonly ratio: number | null;
  readonly mark: number;
  readonly against: string;
  readonly ours: number | null;
  readonly theirs: number | null;
  readonly durability: string;
  readonly missing?: string | undefined;
}

/** All marks of the works that were run, in their order. */
export function marksOf(works: readonly Work[], results: readonly SideResult[]): MarkResult[] {
  const find = (work: string, who: string): SideResult | undefined =>
    results.find((result) => result.work === work && result.who === who);
  return works.flatMap((work) => {
    const measured = work.from ?? work.name;
    const ours = find(measured, 'ours');
    return work.marks.map((mark) => judge(work, mark, ours, theirsOf(mark, measured, find)));
  });
}

export function isHeld({ ratio, mark }: MarkResult): boolean {
  return ratio !== null && ratio >= mark;
}

/** The middle one of some values, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function theirsOf(
  mark: Mark,
  measured: string,
  find: (work: string, who: string) => SideResult | undefined,
): SideResult | undefined {
  if (mark.kind === 'least' || mark.kind === 'most') return undefined;
  if (mark.kind === 'raw') return find(measured, 'raw-read');
  return find(mark.kind === 'times' ? (mark.of ?? measured) : measured, mark.against);
}

function judge(work: Work, mark: Mark, ours: SideResult | undefined, theirs: SideResult | undefined): MarkResult {
  const our = ours?.values[work.value] ?? null;
  const isAbsolute = mark.kind === 'least' || mark.kind === 'most';
  const their = isAbsolute ? mark.required : (theirs?.values[work.value] ?? null);
  const ratio = our === null || their === null ? null : ratioOf(mark, our, their);
  const missing =
    our === null ? (ours?.missing ?? 'not measured') : their === null ? (theirs?.missing ?? 'not measured') : undefined;
  return {
    work: work.name,
    ratio,
    mark: mark.kind === 'times' || mark.kind === 'raw' ? mark.mark : 1,
    against: againstOf(mark),
    ours: our,
    theirs: their,
    durability: durabilityOf(ours, isAbsolute ? undefined : theirs),
    ...(missing === undefined ? {} : { missing }),
  };
}

/** Digits are cut, never rounded up: what is shown as held is held. */
function ratioOf(mark: Mark, ours: number, theirs: number): number {
  const ratio = mark.kind === 'limit' ? (mark.times * theirs) / ours : mark.kind === 'most' ? theirs / ours : ours / theirs;
  return Math.floor(ratio * 1000) / 1000;
}

function againstOf(mark: Mark): string {
  switch (mark.kind) {
    case 'times':
      return mark.of === undefined || mark.against !== 'ours' ? mark.against : `own ${mark.of}`;
    case 'limit':
      return mark.against;
    case 'least':
      return `at least ${mark.required}`;
    case 'most':
      return `at most ${mark.required}`;
    case 'raw':
      return 'raw-read';
  }
}

function durabilityOf(ours: SideResult | undefined, theirs: SideResult | undefined): string {
  const our = ours?.durability ?? '';
  return theirs === undefined || theirs.durability === our ? our : `ours: ${our}; theirs: ${theirs.durability}`;
}
