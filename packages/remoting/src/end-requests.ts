import { readI32, writeDecimal, writeHexU32, writeI32, writeU16 } from '@tallystick/base';
import { RequestCode } from './commands.ts';
import { BINARY_HEADER, ONEWAY_FLAG, type HeaderKind } from './frame.ts';
import { languageName, OUR_LANGUAGE, OUR_VERSION } from './language-codes.ts';
import type { Output } from './output.ts';
import type { FrameEncoder } from './peer.ts';

/** What is the same for all second confirmations of one group to one topic's halves on one broker. */
export interface EndRoute {
  readonly producerGroup: string;
  readonly topic: string;
  readonly brokerName: string;
}

/** What differs. One object may serve all: it is read at once. */
export interface EndRequest {
  /** Offset in the half queue, and byte address in the log. */
  halfOffset: number;
  position: number;
  /** 0 unknown, 8 commit, 12 roll back. */
  verdict: number;
  /** The message's id: its digits before the last eight, and these as a number; -1: `idPrefix` is the whole id. */
  idPrefix: string;
  idLow: number;
}

/**
 * Encodes one-way second confirmations (END_TRANSACTION, code 37) from a template: the fields that are the same for a topic are bytes
 * made once, ids and numbers are written behind them.
 */
export class EndRequests implements FrameEncoder<EndRequest> {
  readonly route: EndRoute;
  #binaryHead: Buffer | undefined;
  #jsonHead: Buffer | undefined;

  constructor(route: EndRoute) {
    this.route = route;
  }

  encode(out: Output, kind: HeaderKind, opaque: number, end: EndRequest): void {
    if (kind === BINARY_HEADER) this.#binary(out, opaque, end);
    else this.#json(out, opaque, end);
  }

  #binary(out: Output, opaque: number, end: EndRequest): void {
    const head = (this.#binaryHead ??= binaryHead(this.route));
    const start = out.reserve(head.length + VARIABLE_BYTES);
    const { bytes } = out;
    bytes.set(head, start);
    writeI32(bytes, start + 13, opaque);
    let at = writeId(bytes, start + head.length, end);
    bytes.set(TRANSACTION_ID, at);
    at = writeId(bytes, at + TRANSACTION_ID.length, end);
    at = binaryNumber(bytes, at, HALF_OFFSET, end.halfOffset);
    at = binaryNumber(bytes, at, POSITION, end.position);
    at = binaryNumber(bytes, at, VERDICT, end.verdict);
    writeI32(bytes, start + 25, at - start - 29);
    finish(out, start, at);
  }

  #json(out: Output, opaque: number, end: EndRequest): void {
    const head = (this.#jsonHead ??= jsonHead(this.route));
    const start = out.reserve(head.length + VARIABLE_BYTES);
    const { bytes } = out;
    bytes.set(head, start);
    let at = writeId(bytes, start + head.length, end);
    at = writeId(bytes, put(bytes, at, JSON_TRANSACTION_ID), end);
    at = writeDecimal(bytes, put(bytes, at, JSON_HALF_OFFSET), end.halfOffset);
    at = writeDecimal(bytes, put(bytes, at, JSON_POSITION), end.position);
    at = writeDecimal(bytes, put(bytes, at, JSON_VERDICT), end.verdict);
    at = writeDecimal(bytes, put(bytes, at, JSON_OPAQUE), opaque);
    finish(out, start, put(bytes, at, JSON_VERSION));
  }
}

/** More than both ids, all numbers and what stands around them. */
const VARIABLE_BYTES = 384;

function fixedFields({ producerGroup, topic, brokerName }: EndRoute): readonly (readonly [string, string])[] {
  return [
    ['producerGroup', producerGroup],
    ['fromTransactionCheck', 'false'],
    ['topic', topic],
    ['bname', brokerName],
  ];
}

/** Everything up to the value of msgId. */
function binaryHead(route: EndRoute): Buffer {
  const fixed = Buffer.alloc(29);
  fixed[4] = BINARY_HEADER;
  writeU16(fixed, 8, RequestCode.END_TRANSACTION);
  fixed[10] = OUR_LANGUAGE;
  writeU16(fixed, 11, OUR_VERSION);
  writeI32(fixed, 17, ONEWAY_FLAG);
  const rows = fixedFields(route).map(([name, value]) =>
    Buffer.concat([keyOf(name, Buffer.byteLength(value)), Buffer.from(value)]),
  );
  return Buffer.concat([fixed, ...rows, keyOf('msgId', 32)]);
}

function jsonHead(route: EndRoute): Buffer {
  const fields = fixedFields(route).map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)},`);
  const text = `{"code":${RequestCode.END_TRANSACTION},"extFields":{${fields.join('')}"msgId":"`;
  return Buffer.concat([Buffer.alloc(8), Buffer.from(text)]);
}

/** A field's name and the length of its value. */
function keyOf(name: string, valueBytes: number): Buffer {
  const key = Buffer.alloc(6 + name.length);
  writeU16(key, 0, name.length);
  key.write(name, 2, 'latin1');
  writeI32(key, 2 + name.length, valueBytes);
  return key;
}

const TRANSACTION_ID = keyOf('transactionId', 32);
const HALF_OFFSET = keyOf('tranStateTableOffset', 0);
const POSITION = keyOf('commitLogOffset', 0);
const VERDICT = keyOf('commitOrRollback', 0);
const JSON_TRANSACTION_ID = Buffer.from('","transactionId":"');
const JSON_HALF_OFFSET = Buffer.from('","tranStateTableOffset":"');
const JSON_POSITION = Buffer.from('","commitLogOffset":"');
const JSON_VERDICT = Buffer.from('","commitOrRollback":"');
const JSON_OPAQUE = Buffer.from(`"},"flag":${ONEWAY_FLAG},"language":"${languageName(OUR_LANGUAGE)}","opaque":`);
const JSON_VERSION = Buffer.from(`,"version":${OUR_VERSION}}`);

function put(bytes: Buffer, at: number, text: Buffer): number {
  bytes.set(text, at);
  return at + text.length;
}

function binaryNumber(bytes: Buffer, at: number, key: Buffer, value: number): number {
  bytes.set(key, at);
  const valueAt = at + key.length;
  const end = writeDecimal(bytes, valueAt, value);
  writeI32(bytes, valueAt - 4, end - valueAt);
  return end;
}

function writeId(bytes: Buffer, at: number, { idPrefix, idLow }: EndRequest): number {
  for (let n = 0; n < idPrefix.length; n++) bytes[at++] = idPrefix.charCodeAt(n);
  return idLow === -1 ? at : writeHexU32(bytes, at, idLow);
}

/** Both lengths; there is no body. */
function finish(out: Output, start: number, end: number): void {
  writeI32(out.bytes, start, end - start - 4);
  writeI32(out.bytes, start + 4, (readI32(out.bytes, start + 4) & 0x1000000) | (end - start - 8));
  out.at = end;
}
