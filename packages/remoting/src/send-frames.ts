import { readDecimal, readI32, viewOf, writeDecimal, writeI32, writeU16 } from '@tallystick/base';
import { BINARY_HEADER, type HeaderKind } from './frame.ts';
import { escapeJson } from './json-text.ts';
import { Output } from './output.ts';
import { SendRequests, type SendRoute, emptySendRequest } from './send-requests.ts';

/**
 * Finished single sends (code 310) to one queue, written where they will be kept: a sender lays them end to end and hands the whole
 * run to `peer.requestFrames`, which puts their opaques in. What is the same for all of them is one copy of a template:
 *
 *    binary   lengths, header fields … "i" and its length | properties | body
 *    JSON     lengths, {… "i":"                           | properties, escaped | "},…"opaque":1073741824,"version":479} | body
 *
 * `begin` gives the place of the properties, `seal` closes the header behind them and gives the place of the body; the first four bytes,
 * the frame's length without them, are for whoever knows the body. The bytes are those of {@link SendRequests}; born timestamps must have 13 digits (2001 to 2286).
 */
export class SendFrames {
  readonly sysFlag: number;
  /** Most bytes of a frame besides its properties (six times as many when they are escaped) and body. */
  readonly fixedBytes: number;
  /** Properties are written elsewhere and handed to `sealEscaped`. */
  readonly escapes: boolean;
  readonly #head: Buffer;
  readonly #bornAt: number;
  readonly #tail: Buffer;
  #bornTimestamp = 0;

  constructor(route: SendRoute, kind: HeaderKind, sysFlag: number) {
    this.sysFlag = sysFlag;
    this.escapes = kind !== BINARY_HEADER;
    const sample = sampleFrame(route, kind, sysFlag);
    const tailAt = this.escapes ? sample.lastIndexOf('"},"flag":') : sample.length;
    this.#tail = Buffer.from(sample.subarray(tailAt));
    this.#head = Buffer.from(sample.subarray(0, tailAt - 1));
    this.#bornAt = this.#head.length - (this.escapes ? JSON_BEHIND_BORN.length : BINARY_BEHIND_BORN) - BORN_DIGITS;
    this.fixedBytes = this.#head.length + this.#tail.length;
  }

  /** True when a message born then can be written here. */
  static canCarry(bornTimestamp: number): boolean {
    return bornTimestamp >= 1e12 && bornTimestamp < 1e13;
  }

  /** Writes the beginning of a frame; the place of its properties. */
  begin(bytes: Buffer, start: number, bornTimestamp: number): number {
    const head = this.#head;
    if (bornTimestamp !== this.#bornTimestamp) {
      this.#bornTimestamp = bornTimestamp;
      writeDecimal(head, this.#bornAt, bornTimestamp);
    }
    bytes.set(head, start);
    return start + head.length;
  }

  /** The properties end here; the place of the body. */
  seal(view: DataView, start: number, propertiesEnd: number): number {
    const propertiesAt = start + this.#head.length;
    view.setInt32(propertiesAt - 4, propertiesEnd - propertiesAt);
    view.setInt32(start + 25, propertiesEnd - start - 29);
    view.setInt32(start + 4, (BINARY_HEADER << 24) | (propertiesEnd - start - 8));
    return propertiesEnd;
  }

  /** As `seal`, for properties that lie elsewhere, in bytes [from, to), and go into a JSON text. */
  sealEscaped(bytes: Buffer, start: number, properties: Uint8Array, from: number, to: number): number {
    const tail = this.#tail;
    const at = escapeJson(properties, from, to, bytes, start + this.#head.length);
    bytes.set(tail, at);
    headerEnds(bytes, start, at + tail.length);
    return at + tail.length;
  }

  /** Writes the frames of another template in bytes [0, end) anew as frames of this one; the end of them. */
  rewrite(from: SendFrames, bytes: Buffer, end: number, into: Buffer): number {
    const view = viewOf(into);
    let to = 0;
    for (let start = 0; start < end;) {
      const next = start + 4 + readI32(bytes, start);
      const body = start + 8 + (readI32(bytes, start + 4) & 0xffffff);
      const properties = bytes.subarray(start + from.#head.length, body - from.#tail.length);
      const at = this.begin(into, to, readDecimal(bytes, start + from.#bornAt, start + from.#bornAt + BORN_DIGITS));
      into.set(properties, at);
      let bodyAt = at + properties.length;
      if (this.escapes) {
        into.set(this.#tail, bodyAt);
        bodyAt += this.#tail.length;
        headerEnds(into, to, bodyAt);
      } else this.seal(view, to, bodyAt);
      into.set(bytes.subarray(body, next), bodyAt);
      const newEnd = bodyAt + next - body;
      writeI32(into, to, newEnd - to - 4);
      to = newEnd;
      start = next;
    }
    return to;
  }
}

const BORN_DIGITS = 13;
const SAMPLE_BORN = 1e12;
const SAMPLE_OPAQUE = 0x40000000;
/** The rows flag, reconsumeTimes and the key and length of properties. */
const BINARY_BEHIND_BORN = 8 + 8 + 7;
const JSON_BEHIND_BORN = '","h":"0","j":"0","i":"';

function headerEnds(bytes: Buffer, start: number, end: number): void {
  const headerBytes = end - start - 8;
  bytes[start + 5] = headerBytes >>> 16;
  writeU16(bytes, start + 6, headerBytes & 0xffff);
}

/** A frame with one byte of properties and no body. */
function sampleFrame(route: SendRoute, kind: HeaderKind, sysFlag: number): Buffer {
  const send = emptySendRequest();
  send.sysFlag = sysFlag;
  send.bornTimestamp = SAMPLE_BORN;
  send.properties = Buffer.from('x');
  send.propertiesEnd = 1;
  const out = new Output();
  new SendRequests(route).encode(out, kind, SAMPLE_OPAQUE, send);
  return out.bytes.subarray(0, out.at);
}
