import type { ByteReader, ByteWriter } from '../byte-pages.ts';
import { HalfFacts, HalfPage, OPEN, PAGE_HALVES, PARKED, ROLLED_BACK, type HalfColumns } from './half-page.ts';
import type { HalfRow } from './half-row.ts';
import type { NameTable } from './name-table.ts';

/** What the half table consists of. */
export interface HalfParts {
  /** Number of `pages[0]`. */
  readonly firstPage: number;
  readonly pages: readonly HalfPage[];
  readonly parked: ReadonlyMap<number, HalfRow>;
  readonly immune: ReadonlyMap<number, number>;
}

/**
 * The half table as bytes. It is taken between two records, so it must be quick with a million open halves: the columns of a page are
 * copied as they lie in memory, 15 bytes a half (15 MB and some 10 ms for a million). Of a page in which few are open only those are
 * written.
 *
 *     groups, topics: u32 count, texts     u32 first page, u32 pages, each:
 *       i64 first position  blob states  u8 kind: 0 nothing more, 1 all slots, 2 the open ones: blob of u16 slots
 *       i64 base position  i64 base ms  blob makers  blobs of the columns  then far, aged, odd keys: u32 count, u16 slot and value
 *     u32 parked rows     u32 immune ones: i64 offset, i64 ms
 *
 * Numbers inside the blobs are little-endian: the order of the machines this runs on.
 */
export function encodeHalves(writer: ByteWriter, parts: HalfParts, groups: NameTable, topics: NameTable): void {
  for (const names of [groups.names, topics.names]) {
    writer.u32(names.length);
    for (const name of names) writer.text(name);
  }
  writer.u32(parts.firstPage).u32(parts.pages.length);
  for (const page of parts.pages) encodePage(writer, page);
  writer.u32(parts.parked.size);
  for (const row of parts.parked.values()) {
    writer.i64(row.offset).i64(row.position).i64(row.storedAtMs).i64(row.immuneUntilMs).u8(row.checks);
    writer.text(row.group).text(row.topic).text(row.id);
  }
  writer.u32(parts.immune.size);
  for (const [offset, untilMs] of parts.immune) writer.i64(offset).i64(untilMs);
}

/** About as many bytes as {@link encodeHalves} writes: what grows while it is written is copied again and again. */
export function halvesBytes({ pages, parked, immune }: HalfParts): number {
  let bytes = 4096 + parked.size * 160 + immune.size * 16;
  for (const page of pages) {
    bytes += PAGE_HALVES + 128;
    const facts = page.open > 0 ? page.facts : undefined;
    if (facts !== undefined) bytes += (isMostlyOpen(page) ? PAGE_HALVES : page.open * 2) * ROW_BYTES + facts.makers.byteLength;
  }
  return bytes;
}

/** Throws when the bytes make no sense. Names that nobody needs any more get no number. */
export function decodeHalves(reader: ByteReader, groups: NameTable, topics: NameTable): HalfParts {
  const groupNames = decodeNames(reader);
  const topicNames = decodeNames(reader);
  const firstPage = reader.u32();
  const pages: HalfPage[] = [];
  let parkedCount = 0;
  for (let left = reader.u32(); left > 0; left--) {
    const page = decodePage(reader, (makers) => {
      for (let at = 0; at < makers.length; at += HalfFacts.makerWords) {
        makers[at] = groups.number(nameIn(groupNames, makers[at]!));
        makers[at + 1] = topics.number(nameIn(topicNames, makers[at + 1]!));
      }
    });
    for (const state of page.states) if (state === PARKED) parkedCount++;
    pages.push(page);
  }
  const stateOf = (offset: number): number | undefined =>
    pages[Math.floor(offset / PAGE_HALVES) - firstPage]?.states[offset % PAGE_HALVES];
  const parked = new Map<number, HalfRow>();
  for (let left = reader.u32(); left > 0; left--) {
    const row = decodeParked(reader);
    check(stateOf(row.offset) === PARKED, 'a parked row has no place');
    parked.set(row.offset, row);
  }
  check(parked.size === parkedCount, 'parked rows are missing');
  const immune = new Map<number, number>();
  for (let left = reader.u32(); left > 0; left--) immune.set(reader.i64(), reader.i64());
  return { firstPage, pages, parked, immune };
}

function encodePage(writer: ByteWriter, page: HalfPage): void {
  writer.i64(page.firstPosition).blob(page.states);
  const facts = page.open > 0 ? page.facts : undefined;
  if (facts === undefined) return void writer.u8(NOTHING);
  const { columns } = facts;
  if (isMostlyOpen(page)) {
    writer.u8(ALL);
    encodeBases(writer, facts, facts.makers);
    for (const column of columns) writer.blob(littleEndian(column));
  } else {
    const slots = openSlots(page);
    const gathered = columns.map((column) => gather(column, slots));
    const makers = renumber(facts.makers, gathered[MAKER_OF]!);
    writer.u8(OPEN_ONES).blob(littleEndian(slots));
    encodeBases(writer, facts, makers);
    for (const column of gathered) writer.blob(littleEndian(column));
  }
  const { states } = page;
  for (const map of [facts.far, facts.aged]) {
    const entries = [...map].filter(([slot]) => states[slot] === OPEN);
    writer.u32(entries.length);
    for (const [slot, value] of entries) writer.u16(slot).i64(value);
  }
  const odd = [...facts.oddKeys].filter(([slot]) => states[slot] === OPEN);
  writer.u32(odd.length);
  for (const [slot, key] of odd) writer.u16(slot).text(key);
}

function decodePage(reader: ByteReader, name: (makers: Uint32Array) => void): HalfPage {
  const page = new HalfPage();
  page.firstPosition = reader.i64();
  fill(page.states, reader.blob());
  const { states } = page;
  for (const state of states) {
    check(state <= ROLLED_BACK, `state ${state}`);
    if (state === OPEN) page.open++;
  }
  const kind = reader.u8();
  check(kind <= OPEN_ONES && (kind === NOTHING) === (page.open === 0), 'open halves without facts');
  if (kind === NOTHING) return page;
  let slots: Uint16Array | undefined;
  if (kind === OPEN_ONES) {
    slots = new Uint16Array(page.open);
    fill(slots, reader.blob());
    check(
      slots.every((slot) => states[slot] === OPEN),
      'facts of a half that is not open',
    );
  }
  const facts = (page.facts = new HalfFacts());
  const basePosition = reader.i64();
  const baseMs = reader.i64();
  const makerBytes = reader.blob();
  const makers = new Uint32Array(makerBytes.length >> 2);
  fill(makers, makerBytes);
  check(makers.length % HalfFacts.makerWords === 0, 'half a maker');
  name(makers);
  facts.begin(basePosition, baseMs, makers);
  for (const column of facts.columns) {
    if (slots === undefined) fill(column, reader.blob());
    else {
      const values = column.slice(0, slots.length);
      fill(values, reader.blob());
      for (let n = 0; n < slots.length; n++) column[slots[n]!] = values[n]!;
    }
  }
  const makerOf = facts.columns[MAKER_OF]!;
  const makerCount = makers.length / HalfFacts.makerWords;
  for (let slot = 0; slot < PAGE_HALVES; slot++)
    if (states[slot] === OPEN) check(makerOf[slot]! < makerCount, 'a half without a maker');
  for (const map of [facts.far, facts.aged]) for (let left = reader.u32(); left > 0; left--) map.set(reader.u16(), reader.i64());
  for (let left = reader.u32(); left > 0; left--) facts.oddKeys.set(reader.u16(), reader.text());
  return page;
}

function encodeBases(writer: ByteWriter, facts: HalfFacts, makers: Uint32Array): void {
  writer.i64(facts.basePosition).i64(facts.baseMs).blob(littleEndian(makers));
}

function decodeParked(reader: ByteReader): HalfRow {
  const offset = reader.i64();
  const position = reader.i64();
  const storedAtMs = reader.i64();
  const immuneUntilMs = reader.i64();
  const checks = reader.u8();
  const [group, topic, id] = [reader.text(), reader.text(), reader.text()];
  return { offset, position, group, topic, id, storedAtMs, checks, immuneUntilMs, state: 'parked' };
}

function decodeNames(reader: ByteReader): string[] {
  const names: string[] = [];
  for (let left = reader.u32(); left > 0; left--) names.push(reader.text());
  return names;
}

function nameIn(names: readonly string[], number: number): string {
  const name = names[number];
  check(name !== undefined, `name ${number}`);
  return name!;
}

/** Copying all is quicker; where fewer than half are open the size counts. */
function isMostlyOpen(page: HalfPage): boolean {
  return page.open * 2 >= PAGE_HALVES;
}

function openSlots(page: HalfPage): Uint16Array {
  const slots = new Uint16Array(page.open);
  for (let n = 0, slot = page.states.indexOf(OPEN); slot >= 0; slot = page.states.indexOf(OPEN, slot + 1)) slots[n++] = slot;
  return slots;
}

function gather(column: HalfColumns[number], slots: Uint16Array): HalfColumns[number] {
  const values = column.slice(0, slots.length);
  for (let n = 0; n < slots.length; n++) values[n] = column[slots[n]!]!;
  return values;
}

/** Gives the makers that are meant new numbers, and only these makers. */
function renumber(makers: Uint32Array, makerOf: HalfColumns[number]): Uint32Array {
  const words = HalfFacts.makerWords;
  const numbers = new Map<number, number>();
  for (let n = 0; n < makerOf.length; n++) {
    const old = makerOf[n]!;
    let number = numbers.get(old);
    if (number === undefined) numbers.set(old, (number = numbers.size));
    makerOf[n] = number;
  }
  const kept = new Uint32Array(numbers.size * words);
  for (const [old, number] of numbers) kept.set(makers.subarray(old * words, (old + 1) * words), number * words);
  return kept;
}

/** The bytes of an array: a view, where the machine's order is that of the file. */
function littleEndian(array: Uint8Array | Uint16Array | Uint32Array): Uint8Array {
  const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return IS_LITTLE_ENDIAN ? bytes : swapped(Buffer.from(bytes), array.BYTES_PER_ELEMENT);
}

function fill(array: Uint8Array | Uint16Array | Uint32Array, bytes: Buffer): void {
  check(bytes.length === array.byteLength, `${bytes.length} bytes where ${array.byteLength} belong`);
  const target = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  bytes.copy(target);
  if (!IS_LITTLE_ENDIAN) swapped(target, array.BYTES_PER_ELEMENT);
}

function swapped(bytes: Buffer, width: number): Buffer {
  if (width === 4) return bytes.swap32();
  return width === 2 ? bytes.swap16() : bytes;
}

function check(isTrue: boolean, otherwise: string): void {
  if (!isTrue) throw new Error(`half messages: the snapshot does not add up: ${otherwise}`);
}

const NOTHING = 0;
const ALL = 1;
const OPEN_ONES = 2;
/** The column of maker numbers. */
const MAKER_OF = 3;
/** Bytes of a half in all columns. */
const ROW_BYTES = 14;
const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
