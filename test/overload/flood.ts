/**
 * Sends at a fixed schedule, whatever the broker does: message n is due at start + n / rate, and its latency counts from there, so a
 * broker that stalls cannot make the load wait for it. Frames are made once and only their numbers are written per message; a message
 * whose connection takes no more bytes is shed here, counted, and never sent. Each connection has a queue of its own, so that the
 * order of a queue is the order of its connection.
 */
import { connect, type Socket } from 'node:net';
import {
  BINARY_HEADER,
  emptySendRequest,
  encodeHeartbeat,
  encodeProperties,
  FrameReader,
  ONEWAY_FLAG,
  Output,
  RequestCode,
  SendRequests,
  writeFrame,
  type Frame,
} from '@tallystick/remoting';
import { ANSWERS, type Answer } from './frame-heads.ts';
import { Histogram, type Spread } from './histogram.ts';

export interface FloodConfig {
  readonly port: number;
  readonly topic: string;
  readonly connections: number;
  readonly bodyBytes: number;
  /** Most messages that are ever sent. */
  readonly capacity: number;
}

export interface Phase {
  readonly seconds: number;
  /** Messages per second, or, for the peak, messages kept open at any time. */
  readonly rate?: number | undefined;
  readonly inFlight?: number | undefined;
}

/** What a caller without manners does; none: nothing is ever repeated. */
export interface Retries {
  /** Sends again when there was no answer for so long, and at once after a refusal. */
  readonly timeoutMs: number;
  readonly max: number;
}

export interface FloodResult {
  readonly seconds: number;
  readonly due: number;
  /** Not sent, because the connection took no more. */
  readonly shed: number;
  readonly sent: number;
  readonly answers: Readonly<Record<Answer, number>>;
  readonly unanswered: number;
  /** Acknowledged per second while the load lasted. */
  readonly goodput: number;
  /** Acknowledged within a second of their time, per second. */
  readonly timely: number;
  /** Acknowledged after more than {@link GIVEN_UP_MS}. */
  readonly late: number;
  /** Schedule to acknowledgement. */
  readonly latency: Spread;
  /** Schedule to refusal: with the sockets' buffers on the way. */
  readonly refusal: Spread;
  readonly perSecond: readonly { readonly ok: number; readonly timely: number; readonly refused: number }[];
  readonly connectionsLost: number;
  /** Processor time of the process that sends, per time while the load lasted: near 1 it is itself what limits. */
  readonly cpuShare: number;
}

/** RocketMQ's clients, and ours, wait so long for an answer. */
const GIVEN_UP_MS = 3000;

/** State of a message. */
export const NEVER_SENT = 0;
export const OPEN = 1;
export const STORED = 2;
export const REFUSED = 3;
export const MAYBE = 4;

export class Flood {
  readonly config: FloodConfig;
  readonly state: Uint8Array;
  readonly lane: Uint8Array;
  readonly offset: Uint32Array;
  next = 0;
  readonly #lanes: FloodLane[] = [];
  #run: Run | undefined;
  #lost = 0;

  constructor(config: FloodConfig) {
    this.config = config;
    this.state = new Uint8Array(config.capacity);
    this.lane = new Uint8Array(config.capacity);
    this.offset = new Uint32Array(config.capacity);
  }

  async open(): Promise<void> {
    const opened = [];
    for (let n = 0; n < this.config.connections; n++) {
      const lane = new FloodLane(this.config, n, this);
      this.#lanes.push(lane);
      opened.push(lane.opened);
    }
    await Promise.all(opened);
  }

  close(): void {
    for (const lane of this.#lanes) lane.socket.destroy();
  }

  /** Runs the phases one after another, then waits for answers up to `drainMs`. */
  async run(phases: readonly Phase[], drainMs: number, retries: Retries | undefined): Promise<FloodResult> {
    if (this.#lanes.every(({ socket }) => socket.destroyed)) throw new Error('the flood has no connection any more');
    const run = (this.#run = new Run(this, this.#lanes, phases, retries));
    await run.send();
    const goodUntilMs = performance.now();
    while (this.#lanes.some((lane) => lane.inFlight > 0) && performance.now() < goodUntilMs + drainMs) await pause(10);
    this.#run = undefined;
    return run.result(this.#lost);
  }

  answered(lane: FloodLane, frame: Frame): void {
    const slot = frame.opaque % SLOTS;
    const n = lane.numbers[slot]!;
    const before = this.state[n];
    lane.inFlight--;
    const answer = answerOf(frame);
    const run = this.#run;
    run?.answered(n, answer);
    if (before === STORED) return;
    if (answer === 0) {
      this.state[n] = STORED;
      this.offset[n] = extNumber(frame, QUEUE_OFFSET);
    } else if (answer >= 7) this.state[n] = MAYBE;
    // A refused repeat says nothing of the first attempt.
    else if (lane.repeated[slot] === 0 && before === OPEN) {
      this.state[n] = REFUSED;
      run?.refused(n);
    }
  }

  lost(lane: FloodLane): void {
    lane.inFlight = 0;
    this.#lost++;
  }
}

class Run {
  readonly #flood: Flood;
  readonly #lanes: readonly FloodLane[];
  readonly #phases: readonly Phase[];
  readonly #retries: Retries | undefined;
  readonly #first: number;
  readonly #latency = new Histogram();
  readonly #refusal = new Histogram();
  readonly #answers = ANSWERS.map(() => 0);
  readonly #perSecond: { ok: number; timely: number; refused: number }[] = [];
  readonly #repeats: number[] = [];
  #attempts: Uint8Array | undefined;
  /** Per attempt: up to which message time-outs have been looked at. */
  readonly #timedOut: number[] = [];
  #startMs = 0;
  #endMs = Infinity;
  #cpuMs = 0;
  #phaseMs = 0;
  #phaseFirst = 0;
  #rate = 0;
  readonly #dueMs: { readonly first: number; readonly startMs: number; readonly rate: number }[] = [];
  #turn = 0;
  #shed = 0;
  #sent = 0;
  #okInTime = 0;
  #late = 0;
  #timelyInTime = 0;

  constructor(flood: Flood, lanes: readonly FloodLane[], phases: readonly Phase[], retries: Retries | undefined) {
    this.#flood = flood;
    this.#lanes = lanes;
    this.#phases = phases;
    this.#retries = retries;
    this.#first = flood.next;
    if (retries !== undefined) {
      this.#attempts = new Uint8Array(flood.config.capacity);
      for (let n = 0; n < retries.max; n++) this.#timedOut.push(flood.next);
    }
  }

  async send(): Promise<void> {
    this.#startMs = performance.now();
    const cpuStart = process.cpuUsage();
    for (const phase of this.#phases) {
      this.#phaseMs = performance.now();
      this.#phaseFirst = this.#flood.next;
      this.#rate = phase.rate ?? 0;
      this.#dueMs.push({ first: this.#phaseFirst, startMs: this.#phaseMs, rate: this.#rate });
      const endMs = this.#phaseMs + phase.seconds * 1000;
      for (const lane of this.#lanes)
        lane.window = phase.inFlight === undefined ? 0 : Math.ceil(phase.inFlight / this.#lanes.length);
      while (performance.now() < endMs) {
        if (phase.rate !== undefined) this.#tick();
        else for (const lane of this.#lanes) this.#refill(lane);
        await pause(1);
      }
      for (const lane of this.#lanes) lane.window = 0;
    }
    this.#endMs = performance.now();
    const { user, system } = process.cpuUsage(cpuStart);
    this.#cpuMs = (user + system) / 1000;
  }

  #tick(): void {
    const nowMs = performance.now();
    if (this.#retries !== undefined) this.#repeat(nowMs, this.#retries);
    let due = this.#phaseFirst + Math.floor(((nowMs - this.#phaseMs) * this.#rate) / 1000) - this.#flood.next;
    if (due <= 0) return;
    const lanes = this.#lanes;
    const share = Math.max(BLOCK_FRAMES, Math.ceil(due / lanes.length));
    while (due > 0) {
      const count = Math.min(share, due);
      this.#give(lanes[this.#turn++ % lanes.length]!, count);
      due -= count;
    }
  }

  /** The next `count` messages, to a lane; what it cannot take is shed. */
  #give(lane: FloodLane, count: number): void {
    const flood = this.#flood;
    const taken = lane.send(flood.next, count, false);
    this.#sent += taken;
    this.#shed += count - taken;
    flood.state.fill(OPEN, flood.next, flood.next + taken);
    flood.lane.fill(lane.index, flood.next, flood.next + taken);
    flood.next += count;
  }

  #refill(lane: FloodLane): void {
    const free = lane.window - lane.inFlight;
    if (free <= 0) return;
    const flood = this.#flood;
    const taken = lane.send(flood.next, free, false);
    flood.state.fill(OPEN, flood.next, flood.next + taken);
    flood.lane.fill(lane.index, flood.next, flood.next + taken);
    flood.next += taken;
    this.#sent += taken;
  }

  refused(n: number): void {
    if (this.#retries !== undefined) this.#repeats.push(n);
  }

  #repeat(nowMs: number, { timeoutMs, max }: Retries): void {
    const { state } = this.#flood;
    for (let attempt = 0; attempt < max; attempt++) {
      let n = this.#timedOut[attempt]!;
      while (n < this.#flood.next && this.#schedule(n) + timeoutMs * (attempt + 1) < nowMs) {
        if (state[n] === OPEN || state[n] === REFUSED) this.#repeats.push(n);
        n++;
      }
      this.#timedOut[attempt] = n;
    }
    const attempts = this.#attempts!;
    for (const n of this.#repeats.splice(0)) {
      if (state[n] === STORED || attempts[n]! >= max) continue;
      attempts[n]!++;
      state[n] = OPEN;
      if (this.#lanes[this.#flood.lane[n]!]!.send(n, 1, true) === 1) this.#sent++;
      else this.#shed++;
    }
  }

  answered(n: number, answer: number): void {
    this.#answers[answer]!++;
    const nowMs = performance.now();
    const second = (this.#perSecond[Math.floor((nowMs - this.#startMs) / 1000)] ??= { ok: 0, timely: 0, refused: 0 });
    const ms = nowMs - this.#schedule(n);
    if (answer !== 0) {
      this.#refusal.add(ms);
      second.refused++;
      return;
    }
    this.#latency.add(ms);
    second.ok++;
    if (ms <= 1000) second.timely++;
    if (ms > GIVEN_UP_MS) this.#late++;
    if (nowMs > this.#endMs) return;
    this.#okInTime++;
    if (ms <= 1000) this.#timelyInTime++;
  }

  /** When message n was due; for the peak, when its phase began is of no use: nothing is. */
  #schedule(n: number): number {
    for (let at = this.#dueMs.length - 1; at >= 0; at--) {
      const { first, startMs, rate } = this.#dueMs[at]!;
      if (n >= first) return rate > 0 ? startMs + ((n - first) * 1000) / rate : performance.now();
    }
    return performance.now();
  }

  result(connectionsLost: number): FloodResult {
    const seconds = (this.#endMs - this.#startMs) / 1000;
    let unanswered = 0;
    for (let n = this.#first; n < this.#flood.next; n++) if (this.#flood.state[n] === OPEN) unanswered++;
    const perSecond = Array.from(this.#perSecond, (each) => each ?? { ok: 0, timely: 0, refused: 0 });
    return {
      seconds: Number(seconds.toFixed(2)),
      due: this.#flood.next - this.#first,
      shed: this.#shed,
      sent: this.#sent,
      answers: Object.fromEntries(ANSWERS.map((name, at) => [name, this.#answers[at]!])) as Record<Answer, number>,
      unanswered,
      goodput: Math.round(this.#okInTime / seconds),
      timely: Math.round(this.#timelyInTime / seconds),
      late: this.#late,
      latency: this.#latency.summary(),
      refusal: this.#refusal.summary(),
      perSecond,
      connectionsLost,
      cpuShare: Number((this.#cpuMs / (this.#endMs - this.#startMs)).toFixed(2)),
    };
  }
}

/** One connection and its queue. */
class FloodLane {
  readonly index: number;
  readonly socket: Socket;
  readonly opened: Promise<void>;
  inFlight = 0;
  /** Messages to keep open; 0: as scheduled. */
  window = 0;
  /** By opaque: which message this was, and whether it was a repeat of it. */
  readonly numbers = new Uint32Array(SLOTS);
  readonly repeated = new Uint8Array(SLOTS);
  #opaque = 0;
  readonly #frameBytes: number;
  readonly #idAt: number;
  readonly #bodyAt: number;
  readonly #free: { readonly bytes: Buffer; readonly back: () => void }[] = [];

  constructor(config: FloodConfig, index: number, flood: Flood) {
    this.index = index;
    const frame = template(config, index);
    this.#frameBytes = frame.length;
    this.#idAt = frame.indexOf(ID_PREFIX) + ID_PREFIX.length;
    this.#bodyAt = frame.length - config.bodyBytes;
    for (let n = 0; n < BLOCKS; n++) {
      const bytes = Buffer.alloc(frame.length * BLOCK_FRAMES);
      for (let at = 0; at < bytes.length; at += frame.length) frame.copy(bytes, at);
      const block = { bytes, back: () => void this.#free.push(block) };
      this.#free.push(block);
    }
    const limits = { frameBytesMax: 1 << 24, headerBytesMax: 1 << 18 };
    const reader = new FrameReader(limits, (answer) => flood.answered(this, answer));
    this.socket = connect({ port: config.port, host: '127.0.0.1' }).setNoDelay(true);
    this.opened = new Promise((resolve, reject) => this.socket.once('connect', resolve).once('error', reject));
    // Whoever says nothing for five seconds is shown the door (firstFrameMs), and the others of a stage may take longer to start.
    this.socket.once('connect', () => this.socket.write(hello()));
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk: Buffer) => void reader.read(chunk));
    this.socket.on('close', () => flood.lost(this));
  }

  /** Sends these messages, as many as the socket takes; how many those were. */
  send(first: number, count: number, repeat: boolean): number {
    let sent = 0;
    while (sent < count && !this.socket.destroyed && this.socket.writableLength < SOCKET_BYTES_MAX) {
      const block = this.#free.pop();
      if (block === undefined) break;
      const frames = Math.min(count - sent, BLOCK_FRAMES);
      for (let k = 0; k < frames; k++) this.#number(block.bytes, k * this.#frameBytes, first + sent + k, repeat);
      this.socket.write(block.bytes.subarray(0, frames * this.#frameBytes), block.back);
      sent += frames;
    }
    this.inFlight += sent;
    return sent;
  }

  #number(bytes: Buffer, at: number, n: number, repeat: boolean): void {
    const opaque = this.#opaque++ % SLOTS;
    this.numbers[opaque] = n;
    this.repeated[opaque] = repeat ? 1 : 0;
    bytes.writeInt32BE(opaque, at + 13);
    hex8(bytes, at + this.#idAt, n);
    hex8(bytes, at + this.#bodyAt, n);
  }
}

/** A heartbeat that wants no answer. */
function hello(): Buffer {
  const out = new Output();
  const head = { kind: BINARY_HEADER, flag: ONEWAY_FLAG, opaque: 0, language: 0, version: 1, remark: undefined } as const;
  const body = encodeHeartbeat({
    clientID: 'flood',
    producerDataSet: [],
    consumerDataSet: [],
    heartbeatFingerprint: 0,
    withoutSub: false,
  });
  writeFrame(out, { ...head, code: RequestCode.HEART_BEAT }, undefined, body);
  return Buffer.from(out.bytes.subarray(0, out.at));
}

function template({ topic, bodyBytes }: FloodConfig, queueId: number): Buffer {
  const out = new Output();
  const requests = new SendRequests({
    producerGroup: 'flood',
    topic,
    queueId,
    defaultTopic: 'TBW102',
    defaultTopicQueueNums: 4,
    batch: false,
  });
  const send = emptySendRequest();
  const properties = Buffer.from(encodeProperties(new Map([['UNIQ_KEY', `${ID_PREFIX}00000000`]])));
  send.bornTimestamp = Date.now();
  send.properties = properties;
  send.propertiesEnd = properties.length;
  send.body = Buffer.alloc(bodyBytes, 'x');
  send.bodyEnd = bodyBytes;
  requests.encode(out, BINARY_HEADER, 0, send);
  let bytes = Buffer.alloc(0);
  out.take((chunk) => (bytes = Buffer.concat([bytes, chunk])));
  return bytes;
}

function answerOf(frame: Frame): number {
  if (frame.code === 0) return 0;
  if (frame.code === 10 || frame.code === 1) return 7;
  if (frame.code !== 2) return 8;
  const remark = frame.remark() ?? '';
  const at = BUSY_WORDS.findIndex((word) => remark.startsWith(word));
  return at < 0 ? 6 : at + 1;
}

const BUSY_WORDS = ['[REJECTREQUEST]', '[OVERLOAD]', '[PC_SYNCHRONIZED]', '[PCBUSY_CLEAN_QUEUE]', '[TIMEOUT_CLEAN_QUEUE]'];

/** A decimal field of a binary header, by a walk of its own. */
function extNumber(frame: Frame, name: string): number {
  const { bytes } = frame;
  for (let at = frame.extStart; at < frame.extEnd;) {
    const nameEnd = at + 2 + bytes.readUInt16BE(at);
    const end = nameEnd + 4 + bytes.readUInt32BE(nameEnd);
    if (nameEnd - at - 2 === name.length && bytes.toString('latin1', at + 2, nameEnd) === name) {
      let value = 0;
      for (let digit = nameEnd + 4; digit < end; digit++) value = value * 10 + bytes[digit]! - 48;
      return value;
    }
    at = end;
  }
  return 0xffffffff;
}

function hex8(bytes: Buffer, at: number, n: number): void {
  for (let shift = 28, to = at; shift >= 0; shift -= 4) bytes[to++] = HEX[(n >>> shift) & 15]!;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const QUEUE_OFFSET = 'queueOffset';
const HEX = Buffer.from('0123456789ABCDEF');
const ID_PREFIX = 'F10D0000000000000000F10D';
/** Requests of one connection that can be told apart: more than are ever open on it. */
export const SLOTS = 1 << 18;
const BLOCK_FRAMES = 32;
/** Frames that may wait for one socket: about a second at 4,000/s. */
const BLOCKS = 128;
const SOCKET_BYTES_MAX = 1 << 20;
