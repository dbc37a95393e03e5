/**
 * Headers on a wire that cannot carry every header: those it can travel as they are, so that other programs see them; the others go
 * together, as JSON, in one header of ours. So a message has the same headers on both sides, whatever their names and values.
 */

/** Where a message's own parts travel that a broker has no field for; both transports use the same names. */
export const WIRE = {
  key: 'tallystick-key',
  tag: 'tallystick-tag',
  type: 'tallystick-type',
  /** When it differs from where the message was routed. */
  topic: 'tallystick-topic',
  /** ms since 1970. */
  sentAt: 'tallystick-sent-at',
  /** `1`: the body is empty, and one byte stands for it. */
  empty: 'tallystick-empty',
  /** The headers that cannot travel as they are: `[[name, value], …]` as ASCII JSON. */
  others: 'tallystick-headers',
} as const;

const OWN: ReadonlySet<string> = new Set(Object.values(WIRE));

export function isWireName(name: string): boolean {
  return OWN.has(name);
}

/** Gives each header that can travel to `put`, and then the others in one. */
export function writeHeaders(
  headers: ReadonlyMap<string, string> | undefined,
  canTravel: (name: string, value: string) => boolean,
  put: (name: string, value: string) => void,
): void {
  if (headers === undefined || headers.size === 0) return;
  let others: [string, string][] | undefined;
  for (const [name, value] of headers) {
    if (!OWN.has(name) && canTravel(name, value)) put(name, value);
    else (others ??= []).push([name, value]);
  }
  if (others !== undefined) put(WIRE.others, asciiJson(others));
}

/** The headers that came, without our own names, and with those that could not travel. */
export function readHeaders(came: Iterable<readonly [name: string, value: string]>): Map<string, string> {
  const headers = new Map<string, string>();
  let others: string | undefined;
  for (const [name, value] of came) {
    if (name === WIRE.others) others = value;
    else if (!OWN.has(name)) headers.set(name, value);
  }
  for (const [name, value] of pairsOf(others)) headers.set(name, value);
  return headers;
}

function asciiJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** What is not a list of pairs of texts, because somebody else wrote it, holds no headers. */
function pairsOf(text: string | undefined): (readonly [string, string])[] {
  if (text === undefined) return [];
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) ? list.filter(isPair) : [];
  } catch {
    return [];
  }
}

function isPair(pair: unknown): pair is readonly [string, string] {
  return Array.isArray(pair) && pair.length === 2 && typeof pair[0] === 'string' && typeof pair[1] === 'string';
}
