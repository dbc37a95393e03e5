import { writeDecimal, writeHexU32, writeI32, writeU16 } from '@tallystick/base';
import { BINARY_HEADER, RESPONSE_FLAG, type HeaderKind } from './frame.ts';
import { ESCAPED_MAX, escapeJson } from './json-text.ts';
import { languageName, OUR_LANGUAGE, OUR_VERSION } from './language-codes.ts';
import type { Output } from './output.ts';
import type { FrameEncoder } from './peer.ts';

/** What the answer to a send says. One object may serve all answers: it is read at once. */
export interface SendAnswer {
  /** 0, 10, 11 or 12. */
  code: number;
  /** Positions of the stored records: `count` of them from the first. One message: one. */
  positions: ArrayLike<number>;
  count: number;
  queueId: number;
  /** Of the first message. */
  queueOffset: number;
  /** In ms. */
  storeTimestamp: number;
  /** The unique key as bytes [start, end); an empty range leaves it out. */
  transactionId: Uint8Array;
  transactionIdStart: number;
  transactionIdEnd: number;
}

/** A send answer to be filled in again and again. */
export function emptySendAnswer(): SendAnswer {
  return {
    code: 0,
    positions: [0],
    count: 1,
    queueId: 0,
    queueOffset: 0,
    storeTimestamp: 0,
    transactionId: new Uint8Array(0),
    transactionIdStart: 0,
    transactionIdEnd: 0,
  };
}

/**
 * Encodes answers to sends from templates: all that does not change is copied, the rest is written as bytes. 0.15 µs against 1.1
 * for a JSON.stringify. One per broker: the store host (from `encodeHost`) is part of the template.
 */
export class SendAnswers implements FrameEncoder<SendAnswer> {
  readonly #region: string;
  readonly #hostHex: Buffer;
  /** One id and a comma. */
  readonly #idBytes: number;
  readonly #jsonTail: Buffer;
  /** What comes before the position in the first id. It holds the store time, which thousands of answers share. */
  #headTime = NaN;
  #binaryHead: Buffer = NONE;
  #jsonHead: Buffer = NONE;

  constructor(storeHost: Uint8Array, region = 'DefaultRegion') {
    this.#region = region;
    this.#hostHex = Buffer.from(Buffer.from(storeHost).toString('hex').toUpperCase());
    this.#idBytes = this.#hostHex.length + 17;
    this.#jsonTail = Buffer.from(`"},"flag":${RESPONSE_FLAG},"language":"${languageName(OUR_LANGUAGE)}","opaque":`);
  }

  encode(out: Output, kind: HeaderKind, opaque: number, answer: SendAnswer): void {
    if (answer.storeTimestamp !== this.#headTime) this.#makeHeads(answer.storeTimestamp);
    if (kind === BINARY_HEADER) this.#binary(out, opaque, answer);
    else this.#json(out, opaque, answer);
  }

  #makeHeads(storeTimestamp: number): void {
    const fixed = Buffer.alloc(EXT_AT);
    fixed[4] = BINARY_HEADER;
    fixed[10] = OUR_LANGUAGE;
    writeU16(fixed, 11, OUR_VERSION);
    writeI32(fixed, 17, RESPONSE_FLAG);
    const time = String(storeTimestamp);
    const rows = [binaryRow('MSG_REGION', this.#region), binaryRow('TRACE_ON', 'true'), binaryRow('storeTimestamp', time)];
    this.#binaryHead = Buffer.concat([fixed, ...rows, binaryKey('msgId'), Buffer.alloc(4), this.#hostHex]);
    const text = `,"extFields":{"MSG_REGION":${JSON.stringify(this.#region)},"TRACE_ON":"true","storeTimestamp":"${time}","msgId":"`;
    this.#jsonHead = Buffer.concat([Buffer.from(text), this.#hostHex]);
    this.#headTime = storeTimestamp;
  }

  #binary(out: Output, opaque: number, answer: SendAnswer): void {
    const idBytes = this.#idBytes * answer.count - 1;
    const transactionBytes = answer.transactionIdEnd - answer.transactionIdStart;
    const head = this.#binaryHead;
    const start = out.reserve(head.length + idBytes + VARIABLE_BYTES + transactionBytes);
    const bytes = out.bytes;
    head.copy(bytes, start);
    writeU16(bytes, start + 8, answer.code);
    writeI32(bytes, start + 13, opaque);
    let at = start + head.length;
    writeI32(bytes, at - this.#hostHex.length - 4, idBytes);
    at = this.#ids(bytes, at, answer);
    at = binaryNumber(bytes, at, QUEUE_ID_KEY, answer.queueId);
    at = binaryNumber(bytes, at, QUEUE_OFFSET_KEY, answer.queueOffset);
    if (transactionBytes > 0) {
      at = copyShort(TRANSACTION_ID_KEY, bytes, at);
      writeI32(bytes, at, transactionBytes);
      at = copyRange(answer.transactionId, answer.transactionIdStart, answer.transactionIdEnd, bytes, at + 4);
    }
    writeI32(bytes, start + EXT_AT - 4, at - start - EXT_AT);
    this.#finish(out, start, at);
  }

  #json(out: Output, opaque: number, answer: SendAnswer): void {
    const { transactionId, transactionIdStart, transactionIdEnd } = answer;
    const transactionBytes = transactionIdEnd - transactionIdStart;
    const idBytes = this.#idBytes * answer.count;
    const start = out.reserve(
      this.#jsonHead.length + this.#jsonTail.length + idBytes + VARIABLE_BYTES + transactionBytes * ESCAPED_MAX,
    );
    const bytes = out.bytes;
    let at = writeDecimal(bytes, copyShort(JSON_CODE, bytes, start + 8), answer.code);
    at = this.#ids(bytes, at + this.#jsonHead.copy(bytes, at), answer);
    at = writeDecimal(bytes, copyShort(JSON_QUEUE_ID, bytes, at), answer.queueId);
    at = writeDecimal(bytes, copyShort(JSON_QUEUE_OFFSET, bytes, at), answer.queueOffset);
    if (transactionBytes > 0)
      at = escapeJson(transactionId, transactionIdStart, transactionIdEnd, bytes, copyShort(JSON_TRANSACTION_ID, bytes, at));
    at += this.#jsonTail.copy(bytes, at);
    at = copyShort(JSON_VERSION, bytes, writeDecimal(bytes, at, opaque));
    bytes[start + 4] = 0;
    this.#finish(out, start, at);
  }

  /** Both lengths; the header is all there is. */
  #finish(out: Output, start: number, end: number): void {
    const headerBytes = end - start - 8;
    writeI32(out.bytes, start, headerBytes + 4);
    out.bytes[start + 5] = headerBytes >>> 16;
    writeU16(out.bytes, start + 6, headerBytes & 0xffff);
    out.at = end;
  }

  /** The offset message ids joined by commas, from behind the first one's host. */
  #ids(bytes: Buffer, at: number, answer: SendAnswer): number {
    for (let n = 0; n < answer.count; n++) {
      if (n > 0) {
        bytes[at] = 44;
        at = copyShort(this.#hostHex, bytes, at + 1);
      }
      const position = answer.positions[n]!;
      at = writeHexU32(bytes, at, Math.floor(position / 4294967296));
      at = writeHexU32(bytes, at, position);
    }
    return at;
  }
}

/** Where the fields begin in a binary frame without a remark. */
const EXT_AT = 8 + 21;
const NONE = Buffer.alloc(0);
const QUEUE_ID_KEY = binaryKey('queueId');
const QUEUE_OFFSET_KEY = binaryKey('queueOffset');
const TRANSACTION_ID_KEY = binaryKey('transactionId');
const JSON_CODE = Buffer.from('{"code":');
const JSON_QUEUE_ID = Buffer.from('","queueId":"');
const JSON_QUEUE_OFFSET = Buffer.from('","queueOffset":"');
const JSON_TRANSACTION_ID = Buffer.from('","transactionId":"');
const JSON_VERSION = Buffer.from(`,"version":${OUR_VERSION}}`);

/** More than all the short keys, lengths and numbers together. */
const VARIABLE_BYTES = 256;

function binaryKey(name: string): Buffer {
  const key = Buffer.alloc(2 + name.length);
  writeU16(key, 0, name.length);
  key.write(name, 2, 'latin1');
  return key;
}

function binaryRow(name: string, value: string): Buffer {
  const length = Buffer.alloc(4);
  writeI32(length, 0, Buffer.byteLength(value));
  return Buffer.concat([binaryKey(name), length, Buffer.from(value)]);
}

function binaryNumber(bytes: Buffer, at: number, key: Buffer, value: number): number {
  at = copyShort(key, bytes, at);
  const end = writeDecimal(bytes, at + 4, value);
  writeI32(bytes, at, end - at - 4);
  return end;
}

/** A loop beats Buffer.copy's 45 ns call for a few bytes. */
function copyShort(from: Uint8Array, into: Uint8Array, at: number): number {
  for (let n = 0; n < from.length; n++) into[at++] = from[n]!;
  return at;
}

function copyRange(from: Uint8Array, start: number, end: number, into: Uint8Array, at: number): number {
  for (let n = start; n < end; n++) into[at++] = from[n]!;
  return at;
}
