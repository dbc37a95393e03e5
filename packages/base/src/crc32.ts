import { crc32 as nativeCrc32 } from 'node:zlib';
import { ViewCache } from './words.ts';

/**
 * CRC-32 (IEEE, reflected 0xEDB88320) over a range of bytes, as an unsigned number. Short ranges are summed here, eight bytes a
 * step, because the call into native code costs more than the sum: 100 B take 64 ns here and 155 ns in zlib, 1 KiB 624 and
 * 312 ns. RocketMQ's message records keep only 31 bits: callers mask with 0x7fffffff themselves.
 */
export function crc32(bytes: Uint8Array, start = 0, end = bytes.length, seed = 0): number {
  if (end - start > NATIVE_ABOVE_BYTES) {
    return nativeCrc32(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), seed);
  }
  return sliceBy8(bytes, start, end, seed);
}

/** Where the native call begins to win. */
const NATIVE_ABOVE_BYTES = 300;

const TABLE = tables();
const views = new ViewCache();

function sliceBy8(bytes: Uint8Array, start: number, end: number, seed: number): number {
  return ~(end - start < 32 ? byBytes(bytes, start, end, ~seed) : byWords(views.of(bytes), start, end, ~seed)) >>> 0;
}

/** Eight bytes a step: in words, which are one load each where four bytes would be four (100 B: 60 against 85 ns). */
function byWords(view: DataView, start: number, end: number, crc: number): number {
  const t = TABLE;
  let at = start;
  for (const last = end - 8; at <= last; at += 8) {
    const low = crc ^ view.getInt32(at, true);
    const high = view.getInt32(at + 4, true);
    crc =
      t[1792 + (low & 255)]! ^
      t[1536 + ((low >>> 8) & 255)]! ^
      t[1280 + ((low >>> 16) & 255)]! ^
      t[1024 + (low >>> 24)]! ^
      t[768 + (high & 255)]! ^
      t[512 + ((high >>> 8) & 255)]! ^
      t[256 + ((high >>> 16) & 255)]! ^
      t[high >>> 24]!;
  }
  for (; at < end; at++) crc = t[(crc ^ view.getUint8(at)) & 255]! ^ (crc >>> 8);
  return crc;
}

function byBytes(bytes: Uint8Array, start: number, end: number, crc: number): number {
  const t = TABLE;
  for (let at = start; at < end; at++) crc = t[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8);
  return crc;
}

/** Eight tables in one array: table k continues table k-1 over one more zero byte. */
function tables(): Int32Array {
  const t = new Int32Array(8 * 256);
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    t[n] = c;
  }
  for (let at = 256; at < t.length; at++) {
    const before = t[at - 256]!;
    t[at] = t[before & 255]! ^ (before >>> 8);
  }
  return t;
}
