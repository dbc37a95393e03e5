/**
 * Claiming writes nothing: it reads due rows page by page, from the low-water mark of each state, and takes what is in a range held and
 * not in the air, and whose key no earlier failed message holds. What it reads is bounded in rows and bytes, however large the backlog.
 * Below the mark it sweeps, one page of each sweep per claim; the relay says when, so that a long sweep does not take all the time.
 *
 * A claim must know all that was in the air at any time since it began: a row that lands while a page is on its way is still in that
 * page. The relay sees to it (it takes landed rows out of `flying` between claims).
 */
import { run, pieces, type Statement, type Steps } from '../sql/statement.ts';
import { asBytes, asNumber, asText, asTextOrNull } from '../sql/values.ts';
import type { OutgoingMessage } from '../transports/transport.ts';
import { Batch, type ClaimedRow, type ClaimedState, type InFlight } from './batch.ts';
import { CopyReader, messageOf, rowOfObject, type PageRow, type ReadAs } from './claimed-row.ts';
import { Gaps } from './gaps.ts';
import { Horizon } from './horizon.ts';
import { BEGINNING, isBefore, LowWater, SWEEPS, type Position, type SweepKind } from './low-water.ts';
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
  /** Sweeps that begin, or go on by a page. */
  readonly sweeps: readonly SweepKind[];
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
const SWEEP_ROWS = 2000;
/** Rows that one statement may pass over because their keys are held up: 10 ms, or as long when each key has to be looked up. */
const WINDOW_MAX = 20_000;
const WINDOW_OF_MANY_MAX = 4_000;
/** Whole sweeps by which it is known where late rows may be, unless a transaction stays open. */
const SWEEPS_TO_KNOW = 3;
/** So many times larger is the next window when all in it were held. */
const WINDOW_GROWTH = 4;

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
  /** The last page had a body larger than its share of the batch. */
  #hasLarge = false;
  readonly #earliest: EarliestOfKeys;
  /** Whether numbers only grow; else a mark says nothing once the row it stands at is gone. */
  readonly #growing: boolean;
  /** Up to where something may lie that this claim has not looked at: its last page began there. */
  #unseenUpTo = -1;
  #exhausted = false;
  #unfinished = false;
  #window = SWEEP_ROWS;
  /** Where late rows may be, and what the sweeps under way will have made sure of. */
  readonly #horizon = new Horizon();
  readonly #final = new Map<SweepKind, number>();
  /** Whole sweeps begun since nothing was known. */
  #sweepsBegun = 0;
  /** Whether sweeps of the last claim read a page, and how many rows they took. */
  #swept = false;
  #found = 0;

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
    this.#exhausted = this.#unfinished = false;
    this.#swept = false;
    this.#found = 0;
    if (order.sweeps.length > 0 || !this.#holdingKnown) yield* this.#readHolding();
    for (const kind of order.sweeps) if (this.#marks.get('waiting')!.sweptTo(kind) === undefined) yield* this.#beginSweep(kind);
    let ended = true;
    for (const state of order.all ? STATES : FRESH) if (batch.full || !(yield* this.#claimOf(state, order, batch))) ended = false;
    this.#exhausted = ended;
  }

  /** The last claim took all that was due above the marks of the states it looked at. */
  get exhausted(): boolean {
    return this.#exhausted;
  }

  /** The last claim ended because it had walked far, not because it had enough: the next goes on from there. */
  get unfinished(): boolean {
    return this.#unfinished;
  }

  /** How many rows the last claim has by its sweeps. */
  get found(): number {
    return this.#found;
  }

  /** The last claim read a page for a sweep; false: nothing lies below the marks. */
  get swept(): boolean {
    return this.#swept;
  }

  /** Whether it is known where late rows may be; there is less to read then than everything. */
  get knowsLate(): boolean {
    return this.#horizon.floor >= 0;
  }

  /** The first whole sweeps find that out. In vain, while a transaction is open that is older than they are. */
  get findsOut(): boolean {
    return this.#postgres !== undefined && this.#holdsSome && !this.knowsLate && this.#sweepsBegun <= SWEEPS_TO_KNOW;
  }

  sweeping(kind: SweepKind): boolean {
    for (const mark of this.#marks.values()) if (mark.sweptTo(kind) !== undefined) return true;
    return false;
  }

  *#beginSweep(kind: SweepKind): Steps<void> {
    const waiting = this.#marks.get('waiting')!;
    if (this.#postgres !== undefined && this.#holdsSome) {
      const highest = waiting.from.sequence;
      const { rows } = yield* run(this.#postgres.snapshot({}));
      const open = { oldestOpen: asNumber(rows[0]!['oldest_open']), next: asNumber(rows[0]!['next']) };
      if (this.#horizon.isBehind(open)) return this.forget();
      this.#final.set(kind, this.#horizon.begin(open, highest));
    }
    // Of fresh rows there may be many below their mark, of the others there are few.
    for (const [state, mark] of this.#marks)
      mark.sweep(kind, kind === 'late' && state === 'waiting' ? { dueAt: 0, sequence: this.#horizon.floor } : BEGINNING);
    if (kind === 'whole') {
      this.#heldBack.clear();
      this.#sweepsBegun++;
    }
    this.#arriving(kind);
  }

  /** What a sweep of fresh rows was to make sure of is sure once it has arrived. */
  #arriving(kind: SweepKind): void {
    const final = this.#final.get(kind);
    if (final === undefined || this.#marks.get('waiting')!.sweptTo(kind) !== undefined) return;
    this.#final.delete(kind);
    this.#horizon.swept(final);
  }

  /** Leases have changed hands: nothing is known any more. Or all is to be looked through from the beginning. */
  forget(): void {
    for (const mark of this.#marks.values()) mark.forget();
    this.#gaps.forget();
    this.#heldBack.clear();
    this.#holdingKnown = false;
    this.#horizon.forget();
    this.#final.clear();
    this.#sweepsBegun = 0;
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
      this.#release(row.key, row.sequence);
    }
    return freed;
  }

  /** A message holds its key no longer: what it held up is due. */
  #release(key: string, sequence: number): void {
    this.#marks.get('waiting')!.putBack({ dueAt: 0, sequence });
    for (const state of STATES) {
      const name = `${state}:${key}`;
      const held = this.#heldBack.get(name);
      if (held === undefined) continue;
      this.#heldBack.delete(name);
      this.#marks.get(state)!.putBack(held);
    }
  }

  *#readHolding(): Steps<void> {
    const { rows } = yield* run(this.#statements.holding({ channel: this.#scope.channel, limit: HOLDING_MAX + 1 }));
    const before = this.#holding;
    this.#holdingKnown = true;
    this.#holding = rows.length > HOLDING_MAX ? undefined : new Map();
    if (this.#holding === undefined) return;
    for (const row of rows) {
      const key = asTextOrNull(row['message_key']);
      const sequence = asNumber(row['sequence']);
      if (key !== null && sequence < (this.#holding.get(key) ?? Number.POSITIVE_INFINITY)) this.#holding.set(key, sequence);
    }
    // A person has decided: what these keys held up may go.
    for (const [key, sequence] of before ?? [])
      if ((this.#holding.get(key) ?? Number.POSITIVE_INFINITY) > sequence) this.#release(key, sequence);
    if (!this.#growing && this.#holding.size === 0) for (const mark of this.#marks.values()) mark.freed();
  }

  get #holdsSome(): boolean {
    return this.#holding === undefined || this.#holding.size > 0;
  }

  /**
   * What a sweep finds comes alone: the rows of a state that fly together lie in one piece that was read from end to end, so that nothing of their
   * keys lies unseen between them.
   */
  *#claimOf(state: ClaimedState, order: ClaimOrder, batch: Batch): Steps<boolean> {
    const before = batch.rows.length;
    for (const kind of SWEEPS) {
      if (order.sweeps.includes(kind)) yield* this.#sweepOn(kind, state, order, batch);
      if (batch.rows.length > before || batch.full) return false;
    }
    return yield* this.#claimState(state, order, batch);
  }

  /** From the mark up. Answers whether all that is due there was looked at. */
  *#claimState(state: ClaimedState, order: ClaimOrder, batch: Batch): Steps<boolean> {
    const mark = this.#marks.get(state)!;
    const fresh = state === 'waiting';
    const { floor } = mark;
    // The first page of a claim begins where a number is missing, each other where that one ended.
    let from = mark.from;
    if (fresh && this.#growing) from = { dueAt: from.dueAt, sequence: this.#gaps.below(from.sequence, order.monotonicMs) };
    for (let page = 0; page < order.pagesMax && !batch.full; page++) {
      const before = batch.rows.length;
      // Where most are held up, they are passed over before they are read.
      const read = yield* this.#page(
        { state, order, from, limit: order.rowsMax - before },
        fresh && this.#vain > VAIN_MAX ? 'free' : 'whole',
      );
      const { looked, last, ended } = this.#take(read, order, batch, mark);
      if (fresh && this.#growing) this.#watch(read, looked, ended, order.monotonicMs);
      mark.read(last);
      from = last ?? from;
      if (fresh) this.#rowsBefore = read.rows.length;
      // Of a few rows that were looked at again for the sake of a missing number, bodies are not worth a second statement.
      if (ended) this.#vain = 0;
      else if (read.seen >= COPY_ROWS || batch.rows.length === before) this.#vain = 1 - (batch.rows.length - before) / read.seen;
      if (ended) return true;
    }
    // Where numbers are given again each claim begins at the floor: only if that has risen will the next come further.
    if (!batch.full && (this.#growing || isBefore(floor, mark.floor))) this.#unfinished = true;
    return false;
  }

  #watch({ rows, complete, reached }: Page, looked: number, ended: boolean, nowMs: number): void {
    if (complete)
      this.#gaps.seen(
        rows.slice(0, looked).map(({ row }) => row.sequence),
        ended,
        nowMs,
      );
    else if (reached !== undefined) this.#gaps.seen([reached.sequence], false, nowMs);
  }

  /** One page of a sweep; heads only, because most of what lies there is in the air or held up. */
  *#sweepOn(kind: SweepKind, state: ClaimedState, order: ClaimOrder, batch: Batch): Steps<void> {
    const mark = this.#marks.get(state)!;
    const from = mark.sweptTo(kind);
    if (from === undefined || batch.full) return;
    this.#swept = true;
    const before = batch.rows.length;
    const limit = Math.max(SWEEP_ROWS, order.rowsMax);
    const page = yield* this.#page({ state, order, from, limit }, state === 'waiting' ? 'free' : 'heads');
    // What lies above the mark is the claim's, which reads it with its bodies.
    const beyond = page.rows.findIndex(({ row }) => isBefore(mark.from, row));
    const read = beyond < 0 ? page : { ...page, rows: page.rows.slice(0, beyond), ended: true };
    const { last, ended } = this.#take(read, order, batch, mark);
    mark.swept(kind, last, ended);
    this.#arriving(kind);
    this.#found += batch.rows.length - before;
  }

  /** Offers a page to the batch. Answers how many of its rows were looked at, up to where, and whether nothing follows. */
  #take(
    read: Page,
    order: ClaimOrder,
    batch: Batch,
    mark: LowWater,
  ): { looked: number; last: Position | undefined; ended: boolean } {
    let looked = 0;
    for (const one of read.rows) {
      if (batch.full) break;
      this.#consider(one, order.flying, batch, mark);
      if (!batch.full || batch.rows.at(-1) === one.row) looked++;
    }
    if (looked === read.rows.length) return { looked, last: read.reached, ended: read.ended };
    return { looked, last: read.rows[looked - 1]?.row, ended: false };
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

  /** `whole`: with bodies, where they are worth it. `free`: what is held up is passed over, where the database can do that. */
  *#page({ state, order, from, limit }: PageOf, wanted: 'whole' | 'heads' | 'free'): Steps<Page> {
    const { channel, scope, owner } = this.#scope;
    let epochs = 0;
    for (const epoch of order.held.values()) epochs += epoch;
    if (state === 'waiting') this.#unseenUpTo = Math.max(this.#unseenUpTo, from.sequence);
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
    const postgres = this.#postgres;
    if (wanted === 'free' && postgres !== undefined && this.#holdsSome) return yield* this.#freePage(postgres, values, as);
    if (this.#holding === undefined) return pageOf(objects(yield* run(this.#statements.pageOfMany(values)), as), limit);
    if (postgres === undefined || wanted !== 'whole' || this.#vain > VAIN_MAX)
      return pageOf(objects(yield* run(this.#statements.page(values)), as), limit);
    // As long as none is larger than its share, nothing has to be added up (a tenth of a claim); the share of what is read now bounds it all the same.
    const share = Math.floor(order.bytesMax / limit);
    const statement = this.#hasLarge
      ? postgres.pageWithBodies({ bytes: order.bytesMax, ...values })
      : postgres.pageWithSmallBodies({ share, ...values });
    const result = yield* run({ copies: this.#rowsBefore >= COPY_ROWS, ...statement });
    const rows = result.value === undefined ? objects(result, as) : copied(result.value as readonly Buffer[], as);
    // A state in which nothing is says nothing about what is to come.
    if (rows.length > 0) this.#hasLarge = rows.some(({ row }) => row.bodyBytes > share);
    return pageOf(rows, limit);
  }

  *#freePage(postgres: PostgresStatements, values: PageValues, as: ReadAs): Steps<Page> {
    const holding = this.#holding;
    const window = Math.max(values.limit, Math.min(this.#window, holding === undefined ? WINDOW_OF_MANY_MAX : WINDOW_MAX));
    const { rows } = yield* run(
      holding === undefined
        ? postgres.freeOfMany({ window, ...values })
        : postgres.free({ window, holding: JSON.stringify(Object.fromEntries(holding)), ...values }),
    );
    const free = rows.filter(({ id }) => id !== null).map((row) => rowOfObject(row, as));
    const seen = asNumber(rows[0]!['looked']);
    this.#window = free.length > 0 ? SWEEP_ROWS : window * WINDOW_GROWTH;
    // More of them may follow in the window.
    if (free.length >= values.limit) return { ...pageOf(free, values.limit), seen, complete: false };
    const reached = seen === 0 ? undefined : { dueAt: values.afterDue, sequence: asNumber(rows[0]!['reached']) };
    return { rows: free, seen, reached, ended: seen < window, complete: false };
  }
}

interface PageOf {
  readonly state: ClaimedState;
  readonly order: ClaimOrder;
  readonly from: Position;
  readonly limit: number;
}

type PageValues = Parameters<RelayStatements['page']>[0] & { readonly afterDue: number; readonly limit: number };

interface Page {
  readonly rows: readonly PageRow[];
  /** How many rows the database has looked at. */
  readonly seen: number;
  /** Where the next page begins. */
  readonly reached: Position | undefined;
  /** Nothing is due above it. */
  readonly ended: boolean;
  /** The rows are all that it has looked at. */
  readonly complete: boolean;
}

function pageOf(rows: readonly PageRow[], limit: number): Page {
  return { rows, seen: rows.length, reached: rows.at(-1)?.row, ended: rows.length < limit, complete: true };
}

function objects({ rows }: { readonly rows: readonly Readonly<Record<string, unknown>>[] }, as: ReadAs): PageRow[] {
  return rows.map((row) => rowOfObject(row, as));
}

function copied(pieces: readonly Buffer[], as: ReadAs): PageRow[] {
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
