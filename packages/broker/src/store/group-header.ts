import { crc32, readI64, readU16, readU32, writeI32, writeI64, writeU16 } from '@tallystick/base';

/**
 * The write group: the atom of the log. Either all of its records are there after a crash or none.
 *
 *      0 u32 magic "TSGR"      16 u64 position          40 u32 epoch
 *      4 u32 total length      24 u64 durable up to     44 u16 records
 *      8 u32 crc               32 u64 sequence          46 u16 flags
 *     12 u32 previous crc                               48 records, then 1 to 8 bytes of padding
 *
 * Big-endian. The crc covers everything but itself, to the last byte of padding; the previous crc chains the group to the one before
 * it, over segments too. "Durable up to" is how far the log was known to be synced when the group was closed: if something before
 * that address is unreadable, it was acknowledged and has rotted, it is no torn tail.
 *
 * Groups are a multiple of 8 long, so a length never straddles a sector. The last byte of padding is never zero: a group whose last
 * byte is zero was not written to its end, which is how a write that a kill cut short is told from a complete one that has rotted.
 */
export const GROUP_MAGIC = 0x54534752;
export const GROUP_HEADER_BYTES = 48;
/** Padding takes at most this. */
export const GROUP_PADDING_MAX = 8;
export const GROUP_RECORDS_MAX = 0xffff;
/** Flag of a group without records that only carries "durable up to". */
export const GROUP_IS_MARKER = 1;

const PADDING_MARK = 0xf0;

/** Total length of a group with so many bytes of records. */
export function groupBytes(recordBytes: number): number {
  return (GROUP_HEADER_BYTES + recordBytes + GROUP_PADDING_MAX) & ~7;
}

export interface GroupHeader {
  previousCrc: number;
  position: number;
  durableUpTo: number;
  sequence: number;
  epoch: number;
  records: number;
  flags: number;
}

/** Pads the group whose records end at `recordsEnd`, writes its header at `at`, gives its crc. It ends at `at + groupBytes(...)`. */
export function sealGroup(bytes: Buffer, at: number, recordsEnd: number, header: GroupHeader): number {
  const total = groupBytes(recordsEnd - at - GROUP_HEADER_BYTES);
  const end = at + total;
  for (let pad = recordsEnd; pad < end - 1; pad++) bytes[pad] = 0;
  bytes[end - 1] = PADDING_MARK | (end - recordsEnd);
  writeI32(bytes, at, GROUP_MAGIC);
  writeI32(bytes, at + 4, total);
  writeI32(bytes, at + 12, header.previousCrc);
  writeI64(bytes, at + 16, header.position);
  writeI64(bytes, at + 24, header.durableUpTo);
  writeI64(bytes, at + 32, header.sequence);
  writeI32(bytes, at + 40, header.epoch);
  writeU16(bytes, at + 44, header.records);
  writeU16(bytes, at + 46, header.flags);
  const crc = groupCrc(bytes, at, end);
  writeI32(bytes, at + 8, crc);
  return crc;
}

/** A group as found on the disk. */
export interface FoundGroup extends GroupHeader {
  total: number;
  crc: number;
  recordsEnd: number;
}

/**
 * Reads the group at `at`, which must lie at `position` and end before `limit`. Gives a sentence when there is no whole, sound group;
 * whether it continues the chain is for the caller to compare. Claimed lengths are checked before use.
 */
export function readGroup(bytes: Buffer, at: number, limit: number, position: number, into: FoundGroup): string | undefined {
  if (limit - at < GROUP_HEADER_BYTES + 1) return 'no room for a group';
  if (readU32(bytes, at) !== GROUP_MAGIC) return 'no group magic';
  const total = readU32(bytes, at + 4);
  const found = readI64(bytes, at + 16);
  if (found !== position) return `group of position ${found}`;
  if (total < groupBytes(0) || total % 8 !== 0) return `group length ${total}`;
  if (total > limit - at) return `group length ${total} beyond ${limit - at}`;
  const crc = readU32(bytes, at + 8);
  const padding = bytes[at + total - 1]! ^ PADDING_MARK;
  if (padding < 1 || padding > GROUP_PADDING_MAX) return 'group not written to its end';
  if (groupCrc(bytes, at, at + total) !== crc) return 'group checksum differs';
  into.total = total;
  into.crc = crc;
  into.previousCrc = readU32(bytes, at + 12);
  into.position = position;
  into.durableUpTo = readI64(bytes, at + 24);
  into.sequence = readI64(bytes, at + 32);
  into.epoch = readU32(bytes, at + 40);
  into.records = readU16(bytes, at + 44);
  into.flags = readU16(bytes, at + 46);
  into.recordsEnd = at + total - padding;
  return undefined;
}

export function emptyGroup(): FoundGroup {
  return {
    total: 0,
    crc: 0,
    recordsEnd: 0,
    previousCrc: 0,
    position: 0,
    durableUpTo: 0,
    sequence: 0,
    epoch: 0,
    records: 0,
    flags: 0,
  };
}

/**
 * Whether a stretch of `length` bytes, the last of which is the last one that is not zero, can be the beginning of a group that
 * should follow the given chain and was cut off in writing: every byte of the header that is there must be right. When nothing
 * is left but (part of) a header, its first bytes may be zero: recovery zeroes a dropped group from its end, and may be cut off, too.
 * `head` is the stretch's first bytes, `room` what is left of the segment.
 */
export function isCutGroup(
  head: Buffer,
  length: number,
  room: number,
  position: number,
  previousCrc: number,
  sequence: number,
): boolean {
  const expected = Buffer.alloc(GROUP_HEADER_BYTES);
  writeI32(expected, 0, GROUP_MAGIC);
  writeI32(expected, 12, previousCrc);
  writeI64(expected, 16, position);
  writeI64(expected, 32, sequence);
  const isHeaderOnly = length <= GROUP_HEADER_BYTES;
  for (const [from, to] of KNOWN_AHEAD) {
    // Bytes after `length` are zero because they were not written, so only what lies before is compared.
    for (let at = from; at < to && at < length; at++)
      if (head[at] !== expected[at] && !(isHeaderOnly && head[at] === 0)) return false;
  }
  if (isHeaderOnly) return true;
  const total = readU32(head, 4);
  // The last byte of a complete group is not zero, so a cut one ends before it.
  return total >= groupBytes(0) && total % 8 === 0 && length < total && total <= room;
}

/**
 * Whether the bytes are a group that was written to its end and whose length alone has rotted: it claims to be longer than it is, and
 * would pass for a cut one.
 */
export function isWholeButForLength(bytes: Buffer): boolean {
  const end = bytes.length;
  const padding = bytes[end - 1]! ^ PADDING_MARK;
  if (end < groupBytes(0) || end % 8 !== 0 || padding < 1 || padding > GROUP_PADDING_MAX) return false;
  const mended = Buffer.from(bytes);
  writeI32(mended, 4, end);
  return groupCrc(mended, 0, end) === readU32(bytes, 8);
}

/** The header's fields that the chain determines: magic, previous crc, position, sequence. */
const KNOWN_AHEAD = [
  [0, 4],
  [12, 24],
  [32, 40],
] as const;

function groupCrc(bytes: Buffer, at: number, end: number): number {
  return crc32(bytes, at + 12, end, crc32(bytes, at, at + 8));
}
