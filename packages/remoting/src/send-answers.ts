import { copyWords, setHexU32, ViewCache, viewOf, writeDecimal, writeHexU32, writeI32, writeU16 } from '@tallystick/base';
import { BINARY_HEADER, RESPONSE_FLAG, type HeaderKind } from './frame.ts';
import { ESCAPED_MAX, escapeJson } from './json-text.ts';
import { languageName, OUR_LANGUAGE, OUR_VERSION } from './language-codes.ts';
import { Output } from './output.ts';
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
  readonly #templates: (Template | undefined)[] = [];
  readonly #keys = new ViewCache();
  #binaryHead: Buffer = NONE;
  #jsonHead: Buffer = NONE;

  constructor(storeHost: Uint8Array, region = 'DefaultRegion') {
    this.#region = region;
    this.#hostHex = Buffer.from(Buffer.from(storeHost).toString('hex').toUpperCase());
    this.#idBytes = this.#hostHex.length + 17;
    this.#jsonTail = JSON_BEHIND_OFFSET;
  }

  encode(out: Output, kind: HeaderKind, opaque: number, answer: SendAnswer): void {
    if (answer.count === 1 && answer.code === 0 && this.#usual(out, kind, opaque, answer)) return;
    if (answer.storeTimestamp !== this.#headTime) this.#makeHeads(answer.storeTimestamp);
    if (kind === BINARY_HEADER) this.#binary(out, opaque, answer);
    else this.#json(out, opaque, answer);
  }

  /** The answer to one message with a key of the usual length: a copy of a finished answer, and the numbers that differ. */
  #usual(out: Output, kind: HeaderKind, opaque: number, answer: SendAnswer): boolean {
    const { queueId, transactionIdStart } = answer;
    if (answer.transactionIdEnd - transactionIdStart !== USUAL_KEY_BYTES || queueId < 0 || queueId > 99) return false;
    const which = (kind === BINARY_HEADER ? 2 : 0) + (queueId > 9 ? 1 : 0);
    const template = (this.#templates[which] ??= this.#template(kind, queueId > 9 ? 10 : 0));
    const start = out.reserve(template.bytes + BEHIND_TEMPLATE_BYTES);
    const { view } = out;
    copyWords(template.view, 0, template.bytes, view, start);
    if (answer.storeTimestamp !== template.storeTimestamp) {
      if (!template.setTime(answer.storeTimestamp)) return false;
      copyWords(template.view, template.timeAt, template.timeAt + TIME_DIGITS, view, start + template.timeAt);
    }
    const position = answer.positions[0]!;
    const positionAt = start + template.positionAt;
    setHexU32(view, setHexU32(view, positionAt, (position / 4294967296) | 0), (position % 4294967296) | 0);
    const key = this.#keys.of(answer.transactionId);
    const keyAt = start + template.keyAt;
    for (let n = 0; n < USUAL_KEY_BYTES; n += 4) {
      const word = key.getInt32(transactionIdStart + n, true);
      // Only what stands for itself in JSON as well.
      if (!isPlain(word)) return false;
      view.setInt32(keyAt + n, word, true);
    }
    const queueIdAt = start + template.queueIdAt;
    if (queueId > 9) view.setUint8(queueIdAt, 48 + ((queueId / 10) | 0));
    view.setUint8(queueIdAt + (queueId > 9 ? 1 : 0), 48 + (queueId % 10));
    const offsetAt = start + template.bytes;
    let end = writeDecimal(out.bytes, offsetAt, answer.queueOffset);
    if (kind === BINARY_HEADER) {
      view.setInt32(offsetAt - 4, end - offsetAt);
      view.setInt32(start + EXT_AT - 4, end - start - EXT_AT);
      view.setInt32(start + 13, opaque);
    } else {
      end = writeDecimal(out.bytes, copyShort(JSON_BEHIND_OFFSET, out.bytes, end), opaque);
      end = copyShort(JSON_VERSION, out.bytes, end);
    }
    this.#finish(out, start, end);
    return true;
  }

  /** Up to where the queue offset begins. */
  #template(kind: HeaderKind, queueId: number): Template {
    const out = new Output();
    const key = Buffer.from('k'.repeat(USUAL_KEY_BYTES));
    const storeTimestamp = 10 ** (TIME_DIGITS - 1);
    const answer = { ...emptySendAnswer(), queueId, storeTimestamp, transactionId: key, transactionIdEnd: key.length };
    this.#makeHeads(storeTimestamp);
    if (kind === BINARY_HEADER) this.#binary(out, 0, answer);
    else this.#json(out, 0, answer);
    return new Template(out.bytes.subarray(0, out.at), kind, storeTimestamp, queueId);
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
    if (transactionBytes > 0) {
      at = copyShort(TRANSACTION_ID_KEY, bytes, at);
      writeI32(bytes, at, transactionBytes);
      at = copyRange(answer.transactionId, answer.transactionIdStart, answer.transactionIdEnd, bytes, at + 4);
    }
    at = binaryNumber(bytes, at, QUEUE_ID_KEY, answer.queueId);
    at = binaryNumber(bytes, at, QUEUE_OFFSET_KEY, answer.queueOffset);
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
    if (transactionBytes > 0)
      at = escapeJson(transactionId, transactionIdStart, transactionIdEnd, bytes, copyShort(JSON_TRANSACTION_ID, bytes, at));
    at = writeDecimal(bytes, copyShort(JSON_QUEUE_ID, bytes, at), answer.queueId);
    at = writeDecimal(bytes, copyShort(JSON_QUEUE_OFFSET, bytes, at), answer.queueOffset);
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

/** The usual answer up to its queue offset, and where its other numbers stand. */
class Template {
  readonly view: DataView;
  readonly bytes: number;
  storeTimestamp: number;
  readonly timeAt: number;
  readonly positionAt: number;
  readonly keyAt: number;
  readonly queueIdAt: number;
  readonly #buffer: Buffer;

  constructor(sample: Buffer, kind: HeaderKind, storeTimestamp: number, queueId: number) {
    const isBinary = kind === BINARY_HEADER;
    const offsetKey = sample.indexOf('queueOffset');
    this.bytes = offsetKey + 'queueOffset'.length + (isBinary ? 4 : 3);
    this.#buffer = Buffer.from(sample.subarray(0, this.bytes));
    this.view = viewOf(this.#buffer);
    this.storeTimestamp = storeTimestamp;
    this.timeAt = sample.indexOf(String(storeTimestamp));
    this.keyAt = sample.indexOf('k'.repeat(USUAL_KEY_BYTES));
    const idEnd = sample.indexOf('transactionId') - (isBinary ? 2 : 3);
    this.positionAt = idEnd - 16;
    this.queueIdAt = sample.indexOf('queueId') + 'queueId'.length + (isBinary ? 4 : 3);
    if (sample.readUInt8(this.queueIdAt) !== String(queueId).charCodeAt(0)) throw new Error('the answer has another shape');
  }

  /** False when the time has not the usual number of digits. */
  setTime(storeTimestamp: number): boolean {
    if (storeTimestamp < 10 ** (TIME_DIGITS - 1) || storeTimestamp >= 10 ** TIME_DIGITS) return false;
    writeDecimal(this.#buffer, this.timeAt, storeTimestamp);
    this.storeTimestamp = storeTimestamp;
    return true;
  }
}

/** Whether none of four bytes is a control character, a quote, a backslash or beyond ASCII; rarely no for others. */
function isPlain(word: number): boolean {
  const quote = word ^ 0x22222222;
  const slash = word ^ 0x5c5c5c5c;
  const bad = (word - 0x20202020) | ((quote - 0x01010101) & ~quote) | ((slash - 0x01010101) & ~slash) | word;
  return (bad & 0x80808080) === 0;
}

const USUAL_KEY_BYTES = 32;
/** Of a time in ms from 2001 to 2286. */
const TIME_DIGITS = 13;
const JSON_BEHIND_OFFSET = Buffer.from(`"},"flag":${RESPONSE_FLAG},"language":"${languageName(OUR_LANGUAGE)}","opaque":`);

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

/** More than an offset, in JSON with the opaque number, the version and the names between them. */
const BEHIND_TEMPLATE_BYTES = 128;
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
