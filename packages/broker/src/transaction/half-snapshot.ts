import type { ByteReader, ByteWriter } from '../byte-pages.ts';
import { HalfFacts, HalfPage, OPEN, PAGE_HALVES, PARKED, ROLLED_BACK, type SharedFacts } from './half-page.ts';
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
 * copied as they lie in memory, 12 bytes a half and what neighbours share (13 MB and some 10 ms for a million). Of a page in which few
 * are open only those are written.
 *
 *     groups, topics: u32 count, texts     u32 first page, u32 pages, each:
 *       i64 first position  blob states  u8 kind: 0 nothing more, 1 all slots, 2 the open ones: blob of u16 slots
 *       i64 base position  blobs of sources, makers, sources of makers and the columns
 *       far positions, odd keys: u32 count, u16 slot and value each
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
    if (facts === undefined) continue;
    const { sources, makers, sourceOf } = facts.shared;
    bytes += (isMostlyOpen(page) ? PAGE_HALVES : page.open * 2) * ROW_BYTES;
    bytes += sources.byteLength + makers.byteLength + sourceOf.byteLength;
  }
  return bytes;
}

/** The numbers of a group and a topic by their numbers in the snapshot. */
export type Renaming = (group: number, topic: number) => readonly [number, number];

/** Reads the facts of a page's open halves into `facts`; `slots` is undefined when all slots are there. */
export type FactsReader = (
  reader: ByteReader,
  facts: HalfFacts,
  states: Uint8Array,
  slots: Uint16Array | undefined,
  rename: Renaming,
) => void;

/** Throws when the bytes make no sense. Names that nobody needs any more get no number. */
export function decodeHalves(reader: ByteReader, groups: NameTable, topics: NameTable, version: FactsReader): HalfParts {
  const groupNames = decodeNames(reader);
  const topicNames = decodeNames(reader);
  const firstPage = reader.u32();
  const pages: HalfPage[] = [];
  let parkedCount = 0;
  for (let left = reader.u32(); left > 0; left--) {
    const page = decodePage(reader, version, (group, topic) => [
      groups.number(nameIn(groupNames, group)),
      topics.number(nameIn(topicNames, topic)),
    ]);
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
  const slots = isMostlyOpen(page) ? undefined : openSlots(page);
  if (slots === undefined) writer.u8(ALL);
  else writer.u8(OPEN_ONES).blob(littleEndian(slots));
  const columns = slots === undefined ? facts.columns : facts.columns.map((column) => gather(column, slots, 1));
  const shared = slots === undefined ? facts.shared : needed(facts.shared, columns[MAKER_OF] as Uint16Array);
  writer.i64(facts.basePosition);
  for (const array of [shared.sources, shared.makers, shared.sourceOf, ...columns]) writer.blob(littleEndian(array));
  const { states } = page;
  const far = [...facts.far].filter(([slot]) => states[slot] === OPEN);
  writer.u32(far.length);
  for (const [slot, position] of far) writer.u16(slot).i64(position);
  const odd = [...facts.oddKeys].filter(([slot]) => states[slot] === OPEN);
  writer.u32(odd.length);
  for (const [slot, key] of odd) writer.u16(slot).text(key);
}

function decodePage(reader: ByteReader, version: FactsReader, rename: Renaming): HalfPage {
  const page = new HalfPage();
  page.firstPosition = reader.i64();
  filled(page.states, reader.blob());
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
    slots = filled(new Uint16Array(page.open), reader.blob());
    check(
      slots.every((slot) => states[slot] === OPEN),
      'facts of a half that is not open',
    );
  }
  page.facts = new HalfFacts();
  version(reader, page.facts, states, slots, rename);
  return page;
}

/** The present version. */
export const readFacts: FactsReader = (reader, facts, states, slots, rename) => {
  facts.begin(reader.i64());
  const sourceBytes = reader.blob();
  const sources = filled(new Float64Array(sourceBytes.length >> 3), sourceBytes);
  const makerBytes = reader.blob();
  const makers = filled(new Uint32Array(makerBytes.length >> 2), makerBytes);
  const sourceOf = filled(new Uint16Array(makers.length / HalfFacts.makerWords), reader.blob());
  const { sourceNumbers } = HalfFacts;
  check(sources.length % sourceNumbers === 0 && makers.length % HalfFacts.makerWords === 0, 'half a source or maker');
  for (let at = 0; at < sources.length; at += sourceNumbers) {
    sources.set(rename(sources[at]!, sources[at + 1]!), at);
    check(sources.subarray(at + 2, at + sourceNumbers).every(Number.isSafeInteger), 'a source');
  }
  check(
    sourceOf.every((source) => source < sources.length / sourceNumbers),
    'a maker without a source',
  );
  facts.share({ sources, makers, sourceOf });
  for (const column of facts.columns) {
    if (slots === undefined) filled(column, reader.blob());
    else {
      const values = filled(column.slice(0, slots.length), reader.blob());
      for (let n = 0; n < slots.length; n++) column[slots[n]!] = values[n]!;
    }
  }
  const makerOf = facts.columns[MAKER_OF]!;
  for (let slot = 0; slot < PAGE_HALVES; slot++)
    if (states[slot] === OPEN) check(makerOf[slot]! < sourceOf.length, 'a half without a maker');
  for (let left = reader.u32(); left > 0; left--) facts.far.set(reader.u16(), reader.i64());
  for (let left = reader.u32(); left > 0; left--) facts.oddKeys.set(reader.u16(), reader.text());
};

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

type Numbers = Uint8Array | Uint16Array | Uint32Array | Float64Array;

/** Some rows of `width` numbers each. */
function gather<T extends Numbers>(from: T, rows: Uint16Array, width: number): T {
  const values = from.slice(0, rows.length * width) as T;
  for (let n = 0; n < rows.length; n++)
    for (let word = 0; word < width; word++) values[n * width + word] = from[rows[n]! * width + word]!;
  return values;
}

/** Only the makers that are meant and their sources; `makerOf` gets their new numbers. */
function needed({ sources, makers, sourceOf }: SharedFacts, makerOf: Uint16Array): SharedFacts {
  const keptMakers = renumber(makerOf);
  const keptSourceOf = gather(sourceOf, keptMakers, 1);
  const keptSources = renumber(keptSourceOf);
  return {
    sources: gather(sources, keptSources, HalfFacts.sourceNumbers),
    makers: gather(makers, keptMakers, HalfFacts.makerWords),
    sourceOf: keptSourceOf,
  };
}

/** Gives what is meant new numbers, from 0 on; the old ones in the new order. */
function renumber(references: Uint16Array): Uint16Array {
  const numbers = new Map<number, number>();
  for (let n = 0; n < references.length; n++) {
    const old = references[n]!;
    let number = numbers.get(old);
    if (number === undefined) numbers.set(old, (number = numbers.size));
    references[n] = number;
  }
  return Uint16Array.from(numbers.keys());
}

/** The bytes of an array: a view, where the machine's order is that of the file. */
function littleEndian(array: Numbers): Uint8Array {
  const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return IS_LITTLE_ENDIAN ? bytes : swapped(Buffer.from(bytes), array.BYTES_PER_ELEMENT);
}

/** The array, with just these bytes in it. */
export function filled<T extends Numbers>(array: T, bytes: Buffer): T {
  check(bytes.length === array.byteLength, `${bytes.length} bytes where ${array.byteLength} belong`);
  const target = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  bytes.copy(target);
  if (!IS_LITTLE_ENDIAN) swapped(target, array.BYTES_PER_ELEMENT);
  return array;
}

function swapped(bytes: Buffer, width: number): Buffer {
  if (width === 8) return bytes.swap64();
  if (width === 4) return bytes.swap32();
  return width === 2 ? bytes.swap16() : bytes;
}

export function check(isTrue: boolean, otherwise: string): void {
  if (!isTrue) throw new Error(`half messages: the snapshot does not add up: ${otherwise}`);
}

const NOTHING = 0;
const ALL = 1;
const OPEN_ONES = 2;
/** The column of maker numbers. */
const MAKER_OF = 2;
/** Bytes of a half in all columns. */
const ROW_BYTES = 11;
const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
