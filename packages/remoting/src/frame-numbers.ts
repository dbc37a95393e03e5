/**
 * Opaques in frames that are finished but for them: ten digits each, so a JSON header keeps its length, and at a known distance from
 * the end of such a header.
 */
import { readI32, writeDecimal, writeI32 } from '@tallystick/base';
import { BINARY_HEADER } from './frame.ts';
import { OUR_VERSION } from './language-codes.ts';

/** Puts consecutive opaques, the first of them `opaque`, into finished frames that lie end to end in bytes [at, end). */
export function numberFrames(bytes: Buffer, at: number, end: number, opaque: number): void {
  const binary = bytes[at + 4] === BINARY_HEADER;
  while (at < end) {
    if (binary) writeI32(bytes, at + 13, opaque++);
    else writeDecimal(bytes, at + 8 + (readI32(bytes, at + 4) & 0xffffff) - JSON_OPAQUE_FROM_END, opaque++);
    at += 4 + readI32(bytes, at);
  }
}

/**
 * The opaque of the frame in bytes [at, end) if it may be an answer to one of our numbered frames (ten digits), or -1. Looks at a few
 * bytes only: who goes on with it checks the rest.
 */
export function answerOpaque(bytes: Buffer, at: number, end: number): number {
  if (bytes[at + 4] === BINARY_HEADER) return end - at >= 29 && (bytes[at + 20]! & 1) === 1 ? readI32(bytes, at + 13) : -1;
  const opaqueAt = end - JSON_OPAQUE_FROM_END;
  if (opaqueAt < at + 20 || bytes[opaqueAt - 1] !== 58 || bytes[opaqueAt - 2] !== 34 || bytes[opaqueAt - 3] !== 101) return -1;
  let opaque = 0;
  for (let n = opaqueAt; n < opaqueAt + 10; n++) {
    const digit = bytes[n]! - 48;
    if (digit < 0 || digit > 9) return -1;
    opaque = opaque * 10 + digit;
  }
  return opaque <= 0x7fffffff ? opaque : -1;
}

const JSON_OPAQUE_FROM_END = `,"version":${OUR_VERSION}}`.length + 10;
