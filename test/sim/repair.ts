/**
 * A repair that no store may do by itself: walks the log like a naive recovery and cuts it off at the first group that is not sound,
 * together with everything that bears witness against it. For the defect `truncate-at-corruption` only. Reads the format on its
 * own: 4,096-byte segment headers, 48-byte group headers (see packages/broker/src/store/group-header.ts).
 */
import { crc32 } from 'node:zlib';
import type { SimDisk } from './disk.ts';

const SEGMENT_HEADER_BYTES = 4096;
const GROUP_HEADER_BYTES = 48;
const GROUP_MAGIC = 0x54534752;

export function truncateAtCorruption(disk: SimDisk): void {
  const segments = disk.files().filter((path) => /^log\/\d{20}$/.test(path));
  let previousCrc: number | undefined;
  for (const [n, path] of segments.entries()) {
    const bytes = disk.contents(path);
    const base = Number(path.slice(4));
    let at = SEGMENT_HEADER_BYTES;
    for (let next = groupEnd(bytes, at, base, previousCrc); next !== undefined; next = groupEnd(bytes, at, base, previousCrc)) {
      previousCrc = bytes.readUInt32BE(at + 8);
      at = next;
    }
    if (!bytes.subarray(at).some((byte) => byte !== 0)) continue;
    bytes.fill(0, at);
    disk.overwrite(path, bytes);
    for (const other of segments.slice(n + 1)) disk.erase(other);
    for (const other of disk.files()) if (/snap|index|checkpoint/.test(other)) disk.erase(other);
    return;
  }
}

function groupEnd(bytes: Buffer, at: number, base: number, previousCrc: number | undefined): number | undefined {
  if (at + GROUP_HEADER_BYTES > bytes.length || bytes.readUInt32BE(at) !== GROUP_MAGIC) return undefined;
  const end = at + bytes.readUInt32BE(at + 4);
  if (end > bytes.length || end < at + GROUP_HEADER_BYTES) return undefined;
  if (Number(bytes.readBigUInt64BE(at + 16)) !== base + at) return undefined;
  if (previousCrc !== undefined && bytes.readUInt32BE(at + 12) !== previousCrc) return undefined;
  const crc = crc32(bytes.subarray(at + 12, end), crc32(bytes.subarray(at, at + 8)));
  return crc === bytes.readUInt32BE(at + 8) ? end : undefined;
}
