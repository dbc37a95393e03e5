import { ViewCache } from '@tallystick/base';
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
  const view = views.of(bytes);
  frame.code = view.getInt16(at);
  frame.language = view.getUint8(at + 2);
  frame.version = view.getInt16(at + 3);
  frame.opaque = view.getInt32(at + 5);
  frame.flag = view.getInt32(at + 9);
  const remarkBytes = view.getInt32(at + 13);
  const remarkStart = at + 17;
  if (remarkBytes < 0 || remarkBytes > end - remarkStart - 4) return 'remark longer than the header';
  frame.remarkStart = remarkBytes === 0 ? 0 : remarkStart;
  frame.remarkEnd = remarkBytes === 0 ? 0 : remarkStart + remarkBytes;
  frame.remarkEscaped = 0;
  const extStart = remarkStart + remarkBytes + 4;
  const extBytes = view.getInt32(extStart - 4);
  if (extBytes < 0 || extBytes > end - extStart) return 'fields longer than the header';
  const extEnd = extStart + extBytes;
  frame.extStart = extStart;
  frame.extEnd = extEnd;
  frame.fieldCount = 0;
  for (let from = extStart; from < extEnd;) {
    if (extEnd - from < 2) return 'a field is cut off';
    const keyStart = from + 2;
    const keyEnd = keyStart + view.getUint16(from);
    if (keyEnd > extEnd - 4) return 'a field name is longer than the fields';
    const valueStart = keyEnd + 4;
    const valueBytes = view.getInt32(keyEnd);
    if (valueBytes < 0 || valueBytes > extEnd - valueStart) return 'a field value is longer than the fields';
    from = valueStart + valueBytes;
    if (valueBytes > 0 && !frame.addField(keyStart, keyEnd, valueStart, from, 0)) return 'too many fields';
  }
  return undefined;
}

/** Frame after frame lies in the same chunk. */
const views = new ViewCache();
