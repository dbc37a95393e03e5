import type { ByteReader, ByteWriter } from '../byte-pages.ts';
import type { HalfRow } from './half-row.ts';
import { ABSENT, COMMITTED, HalfFacts, HalfPage, OPEN, PAGE_HALVES, PARKED, ROLLED_BACK } from './half-page.ts';
import { decodeHalves, encodeHalves, halvesBytes, type FactsReader } from './half-snapshot.ts';
import { NameTable } from './name-table.ts';

export type HalfOutcome = 'committed' | 'rolled-back';
export type HalfState = 'absent' | 'open' | 'parked' | HalfOutcome;

/**
 * Which half messages wait for a verdict. Rows come and go with the log and with nothing else, so two tables that have seen the
 * same records are equal.
 *
 *   absent       never stored, or settled so long ago that its outcome is forgotten
 *   open         stored; asked about by check-back          → parked (questions exhausted), committed, rolled back
 *   parked       no longer asked about, listed for a person → committed, rolled back (a late first answer still counts)
 *   committed    the final message is in the log            → (stays)
 *   rolled-back  a rollback record is in the log            → (stays)
 *
 * Rows are addressed by half-queue offset, which is dense; positions grow with offsets, which is how a commit found in the log
 * (it carries only the half's position) finds its row.
 */
export class HalfTable {
  #pages: HalfPage[] = [];
  /** Page number of `#pages[0]`. */
  #firstPage = 0;
  readonly #parked = new Map<number, HalfRow>();
  readonly #groups = new NameTable();
  readonly #topics = new NameTable();
  /** Few senders ask for immunity, so it is not a column. */
  readonly #immune = new Map<number, number>();
  #spare: HalfFacts | undefined;
  #open = 0;
  /** Open and parked halves of each group, by its number. */
  #ofGroup: number[] = [];

  get openCount(): number {
    return this.#open;
  }

  get parkedCount(): number {
    return this.#parked.size;
  }

  /** Halves of a group that wait for a verdict, parked ones too. */
  unsettledOf(group: string): number {
    return this.#ofGroup[this.#groups.find(group)] ?? 0;
  }

  /** A half message has been stored. Adding the same one again changes nothing. */
  add(offset: number, position: number, storedAtMs: number, group: string, topic: string, id: string): void {
    const key = Buffer.from(id, 'utf8');
    this.addKeyed(offset, position, storedAtMs, group, topic, key, 0, key.length);
  }

  /** As `add`, with the unique key as bytes [start, end). */
  addKeyed(
    offset: number,
    position: number,
    storedAtMs: number,
    group: string,
    topic: string,
    key: Buffer,
    start: number,
    end: number,
  ): void {
    const page = this.#pageFor(offset);
    if (page === undefined) return;
    const slot = offset % PAGE_HALVES;
    if (page.states[slot] !== ABSENT) return;
    let { facts } = page;
    if (facts === undefined) {
      facts = page.facts = this.#takeFacts();
      facts.begin(position);
    }
    if (page.firstPosition < 0) page.firstPosition = position;
    page.states[slot] = OPEN;
    page.open++;
    this.#open++;
    const groupNumber = this.#groups.number(group);
    this.#count(groupNumber, 1);
    facts.set(slot, position, storedAtMs, groupNumber, this.#topics.number(topic), key, start, end);
    this.#forgetOldest();
  }

  /** Whether an open half is just this one, its key being bytes [start, end). Makes nothing; false also for what is parked. */
  isOpenAs(offset: number, position: number, group: string, key: Buffer, start: number, end: number): boolean {
    const page = this.#page(offset);
    const slot = offset % PAGE_HALVES;
    const facts = page?.facts;
    return (
      facts !== undefined &&
      page!.states[slot] === OPEN &&
      facts.positionOf(slot) === position &&
      this.#groups.name(facts.groupOf(slot)) === group &&
      facts.hasKey(slot, key, start, end)
    );
  }

  /** The sender does not want to be asked before that time. */
  setImmunity(offset: number, untilMs: number): void {
    if (untilMs > 0 && this.state(offset) === 'open') this.#immune.set(offset, untilMs);
  }

  /** When an open half was stored; 0 for any other. */
  storedAtMs(offset: number): number {
    const page = this.#page(offset);
    const slot = offset % PAGE_HALVES;
    return page?.states[slot] === OPEN ? page.facts!.storedAtOf(slot) : 0;
  }

  state(offset: number): HalfState {
    return STATE_NAMES[this.#page(offset)?.states[offset % PAGE_HALVES] ?? ABSENT]!;
  }

  /** Nobody waits for a verdict on it (any more). */
  isSettled(offset: number): boolean {
    const state = this.#page(offset)?.states[offset % PAGE_HALVES];
    return state !== OPEN && state !== PARKED;
  }

  /** An open or parked row; undefined for any other. */
  row(offset: number): HalfRow | undefined {
    const page = this.#page(offset);
    const slot = offset % PAGE_HALVES;
    if (page?.states[slot] === PARKED) return this.#parked.get(offset);
    const facts = page?.facts;
    if (facts === undefined || page?.states[slot] !== OPEN) return undefined;
    return {
      offset,
      position: facts.positionOf(slot),
      group: this.#groups.name(facts.groupOf(slot)),
      topic: this.#topics.name(facts.topicOf(slot)),
      id: facts.idOf(slot),
      storedAtMs: facts.storedAtOf(slot),
      checks: facts.checks[slot]!,
      immuneUntilMs: this.#immune.get(offset) ?? 0,
      state: 'open',
    };
  }

  /** The verdict. True when it changed an unsettled row; the first one wins, a second changes nothing. */
  settle(offset: number, outcome: HalfOutcome): boolean {
    const page = this.#page(offset);
    const slot = offset % PAGE_HALVES;
    const state = page?.states[slot] ?? ABSENT;
    if (page === undefined || (state !== OPEN && state !== PARKED)) return false;
    page.states[slot] = outcome === 'committed' ? COMMITTED : ROLLED_BACK;
    this.#immune.delete(offset);
    const groupNumber = state === PARKED ? this.#groups.number(this.#parked.get(offset)!.group) : page.facts!.groupOf(slot);
    this.#count(groupNumber, -1);
    if (state === PARKED) this.#parked.delete(offset);
    else this.#closed(page);
    return true;
  }

  /** The verdict for the half at a position, as a final message names it. */
  settleAt(position: number, outcome: HalfOutcome): boolean {
    const offset = this.offsetAt(position);
    return offset >= 0 && this.settle(offset, outcome);
  }

  /** A decision on a half was appended; positions grow. */
  decided(offset: number, position: number): void {
    const page = this.#page(offset);
    if (page !== undefined) page.decidedAt = position;
  }

  /** Position of the latest decision in this process on a half or on one of its neighbours; -1 without one, Infinity if that is forgotten. */
  decidedAt(offset: number): number {
    return this.#page(offset)?.decidedAt ?? Number.POSITIVE_INFINITY;
  }

  /** The question about an open row has been sent `checks` times in all. */
  setChecks(offset: number, checks: number): void {
    const page = this.#page(offset);
    const slot = offset % PAGE_HALVES;
    if (page?.facts !== undefined && page.states[slot] === OPEN) page.facts.checks[slot] = Math.min(checks, 255);
  }

  /** An open row is asked about no more. */
  park(offset: number): void {
    const row = this.row(offset);
    const page = this.#page(offset);
    if (row?.state !== 'open' || page === undefined) return;
    this.#parked.set(offset, { ...row, state: 'parked' });
    page.states[offset % PAGE_HALVES] = PARKED;
    this.#closed(page);
  }

  /** The next open row at or after an offset, -1 when there is none. Steps over settled pages without looking inside. */
  nextOpen(from: number): number {
    let offset = Math.max(from, this.#firstPage * PAGE_HALVES);
    for (;;) {
      const page = this.#page(offset);
      if (page === undefined) return -1;
      const pageEnd = offset - (offset % PAGE_HALVES) + PAGE_HALVES;
      if (page.open > 0) {
        for (; offset < pageEnd; offset++) if (page.states[offset % PAGE_HALVES] === OPEN) return offset;
      }
      offset = pageEnd;
    }
  }

  /**
   * Half-queue offset of the unsettled half at a position, -1 when there is none. A search through one page (1 µs): recovery
   * needs it once per commit it reads; a running broker knows the offset.
   */
  offsetAt(position: number): number {
    const index = this.#pages.findLastIndex(
      (page) => page.facts !== undefined && page.firstPosition >= 0 && page.firstPosition <= position,
    );
    const slot = this.#pages[index]?.facts?.slotAt(position) ?? -1;
    if (slot >= 0) return (this.#firstPage + index) * PAGE_HALVES + slot;
    for (const row of this.#parked.values()) if (row.position === position) return row.offset;
    return -1;
  }

  /** Lowest position that an unsettled half still needs; undefined when none does. Retention must not pass it. */
  oldestPosition(): number | undefined {
    const open = this.nextOpen(0);
    let oldest = open < 0 ? undefined : this.row(open)!.position;
    for (const row of this.#parked.values()) if (oldest === undefined || row.position < oldest) oldest = row.position;
    return oldest;
  }

  /** Unsettled rows, parked ones first, oldest first; at most `limit`. */
  rows(limit = Number.MAX_SAFE_INTEGER): HalfRow[] {
    const rows = [...this.#parked.values()].slice(0, limit);
    for (let at = this.nextOpen(0); at >= 0 && rows.length < limit; at = this.nextOpen(at + 1)) rows.push(this.row(at)!);
    return rows;
  }

  /** Everything, as bytes for a snapshot. */
  save(writerOf: (bytes: number) => ByteWriter): void {
    const parts = { firstPage: this.#firstPage, pages: this.#pages, parked: this.#parked, immune: this.#immune };
    encodeHalves(writerOf(halvesBytes(parts)), parts, this.#groups, this.#topics);
  }

  /** Takes over what `save` wrote, or an older version of it; the table is empty. Throws when it makes no sense. */
  load(reader: ByteReader, version: FactsReader): void {
    const { firstPage, pages, parked, immune } = decodeHalves(reader, this.#groups, this.#topics, version);
    this.#firstPage = firstPage;
    this.#pages = [...pages];
    for (const [offset, row] of parked) {
      this.#parked.set(offset, row);
      this.#count(this.#groups.number(row.group), 1);
    }
    for (const [offset, untilMs] of immune) this.#immune.set(offset, untilMs);
    for (const { states, facts, open } of pages) {
      this.#open += open;
      for (let slot = 0, left = open; left > 0; slot++) {
        if (states[slot] !== OPEN) continue;
        left--;
        this.#count(facts!.groupOf(slot), 1);
      }
    }
  }

  /**
   * Puts back the outcomes of a page of a snapshot of the first version; pages in order, before the unsettled halves are added. Every page comes back, also
   * one without an outcome: it may be the place of a half that waits, which a page forgotten here would lose.
   */
  restoreOutcomes(number: number, states: Uint8Array): void {
    const page = this.#pageFor(number * PAGE_HALVES);
    if (page === undefined) return;
    for (const [slot, state] of states.entries()) if (state === COMMITTED || state === ROLLED_BACK) page.states[slot] = state;
  }

  clear(): void {
    this.#pages = [];
    this.#firstPage = 0;
    this.#parked.clear();
    this.#immune.clear();
    this.#open = 0;
    this.#ofGroup = [];
  }

  #page(offset: number): HalfPage | undefined {
    return this.#pages[Math.floor(offset / PAGE_HALVES) - this.#firstPage];
  }

  /** The page of an offset, made when the offset lies above all known ones; undefined when it lies below them. */
  #pageFor(offset: number): HalfPage | undefined {
    const number = Math.floor(offset / PAGE_HALVES);
    if (this.#pages.length === 0) this.#firstPage = number;
    if (number < this.#firstPage) return undefined;
    if (number - this.#firstPage - this.#pages.length > PAGES_AHEAD_MAX) {
      throw new RangeError(`half offset ${offset} lies far above the last known one`);
    }
    while (this.#firstPage + this.#pages.length <= number) {
      const before = this.#pages.at(-1);
      this.#pages.push(new HalfPage());
      if (before?.open === 0) this.#freeFacts(before);
      else before?.facts?.trim();
    }
    return this.#pages[number - this.#firstPage];
  }

  #count(group: number, more: number): void {
    this.#ofGroup[group] = (this.#ofGroup[group] ?? 0) + more;
  }

  #closed(page: HalfPage): void {
    page.open--;
    this.#open--;
    if (page.open === 0 && page !== this.#pages.at(-1)) this.#freeFacts(page);
  }

  #freeFacts(page: HalfPage): void {
    this.#spare ??= page.facts;
    page.facts = undefined;
  }

  #takeFacts(): HalfFacts {
    const facts = this.#spare ?? new HalfFacts();
    this.#spare = undefined;
    return facts;
  }

  /** Fully settled pages beyond the remembered number go, from the front. */
  #forgetOldest(): void {
    while (this.#pages.length > REMEMBERED_PAGES && this.#pages[0]!.open === 0 && !this.#pages[0]!.states.includes(PARKED)) {
      this.#pages.shift();
      this.#firstPage++;
    }
  }
}

/** 262,144 halves: minutes of answers at full speed, and 256 KiB of memory and snapshot. */
const REMEMBERED_PAGES = 64;
/** Offsets are dense; a jump of more than 16 million is damage, not a queue. */
const PAGES_AHEAD_MAX = 4096;

const STATE_NAMES: readonly HalfState[] = ['absent', 'open', 'parked', 'committed', 'rolled-back'];
