import { tagHash } from '@tallystick/remoting';

/**
 * The hash of the TAGS property in a block of properties, 0 without one: what the property locator gives, for bytes of which millions
 * are looked through. It goes from row to row by words and looks at nothing but the first five bytes of each.
 */
export function tagsCodeAt(bytes: Buffer, view: DataView, start: number, end: number): number {
  let code = 0;
  // "TAGS", its mark, a value of one byte.
  const lastName = end - 6;
  const lastWord = end - 4;
  for (let at = start; at <= lastName; at++) {
    const isTags = view.getInt32(at) === TAGS && view.getUint8(at + 4) === NAME_END;
    const value = at + 5;
    for (; at <= lastWord; at += 4) {
      const word = view.getInt32(at, true) ^ VALUE_ENDS;
      const found = ((word - ONES) | 0) & ~word & TOPS;
      if (found === 0) continue;
      // The lowest of the top bits is the first zero byte's.
      at += (31 - Math.clz32(found & -found)) >>> 3;
      break;
    }
    if (at > lastWord) while (at < end && view.getUint8(at) !== VALUE_END) at++;
    // Of several the last counts, and one without a value is none.
    if (isTags && at > value) code = tagHash(bytes, value, at);
  }
  return code;
}

const TAGS = 0x54414753;
const NAME_END = 1;
const VALUE_END = 2;
const VALUE_ENDS = 0x02020202;
const ONES = 0x01010101;
/** The top bit of each byte. */
const TOPS = 0x80808080 | 0;
