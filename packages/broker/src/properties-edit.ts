/**
 * Changes to a block of properties (`name 0x01 value 0x02 …`, UTF-8) that leave every other byte as the sender wrote it. For the
 * few messages the broker itself moves: halves, delayed ones, retries. The hot path only ever appends.
 */
export function editProperties(raw: Uint8Array, changes: ReadonlyMap<string, string | undefined>): Buffer {
  const kept: Uint8Array[] = [];
  eachProperty(raw, 0, raw.length, (nameStart, nameEnd, _valueStart, valueEnd) => {
    const name = Buffer.from(raw.buffer, raw.byteOffset + nameStart, nameEnd - nameStart).toString('utf8');
    if (changes.has(name)) return;
    kept.push(raw.subarray(nameStart, valueEnd), END_OF_VALUE);
  });
  for (const [name, value] of changes) if (value !== undefined) kept.push(encodeProperty(name, value));
  return Buffer.concat(kept);
}

/** One encoded property, its end mark included. */
export function encodeProperty(name: string, value: string): Buffer {
  return Buffer.from(`${name}\u0001${value}\u0002`, 'utf8');
}

/** Visits each well-formed property; the last may lack its end mark. */
export function eachProperty(
  raw: Uint8Array,
  start: number,
  end: number,
  visit: (nameStart: number, nameEnd: number, valueStart: number, valueEnd: number) => void,
): void {
  let nameStart = start;
  while (nameStart < end) {
    let nameEnd = -1;
    let at = nameStart;
    for (; at < end && raw[at] !== 2; at++) if (raw[at] === 1 && nameEnd < 0) nameEnd = at;
    if (nameEnd > nameStart && at > nameEnd + 1) visit(nameStart, nameEnd, nameEnd + 1, at);
    nameStart = at + 1;
  }
}

const END_OF_VALUE = Uint8Array.of(2);
