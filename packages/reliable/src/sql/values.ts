/**
 * Values as drivers return them, made what the row types say: numbers may come as bigint or text, blobs as Buffer, Uint8Array or
 * ArrayBuffer, absent as null or undefined.
 */
export function asNumber(value: unknown): number {
  return typeof value === 'number' ? value : Number(value ?? 0);
}

export function asText(value: unknown): string {
  return typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'bigint' ? value.toString() : '';
}

export function asTextOrNull(value: unknown): string | null {
  return value === null || value === undefined ? null : asText(value);
}

/** Longest reason of a failure that is kept, in characters. */
export const REASON_MAX = 500;

/**
 * Somebody else's words as a reason that every database takes: no NUL, which PostgreSQL refuses (a row whose failure cannot be written
 * down would be pushed for ever), no half of a pair, and short enough.
 */
export function reasonText(text: string): string {
  const clean = text.replaceAll('\0', '\ufffd').replace(/\p{Surrogate}/gu, '\ufffd');
  if (clean.length <= REASON_MAX) return clean;
  return `${clean.slice(0, REASON_MAX - 1).replace(/\p{Surrogate}$/u, '')}…`;
}

export function asBytes(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return Buffer.from(asText(value));
}
