/**
 * Claiming writes nothing: it reads due rows page by page, from the low-water mark of each state, and takes what is in a range held and
 * not in the air, and whose key no earlier failed message holds. What it reads is bounded in rows and bytes, however large the backlog.
 *
 * A claim must know all that was in the air at any time since it began: a row that lands while a page is on its way is still in that
 * page. The relay sees to it (it takes landed rows out of `flying` between claims).
 */
import { run, pieces, type Statement, type Steps } from '../sql/statement.ts';
import { asBytes, asNumber, asText, asTextOrNull } from '../sql/values.ts';
import type { OutgoingMessage } from '../transports/transport.ts';
import { Batch, type ClaimedRow, type ClaimedState, type InFlight } from './batch.ts';
import { CopyReader, messageOf, rowOfObject, type PageRow } from './claimed-row.ts';
import { Gaps } from './gaps.ts';
import { isBefore, LowWater, type Position } from './low-water.ts';
import { overtaken, type EarliestOfKeys } from './overtaken.ts';
import { listText, type PostgresStatements } from './postgres-statements.ts';
import type { RelayStatements } from './relay-statements.ts';

export interface ClaimOrder {
  readonly nowMs: number;
  readonly monotonicMs: number;
  readonly rowsMax: number;
  readonly bytesMax: number;
  readonly pagesMax: number;
  readonly flying: InFlight;
  /** Range → epoch, as this relay believes it. */
  readonly held: ReadonlyMap<number, number>;
  /** Look also at what is retried, delayed and sent, not only at fresh rows. */
  readonly all: boolean;
}

export interface ClaimScope {
  readonly channel: string;
  readonly scope: string;
  readonly owner: string;
}

/** Failed messages first (they hold their keys up), then those whose time has come, those nobody confirmed, then the fresh ones. */
const STATES: readonly ClaimedState[] = ['retrying', 'delayed', 'sent', 'waiting'];
const FRESH: readonly ClaimedState[] = ['waiting'];

/** Keys held up that are kept in memory; when there are more, the database is asked about each row. */
const HOLDING_MAX = 1000;
/** Bodies come with the heads unless more than a fifth of them was read in vain. */
const VAIN_MAX = 0.2;
/** Claims made again because a message had been left behind that its key's later ones must not overtake. */
const ROUNDS_MAX = 4;
/**
 * A page is read by COPY when the one before had so many rows: bytes need no hexadecimal then (a third less time per row of 1 KiB), but its
 * text has the values in it, so statistics of statements hold each apart. For a few rows that is not worth it.
 */
const COPY_ROWS = 64;
/** Heads of a page that only looks for what was left behind. */
const SWEEP_ROWS = 1000;

export class Claimer {
  readonly #statements: RelayStatements;
  readonly #postgres: PostgresStatements | undefined;
  readonly #scope: ClaimScope;
  readonly #marks = new Map<ClaimedState, LowWater>(STATES.map((state) => [state, new LowWater()]));
  /** Key → its earliest message that holds it; undefined: too many to keep. */
  #holding: Map<string, number> | undefined = new Map();
  #holdingKnown = false;
  /** Of each state but `waiting` and key, the first row that its key has held back: it lies below the mark. */
  readonly #heldBack = new Map<string, Position>();
  /** Numbers of fresh rows that may still come. */
  readonly #gaps = new Gaps();
  /** Share of the rows of the last pages that were read in vain. */
  #vain = 0;
  #rowsBefore = 0;
  readonly #earliest: EarliestOfKeys;
  /** Whether numbers only grow; else a mark says nothing once the row it stands at is gone. */
  readonly #growing: boolean;
  /** Where the last page of fresh rows began: nothing below was looked at in this claim. */
  #unseenUpTo = -1;
  #exhausted = false;

  constructor(
    statements: RelayStatements,
    postgres: PostgresStatements | undefined,
    scope: ClaimScope,
    numbers: { readonly earliest: EarliestOfKeys; readonly growing: boolean },
  ) {
    this.#statements = statements;
    this.#postgres = postgres;
    this.#scope = scope;
    this.#earliest = numbers.earliest;
    this.#growing = numbers.growing;
  }

  *claim(order: ClaimOrder): Steps<Batch> {
    const batch = new Batch(order.rowsMax, order.bytesMax);
    try {
      return yield* this.#claimInto(batch, order);
    } catch (error) {
      // The marks stand above what was taken already.
      for (const row of batch.rows) this.putBack(row);
      throw error;
    }
  }

  *#claimInto(batch: Batch, order: ClaimOrder): Steps<Batch> {
    if (!this.#growing) for (const mark of this.#marks.values()) mark.restart();
    for (let round = 1; ; round++) {
      yield* this.#claimOnce(batch, order);
      if (this.#unseenUpTo < 0 || batch.rows.length === 0) return batch;
      const passed = yield* overtaken(this.#earliest, this.#scope.channel, batch.rows, this.#unseenUpTo);
      if (passed.size === 0) return batch;
      // From there it is read again, in order.
      for (const row of batch.rows) this.putBack(row);
      for (const sequence of passed.values()) this.#marks.get('waiting')!.putBack({ dueAt: 0, sequence });
      this.#exhausted = false;
      batch.empty();
      if (round === ROUNDS_MAX) return batch;
    }
  }

  *#claimOnce(batch: Batch, order: ClaimOrder): Steps<void> {
    this.#unseenUpTo = -1;
    this.#exhausted = false;
    if (!this.#holdingKnown) yield* this.#readHolding();
    let ended = true;
    for (const state of order.all ? STATES : FRESH)
      if (batch.full || !(yield* this.#claimState(state, order, batch))) ended = false;
    this.#exhausted = ended;
  }

  /** The last claim took all that was due in the states it looked at. */
  get exhausted(): boolean {
    return this.#exhausted;
  }

  /** Every state is looked through from the beginning by the next claims. */
  sweep(): void {
    for (const mark of this.#marks.values()) mark.sweep();
    this.#heldBack.clear();
    this.#holdingKnown = false;
  }

  get sweeping(): boolean {
    for (const mark of this.#marks.values()) if (mark.sweeping) return true;
    return false;
  }

  /** Leases have changed hands: nothing is known any more. */
  forget(): void {
    for (const mark of this.#marks.values()) mark.forget();
    this.#gaps.forget();
    this.#heldBack.clear();
    this.#holdingKnown = false;
  }

  /** A row is as due as before. */
  putBack(row: ClaimedRow): void {
    this.#marks.get(row.state)!.putBack(row);
  }

  /**
   * Rows have left the air; `settled` are those of them whose state is another now. Answers whether rows that had to wait for them may be
   * claimed now.
   */
  landed(settled: readonly ClaimedRow[], failed: boolean): boolean {
    let freed = false;
    for (const mark of this.#marks.values()) if (mark.landed()) freed = true;
    if (failed) this.#holdingKnown = false;
    for (const row of settled) {
      if (row.state !== 'retrying' || row.key === null) continue;
      freed = true;
      // It may have held up others, which lie below the mark.
      this.#holdingKnown = false;
      this.#marks.get('waiting')!.putBack({ dueAt: 0, sequence: row.sequence });
      for (const state of STATES) {
        const name = `${state}:${row.key}`;
        const held = this.#heldBack.get(name);
        if (held === undefined) continue;
        this.#heldBack.delete(name);
        this.#marks.get(state)!.putBack(held);
      }
    }
    return freed;
  }

  *#readHolding(): Steps<void> {
    const { rows } = yield* run(this.#statements.holding({ channel: this.#scope.channel, limit: HOLDING_MAX + 1 }));
    this.#holdingKnown = true;
    this.#holding = rows.length > HOLDING_MAX ? undefined : new Map();
    if (this.#holding === undefined) return;
    for (const row of rows) {
      const key = asTextOrNull(row['message_key']);
      const sequence = asNumber(row['sequence']);
      if (key !== null && sequence < (this.#holding.get(key) ?? Number.POSITIVE_INFINITY)) this.#holding.set(key, sequence);
    }
    if (!this.#growing && this.#holding.size === 0) for (const mark of this.#marks.values()) mark.freed();
  }

  /** Answers whether all that is due was looked at. */
  *#claimState(state: ClaimedState, order: ClaimOrder, batch: Batch): Steps<boolean> {
    const mark = this.#marks.get(state)!;
    for (let page = 0; page < order.pagesMax && !batch.full; page++) {
      const { repeating } = mark;
      const watched = state === 'waiting' && this.#growing;
      // The first page of a claim begins where a number is missing, the next where that one ended.
      const from =
        watched && page === 0 && !mark.sweeping
          ? { dueAt: mark.from.dueAt, sequence: this.#gaps.below(mark.from.sequence, order.monotonicMs) }
          : mark.from;
      if (state === 'waiting') this.#unseenUpTo = from.sequence;
      const limit = repeating ? Math.max(SWEEP_ROWS, order.rowsMax) : order.rowsMax - batch.rows.length;
      const rows = yield* this.#page(state, order, from, limit, !repeating);
      const before = batch.rows.length;
      let looked = 0;
      for (const one of rows) {
        if (batch.full) break;
        this.#consider(one, order.flying, batch, mark);
        if (!batch.full || batch.rows.at(-1) === one.row) looked++;
      }
      const last = rows[looked - 1]?.row;
      const ended = rows.length < limit && looked === rows.length;
      if (watched)
        this.#gaps.seen(
          rows.slice(0, looked).map(({ row }) => row.sequence),
          ended,
          order.monotonicMs,
        );
      mark.read(last, ended);
      if (!repeating && state === 'waiting') this.#rowsBefore = rows.length;
      // Of a few rows that were looked at again for the sake of a missing number, bodies are not worth a second statement.
      if (!repeating && rows.length >= COPY_ROWS) this.#vain = 1 - (batch.rows.length - before) / rows.length;
      else if (!repeating && ended) this.#vain = 0;
      if (ended && !mark.sweeping) return true;
    }
    return false;
  }

  #consider({ row, held }: PageRow, flying: InFlight, batch: Batch, mark: LowWater): void {
    if (row.epoch < 0 || flying.ids.has(row.id)) return;
    if (held || this.#isHeld(row)) {
      mark.heldBack(row);
      return this.#holdBack(row);
    }
    if (!batch.offer(row, flying) && !batch.full) mark.skipped(row);
  }

  #holdBack({ state, key, dueAt, sequence }: ClaimedRow): void {
    // Fresh rows lie in the order of their numbers, so where the one that holds them was is place enough.
    if (state === 'waiting') return;
    const name = `${state}:${key}`;
    const row = { dueAt, sequence };
    const known = this.#heldBack.get(name);
    // Of more than that the next sweep reminds.
    if (known === undefined ? this.#heldBack.size < HOLDING_MAX : isBefore(row, known)) this.#heldBack.set(name, row);
  }

  #isHeld({ key, sequence }: ClaimedRow): boolean {
    return key !== null && this.#holding !== undefined && (this.#holding.get(key) ?? sequence) < sequence;
  }

  *#page(state: ClaimedState, order: ClaimOrder, from: Position, limit: number, mayTakeBodies: boolean): Steps<PageRow[]> {
    const { channel, scope, owner } = this.#scope;
    let epochs = 0;
    for (const epoch of order.held.values()) epochs += epoch;
    const values = {
      channel,
      state,
      scope,
      owner,
      held: order.held.size,
      epochs,
      now: order.nowMs,
      afterDue: from.dueAt,
      afterSequence: from.sequence,
      limit,
    };
    const as = { state, leases: order.held };
    if (this.#holding === undefined) return objects(yield* run(this.#statements.pageOfMany(values)), as);
    if (this.#postgres === undefined || !mayTakeBodies || this.#vain > VAIN_MAX)
      return objects(yield* run(this.#statements.page(values)), as);
    const statement = this.#postgres.pageWithBodies({ ...values, bytes: order.bytesMax });
    const result = yield* run({ ...statement, copies: this.#rowsBefore >= COPY_ROWS });
    return result.value === undefined ? objects(result, as) : copied(result.value as readonly Buffer[], as);
  }
}

function objects({ rows }: { readonly rows: readonly Readonly<Record<string, unknown>>[] }, as: ReadAsGiven): PageRow[] {
  return rows.map((row) => rowOfObject(row, as));
}

type ReadAsGiven = Parameters<typeof rowOfObject>[1];

function copied(pieces: readonly Buffer[], as: ReadAsGiven): PageRow[] {
  const reader = new CopyReader(as);
  const rows: PageRow[] = [];
  for (const piece of pieces) reader.read(piece, (row) => rows.push({ row, held: false }));
  return rows;
}

/** The messages of claimed rows that came without, by id. A row without a body is absent. */
export function* readMessages(
  statements: RelayStatements,
  postgres: PostgresStatements | undefined,
  channel: string,
  rows: readonly ClaimedRow[],
): Steps<Map<string, OutgoingMessage>> {
  const messages = new Map<string, OutgoingMessage>();
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const statement of bodyStatements(statements, postgres, channel, [...byId.keys()])) {
    const { rows: bodies } = yield* run(statement);
    for (const body of bodies) {
      const row = byId.get(asText(body['id']))!;
      messages.set(row.id, messageOf(row, asTextOrNull(body['headers']), asBytes(body['body'])));
    }
  }
  return messages;
}

function bodyStatements(
  statements: RelayStatements,
  postgres: PostgresStatements | undefined,
  channel: string,
  ids: readonly string[],
): Statement[] {
  if (postgres !== undefined) return [postgres.bodies({ channel, ids: listText(ids) })];
  return pieces(ids).map((piece) => statements.bodies({ channel }, piece));
}
