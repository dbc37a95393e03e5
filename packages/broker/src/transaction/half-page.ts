/**
 * Facts about 4,096 neighbouring half messages, in typed arrays: 12 bytes each, the state included, and what neighbours share, instead
 * of some 240 for an object in a Map. While one of them is open the page has its arrays; when the last is settled only one byte each
 * remains, the outcome, so that a late second answer can still be told "same" or "opposite".
 */
export class HalfPage {
  readonly states = new Uint8Array(PAGE_HALVES);
  /** Halves in state OPEN. */
  open = 0;
  facts: HalfFacts | undefined;
  /** Position of the first half that was added; later ones are higher. */
  firstPosition = -1;
  /** Position of the latest decision on one of them since the start; -1 without one. */
  decidedAt = -1;
}

export const PAGE_HALVES = 4096;

/** States of a half message in a page. PARKED ones have their facts in the table's map. */
export const ABSENT = 0;
export const OPEN = 1;
export const PARKED = 2;
export const COMMITTED = 3;
export const ROLLED_BACK = 4;

/** Numbers of a source's row. */
const SOURCE_NUMBERS = 4;
/** Words of a maker's row. */
const MAKER_WORDS = 3;
/** Ages have 16 bits. */
const AGE_LIMIT_MS = 65_536;

/** A number per half each, of 4, 2, 2, 2 and 1 bytes. */
export type HalfColumns = readonly (Uint8Array | Uint16Array | Uint32Array)[];

/** What neighbours share, as it lies in memory. */
export interface SharedFacts {
  /** Rows of group number, topic number, first eight digits of the key, and the ms that ages count from. */
  readonly sources: Float64Array;
  /** Rows of the next sixteen digits, and of the last eight with the half's own four as zeros. */
  readonly makers: Uint32Array;
  /** The source of each maker. */
  readonly sourceOf: Uint16Array;
}

/**
 * What is known of the open halves of a page. What neighbours share is kept once: positions count from the page's first one, and a
 * half has a *maker* for all of its key but four digits, the maker a *source* for what lasts longer.
 *
 *     digits of the key    0 – 7     8 – 25                26, 27    28, 29    30, 31
 *     kept by              source    maker                 half      maker     half
 *     our client           ms        ms, drawn each ms     counts messages ──────────
 *     RocketMQ's           the client's ── ms from 20 on ────────    counts messages
 *
 * So a maker has 14 bytes for the halves of a millisecond, or of 256 ms of RocketMQ's client. What does not fit stands in maps.
 */
export class HalfFacts {
  static readonly sourceNumbers = SOURCE_NUMBERS;
  static readonly makerWords = MAKER_WORDS;
  readonly checks = new Uint8Array(PAGE_HALVES);
  /** Position less the base, plus one; 0: none, or in `far`. */
  readonly #positions = new Uint32Array(PAGE_HALVES);
  /** Ms since the source's time. */
  readonly #ages = new Uint16Array(PAGE_HALVES);
  readonly #makerOf = new Uint16Array(PAGE_HALVES);
  /** Digits 26, 27, 30 and 31 of the key. */
  readonly #digits = new Uint16Array(PAGE_HALVES);
  #sources: Float64Array = new Float64Array(4 * SOURCE_NUMBERS);
  #sourceCount = 0;
  #makers: Uint32Array = new Uint32Array(16 * MAKER_WORDS);
  #sourceOf: Uint16Array = new Uint16Array(16);
  #makerCount = 0;
  #basePosition = 0;
  /** Positions that do not fit their column. */
  readonly far = new Map<number, number>();
  /** Keys that are not 32 upper-case hex digits. */
  readonly oddKeys = new Map<number, string>();

  /** Forgets everything; the page's first half is at `position`. */
  begin(position: number): void {
    this.#positions.fill(0);
    this.#sourceCount = 0;
    this.#makerCount = 0;
    this.#basePosition = position;
    this.far.clear();
    this.oddKeys.clear();
  }

  /** Gives back the room for more sources and makers: the page is full. */
  trim(): void {
    const { sources, makers, sourceOf } = this.shared;
    this.#sources = sources.slice();
    this.#makers = makers.slice();
    this.#sourceOf = sourceOf.slice();
  }

  // For snapshots: everything as it lies in memory.

  get columns(): HalfColumns {
    return [this.#positions, this.#ages, this.#makerOf, this.#digits, this.checks];
  }

  get basePosition(): number {
    return this.#basePosition;
  }

  get shared(): SharedFacts {
    return {
      sources: this.#sources.subarray(0, this.#sourceCount * SOURCE_NUMBERS),
      makers: this.#makers.subarray(0, this.#makerCount * MAKER_WORDS),
      sourceOf: this.#sourceOf.subarray(0, this.#makerCount),
    };
  }

  /** Takes over what a snapshot brings, after `begin`. */
  share({ sources, makers, sourceOf }: SharedFacts): void {
    if (sourceOf.length === 0) return;
    this.#sources = sources;
    this.#sourceCount = sources.length / SOURCE_NUMBERS;
    this.#makers = makers;
    this.#sourceOf = sourceOf;
    this.#makerCount = sourceOf.length;
  }

  /** Notes a half; its key is bytes [start, end). */
  set(slot: number, position: number, ms: number, group: number, topic: number, key: Buffer, start: number, end: number): void {
    this.checks[slot] = 0;
    const distance = position - this.#basePosition;
    const isNear = distance >= 0 && distance < 0xffffffff;
    this.#positions[slot] = isNear ? distance + 1 : 0;
    if (!isNear) this.far.set(slot, position);
    if (!readKey(key, start, end)) {
      this.oddKeys.set(slot, key.toString('utf8', start, end));
      KEY.fill(0);
    }
    const maker = this.#maker(group, topic, ms);
    this.#makerOf[slot] = maker;
    this.#ages[slot] = ms - this.#sources[this.#sourceOf[maker]! * SOURCE_NUMBERS + 3]!;
    this.#digits[slot] = ownDigits(KEY[3]!);
  }

  positionOf(slot: number): number {
    const distance = this.#positions[slot]!;
    return distance > 0 ? this.#basePosition + distance - 1 : (this.far.get(slot) ?? -1);
  }

  storedAtOf(slot: number): number {
    return this.#sources[this.#sourceAt(slot) + 3]! + this.#ages[slot]!;
  }

  groupOf(slot: number): number {
    return this.#sources[this.#sourceAt(slot)]!;
  }

  topicOf(slot: number): number {
    return this.#sources[this.#sourceAt(slot) + 1]!;
  }

  idOf(slot: number): string {
    const odd = this.oddKeys.get(slot);
    if (odd !== undefined) return odd;
    const at = this.#makerOf[slot]! * MAKER_WORDS;
    const makers = this.#makers;
    const last = makers[at + 2]! + spreadDigits(this.#digits[slot]!);
    return hex8(this.#sources[this.#sourceAt(slot) + 2]!) + hex8(makers[at]!) + hex8(makers[at + 1]!) + hex8(last);
  }

  /** Whether the half's key is bytes [start, end). */
  hasKey(slot: number, key: Buffer, start: number, end: number): boolean {
    if (!readKey(key, start, end)) return this.oddKeys.get(slot) === key.toString('utf8', start, end);
    const at = this.#makerOf[slot]! * MAKER_WORDS;
    const makers = this.#makers;
    return (
      makers[at + 2]! + spreadDigits(this.#digits[slot]!) === KEY[3] &&
      makers[at + 1] === KEY[2] &&
      makers[at] === KEY[1] &&
      this.#sources[this.#sourceAt(slot) + 2] === KEY[0] &&
      !this.oddKeys.has(slot)
    );
  }

  /** The slot of the half at a position, -1 when there is none. */
  slotAt(position: number): number {
    const distance = position - this.#basePosition;
    if (distance >= 0 && distance < 0xffffffff) return this.#positions.indexOf(distance + 1);
    for (const [slot, far] of this.far) if (far === position) return slot;
    return -1;
  }

  #sourceAt(slot: number): number {
    return this.#sourceOf[this.#makerOf[slot]!]! * SOURCE_NUMBERS;
  }

  /** The maker for `KEY`; the latest ones are the likely ones. */
  #maker(group: number, topic: number, ms: number): number {
    const makers = this.#makers;
    const last = makerDigits(KEY[3]!);
    for (let maker = this.#makerCount - 1, left = MAKERS_TRIED; maker >= 0 && left > 0; maker--, left--) {
      const at = maker * MAKER_WORDS;
      if (
        makers[at + 1] === KEY[2] &&
        makers[at] === KEY[1] &&
        makers[at + 2] === last &&
        this.#isFrom(this.#sourceOf[maker]!, group, topic, ms)
      )
        return maker;
    }
    const source = this.#source(group, topic, ms);
    const maker = this.#makerCount++;
    if (maker === this.#sourceOf.length) {
      this.#makers = copied(makers, new Uint32Array(makers.length * 2));
      this.#sourceOf = copied(this.#sourceOf, new Uint16Array(maker * 2));
    }
    const at = maker * MAKER_WORDS;
    this.#makers[at] = KEY[1]!;
    this.#makers[at + 1] = KEY[2]!;
    this.#makers[at + 2] = last;
    this.#sourceOf[maker] = source;
    return maker;
  }

  #source(group: number, topic: number, ms: number): number {
    for (let source = this.#sourceCount - 1, left = SOURCES_TRIED; source >= 0 && left > 0; source--, left--)
      if (this.#isFrom(source, group, topic, ms)) return source;
    const source = this.#sourceCount++;
    const at = source * SOURCE_NUMBERS;
    if (at === this.#sources.length) this.#sources = copied(this.#sources, new Float64Array(at * 2));
    this.#sources[at] = group;
    this.#sources[at + 1] = topic;
    this.#sources[at + 2] = KEY[0]!;
    this.#sources[at + 3] = ms;
    return source;
  }

  /** Whether a source fits `KEY` and the time. */
  #isFrom(source: number, group: number, topic: number, ms: number): boolean {
    const sources = this.#sources;
    const at = source * SOURCE_NUMBERS;
    const age = ms - sources[at + 3]!;
    return sources[at + 2] === KEY[0] && sources[at] === group && sources[at + 1] === topic && age >= 0 && age < AGE_LIMIT_MS;
  }
}

/** Makers and sources looked at before one is added: it need not be the only one of its kind. A source lasts, and is the larger. */
const MAKERS_TRIED = 16;
const SOURCES_TRIED = 64;

function copied<T extends Float64Array | Uint32Array | Uint16Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** Of the last eight digits those that a maker keeps, where they stand. */
function makerDigits(last: number): number {
  return (last & 0xff00ff00) >>> 0;
}

/** The other four, side by side. */
function ownDigits(last: number): number {
  return ((last >>> 8) & 0xff00) | (last & 0xff);
}

/** Where they stand again. */
function spreadDigits(own: number): number {
  return ((own & 0xff00) << 8) | (own & 0xff);
}

/** The key that was read last, as four words. */
const KEY = new Uint32Array(4);
const KEY_DIGITS = 32;

/** Reads 32 upper-case hex digits into `KEY`; false for anything else: the text must come back as it was. */
function readKey(bytes: Buffer, start: number, end: number): boolean {
  if (end - start !== KEY_DIGITS) return false;
  let bad = 0;
  for (let word = 0, at = start; word < 4; word++) {
    let value = 0;
    for (const stop = at + 8; at < stop; at++) {
      const digit = DIGITS[bytes[at]!]!;
      bad |= digit;
      value = (value << 4) | (digit & 15);
    }
    KEY[word] = value;
  }
  return (bad & NO_DIGIT) === 0;
}

/** Eight digits. */
export function hex8(word: number): string {
  return word.toString(16).toUpperCase().padStart(8, '0');
}

const NO_DIGIT = 0x80;
const DIGITS = new Uint8Array(256).fill(NO_DIGIT);
for (let value = 0; value < 16; value++) DIGITS['0123456789ABCDEF'.charCodeAt(value)] = value;
