/**
 * Text and bytes into a buffer. Short ones go byte by byte: a call into Node's encoder or copier costs as much as forty to fifty of
 * them.
 */

const SHORT = 48;

/** Writes `text` as UTF-8; the end of what was written. */
export function writeText(to: Buffer, at: number, text: string): number {
  const length = text.length;
  if (length > SHORT) return at + to.write(text, at, 'utf8');
  for (let i = 0; i < length; i++) {
    const c = text.charCodeAt(i);
    if (c > 127) return at + to.write(text, at, 'utf8');
    to[at + i] = c;
  }
  return at + length;
}

/** Copies a few bytes. */
export function copyBytes(from: Uint8Array, to: Buffer, at: number): number {
  const length = from.length;
  for (let i = 0; i < length; i++) to[at + i] = from[i]!;
  return at + length;
}

/** True when a text can be a property's name or value: neither separator (0x01, 0x02), nothing below them. */
export function isPlainText(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) <= 2) return false;
  return true;
}
