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

export function asBytes(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return Buffer.from(asText(value));
}
