import { writeI32, writeU16 } from '@tallystick/base';
import { BINARY_HEADER, type HeaderKind } from './frame.ts';
import { eachField, type FieldValues } from './header-fields.ts';
import { languageName } from './language-codes.ts';
import type { Output } from './output.ts';

/** What a frame says besides fields and body. */
export interface FrameHead {
  readonly kind: HeaderKind;
  readonly code: number;
  readonly flag: number;
  readonly opaque: number;
  readonly language: number;
  readonly version: number;
  readonly remark: string | undefined;
}

export type FrameBody = Uint8Array | readonly Uint8Array[] | undefined;

/** Stages one frame. The body is copied: the caller may use its memory again at once. */
export function writeFrame(out: Output, head: FrameHead, fields: FieldValues | undefined, body: FrameBody): void {
  if (head.kind === BINARY_HEADER) writeBinary(out, head, fields, body);
  else writeJson(out, head, fields, body);
}

function writeBinary(out: Output, head: FrameHead, fields: FieldValues | undefined, body: FrameBody): void {
  const rows: string[] = [];
  let extBytes = 0;
  if (fields !== undefined) {
    eachField(fields, (name, value) => {
      if (value.length === 0) return;
      rows.push(name, value);
      extBytes += 6 + Buffer.byteLength(name) + Buffer.byteLength(value);
    });
  }
  const remarkBytes = head.remark === undefined ? 0 : Buffer.byteLength(head.remark);
  const headerBytes = 21 + remarkBytes + extBytes;
  let at = begin(out, 1, headerBytes, bodyLength(body));
  const bytes = out.bytes;
  writeU16(bytes, at, head.code);
  bytes[at + 2] = head.language;
  writeU16(bytes, at + 3, head.version);
  writeI32(bytes, at + 5, head.opaque);
  writeI32(bytes, at + 9, head.flag);
  writeI32(bytes, at + 13, remarkBytes);
  at += 17;
  if (head.remark !== undefined) at += bytes.write(head.remark, at);
  writeI32(bytes, at, extBytes);
  at += 4;
  for (let n = 0; n < rows.length; n += 2) {
    const nameBytes = bytes.write(rows[n]!, at + 2);
    writeU16(bytes, at, nameBytes);
    at += 2 + nameBytes;
    const valueBytes = bytes.write(rows[n + 1]!, at + 4);
    writeI32(bytes, at, valueBytes);
    at += 4 + valueBytes;
  }
  out.at = copyBody(bytes, at, body);
}

/** Keys in the order RocketMQ's own JSON has them; nothing that is absent is written. */
function writeJson(out: Output, head: FrameHead, fields: FieldValues | undefined, body: FrameBody): void {
  let text = `{"code":${head.code}`;
  if (fields !== undefined) {
    let rows = '';
    eachField(fields, (name, value) => {
      rows += `${rows === '' ? '' : ','}${JSON.stringify(name)}:${JSON.stringify(value)}`;
    });
    text += `,"extFields":{${rows}}`;
  }
  text += `,"flag":${head.flag},"language":"${languageName(head.language)}","opaque":${head.opaque}`;
  if (head.remark !== undefined) text += `,"remark":${JSON.stringify(head.remark)}`;
  text += `,"version":${head.version}}`;
  const at = begin(out, 0, Buffer.byteLength(text), bodyLength(body));
  const headerEnd = at + out.bytes.write(text, at);
  out.at = copyBody(out.bytes, headerEnd, body);
}

/** Reserves room for a frame and writes its two lengths; where the header begins. */
function begin(out: Output, kind: number, headerBytes: number, bodyBytes: number): number {
  const at = out.reserve(8 + headerBytes + bodyBytes);
  writeI32(out.bytes, at, 4 + headerBytes + bodyBytes);
  writeI32(out.bytes, at + 4, (kind << 24) | headerBytes);
  return at + 8;
}

function bodyLength(body: FrameBody): number {
  if (body === undefined) return 0;
  if (body instanceof Uint8Array) return body.length;
  let length = 0;
  for (const part of body) length += part.length;
  return length;
}

function copyBody(bytes: Buffer, at: number, body: FrameBody): number {
  if (body === undefined) return at;
  if (body instanceof Uint8Array) {
    bytes.set(body, at);
    return at + body.length;
  }
  for (const part of body) {
    bytes.set(part, at);
    at += part.length;
  }
  return at;
}
