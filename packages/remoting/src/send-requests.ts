import { writeDecimal, writeI32, writeU16 } from '@tallystick/base';
import { RequestCode, wireName, COMMANDS } from './commands.ts';
import { BINARY_HEADER, ONEWAY_FLAG, type HeaderKind } from './frame.ts';
import { ESCAPED_MAX, escapeJson } from './json-text.ts';
import { languageName, OUR_LANGUAGE, OUR_VERSION } from './language-codes.ts';
import type { Output } from './output.ts';
import type { FrameEncoder } from './peer.ts';

/** What is the same for all sends of one producer to one queue. */
export interface SendRoute {
  readonly producerGroup: string;
  readonly topic: string;
  readonly queueId: number;
  /** Topic whose settings an unknown topic takes; TBW102. */
  readonly defaultTopic: string;
  readonly defaultTopicQueueNums: number;
  /** Batches are code 320, single messages 310. */
  readonly batch: boolean;
  readonly brokerName?: string | undefined;
  readonly oneway?: boolean | undefined;
}

/** What differs per send. One object may serve all: it is read at once, the bytes are copied. */
export interface SendRequest {
  sysFlag: number;
  flag: number;
  /** In ms. */
  bornTimestamp: number;
  reconsumeTimes: number;
  /** Retries before the dead-letter queue; negative leaves it out. */
  maxReconsumeTimes: number;
  /** As bytes [start, end): see `encodeProperties`; an empty range leaves them out. Of a batch: none. */
  properties: Uint8Array;
  propertiesStart: number;
  propertiesEnd: number;
  /** The message's body, or of a batch its messages, as bytes [start, end). */
  body: Uint8Array;
  bodyStart: number;
  bodyEnd: number;
}

/** A send request to be filled in again and again. */
export function emptySendRequest(): SendRequest {
  const none = new Uint8Array(0);
  return {
    sysFlag: 0,
    flag: 0,
    bornTimestamp: 0,
    reconsumeTimes: 0,
    maxReconsumeTimes: -1,
    properties: none,
    propertiesStart: 0,
    propertiesEnd: 0,
    body: none,
    bodyStart: 0,
    bodyEnd: 0,
  };
}

/**
 * Encodes the short send header for one queue: the fixed fields are bytes made once, the others are written behind them. A client
 * keeps one per (queue, single or batch) and hands it to `peer.requestWith`.
 */
export class SendRequests implements FrameEncoder<SendRequest> {
  readonly #code: number;
  readonly #flag: number;
  readonly #binaryFixed: Buffer;
  readonly #jsonHead: Buffer;
  readonly #jsonTail: Buffer;

  constructor(route: SendRoute) {
    this.#code = route.batch ? RequestCode.SEND_BATCH_MESSAGE : RequestCode.SEND_MESSAGE_V2;
    this.#flag = route.oneway === true ? ONEWAY_FLAG : 0;
    const fixed: [string, string][] = [
      [W.producerGroup, route.producerGroup],
      [W.topic, route.topic],
      [W.defaultTopic, route.defaultTopic],
      [W.defaultTopicQueueNums, String(route.defaultTopicQueueNums)],
      [W.queueId, String(route.queueId)],
      [W.unitMode, 'false'],
      [W.batch, String(route.batch)],
    ];
    if (route.brokerName !== undefined) fixed.push([W.brokerName, route.brokerName]);
    this.#binaryFixed = Buffer.concat(fixed.map(([name, value]) => binaryRow(name, value)));
    const rows = fixed.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',');
    this.#jsonHead = Buffer.from(`{"code":${this.#code},"extFields":{${rows},"${W.sysFlag}":"`);
    this.#jsonTail = Buffer.from(`"},"flag":${this.#flag},"language":"${languageName(OUR_LANGUAGE)}","opaque":`);
  }

  encode(out: Output, kind: HeaderKind, opaque: number, send: SendRequest): void {
    if (kind === BINARY_HEADER) this.#binary(out, opaque, send);
    else this.#json(out, opaque, send);
  }

  #binary(out: Output, opaque: number, send: SendRequest): void {
    const propertiesBytes = send.propertiesEnd - send.propertiesStart;
    const start = out.reserve(
      8 + 21 + this.#binaryFixed.length + VARIABLE_BYTES + propertiesBytes + send.bodyEnd - send.bodyStart,
    );
    const bytes = out.bytes;
    bytes[start + 4] = BINARY_HEADER;
    writeU16(bytes, start + 8, this.#code);
    bytes[start + 10] = OUR_LANGUAGE;
    writeU16(bytes, start + 11, OUR_VERSION);
    writeI32(bytes, start + 13, opaque);
    writeI32(bytes, start + 17, this.#flag);
    writeI32(bytes, start + 21, 0);
    const extStart = start + 29;
    let at = extStart + this.#binaryFixed.copy(bytes, extStart);
    at = binaryNumber(bytes, at, BINARY_KEYS.sysFlag, send.sysFlag);
    at = binaryNumber(bytes, at, BINARY_KEYS.bornTimestamp, send.bornTimestamp);
    at = binaryNumber(bytes, at, BINARY_KEYS.flag, send.flag);
    at = binaryNumber(bytes, at, BINARY_KEYS.reconsumeTimes, send.reconsumeTimes);
    if (send.maxReconsumeTimes >= 0) at = binaryNumber(bytes, at, BINARY_KEYS.maxReconsumeTimes, send.maxReconsumeTimes);
    if (propertiesBytes > 0) {
      writeU16(bytes, at, 1);
      bytes[at + 2] = BINARY_KEYS.properties;
      writeI32(bytes, at + 3, propertiesBytes);
      at = copyRange(send.properties, send.propertiesStart, send.propertiesEnd, bytes, at + 7);
    }
    writeI32(bytes, start + 25, at - extStart);
    finish(out, start, at, send);
  }

  #json(out: Output, opaque: number, send: SendRequest): void {
    const propertiesBytes = send.propertiesEnd - send.propertiesStart;
    const fixedBytes = this.#jsonHead.length + this.#jsonTail.length + VARIABLE_BYTES;
    const start = out.reserve(8 + fixedBytes + propertiesBytes * ESCAPED_MAX + send.bodyEnd - send.bodyStart);
    const bytes = out.bytes;
    bytes[start + 4] = 0;
    let at = start + 8 + this.#jsonHead.copy(bytes, start + 8);
    at = writeDecimal(bytes, at, send.sysFlag);
    at = jsonNumber(bytes, at, JSON_KEYS.bornTimestamp, send.bornTimestamp);
    at = jsonNumber(bytes, at, JSON_KEYS.flag, send.flag);
    at = jsonNumber(bytes, at, JSON_KEYS.reconsumeTimes, send.reconsumeTimes);
    if (send.maxReconsumeTimes >= 0) at = jsonNumber(bytes, at, JSON_KEYS.maxReconsumeTimes, send.maxReconsumeTimes);
    if (propertiesBytes > 0) {
      at = copyRange(JSON_KEYS.properties, 0, JSON_KEYS.properties.length, bytes, at);
      at = escapeJson(send.properties, send.propertiesStart, send.propertiesEnd, bytes, at);
    }
    at += this.#jsonTail.copy(bytes, at);
    at = writeDecimal(bytes, at, opaque);
    at = copyRange(JSON_VERSION, 0, JSON_VERSION.length, bytes, at);
    finish(out, start, at, send);
  }
}

/** Wire names of the short header's fields. */
const W = Object.fromEntries(
  Object.entries(COMMANDS.SEND_MESSAGE_V2.request).map(([name, field]) => [name, wireName(name, field)]),
) as Readonly<
  Record<
    | 'producerGroup'
    | 'topic'
    | 'defaultTopic'
    | 'defaultTopicQueueNums'
    | 'queueId'
    | 'sysFlag'
    | 'bornTimestamp'
    | 'flag'
    | 'properties'
    | 'reconsumeTimes'
    | 'maxReconsumeTimes'
    | 'unitMode'
    | 'batch'
    | 'brokerName',
    string
  >
>;

const BINARY_KEYS = {
  sysFlag: W.sysFlag.charCodeAt(0),
  bornTimestamp: W.bornTimestamp.charCodeAt(0),
  flag: W.flag.charCodeAt(0),
  reconsumeTimes: W.reconsumeTimes.charCodeAt(0),
  maxReconsumeTimes: W.maxReconsumeTimes.charCodeAt(0),
  properties: W.properties.charCodeAt(0),
};

const JSON_KEYS = {
  bornTimestamp: Buffer.from(`","${W.bornTimestamp}":"`),
  flag: Buffer.from(`","${W.flag}":"`),
  reconsumeTimes: Buffer.from(`","${W.reconsumeTimes}":"`),
  maxReconsumeTimes: Buffer.from(`","${W.maxReconsumeTimes}":"`),
  properties: Buffer.from(`","${W.properties}":"`),
};
const JSON_VERSION = Buffer.from(`,"version":${OUR_VERSION}}`);

/** More than all the short keys, lengths and numbers together. */
const VARIABLE_BYTES = 192;

/** Writes the lengths and the body behind the header that ends at `at`. */
function finish(out: Output, start: number, at: number, send: SendRequest): void {
  const bytes = out.bytes;
  const headerBytes = at - start - 8;
  const bodyBytes = send.bodyEnd - send.bodyStart;
  writeI32(bytes, start, 4 + headerBytes + bodyBytes);
  bytes[start + 5] = headerBytes >>> 16;
  writeU16(bytes, start + 6, headerBytes & 0xffff);
  out.at = copyRange(send.body, send.bodyStart, send.bodyEnd, bytes, at);
}

function binaryRow(name: string, value: string): Buffer {
  const row = Buffer.alloc(6 + name.length + Buffer.byteLength(value));
  writeU16(row, 0, name.length);
  row.write(name, 2, 'latin1');
  writeI32(row, 2 + name.length, row.length - 6 - name.length);
  row.write(value, 6 + name.length);
  return row;
}

function binaryNumber(bytes: Buffer, at: number, key: number, value: number): number {
  bytes[at] = 0;
  bytes[at + 1] = 1;
  bytes[at + 2] = key;
  const end = writeDecimal(bytes, at + 7, value);
  writeI32(bytes, at + 3, end - at - 7);
  return end;
}

function jsonNumber(bytes: Buffer, at: number, key: Buffer, value: number): number {
  for (let n = 0; n < key.length; n++) bytes[at++] = key[n]!;
  return writeDecimal(bytes, at, value);
}

/** Below 64 B a loop beats the native copy's call. */
function copyRange(from: Uint8Array, start: number, end: number, into: Buffer, at: number): number {
  const length = end - start;
  if (length > 64) {
    into.set(start === 0 && end === from.length ? from : from.subarray(start, end), at);
    return at + length;
  }
  for (let n = start; n < end; n++) into[at++] = from[n]!;
  return at;
}
