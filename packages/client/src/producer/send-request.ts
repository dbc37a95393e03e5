/**
 * A batch as a request: code 320 when it has several records, 310 when it has one. The header's constant fields are encoded once per
 * queue; the fields that differ, and the body, go straight into the connection's output. A single record's body and properties are
 * slices of its batch element, so there is no second form of a record.
 *
 *    binary header:  21 bytes | a b c d e h k n (of the lane) | f sysFlag | g bornTimestamp | i properties  (single)
 *                                                                                          | m "true"      (several)
 *                                                                         | j, l for a retried message
 */
import { decimalLength, readI32, readU16, writeDecimal, writeI32, writeU16 } from '@tallystick/base';
import {
  BINARY_HEADER,
  type FrameEncoder,
  type HeaderKind,
  OUR_LANGUAGE,
  OUR_VERSION,
  type Output,
  type Peer,
  type ReplySink,
  RequestCode,
} from '@tallystick/remoting';
import type { Lane, ProducerBatch } from './producer-batch.ts';

/** The topic whose settings a broker takes for a new topic. */
const DEFAULT_TOPIC = 'TBW102';
const FIXED_HEADER_BYTES = 21;
/** Name length, a one-letter name, value length. */
const ROW_BYTES = 7;
const BODY_LENGTH_AT = 16;
const BODY_AT = 20;

export interface SendRequestOptions {
  readonly group: string;
  readonly defaultQueues: number;
}

export class SendRequest implements FrameEncoder<ProducerBatch> {
  readonly #options: SendRequestOptions;
  #bodyStart = 0;
  #bodyEnd = 0;
  #propertiesStart = 0;
  #propertiesEnd = 0;

  constructor(options: SendRequestOptions) {
    this.#options = options;
  }

  /** Sends a batch; the verdict goes to `sink` with `token`, never inside this call. */
  send(peer: Peer, batch: ProducerBatch, timeoutMs: number, sink: ReplySink, token: number): void {
    this.#locate(batch);
    if (peer.kind === BINARY_HEADER) peer.requestWith(this, batch, timeoutMs, sink, token);
    else peer.requestTo(codeOf(batch), this.#fields(batch), batch.buffer.subarray(this.#bodyStart, this.#bodyEnd), timeoutMs, sink, token);
  }

  /** Writes the frame with a binary header; called by the peer inside `send`. */
  encode(out: Output, _kind: HeaderKind, opaque: number, batch: ProducerBatch): void {
    const lane = batch.lane;
    const template = (lane.template ??= laneRows(this.#options, lane));
    const bodyBytes = this.#bodyEnd - this.#bodyStart;
    const propertiesBytes = this.#propertiesEnd - this.#propertiesStart;
    const marks = batch.marks;
    const several = batch.count > 1;
    let rowBytes = template.length + 2 * ROW_BYTES + decimalLength(batch.sysFlag) + decimalLength(batch.bornTimestamp);
    if (several) rowBytes += ROW_BYTES + 4;
    else if (propertiesBytes > 0) rowBytes += ROW_BYTES + propertiesBytes;
    if (marks !== undefined) {
      rowBytes += ROW_BYTES + decimalLength(marks.reconsumeTimes);
      if (marks.maxReconsumeTimes !== undefined) rowBytes += ROW_BYTES + decimalLength(marks.maxReconsumeTimes);
    }
    let at = out.reserve(8 + FIXED_HEADER_BYTES + rowBytes + bodyBytes);
    const to = out.bytes;
    writeI32(to, at, 4 + FIXED_HEADER_BYTES + rowBytes + bodyBytes);
    writeI32(to, at + 4, (BINARY_HEADER << 24) | (FIXED_HEADER_BYTES + rowBytes));
    writeU16(to, at + 8, codeOf(batch));
    to[at + 10] = OUR_LANGUAGE;
    writeU16(to, at + 11, OUR_VERSION);
    writeI32(to, at + 13, opaque);
    writeI32(to, at + 17, 0);
    writeI32(to, at + 21, 0);
    writeI32(to, at + 25, rowBytes);
    at = copyBytes(template, 0, template.length, to, at + 29);
    at = writeNumberRow(to, at, F, batch.sysFlag);
    at = writeNumberRow(to, at, G, batch.bornTimestamp);
    if (several) at = copyBytes(BATCH_ROW, 0, BATCH_ROW.length, to, at);
    else if (propertiesBytes > 0) {
      at = writeRowHead(to, at, I, propertiesBytes);
      at = copyBytes(batch.buffer, this.#propertiesStart, this.#propertiesEnd, to, at);
    }
    if (marks !== undefined) {
      at = writeNumberRow(to, at, J, marks.reconsumeTimes);
      if (marks.maxReconsumeTimes !== undefined) at = writeNumberRow(to, at, L, marks.maxReconsumeTimes);
    }
    out.at = copyBytes(batch.buffer, this.#bodyStart, this.#bodyEnd, to, at);
  }

  /** Finds body and properties of what is sent: the whole buffer, or the two parts of its only element. */
  #locate(batch: ProducerBatch): void {
    const { buffer, end } = batch;
    if (batch.count > 1) {
      this.#bodyStart = 0;
      this.#bodyEnd = end;
      this.#propertiesStart = this.#propertiesEnd = 0;
      return;
    }
    this.#bodyStart = BODY_AT;
    this.#bodyEnd = BODY_AT + readI32(buffer, BODY_LENGTH_AT);
    this.#propertiesStart = this.#bodyEnd + 2;
    this.#propertiesEnd = this.#propertiesStart + readU16(buffer, this.#bodyEnd);
  }

  /** The header for a connection with JSON headers. */
  #fields(batch: ProducerBatch): Record<string, string | number | boolean | undefined> {
    const { lane, marks } = batch;
    const several = batch.count > 1;
    return {
      a: this.#options.group,
      b: lane.topic,
      c: DEFAULT_TOPIC,
      d: this.#options.defaultQueues,
      e: lane.queueId,
      f: batch.sysFlag,
      g: batch.bornTimestamp,
      h: 0,
      i: several ? undefined : batch.buffer.toString('utf8', this.#propertiesStart, this.#propertiesEnd),
      j: marks?.reconsumeTimes ?? 0,
      k: false,
      l: marks?.maxReconsumeTimes,
      m: several,
      n: lane.brokerName,
    };
  }
}

const F = 102;
const G = 103;
const I = 105;
const J = 106;
const L = 108;
const BATCH_ROW = row('m', 'true');

function codeOf(batch: ProducerBatch): number {
  return batch.count > 1 ? RequestCode.SEND_BATCH_MESSAGE : RequestCode.SEND_MESSAGE_V2;
}

function laneRows(options: SendRequestOptions, lane: Lane): Buffer {
  return Buffer.concat([
    row('a', options.group),
    row('b', lane.topic),
    row('c', DEFAULT_TOPIC),
    row('d', String(options.defaultQueues)),
    row('e', String(lane.queueId)),
    row('h', '0'),
    row('k', 'false'),
    row('n', lane.brokerName),
  ]);
}

function row(letter: string, value: string): Buffer {
  const bytes = Buffer.alloc(ROW_BYTES + Buffer.byteLength(value));
  bytes.write(value, writeRowHead(bytes, 0, letter.charCodeAt(0), bytes.length - ROW_BYTES), 'utf8');
  return bytes;
}

function writeRowHead(to: Uint8Array, at: number, letter: number, valueBytes: number): number {
  to[at] = 0;
  to[at + 1] = 1;
  to[at + 2] = letter;
  writeI32(to, at + 3, valueBytes);
  return at + ROW_BYTES;
}

function writeNumberRow(to: Uint8Array, at: number, letter: number, value: number): number {
  return writeDecimal(to, writeRowHead(to, at, letter, decimalLength(value)), value);
}

/** Short runs byte by byte: below about fifty bytes the call into native code costs more. */
function copyBytes(from: Buffer, start: number, end: number, to: Buffer, at: number): number {
  if (end - start <= 48) for (let i = start, o = at; i < end; ) to[o++] = from[i++]!;
  else from.copy(to, at, start, end);
  return at + end - start;
}
