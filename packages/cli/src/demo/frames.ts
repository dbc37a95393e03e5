/**
 * The little that the demo's proxies read from a frame: code, kind, opaque, and the header fields of the few commands they care about. It reads headers
 * of both kinds by itself, so that what the demo reports about the wire does not rest on the code whose behaviour it watches.
 */
export interface Peek {
  readonly code: number;
  readonly opaque: number;
  readonly isResponse: boolean;
  readonly isOneway: boolean;
  fields(): ReadonlyMap<string, string>;
}

const headerAt = 8;
const binaryFixedBytes = 21;

/** Reads a whole frame with its length prefix; undefined when its header cannot be read. */
export function peek(frame: Buffer): Peek | undefined {
  if (frame.length < headerAt) return undefined;
  const word = frame.readUInt32BE(4);
  const end = headerAt + (word & 0xffffff);
  if (end > frame.length) return undefined;
  const header = frame.subarray(headerAt, end);
  return word >>> 24 === 1 ? peekBinary(header) : peekJson(header);
}

/** The sender's id of the message that a transaction command speaks of. */
export function serialOf(seen: Peek): string {
  const fields = seen.fields();
  return fields.get('transactionId') ?? fields.get('msgId') ?? '';
}

/** code u16, language u8, version u16, opaque i32, flag i32, remark (i32 length), fields (i32 length) */
function peekBinary(header: Buffer): Peek | undefined {
  if (header.length < binaryFixedBytes) return undefined;
  const flag = header.readInt32BE(9);
  return {
    code: header.readUInt16BE(0),
    opaque: header.readInt32BE(5),
    isResponse: (flag & 1) !== 0,
    isOneway: (flag & 2) !== 0,
    fields: () => binaryFields(header),
  };
}

function binaryFields(header: Buffer): Map<string, string> {
  const fields = new Map<string, string>();
  let at = binaryFixedBytes - 4 + Math.max(0, header.readInt32BE(13));
  if (at + 4 > header.length) return fields;
  const end = Math.min(header.length, at + 4 + header.readInt32BE(at));
  at += 4;
  while (at + 2 <= end) {
    const keyEnd = at + 2 + header.readUInt16BE(at);
    if (keyEnd + 4 > end) break;
    const valueEnd = keyEnd + 4 + header.readInt32BE(keyEnd);
    if (valueEnd > end || valueEnd < keyEnd) break;
    fields.set(header.toString('utf8', at + 2, keyEnd), header.toString('utf8', keyEnd + 4, valueEnd));
    at = valueEnd;
  }
  return fields;
}

function peekJson(header: Buffer): Peek | undefined {
  let value: { code?: unknown; opaque?: unknown; flag?: unknown; extFields?: unknown };
  try {
    value = JSON.parse(header.toString('utf8')) as typeof value;
  } catch {
    return undefined;
  }
  const flag = Number(value.flag);
  const fields = value.extFields;
  return {
    code: Number(value.code),
    opaque: Number(value.opaque),
    isResponse: (flag & 1) !== 0,
    isOneway: (flag & 2) !== 0,
    fields: () =>
      new Map(
        typeof fields === 'object' && fields !== null ? Object.entries(fields).map(([key, text]) => [key, String(text)]) : [],
      ),
  };
}
