import { readI32, readU32 } from '@tallystick/base';
import { Frame, type HeaderKind } from './frame.ts';
import { parseBinaryHeader } from './header-binary.ts';
import { parseJsonHeader } from './header-json.ts';

/** Sizes beyond which a frame is a fault. */
export interface FrameLimits {
  /** Largest frame in bytes, length field not counted; RocketMQ's is 16 MiB. */
  readonly frameBytesMax: number;
  readonly headerBytesMax: number;
}

/**
 * Cuts a stream of chunks into frames:
 *
 *     length u32 (of all that follows) | header kind u8, header length u24 | header | body
 *
 * A frame that lies whole in a chunk is handed out in place; only one that spans chunks is put together, in a buffer that grows with
 * what has arrived and never to a claimed length. Promises: never throws, hands each frame to `onFrame` once and in order, and
 * after a fault (returned by `read` as a sentence) hands out nothing more. `stop()` inside `onFrame` keeps the rest until `go()`.
 */
export class FrameReader {
  readonly #limits: FrameLimits;
  readonly #onFrame: (frame: Frame) => void;
  readonly #claim: ((bytes: Buffer, at: number, end: number) => boolean) | undefined;
  readonly #frame = new Frame();
  /** A frame that began in an earlier chunk: its first `#have` bytes. */
  #part: Buffer = NONE;
  #have = 0;
  /** Received while stopped. */
  #held: Buffer | undefined;
  #stopped = false;
  #fault: string | undefined;

  /** `claim` is offered each frame before it is decoded; what it takes goes no further. */
  constructor(limits: FrameLimits, onFrame: (frame: Frame) => void, claim?: (bytes: Buffer, at: number, end: number) => boolean) {
    this.#limits = limits;
    this.#onFrame = onFrame;
    this.#claim = claim;
  }

  /** Bytes received and not yet handed out. */
  get heldBytes(): number {
    return this.#have + (this.#held?.length ?? 0);
  }

  /** Memory it keeps, whether anything is in it or not. */
  get bufferBytes(): number {
    return this.#part.length + (this.#held?.buffer.byteLength ?? 0);
  }

  /** Gives back memory that nothing is in. */
  shrink(): void {
    const have = this.#have;
    if (have === 0) this.#part = NONE;
    else if (this.#part.length > 2 * have) this.#part = copyOf(this.#part.subarray(0, Math.max(4, have)));
  }

  /** Keeps further frames back, from inside `onFrame` or between chunks. */
  stop(): void {
    this.#stopped = true;
  }

  /** Hands out what was kept back; the fault, if one shows. */
  go(): string | undefined {
    this.#stopped = false;
    const held = this.#held;
    this.#held = undefined;
    return held === undefined ? this.#fault : this.#read(held, true);
  }

  /** Takes a chunk in; the fault, or undefined. */
  read(chunk: Uint8Array): string | undefined {
    return this.#read(asBuffer(chunk), false);
  }

  /** `isOwn`: what is kept back of it need not be copied. */
  #read(bytes: Buffer, isOwn: boolean): string | undefined {
    if (this.#fault !== undefined) return this.#fault;
    if (this.#stopped) {
      this.#hold(bytes, isOwn);
      return undefined;
    }
    let at = this.#have > 0 ? this.#finishPart(bytes) : 0;
    const end = bytes.length;
    while (this.#fault === undefined && at < end) {
      if (this.#stopped) {
        this.#hold(bytes.subarray(at), isOwn);
        return undefined;
      }
      if (end - at < 4) break;
      const frameEnd = at + 4 + this.#lengthAt(bytes, at);
      if (this.#fault !== undefined || frameEnd > end) break;
      this.#handOut(bytes, at, frameEnd);
      at = frameEnd;
    }
    if (this.#fault === undefined && at < end) this.#keepPart(bytes, at, end);
    return this.#fault;
  }

  /** Fills the begun frame from the chunk and hands it out when whole; how far the chunk was used. */
  #finishPart(bytes: Buffer): number {
    let at = 0;
    while (this.#have < 4 && at < bytes.length) this.#part[this.#have++] = bytes[at++]!;
    if (this.#have < 4) return at;
    const whole = 4 + this.#lengthAt(this.#part, 0);
    if (this.#fault !== undefined) return at;
    const take = Math.min(whole - this.#have, bytes.length - at);
    this.#makeRoom(this.#have + take, whole);
    bytes.copy(this.#part, this.#have, at, at + take);
    this.#have += take;
    if (this.#have === whole) {
      const part = this.#part;
      this.#have = 0;
      if (part.length > PART_KEPT_BYTES) this.#part = NONE;
      this.#handOut(part, 0, whole);
    }
    return at + take;
  }

  #keepPart(bytes: Buffer, at: number, end: number): void {
    const have = end - at;
    this.#makeRoom(have, have < 4 ? 4 : 4 + readU32(bytes, at));
    bytes.copy(this.#part, 0, at, end);
    this.#have = have;
  }

  /** Room for `need` bytes of a frame of `whole`: at most twice what is there, so a claimed length costs nothing. */
  #makeRoom(need: number, whole: number): void {
    if (this.#part.length >= need && this.#part.length >= 4) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(4, need, Math.min(whole, Math.max(need * 2, PART_STEP_BYTES))));
    this.#part.copy(grown, 0, 0, this.#have);
    this.#part = grown;
  }

  /**
   * A connection that is stopped again after each frame would copy its rest each time: what is its own already is copied only when half of
   * that memory has been handed out.
   */
  #hold(rest: Buffer, isOwn: boolean): void {
    if (this.#held !== undefined) this.#held = copyOf(this.#held, rest);
    else if (isOwn && rest.length * 2 > rest.buffer.byteLength) this.#held = rest;
    else this.#held = copyOf(rest);
  }

  #lengthAt(bytes: Buffer, at: number): number {
    const length = readU32(bytes, at);
    if (length < 4) this.#fault = `frame length ${length} is too short`;
    else if (length > this.#limits.frameBytesMax)
      this.#fault = `frame length ${length} is over the limit of ${this.#limits.frameBytesMax}`;
    return length;
  }

  #handOut(bytes: Buffer, at: number, end: number): void {
    if (this.#claim !== undefined && this.#claim(bytes, at, end)) return;
    const fault = parseFrame(this.#frame, bytes, at, end, this.#limits.headerBytesMax);
    if (fault !== undefined) this.#fault = fault;
    else this.#onFrame(this.#frame);
  }
}

/** Reads the whole frame in bytes [at, end), its length field included, into the view. The fault, or undefined. */
export function parseFrame(frame: Frame, bytes: Buffer, at: number, end: number, headerBytesMax = Infinity): string | undefined {
  if (end - at < 8) return 'frame shorter than its two lengths';
  const kind = bytes[at + 4]!;
  const headerStart = at + 8;
  const headerBytes = readI32(bytes, at + 4) & 0xffffff;
  if (headerBytes > end - headerStart) return `header of ${headerBytes} bytes in a frame of ${end - at}`;
  if (headerBytes > headerBytesMax) return `header of ${headerBytes} bytes is over the limit of ${headerBytesMax}`;
  if (kind > 1) return `unknown header kind ${kind}`;
  const headerEnd = headerStart + headerBytes;
  frame.bytes = bytes;
  frame.start = at;
  frame.headerKind = kind as HeaderKind;
  frame.bodyStart = headerEnd;
  frame.bodyEnd = end;
  return kind === 0
    ? parseJsonHeader(frame, bytes, headerStart, headerEnd)
    : parseBinaryHeader(frame, bytes, headerStart, headerEnd);
}

/** Smallest buffer for a begun frame, and how far one may run ahead of what has arrived. */
const PART_STEP_BYTES = 16 * 1024;

/** A larger buffer is given back after its frame. */
const PART_KEPT_BYTES = 128 * 1024;

const NONE = Buffer.alloc(0);

/** In memory of its own: what comes out of Node's pool would keep the whole pool alive, and tells nothing of its size. */
function copyOf(...parts: readonly Buffer[]): Buffer {
  const copy = Buffer.allocUnsafeSlow(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) at += part.copy(copy, at);
  return copy;
}

function asBuffer(chunk: Uint8Array): Buffer {
  return Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
}
