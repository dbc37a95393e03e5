/**
 * Facts about 4,096 neighbouring half messages, in typed arrays: 41 bytes each instead of some 240 for an object in a Map. While
 * one of them is open the page has its arrays; when the last is settled only one byte each remains, the outcome, so that a late
 * second answer can still be told "same" or "opposite".
 */
export class HalfPage {
  readonly states = new Uint8Array(PAGE_HALVES);
  /** Halves in state OPEN. */
  open = 0;
  facts: HalfFacts | undefined;
  /** Position of the first half that was added; later ones are higher. */
  firstPosition = -1;
}

export const PAGE_HALVES = 4096;

/** States of a half message in a page. PARKED ones have their facts in the table's map. */
export const ABSENT = 0;
export const OPEN = 1;
export const PARKED = 2;
export const COMMITTED = 3;
export const ROLLED_BACK = 4;

export class HalfFacts {
  readonly positions = new Float64Array(PAGE_HALVES);
  readonly storedAtMs = new Float64Array(PAGE_HALVES);
  readonly checks = new Uint8Array(PAGE_HALVES);
  readonly groups = new Uint32Array(PAGE_HALVES);
  readonly topics = new Uint32Array(PAGE_HALVES);
  /** Unique keys of 32 hex digits as 16 bytes; others are in `oddIds` and have zeros here. */
  readonly ids = new Uint8Array(PAGE_HALVES * ID_BYTES);
  readonly oddIds = new Map<number, string>();

  setId(slot: number, id: string): void {
    if (!HEX_ID.test(id)) {
      this.oddIds.set(slot, id);
      return;
    }
    this.oddIds.delete(slot);
    const at = slot * ID_BYTES;
    for (let byte = 0; byte < ID_BYTES; byte++) {
      this.ids[at + byte] = (nibble(id.charCodeAt(2 * byte)) << 4) | nibble(id.charCodeAt(2 * byte + 1));
    }
  }

  idOf(slot: number): string {
    const odd = this.oddIds.get(slot);
    if (odd !== undefined) return odd;
    const at = slot * ID_BYTES;
    return Buffer.from(this.ids.buffer, at, ID_BYTES).toString('hex').toUpperCase();
  }
}

const ID_BYTES = 16;
/** Upper case only: the text must come back as it was. */
const HEX_ID = /^[0-9A-F]{32}$/;

function nibble(code: number): number {
  return code <= 57 ? code - 48 : code - 55;
}
