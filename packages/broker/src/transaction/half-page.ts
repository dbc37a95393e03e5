/**
 * Facts about 4,096 neighbouring half messages, in typed arrays: 15 bytes each, the state included, instead of some 240 for an object
 * in a Map. While one of them is open the page has its arrays; when the last is settled only one byte each remains, the outcome, so
 * that a late second answer can still be told "same" or "opposite".
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

/** Words of a maker's row. */
const MAKER_WORDS = 5;

/** A number per half each, of 4, 2, 1, 2, 4 and 1 bytes. */
export type HalfColumns = readonly (Uint8Array | Uint16Array | Uint32Array)[];

/**
 * What is known of the open halves of a page. What neighbours share is kept once: positions and times count from the page's first
 * ones, and group, topic and the first 24 digits of the key are a *maker*'s (a client draws these digits anew each millisecond).
 * What does not fit stands in maps.
 */
export class HalfFacts {
  /** Words of a row of `makers`. */
  static readonly makerWords = MAKER_WORDS;
  readonly checks = new Uint8Array(PAGE_HALVES);
  /** Position less the base, plus one; 0: none, or in `far`. */
  readonly #positions = new Uint32Array(PAGE_HALVES);
  /** Age against the base in ms, 24 bits. */
  readonly #ages = new Uint16Array(PAGE_HALVES);
  readonly #ageTops = new Uint8Array(PAGE_HALVES);
  readonly #makerOf = new Uint16Array(PAGE_HALVES);
  /** Last eight digits of the key. */
  readonly #lows = new Uint32Array(PAGE_HALVES);
  /** Rows of group number, topic number and three words of the key. */
  #makers: Uint32Array = new Uint32Array(16 * MAKER_WORDS);
  #makerCount = 0;
  #basePosition = 0;
  #baseMs = 0;
  /** Positions and times that do not fit their columns. */
  readonly far = new Map<number, number>();
  readonly aged = new Map<number, number>();
  /** Keys that are not 32 upper-case hex digits. */
  readonly oddKeys = new Map<number, string>();

  /** Forgets everything; the page's first half is at `position`, stored at `ms`. A snapshot brings makers. */
  begin(position: number, ms: number, makers?: Uint32Array): void {
    this.#positions.fill(0);
    if (makers !== undefined && makers.length > 0) this.#makers = makers;
    this.#makerCount = makers === undefined ? 0 : makers.length / MAKER_WORDS;
    this.#basePosition = position;
    this.#baseMs = ms;
    this.far.clear();
    this.aged.clear();
    this.oddKeys.clear();
  }

  // For snapshots: everything as it lies in memory.

  get columns(): HalfColumns {
    return [this.#positions, this.#ages, this.#ageTops, this.#makerOf, this.#lows, this.checks];
  }

  get basePosition(): number {
    return this.#basePosition;
  }

  get baseMs(): number {
    return this.#baseMs;
  }

  get makers(): Uint32Array {
    return this.#makers.subarray(0, this.#makerCount * MAKER_WORDS);
  }

  /** Notes a half; its key is bytes [start, end). */
  set(slot: number, position: number, ms: number, group: number, topic: number, key: Buffer, start: number, end: number): void {
    this.checks[slot] = 0;
    const distance = position - this.#basePosition;
    const isNear = distance >= 0 && distance < 0xffffffff;
    this.#positions[slot] = isNear ? distance + 1 : 0;
    if (!isNear) this.far.set(slot, position);
    const age = ms - this.#baseMs;
    const isYoung = age >= 0 && age < 1 << 24;
    this.#ages[slot] = isYoung ? age & 0xffff : 0;
    this.#ageTops[slot] = isYoung ? age >>> 16 : 0;
    if (!isYoung) this.aged.set(slot, ms);
    if (!readKey(key, start, end)) {
      this.oddKeys.set(slot, key.toString('utf8', start, end));
      KEY.fill(0);
    }
    this.#lows[slot] = KEY[3]!;
    this.#makerOf[slot] = this.#maker(group, topic);
  }

  positionOf(slot: number): number {
    const distance = this.#positions[slot]!;
    return distance > 0 ? this.#basePosition + distance - 1 : (this.far.get(slot) ?? -1);
  }

  storedAtOf(slot: number): number {
    return this.aged.get(slot) ?? this.#baseMs + this.#ages[slot]! + this.#ageTops[slot]! * 65536;
  }

  groupOf(slot: number): number {
    return this.#makers[this.#makerOf[slot]! * MAKER_WORDS]!;
  }

  topicOf(slot: number): number {
    return this.#makers[this.#makerOf[slot]! * MAKER_WORDS + 1]!;
  }

  idOf(slot: number): string {
    const odd = this.oddKeys.get(slot);
    if (odd !== undefined) return odd;
    const at = this.#makerOf[slot]! * MAKER_WORDS + 2;
    const makers = this.#makers;
    return hex8(makers[at]!) + hex8(makers[at + 1]!) + hex8(makers[at + 2]!) + hex8(this.#lows[slot]!);
  }

  /** Whether the half's key is bytes [start, end). */
  hasKey(slot: number, key: Buffer, start: number, end: number): boolean {
    if (!readKey(key, start, end)) return this.oddKeys.get(slot) === key.toString('utf8', start, end);
    const at = this.#makerOf[slot]! * MAKER_WORDS + 2;
    const makers = this.#makers;
    return (
      this.#lows[slot] === KEY[3] &&
      makers[at] === KEY[0] &&
      makers[at + 1] === KEY[1] &&
      makers[at + 2] === KEY[2] &&
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

  /** The maker with the beginning of `KEY`; the latest ones are the likely ones. */
  #maker(group: number, topic: number): number {
    const makers = this.#makers;
    for (let maker = this.#makerCount - 1, left = MAKERS_TRIED; maker >= 0 && left > 0; maker--, left--) {
      const at = maker * MAKER_WORDS;
      if (
        makers[at + 4] === KEY[2] &&
        makers[at + 3] === KEY[1] &&
        makers[at + 2] === KEY[0] &&
        makers[at] === group &&
        makers[at + 1] === topic
      )
        return maker;
    }
    const maker = this.#makerCount++;
    const at = maker * MAKER_WORDS;
    if (at === makers.length) {
      this.#makers = new Uint32Array(makers.length * 2);
      this.#makers.set(makers);
    }
    this.#makers[at] = group;
    this.#makers[at + 1] = topic;
    this.#makers[at + 2] = KEY[0]!;
    this.#makers[at + 3] = KEY[1]!;
    this.#makers[at + 4] = KEY[2]!;
    return maker;
  }
}

/** Makers looked at before one is added: it need not be the only one of its kind. */
const MAKERS_TRIED = 16;

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

function hex8(word: number): string {
  return word.toString(16).toUpperCase().padStart(8, '0');
}

const NO_DIGIT = 0x80;
const DIGITS = new Uint8Array(256).fill(NO_DIGIT);
for (let value = 0; value < 16; value++) DIGITS['0123456789ABCDEF'.charCodeAt(value)] = value;
