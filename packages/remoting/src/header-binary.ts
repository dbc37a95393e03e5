import { readI32 } from '@tallystick/base';
import type { Frame } from './frame.ts';

/**
 * The ROCKETMQ header kind:
 *
 *     code i16 | language u8 | version i16 | opaque i32 | flag i32 | remark: i32 length + UTF-8 | fields: i32 length + rows
 *     row = key: i16 length + UTF-8 | value: i32 length + UTF-8
 */

/** Bytes of a header without remark and fields. */
export const BINARY_FIXED_BYTES = 21;

/** Reads the header in bytes [at, end) into the frame. The fault, or undefined. An empty value counts as absent, as in RocketMQ. */
export function parseBinaryHeader(frame: Frame, bytes: Buffer, at: number, end: number): string | undefined {
  if (end - at < BINARY_FIXED_BYTES) return 'binary header shorter than its fixed part';
  frame.code = ((bytes[at]! << 24) >> 16) | bytes[at + 1]!;
  frame.language = bytes[at + 2]!;
  frame.version = ((bytes[at + 3]! << 24) >> 16) | bytes[at + 4]!;
  frame.opaque = readI32(bytes, at + 5);
  frame.flag = readI32(bytes, at + 9);
  const remarkBytes = readI32(bytes, at + 13);
  const remarkStart = at + 17;
  if (remarkBytes < 0 || remarkBytes > end - remarkStart - 4) return 'remark longer than the header';
  frame.remarkStart = remarkBytes === 0 ? 0 : remarkStart;
  frame.remarkEnd = remarkBytes === 0 ? 0 : remarkStart + remarkBytes;
  frame.remarkEscaped = 0;
  const extStart = remarkStart + remarkBytes + 4;
  const extBytes = readI32(bytes, extStart - 4);
  if (extBytes < 0 || extBytes > end - extStart) return 'fields longer than the header';
  const extEnd = extStart + extBytes;
  frame.extStart = extStart;
  frame.extEnd = extEnd;
  frame.fieldCount = 0;
  for (let from = extStart; from < extEnd;) {
    if (extEnd - from < 2) return 'a field is cut off';
    const keyStart = from + 2;
    const keyEnd = keyStart + ((bytes[from]! << 8) | bytes[from + 1]!);
    if (keyEnd > extEnd - 4) return 'a field name is longer than the fields';
    const valueStart = keyEnd + 4;
    const valueBytes = readI32(bytes, keyEnd);
    if (valueBytes < 0 || valueBytes > extEnd - valueStart) return 'a field value is longer than the fields';
    from = valueStart + valueBytes;
    if (valueBytes > 0 && !frame.addField(keyStart, keyEnd, valueStart, from, 0)) return 'too many fields';
  }
  return undefined;
}
