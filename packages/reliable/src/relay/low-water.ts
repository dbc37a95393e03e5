/**
 * Where a claim begins to look, per state: rows are claimed in the order (due_at, sequence), and below the mark nothing was left the last
 * time. It is a hint that saves walking over what has been settled (and, where an old snapshot is open, cannot be cleaned away), never
 * the truth: a transaction that commits late makes rows below it. So everything below is swept again and again beside the claims, page by
 * page; and whatever is put back lowers the mark to where it lies.
 *
 * ```
 * claim from `mark` to the end  →  mark rises with what was seen
 * row put back, key released    →  mark falls to it
 * sweep, page by page           →  from the beginning (`whole`), or from where late rows may be (`late`), up to where the mark stood
 * ```
 *
 * Where numbers are given again, a mark says nothing once the row it stands at is gone. A row that was held back stays, and whatever is
 * written while it is there gets a higher number: so there every claim begins again at the last row that was held back, the floor. Such a
 * row is freed and gone one day: a sweep finds the floor anew, and where nothing holds anything up there is none.
 */
export interface Position {
  readonly dueAt: number;
  readonly sequence: number;
}

export const BEGINNING: Position = { dueAt: 0, sequence: -1 };

/** `whole`: all that lies below the mark. `late`: only where rows of late commits may be, while the other is long under way. */
export type SweepKind = 'whole' | 'late';
export const SWEEPS: readonly SweepKind[] = ['late', 'whole'];

interface Sweep {
  readonly at: Position;
  readonly to: Position;
}

export class LowWater {
  #mark = BEGINNING;
  #floor = BEGINNING;
  /** The last row that the whole sweep under way found held back. */
  #sweptFloor = BEGINNING;
  /** The lowest row that was seen and not taken, because it or its key was in the air. */
  #skipped: Position | undefined;
  /** Those under way. */
  readonly #sweeps = new Map<SweepKind, Sweep>();

  /** Where the next page begins. */
  get from(): Position {
    return this.#mark;
  }

  /** The last row that was held back; see above. */
  get floor(): Position {
    return this.#floor;
  }

  /** Where the next page of a sweep begins; undefined when it is not under way. */
  sweptTo(kind: SweepKind): Position | undefined {
    return this.#sweeps.get(kind)?.at;
  }

  /** Begins a sweep, unless it is under way or nothing lies below the mark. */
  sweep(kind: SweepKind, from: Position = BEGINNING): void {
    if (this.#sweeps.has(kind) || !isBefore(from, this.#mark)) return;
    this.#sweeps.set(kind, { at: from, to: this.#mark });
    if (kind === 'whole') this.#sweptFloor = BEGINNING;
  }

  /** A page was read up to `last` (undefined: nothing was there). */
  read(last: Position | undefined): void {
    if (last !== undefined && isBefore(this.#mark, last)) this.#mark = last;
  }

  /** A page of a sweep was read up to `last` (undefined: nothing of it was looked at), and nothing follows it if `ended`. */
  swept(kind: SweepKind, last: Position | undefined, ended: boolean): void {
    const sweep = this.#sweeps.get(kind);
    if (sweep === undefined) return;
    if (ended) this.#arrived(kind);
    else if (last !== undefined) this.#goOn(kind, { at: last, to: sweep.to });
  }

  /** This row was not taken, though it may be due. */
  skipped(row: Position): void {
    if (this.#skipped === undefined || isBefore(row, this.#skipped)) this.#skipped = row;
  }

  /** This row was not taken, and stays where it is until its key is free. */
  heldBack(row: Position): void {
    if (isBefore(this.#floor, row)) this.#floor = row;
    if (isBefore(this.#sweptFloor, row)) this.#sweptFloor = row;
  }

  /** Nothing is held back: there is no floor, and the next page is the first. */
  freed(): void {
    this.#floor = BEGINNING;
    this.#lower(BEGINNING);
  }

  /** The next claim begins at the floor. */
  restart(): void {
    if (isBefore(this.#floor, this.#mark)) this.#lower(this.#floor);
  }

  /** Something has landed: what was skipped for its sake may be free. Answers whether anything was skipped. */
  landed(): boolean {
    if (this.#skipped === undefined) return false;
    this.putBack(this.#skipped);
    this.#skipped = undefined;
    return true;
  }

  /** This row is due as before. */
  putBack(row: Position): void {
    const below = before(row);
    if (isBefore(below, this.#floor)) this.#floor = below;
    if (isBefore(below, this.#sweptFloor)) this.#sweptFloor = below;
    if (isBefore(below, this.#mark)) this.#lower(below);
  }

  forget(): void {
    this.#mark = BEGINNING;
    this.#floor = BEGINNING;
    this.#sweptFloor = BEGINNING;
    this.#sweeps.clear();
    this.#skipped = undefined;
  }

  /** What lies above is read again by the claims, so no sweep need go there. */
  #lower(mark: Position): void {
    this.#mark = mark;
    for (const [kind, { at, to }] of this.#sweeps) this.#goOn(kind, { at, to: isBefore(mark, to) ? mark : to });
  }

  #goOn(kind: SweepKind, sweep: Sweep): void {
    if (isBefore(sweep.at, sweep.to)) this.#sweeps.set(kind, sweep);
    else this.#arrived(kind);
  }

  #arrived(kind: SweepKind): void {
    this.#sweeps.delete(kind);
    if (kind === 'whole') this.#floor = this.#sweptFloor;
  }
}

export function isBefore(a: Position, b: Position): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.sequence < b.sequence);
}

function before({ dueAt, sequence }: Position): Position {
  return { dueAt, sequence: sequence - 1 };
}
