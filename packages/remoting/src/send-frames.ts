import { readI32, writeDecimal, writeI32, writeU16 } from '@tallystick/base';
import { BINARY_HEADER, type HeaderKind } from './frame.ts';
import { escapeJson } from './json-text.ts';
import { OUR_VERSION } from './language-codes.ts';
import { Output } from './output.ts';
import { SendRequests, type SendRoute, emptySendRequest } from './send-requests.ts';

/**
 * Finished single sends (code 310) to one queue, written where they will be kept: a sender lays them end to end and hands the whole
 * run to `peer.requestFrames`, which puts their opaques in. What is the same for all of them is one copy of a template:
 *
 *    binary   lengths, header fields … "i" and its length | properties | body
 *    JSON     lengths, {… "i":"                           | properties, escaped | "},…"opaque":1073741824,"version":479} | body
 *
 * `begin` gives the place of the properties, `seal` closes the header behind them and gives the place of the body, `finish` closes
 * the frame. The bytes are those of {@link SendRequests}; born timestamps must have 13 digits (2001 to 2286).
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
  seal(bytes: Buffer, start: number, propertiesEnd: number): number {
    const propertiesAt = start + this.#head.length;
    writeI32(bytes, propertiesAt - 4, propertiesEnd - propertiesAt);
    writeI32(bytes, start + 25, propertiesEnd - start - 29);
    headerEnds(bytes, start, propertiesEnd);
    return propertiesEnd;
  }

  /** As `seal`, for properties that lie elsewhere and go into a JSON text. */
  sealEscaped(bytes: Buffer, start: number, properties: Uint8Array, propertiesEnd: number): number {
    const tail = this.#tail;
    const at = escapeJson(properties, 0, propertiesEnd, bytes, start + this.#head.length);
    bytes.set(tail, at);
    headerEnds(bytes, start, at + tail.length);
    return at + tail.length;
  }

  /** Both lengths are known: the frame is whole but for its opaque. */
  finish(bytes: Buffer, start: number, end: number): void {
    writeI32(bytes, start, end - start - 4);
  }

  /** Where the properties of a frame of these begin and where they end. */
  propertiesOf(bytes: Buffer, start: number): { readonly start: number; readonly end: number } {
    const headerEnd = start + 8 + (readI32(bytes, start + 4) & 0xffffff);
    return { start: start + this.#head.length, end: headerEnd - this.#tail.length };
  }
}

/** Puts consecutive opaques, the first of them `opaque`, into finished frames that lie end to end in bytes [at, end). */
export function numberFrames(bytes: Buffer, at: number, end: number, opaque: number): void {
  const binary = bytes[at + 4] === BINARY_HEADER;
  while (at < end) {
    if (binary) writeI32(bytes, at + 13, opaque++);
    else writeDecimal(bytes, at + 8 + (readI32(bytes, at + 4) & 0xffffff) - JSON_OPAQUE_FROM_END, opaque++);
    at += 4 + readI32(bytes, at);
  }
}

/**
 * The opaque of the frame in bytes [at, end) if it may be an answer to one of our numbered frames (ten digits), or -1. Looks at a few
 * bytes only: who goes on with it checks the rest.
 */
export function answerOpaque(bytes: Buffer, at: number, end: number): number {
  if (bytes[at + 4] === BINARY_HEADER) return end - at >= 29 && (bytes[at + 20]! & 1) === 1 ? readI32(bytes, at + 13) : -1;
  const opaqueAt = end - JSON_OPAQUE_FROM_END;
  if (opaqueAt < at + 20 || bytes[opaqueAt - 1] !== 58 || bytes[opaqueAt - 2] !== 34 || bytes[opaqueAt - 3] !== 101) return -1;
  let opaque = 0;
  for (let n = opaqueAt; n < opaqueAt + 10; n++) {
    const digit = bytes[n]! - 48;
    if (digit < 0 || digit > 9) return -1;
    opaque = opaque * 10 + digit;
  }
  return opaque <= 0x7fffffff ? opaque : -1;
}

const BORN_DIGITS = 13;
const SAMPLE_BORN = 1e12;
const SAMPLE_OPAQUE = 0x40000000;
/** The rows flag, reconsumeTimes and the key and length of properties. */
const BINARY_BEHIND_BORN = 8 + 8 + 7;
const JSON_BEHIND_BORN = '","h":"0","j":"0","i":"';
const JSON_END = `,"version":${OUR_VERSION}}`;
const JSON_OPAQUE_FROM_END = JSON_END.length + 10;

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
