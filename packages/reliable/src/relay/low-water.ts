/**
 * Where a claim begins to look, per state: rows are claimed in the order (due_at, sequence), and below the mark nothing was left the last
 * time. It is a hint that saves walking over what has been settled (and, where an old snapshot is open, cannot be cleaned away), never
 * the truth: a transaction that commits late makes rows below it. So everything below is swept again and again from the very beginning, at
 * an interval, and less often when a sweep takes long; and whatever is put back lowers the mark to where it lies.
 *
 * ```
 * claim from `mark` to the end  →  mark rises with what was seen
 * row put back, key released    →  mark falls to it
 * sweep due                     →  claim from the beginning, page by page, up to where the mark stood
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

export class LowWater {
  #mark = BEGINNING;
  #floor = BEGINNING;
  /** Where the sweep under way has come to; undefined when there is none. */
  #swept: Position | undefined = BEGINNING;
  /** The last row that the sweep under way found held back. */
  #sweptFloor = BEGINNING;
  /** The lowest row that was seen and not taken, because it or its key was in the air. */
  #skipped: Position | undefined;

  /** Where the next page begins. */
  get from(): Position {
    return this.#swept ?? this.#mark;
  }

  get sweeping(): boolean {
    return this.#swept !== undefined;
  }

  /** What comes next lies below the mark: most of it is in the air. */
  get repeating(): boolean {
    return this.#swept !== undefined && this.#mark !== BEGINNING;
  }

  sweep(): void {
    if (this.#swept !== undefined) return;
    this.#swept = BEGINNING;
    this.#sweptFloor = BEGINNING;
  }

  /** A page was read up to `last` (undefined: nothing was there), and nothing follows it if `ended`. */
  read(last: Position | undefined, ended: boolean): void {
    if (last !== undefined && isBefore(this.#mark, last)) this.#mark = last;
    if (this.#swept === undefined) return;
    const arrived = ended || last === undefined || !isBefore(last, this.#mark);
    this.#swept = arrived ? undefined : last;
    if (arrived) this.#floor = this.#sweptFloor;
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
    this.#mark = BEGINNING;
  }

  /** The next claim begins at the floor. */
  restart(): void {
    this.#mark = this.#floor;
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
    if (!isBefore(below, this.#mark)) return;
    this.#mark = below;
    // A sweep that is above it has arrived; going on from there would lift the mark over the row.
    if (this.#swept !== undefined && isBefore(below, this.#swept)) this.#swept = below;
  }

  forget(): void {
    this.#mark = BEGINNING;
    this.#floor = BEGINNING;
    this.#sweptFloor = BEGINNING;
    this.#swept = undefined;
    this.#skipped = undefined;
  }
}

export function isBefore(a: Position, b: Position): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.sequence < b.sequence);
}

function before({ dueAt, sequence }: Position): Position {
  return { dueAt, sequence: sequence - 1 };
}
