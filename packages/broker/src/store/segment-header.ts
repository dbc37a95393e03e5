import { crc32, readI64, readU16, readU32, writeI32, writeI64, writeU16 } from '@tallystick/base';

/**
 * The first 4 KiB of a segment file. Everything lies in the first sector, so it is never torn by a power cut.
 *
 *      0 u32 magic "TSSG"    8 u64 size        40 u32 epoch            56 u64 made at, ms
 *      4 u16 format         16 16 B store id   44 u32 previous crc     64 u32 crc of bytes 0 to 64
 *      6 u16 state          32 u64 base        48 u64 first sequence   then zeros
 *
 * A segment is *prepared* ahead of its use, when the chain's crc at its base is not known yet; its first write overwrites the header
 * with an *active* one and goes on with the first groups.
 */
export const SEGMENT_HEADER_BYTES = 4096;
export const SEGMENT_FORMAT = 1;
export const SEGMENT_PREPARED = 0;
export const SEGMENT_ACTIVE = 1;

const MAGIC = 0x54535347;
const CRC_AT = 64;

export interface SegmentHeader {
  readonly state: number;
  readonly size: number;
  /** 32 hex digits. */
  readonly storeId: string;
  readonly base: number;
  readonly epoch: number;
  readonly previousCrc: number;
  readonly sequence: number;
  readonly madeAtMs: number;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  writeI32(bytes, 0, MAGIC);
  writeU16(bytes, 4, SEGMENT_FORMAT);
  writeU16(bytes, 6, header.state);
  writeI64(bytes, 8, header.size);
  bytes.write(header.storeId, 16, 'hex');
  writeI64(bytes, 32, header.base);
  writeI32(bytes, 40, header.epoch);
  writeI32(bytes, 44, header.previousCrc);
  writeI64(bytes, 48, header.sequence);
  writeI64(bytes, 56, header.madeAtMs);
  writeI32(bytes, CRC_AT, crc32(bytes, 0, CRC_AT));
  return bytes;
}

/** A sentence when the bytes are no header; `unknown-format` in front when they are one of another version. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | string {
  if (bytes.length < CRC_AT + 4 || readU32(bytes, 0) !== MAGIC) return 'no segment magic';
  if (crc32(bytes, 0, CRC_AT) !== readU32(bytes, CRC_AT)) return 'segment header checksum differs';
  const format = readU16(bytes, 4);
  if (format !== SEGMENT_FORMAT) return `unknown-format: segment format ${format}, this broker reads ${SEGMENT_FORMAT}`;
  return {
    state: readU16(bytes, 6),
    size: readI64(bytes, 8),
    storeId: bytes.toString('hex', 16, 32),
    base: readI64(bytes, 32),
    epoch: readU32(bytes, 40),
    previousCrc: readU32(bytes, 44),
    sequence: readI64(bytes, 48),
    madeAtMs: readI64(bytes, 56),
  };
}

/** `log/<20 digits>`. */
export function segmentPath(base: number): string {
  return `log/${baseName(base)}`;
}

export function baseName(base: number): string {
  return String(base).padStart(20, '0');
}

/** The base in such a name; undefined for any other name. */
export function baseOfName(name: string): number | undefined {
  if (!/^\d{20}$/.test(name)) return undefined;
  const base = Number(name);
  return Number.isSafeInteger(base) ? base : undefined;
}
