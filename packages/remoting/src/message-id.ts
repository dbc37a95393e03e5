import { fromHex, readI64, toHex, type Random } from '@tallystick/base';
import { formatHost, HOST_V4_BYTES, HOST_V6_BYTES } from './host-address.ts';

/** Message ids as texts: the broker's (where the record lies) and the sender's (who it is, over all retries). */

/** Offset message id: store host and position in upper-case hex, 32 digits (IPv4) or 56. `host` is from `encodeHost`. */
export function offsetMessageId(host: Uint8Array, position: number): string {
  const high = Math.floor(position / 4294967296);
  return toHex(host) + hex8(high) + hex8(position);
}

/** The parts of an offset message id; undefined when the text is none. */
export function parseOffsetMessageId(id: string): { readonly host: string; readonly position: number } | undefined {
  if (id.length !== 32 && id.length !== 56) return undefined;
  const bytes = fromHex(id);
  if (bytes === undefined) return undefined;
  const hostBytes = id.length === 32 ? HOST_V4_BYTES : HOST_V6_BYTES;
  const position = readI64(bytes, hostBytes);
  return Number.isSafeInteger(position) && position >= 0 ? { host: formatHost(bytes, 0, hostBytes), position } : undefined;
}

/** A new sender's id: UUIDv7 (time-ordered, 74 random bits) as 32 upper-case hex digits, fit for UNIQ_KEY. `nowMs` is wall-clock time. */
export function newMessageId(nowMs: number, random: Random): string {
  const timeHigh = Math.floor(nowMs / 65536);
  const a = random.u32();
  const b = random.u32();
  const c = random.u32();
  const versioned = (nowMs % 65536) * 65536 + (0x7000 | (a & 0xfff));
  return hex8(timeHigh) + hex8(versioned) + hex8(0x80000000 | (b & 0x3fffffff)) + hex8(c);
}

function hex8(value: number): string {
  return (value >>> 0).toString(16).toUpperCase().padStart(8, '0');
}
