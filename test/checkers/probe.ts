/**
 * A hand-made client for checkers: JSON headers, one connection, no retries, and a record parser of its own, so that a fault in the
 * product's codecs cannot hide itself. Works over any Wire; an answer that does not come within the time-out is undefined.
 */
import { crc32 } from 'node:zlib';
import type { Dialer, Timer, Timers, Wire } from '@tallystick/base';
import type { QueueRead, Sight } from './ledger.ts';

export interface ProbeAnswer {
  readonly code: number;
  readonly remark: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export type ProbeDone = (answer: ProbeAnswer | undefined) => void;
export type ProbeFields = Readonly<Record<string, string | number | boolean>>;

export class Probe {
  readonly #dialer: Dialer;
  readonly #timers: Timers;
  readonly #address: string;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<number, { done: ProbeDone; timer: Timer }>();
  #wire: Wire | undefined;
  #dialing: ((wire: Wire | undefined) => void)[] | undefined;
  #received: Buffer = Buffer.alloc(0);
  #opaque = 0;

  constructor(dialer: Dialer, timers: Timers, address: string, timeoutMs: number) {
    this.#dialer = dialer;
    this.#timers = timers;
    this.#address = address;
    this.#timeoutMs = timeoutMs;
  }

  /** One request; `done` once, with undefined when there was no answer. */
  call(code: number, fields: ProbeFields, body: Uint8Array, done: ProbeDone): void {
    this.#connect((wire) => {
      if (wire === undefined) return done(undefined);
      const opaque = ++this.#opaque;
      const timer = this.#timers.after(this.#timeoutMs, () => this.#answer(opaque, undefined));
      this.#waiting.set(opaque, { done, timer });
      wire.write(encode(code, opaque, fields, body));
    });
  }

  close(): void {
    this.#wire?.close(false);
  }

  #connect(done: (wire: Wire | undefined) => void): void {
    if (this.#wire !== undefined) return done(this.#wire);
    if (this.#dialing !== undefined) return void this.#dialing.push(done);
    const waiting = (this.#dialing = [done]);
    this.#dialer.dial(this.#address, (error, wire) => {
      this.#dialing = undefined;
      if (error === undefined) this.#adopt(wire);
      for (const each of waiting) each(this.#wire);
    });
  }

  #adopt(wire: Wire): void {
    this.#wire = wire;
    this.#received = Buffer.alloc(0);
    wire.onBytes = (chunk) => this.#take(chunk);
    wire.onDrain = () => {};
    wire.onClose = () => {
      this.#wire = undefined;
      for (const opaque of [...this.#waiting.keys()]) this.#answer(opaque, undefined);
    };
  }

  #take(chunk: Uint8Array): void {
    let bytes = Buffer.concat([this.#received, chunk]);
    while (bytes.length >= 4) {
      const end = 4 + bytes.readUInt32BE(0);
      if (bytes.length < end) break;
      const headerEnd = 8 + bytes.readUIntBE(5, 3);
      const header = JSON.parse(bytes.toString('utf8', 8, headerEnd)) as {
        code: number;
        opaque: number;
        flag: number;
        remark?: string;
        extFields?: Record<string, string>;
      };
      if ((header.flag & 1) === 1) {
        this.#answer(header.opaque, {
          code: header.code,
          remark: header.remark ?? '',
          fields: header.extFields ?? {},
          body: Buffer.from(bytes.subarray(headerEnd, end)),
        });
      }
      bytes = bytes.subarray(end);
    }
    this.#received = Buffer.from(bytes);
  }

  #answer(opaque: number, answer: ProbeAnswer | undefined): void {
    const waiting = this.#waiting.get(opaque);
    if (waiting === undefined) return;
    this.#waiting.delete(opaque);
    this.#timers.cancel(waiting.timer);
    waiting.done(answer);
  }
}

const PULL_MESSAGE = 11;
const GET_MAX_OFFSET = 30;
const GET_MIN_OFFSET = 31;
const NONE = new Uint8Array(0);

/** Reads a whole queue, from its first to its last message. Undefined when the broker did not answer. */
export function readQueue(probe: Probe, topic: string, queueId: number, done: (read: QueueRead | undefined) => void): void {
  probe.call(GET_MIN_OFFSET, { topic, queueId }, NONE, (min) => {
    probe.call(GET_MAX_OFFSET, { topic, queueId, committed: true }, NONE, (max) => {
      if (min?.code !== 0 || max?.code !== 0) return done(undefined);
      const minOffset = Number(min.fields['offset']);
      const maxOffset = Number(max.fields['offset']);
      const records: Sight[] = [];
      const next = (offset: number): void => {
        if (offset >= maxOffset) return done({ topic, queueId, minOffset, maxOffset, records });
        pull(probe, topic, queueId, offset, (found) => {
          if (found === undefined) return done(undefined);
          if (found.length === 0) {
            // Perhaps the oldest messages were deleted while they were being read: then from the new beginning.
            return probe.call(GET_MIN_OFFSET, { topic, queueId }, NONE, (again) => {
              if (again?.code === 0 && Number(again.fields['offset']) > offset) readQueue(probe, topic, queueId, done);
              else done({ topic, queueId, minOffset, maxOffset, records });
            });
          }
          for (const sight of found) if (sight.offset < maxOffset) records.push(sight);
          next((found[found.length - 1] as Sight).offset + 1);
        });
      };
      next(minOffset);
    });
  });
}

function pull(
  probe: Probe,
  topic: string,
  queueId: number,
  queueOffset: number,
  done: (found: Sight[] | undefined) => void,
): void {
  const fields = {
    consumerGroup: 'checker',
    topic,
    queueId,
    queueOffset,
    maxMsgNums: 32,
    sysFlag: 4,
    commitOffset: 0,
    suspendTimeoutMillis: 0,
    subscription: '*',
    subVersion: 0,
    expressionType: 'TAG',
  };
  probe.call(PULL_MESSAGE, fields, NONE, (answer) => {
    if (answer === undefined) done(undefined);
    else done(answer.code === 0 ? parseRecords(answer.body) : []);
  });
}

/** One stored record, as far as checkers care. */
export interface ParsedRecord extends Sight {
  readonly physicalOffset: number;
  readonly sysFlag: number;
  readonly body: Buffer;
  readonly properties: ReadonlyMap<string, string>;
}

const MAGIC_V1 = 0xdaa320a7;
const MAGIC_V2 = 0xdaa320ab;

/** Parses RocketMQ message records that stand back to back; throws on anything odd. */
export function parseRecords(bytes: Buffer): ParsedRecord[] {
  const records: ParsedRecord[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = bytes.readUInt32BE(at);
    const magic = bytes.readUInt32BE(at + 4);
    if (magic !== MAGIC_V1 && magic !== MAGIC_V2) throw new Error(`record at ${at}: magic ${magic.toString(16)}`);
    const sysFlag = bytes.readUInt32BE(at + 36);
    const bornEnd = at + 48 + ((sysFlag & 16) === 0 ? 8 : 20);
    const hostEnd = bornEnd + 8 + ((sysFlag & 32) === 0 ? 8 : 20);
    const bodyAt = hostEnd + 16;
    const bodyEnd = bodyAt + bytes.readUInt32BE(bodyAt - 4);
    const topicAt = bodyEnd + (magic === MAGIC_V1 ? 1 : 2);
    const topicEnd = topicAt + (magic === MAGIC_V1 ? bytes.readUInt8(bodyEnd) : bytes.readUInt16BE(bodyEnd));
    const propertiesEnd = topicEnd + 2 + bytes.readUInt16BE(topicEnd);
    if (propertiesEnd !== at + size)
      throw new Error(`record at ${at}: its parts end at ${propertiesEnd - at}, its size is ${size}`);
    const body = bytes.subarray(bodyAt, bodyEnd);
    const crc = crc32(body);
    if ((crc & 0x7fffffff) !== (bytes.readUInt32BE(at + 8) & 0x7fffffff)) throw new Error(`record at ${at}: body checksum`);
    const properties = parseProperties(bytes.toString('utf8', topicEnd + 2, propertiesEnd));
    records.push({
      topic: bytes.toString('utf8', topicAt, topicEnd),
      queueId: bytes.readUInt32BE(at + 12),
      offset: Number(bytes.readBigUInt64BE(at + 20)),
      physicalOffset: Number(bytes.readBigUInt64BE(at + 28)),
      sysFlag,
      id: properties.get('UNIQ_KEY') ?? '',
      crc,
      body,
      properties,
    });
    at += size;
  }
  return records;
}

export function propertiesText(properties: Readonly<Record<string, string>>): string {
  return Object.entries(properties)
    .map(([name, value]) => `${name}\u0001${value}\u0002`)
    .join('');
}

function parseProperties(text: string): Map<string, string> {
  const properties = new Map<string, string>();
  for (const pair of text.split('\u0002')) {
    const at = pair.indexOf('\u0001');
    if (at > 0) properties.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return properties;
}

function encode(code: number, opaque: number, fields: ProbeFields, body: Uint8Array): Buffer {
  const extFields: Record<string, string> = {};
  for (const [name, value] of Object.entries(fields)) extFields[name] = String(value);
  const header = Buffer.from(
    JSON.stringify({ code, language: 'JAVA', version: 479, opaque, flag: 0, serializeTypeCurrentRPC: 'JSON', extFields }),
  );
  const frame = Buffer.alloc(8 + header.length + body.length);
  frame.writeUInt32BE(4 + header.length + body.length, 0);
  frame.writeUInt32BE(header.length, 4);
  header.copy(frame, 8);
  frame.set(body, 8 + header.length);
  return frame;
}
