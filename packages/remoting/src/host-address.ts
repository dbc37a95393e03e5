import { readI32, writeI32 } from '@tallystick/base';

/** Hosts inside records and message ids: 4 or 16 bytes of address, then the port as i32. */

export const HOST_V4_BYTES = 8;
export const HOST_V6_BYTES = 20;

/** The bytes of an address and port: 8 for IPv4, 20 for IPv6; undefined when `ip` is neither. An IPv4 inside IPv6 counts as IPv4. */
export function encodeHost(ip: string, port: number): Buffer | undefined {
  const plain = ip.startsWith('::ffff:') && ip.includes('.') ? ip.slice(7) : ip;
  const address = plain.includes(':') ? v6Bytes(plain) : v4Bytes(plain);
  if (address === undefined) return undefined;
  const host = Buffer.alloc(address.length + 4);
  host.set(address);
  writeI32(host, address.length, port);
  return host;
}

/** As {@link encodeHost}, for `ip:port` or `[v6]:port`. */
export function parseHost(text: string): Buffer | undefined {
  const match = /^(?:\[([^\]]+)\]|([^[\]]+)):(-?\d{1,10})$/.exec(text);
  if (match === null) return undefined;
  return encodeHost((match[1] ?? match[2])!, Number(match[3]) | 0);
}

/** `ip:port` (IPv6 in brackets) of the host bytes at `at`; the caller has checked that they are there. */
export function formatHost(bytes: Uint8Array, at: number, hostBytes: number): string {
  const port = readI32(bytes, at + hostBytes - 4);
  if (hostBytes === HOST_V4_BYTES) return `${bytes[at]!}.${bytes[at + 1]!}.${bytes[at + 2]!}.${bytes[at + 3]!}:${port}`;
  const groups: string[] = [];
  for (let n = 0; n < 16; n += 2) groups.push(((bytes[at + n]! << 8) | bytes[at + n + 1]!).toString(16));
  return `[${shortened(groups)}]:${port}`;
}

function v4Bytes(ip: string): number[] | undefined {
  const parts = ip.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256)) return undefined;
  return parts.map(Number);
}

function v6Bytes(ip: string): number[] | undefined {
  const halves = ip.split('%')[0]!.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map(groupsOf);
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined;
  const zeros = 16 - head.length - (tail?.length ?? 0);
  if (halves.length === 2 ? zeros < 0 : zeros !== 0) return undefined;
  return [...head, ...new Array<number>(zeros).fill(0), ...(tail ?? [])];
}

function groupsOf(half: string): number[] | undefined {
  if (half === '') return [];
  const groups = half.split(':');
  const last = groups.at(-1)!;
  const v4 = last.includes('.') ? v4Bytes(last) : [];
  if (v4 === undefined) return undefined;
  if (v4.length > 0) groups.pop();
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return [...groups.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 255]), ...v4];
}

/** The longest run of zero groups as `::`. */
function shortened(groups: readonly string[]): string {
  const runs = [...groups.join(':').matchAll(/(?:^|:)(0(?::0)+)(?=:|$)/g)];
  const longest = runs.reduce<RegExpMatchArray | undefined>(
    (best, run) => (best === undefined || run[1]!.length > best[1]!.length ? run : best),
    undefined,
  );
  if (longest === undefined) return groups.join(':');
  const text = groups.join(':');
  const start = (longest.index ?? 0) + (longest[0].startsWith(':') ? 1 : 0);
  return `${text.slice(0, start).replace(/:$/, '')}::${text.slice(start + longest[1]!.length).replace(/^:/, '')}`;
}
