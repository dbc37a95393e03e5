/** The beginning of a body for people: as text when it is one, else as hex. A terminal gets no control characters from it. */
export interface BodyPreview {
  readonly text?: string | undefined;
  readonly hex?: string | undefined;
  /** Bytes of the body that are not shown. */
  readonly more: number;
}

export function bodyPreview(start: Uint8Array, bodyBytes: number): BodyPreview {
  const more = Math.max(0, bodyBytes - start.length);
  const text = textOf(start, more > 0);
  return text === undefined ? { hex: Buffer.from(start).toString('hex'), more } : { text, more };
}

/** A text that was cut may end inside a character: then up to three bytes are left out. */
function textOf(bytes: Uint8Array, isCut: boolean): string | undefined {
  for (let left = 0; left <= (isCut ? Math.min(3, bytes.length) : 0); left++) {
    try {
      const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, bytes.length - left));
      return /[^\P{Cc}\t\n\r]/u.test(text) ? undefined : text;
    } catch {
      // One byte less may be whole.
    }
  }
  return undefined;
}
