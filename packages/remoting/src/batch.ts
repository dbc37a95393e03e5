import { readI32, writeI32, writeU16 } from '@tallystick/base';

/**
 * The body of a batch send: messages one after another, each
 *
 *     size u32 | magic u32 = 0 | crc u32 = 0 | flag i32 | body: u32 length + bytes | properties: u16 length + bytes
 */

/** Bytes of a message besides body and properties. */
export const BATCH_FIXED_BYTES = 22;

/** Writes one message at `at`, where 22 + body + properties bytes must be free; its end. */
export function encodeBatchElement(into: Uint8Array, at: number, flag: number, body: Uint8Array, properties: Uint8Array): number {
  writeI32(into, at, BATCH_FIXED_BYTES + body.length + properties.length);
  writeI32(into, at + 4, 0);
  writeI32(into, at + 8, 0);
  writeI32(into, at + 12, flag);
  writeI32(into, at + 16, body.length);
  into.set(body, at + 20);
  const next = at + 20 + body.length;
  writeU16(into, next, properties.length);
  into.set(properties, next + 2);
  return next + 2 + properties.length;
}

/**
 * Walks over a batch body: `begin`, then `next` until it gives false; then `fault` is undefined if the body was whole. Places are
 * absolute in `bytes`; one cursor serves all batches.
 */
export class BatchCursor {
  bytes: Buffer = Buffer.alloc(0);
  flag = 0;
  bodyStart = 0;
  bodyEnd = 0;
  propertiesStart = 0;
  propertiesEnd = 0;
  fault: string | undefined;
  #at = 0;
  #end = 0;

  begin(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes;
    this.#at = start;
    this.#end = end;
    this.fault = undefined;
  }

  next(): boolean {
    const at = this.#at;
    if (at === this.#end) return false;
    this.fault = this.#step(at);
    return this.fault === undefined;
  }

  #step(at: number): string | undefined {
    const bytes = this.bytes;
    const left = this.#end - at;
    if (left < BATCH_FIXED_BYTES) return 'batch is cut off';
    const size = readI32(bytes, at);
    if (size < BATCH_FIXED_BYTES || size > left) return `batch message of ${size} bytes where ${left} are left`;
    const bodyBytes = readI32(bytes, at + 16);
    if (bodyBytes < 0 || bodyBytes > size - BATCH_FIXED_BYTES) return 'batch message body is longer than the message';
    const bodyEnd = at + 20 + bodyBytes;
    const propertiesEnd = bodyEnd + 2 + ((bytes[bodyEnd]! << 8) | bytes[bodyEnd + 1]!);
    if (propertiesEnd !== at + size) return 'batch message properties do not end with the message';
    this.flag = readI32(bytes, at + 12);
    this.bodyStart = at + 20;
    this.bodyEnd = bodyEnd;
    this.propertiesStart = bodyEnd + 2;
    this.propertiesEnd = propertiesEnd;
    this.#at = propertiesEnd;
    return undefined;
  }
}
