/**
 * What a look takes in hand: due rows of the ranges this process holds, that stand behind no other message of their key. A look reads a bounded
 * number of rows, whatever is due: pages that grow while they are read in vain. The next one goes on where it ended; at the end of what is due it
 * begins again, and so meets what it has left. Rows fall due behind all that are due already, so nothing is passed for ever.
 *
 * What stands behind another is put off on the way, so that it is met once and not by every look.
 */
import { BEGINNING, type Position } from '../relay/low-water.ts';
import { rangeOf } from '../relay/relay-statements.ts';
import type { RowState } from '../sql/tables.ts';
import type { InboxTable } from './inbox-table.ts';
import type { KeptRow } from './kept.ts';
import { OPEN } from './standing-behind.ts';

/** Rows of the pages that one look reads of one state. */
const PAGES = [16, 64, 256, 1024] as const;

export interface Wanted {
  /** Most rows to take. */
  readonly rowsMax: number;
  /** Range → epoch, as this process believes it. */
  readonly held: ReadonlyMap<number, number>;
  /** Whether a row is in hand already, or left alone. */
  isInHand(row: KeptRow): boolean;
}

export interface Taken {
  readonly rows: readonly KeptRow[];
  /** The look ended because it had read much, or did not begin at the beginning, and not because it had enough: the next goes on from there. */
  readonly unfinished: boolean;
  /** How many rows were put off: so many fewer will be read again. */
  readonly putOff: number;
}

export class DueRows<Tx> {
  readonly #table: InboxTable<Tx>;
  readonly #identity: { readonly scope: string; readonly owner: string };
  /** Of each state where the next look reads on; absent: at the beginning. `took`: looks since the beginning took rows. */
  readonly #passes = new Map<RowState, { readonly from: Position; readonly took: boolean }>();
  #looks = 0;
  #putOff = 0;

  constructor(table: InboxTable<Tx>, identity: { readonly scope: string; readonly owner: string }) {
    this.#table = table;
    this.#identity = identity;
  }

  /** Ranges have changed hands, or a row that was taken is as due as before: what was passed may be wanted. */
  restart(): void {
    this.#passes.clear();
  }

  /** Each look begins with another state, so that many of one do not keep the others waiting. */
  async take(wanted: Wanted): Promise<Taken> {
    const rows: KeptRow[] = [];
    const before = this.#putOff;
    let unfinished = false;
    const first = this.#looks++ % OPEN.length;
    for (const state of [...OPEN.slice(first), ...OPEN.slice(0, first)])
      if (rows.length < wanted.rowsMax && !(await this.#takeOf(state, wanted, rows))) unfinished = true;
    return { rows, unfinished: unfinished && rows.length < wanted.rowsMax, putOff: this.#putOff - before };
  }

  /** Answers whether all that is due of the state was looked at, and nothing has been done meanwhile that could make others due. */
  async #takeOf(state: RowState, wanted: Wanted, rows: KeptRow[]): Promise<boolean> {
    const had = rows.length;
    const pass = this.#passes.get(state) ?? FIRST;
    let { from } = pass;
    for (const limit of PAGES) {
      const page = await this.#table.due({ held: wanted.held, state, from, limit, ...this.#identity });
      const behind: KeptRow[] = [];
      for (const { row, behind: isBehind } of page) {
        if (rows.length >= wanted.rowsMax) break;
        from = row;
        if (wanted.held.has(rangeOf(row.shard)) && !wanted.isInHand(row)) (isBehind ? behind : rows).push(row);
      }
      if (behind.length > 0) await this.#table.putOff(behind);
      this.#putOff += behind.length;
      const full = rows.length >= wanted.rowsMax;
      if (!full && page.length < limit) {
        this.#passes.delete(state);
        return !pass.took;
      }
      this.#passes.set(state, { from, took: pass.took || rows.length > had });
      if (full) return false;
    }
    return false;
  }
}

const FIRST = { from: BEGINNING, took: false };
