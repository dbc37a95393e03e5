import { resolveOptions, type Clock, type Timer, type Timers, type Turn, type Wire } from '@tallystick/base';
import { BINARY_HEADER, JSON_HEADER, ONEWAY_FLAG, RESPONSE_FLAG, type Frame, type HeaderKind, type ReplyRef } from './frame.ts';
import { answerOpaque, numberFrames } from './frame-numbers.ts';
import { FrameReader } from './frame-reader.ts';
import { writeFrame, type FrameBody } from './frame-writer.ts';
import type { FieldValues } from './header-fields.ts';
import { OUR_LANGUAGE, OUR_VERSION } from './language-codes.ts';
import { Output } from './output.ts';
import { PEER_OPTIONS, type PeerOptions, type ResolvedPeerOptions } from './peer-options.ts';
import { PendingRequests, type PeerError, type ReplySink } from './pending-requests.ts';

/**
 * One connection, symmetric: either side asks, answers and tells. Promises:
 *
 * - every request's callback runs exactly once, never inside the call that asked: with the answer, or after its time, or when the
 *   connection ends; an answer nobody waits for is passed over;
 * - a one-way request is never answered;
 * - output is staged and written at the end of the turn, in a long turn as often as 32 KiB have come together, and not at all while
 *   the wire asks to wait; above `outputHardBytes` the connection is closed;
 * - bytes that are no frames close the connection, nothing throws;
 * - large buffers in which nothing is are given back within a second: ten thousand connections that once had much hold little;
 * - one timer serves all time-outs, the idle limit and that.
 *
 * What a request means, and to whom it goes, is its handler's matter.
 *
 * States: `open` (reads and writes) → `closing` (`close` was called: reads nothing, takes nothing more to send, what was staged is
 * on its way if graceful) → `closed` (the wire said so: waiting requests have failed, `onClose` has been called).
 */
export class Peer {
  /** For the owner: whatever belongs to this connection. */
  state: unknown = undefined;
  readonly #wire: Wire;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #turn: Turn;
  readonly #options: ResolvedPeerOptions;
  readonly #handler: PeerHandler;
  readonly #reader: FrameReader;
  readonly #output = new Output();
  readonly #pending: PendingRequests;
  readonly #flushAtEnd = (): void => this.#flush();
  readonly #give = (chunk: Buffer): void => this.#write(chunk);
  #phase: 'open' | 'closing' | 'closed' = 'open';
  #reason: string | undefined;
  #lastKind: HeaderKind = JSON_HEADER;
  #onewayOpaque = 0;
  #remoteVersion = 0;
  #remoteLanguage = OUR_LANGUAGE;
  #flushScheduled = false;
  #writable = true;
  /** Handed to the wire in the write that it answered with "wait"; 0 once it has drained. */
  #handedBytes = 0;
  /** Since when the wire asks to wait and, as far as it tells, the other side has taken nothing. */
  #stalledMs = 0;
  /** What the wire had not sent then. */
  #unsentBytes = 0;
  #congested = false;
  #holds = 0;
  #activeMs: number;
  #closeByMs = Infinity;
  #timer: Timer | undefined;
  #timerMs = Infinity;
  /** When memory that is not in use is given back; Infinity while there is little. */
  #shrinkMs = Infinity;
  /** One clock reading serves a turn: valid while a flush is scheduled. */
  #turnMs = 0;

  constructor(wire: Wire, ports: PeerPorts, options: PeerOptions, handler: PeerHandler) {
    this.#wire = wire;
    this.#clock = ports.clock;
    this.#timers = ports.timers;
    this.#turn = ports.turn;
    this.#options = resolveOptions('Peer', PEER_OPTIONS, options);
    this.#handler = handler;
    this.#pending = new PendingRequests(this.#options.pendingMax);
    const limits = { frameBytesMax: this.#options.maxFrameBytes, headerBytesMax: this.#options.maxHeaderBytes };
    this.#reader = new FrameReader(
      limits,
      (frame) => this.#onFrame(frame),
      (bytes, at, end) => this.#claim(bytes, at, end),
    );
    this.#activeMs = this.#clock.monotonic();
    wire.onBytes = (chunk) => this.#onBytes(chunk);
    wire.onDrain = () => this.#onDrain();
    wire.onClose = (reason) => this.#onClose(reason);
    if (this.#options.idleMs > 0) this.#arm(this.#activeMs + this.#options.idleMs);
  }

  /** Address of the other side, `host:port`. */
  get remote(): string {
    return this.#wire.remote;
  }

  /** Protocol version the other side said last; 0 before its first frame. */
  get remoteVersion(): number {
    return this.#remoteVersion;
  }

  /** Language number the other side said last. */
  get remoteLanguage(): number {
    return this.#remoteLanguage;
  }

  get isOpen(): boolean {
    return this.#phase === 'open';
  }

  /** Requests of ours that wait for their answers. */
  get pendingCount(): number {
    return this.#pending.count;
  }

  /** Output that waits here or, as far as known, in the wire. */
  get outputBytes(): number {
    return this.#output.staged + this.#handedBytes;
  }

  /** Received bytes that make no whole frame yet, or wait because the connection is not read. */
  get heldBytes(): number {
    return this.#reader.heldBytes;
  }

  /** Memory for frames that are not whole and for output, in use or not: it is given back within about a second of its last use. */
  get bufferBytes(): number {
    return this.#reader.bufferBytes + this.#output.bytes.length;
  }

  /** More than `outputSoftBytes` wait: send nothing that can wait until `onDrain`. */
  get congested(): boolean {
    return this.#congested;
  }

  /** Header kind of our own requests now. */
  get kind(): HeaderKind {
    const kind = this.#options.kind;
    return kind === 'last-seen' ? this.#lastKind : kind === 'binary' ? BINARY_HEADER : JSON_HEADER;
  }

  /** Asks. `fields` have their names on the wire (see `wireFields`). */
  request(
    code: number,
    fields: FieldValues | undefined,
    body: FrameBody,
    timeoutMs: number | undefined,
    done: (error: PeerError | undefined, reply: Frame) => void,
  ): void {
    this.requestTo(code, fields, body, timeoutMs, { onReply: (_token, error, reply) => done(error, reply) }, 0);
  }

  /** As `request`, without a closure: the answer goes to `sink` with `token`. */
  requestTo(
    code: number,
    fields: FieldValues | undefined,
    body: FrameBody,
    timeoutMs: number | undefined,
    sink: ReplySink,
    token: number,
  ): void {
    const opaque = this.#ask(timeoutMs, sink, token);
    if (opaque < 0) return;
    writeFrame(this.#stage(), this.#head(code, 0, opaque, this.kind, undefined), fields, body);
    this.#staged();
  }

  /**
   * The fast path: `encoder` writes the whole frame straight into the output. False when the request was refused; `sink` is told then
   * too.
   */
  requestWith<T>(encoder: FrameEncoder<T>, value: T, timeoutMs: number | undefined, sink: ReplySink, token: number): boolean {
    const opaque = this.#ask(timeoutMs, sink, token);
    if (opaque < 0) return false;
    encoder.encode(this.#stage(), this.kind, opaque, value);
    this.#staged();
    return true;
  }

  /**
   * Sends `count` requests that are finished but for their opaques (see {@link SendFrames}), in one piece; the bytes are copied. The
   * answers go to `sink` with the tokens 0, 1, 2 …. False when they were refused: nothing was sent and `sink` is not told.
   */
  requestFrames(frames: Uint8Array, end: number, count: number, timeoutMs: number, sink: ReplySink): boolean {
    if (this.#phase !== 'open') return false;
    const deadlineMs = this.#nowMs() + timeoutMs;
    const first = this.#pending.addRange(count, deadlineMs, sink);
    if (first < 0) return false;
    if (deadlineMs < this.#timerMs) this.#arm(deadlineMs);
    const out = this.#output;
    const at = out.reserve(end);
    out.bytes.set(frames.length === end ? frames : frames.subarray(0, end), at);
    out.at = at + end;
    numberFrames(out.bytes, at, at + end, first);
    this.#staged();
    return true;
  }

  /** The fast path of `oneway`. False when the connection is not open. */
  onewayWith<T>(encoder: FrameEncoder<T>, value: T): boolean {
    if (this.#phase !== 'open') return false;
    this.#onewayOpaque = (this.#onewayOpaque + 1) & 0x7fffffff;
    encoder.encode(this.#stage(), this.kind, this.#onewayOpaque, value);
    this.#staged();
    return true;
  }

  /** Tells: no answer will come, and nothing is known of what becomes of it. False when the connection is not open. */
  oneway(code: number, fields: FieldValues | undefined, body?: FrameBody, remark?: string): boolean {
    if (this.#phase !== 'open') return false;
    this.#onewayOpaque = (this.#onewayOpaque + 1) & 0x7fffffff;
    writeFrame(this.#stage(), this.#head(code, ONEWAY_FLAG, this.#onewayOpaque, this.kind, remark), fields, body);
    this.#staged();
    return true;
  }

  /** Answers a request, in its header kind; nothing happens for a one-way request or when the connection is not open. */
  answer(ref: ReplyRef, code: number, remark?: string, fields?: FieldValues, body?: FrameBody): void {
    if (ref.oneway || this.#phase !== 'open') return;
    writeFrame(this.#stage(), this.#head(code, RESPONSE_FLAG, ref.opaque, ref.kind, remark), fields, body);
    this.#staged();
  }

  /** The fast path of `answer`: `encoder` writes the whole frame. The caller has made sure that the request was not one-way. */
  answerWith<T>(encoder: FrameEncoder<T>, value: T, kind: HeaderKind, opaque: number): void {
    if (this.#phase !== 'open') return;
    encoder.encode(this.#stage(), kind, opaque, value);
    this.#staged();
  }

  /** Hands out no more frames, from now on, until `resume`; what has arrived is kept, the rest stays with the other side. */
  pause(): void {
    this.#hold(HELD_BY_OWNER);
  }

  resume(): void {
    this.#release(HELD_BY_OWNER);
  }

  /** Writes what is staged now instead of at the end of the turn. */
  flush(): void {
    this.#flush();
  }

  /** Ends the connection; graceful: what is staged still goes out, within `closeGraceMs`. `onClose` follows, never inside this call. */
  close(graceful: boolean, reason?: string): void {
    if (this.#phase === 'closed') return;
    if (this.#phase === 'open') {
      this.#phase = 'closing';
      this.#reason = reason;
      this.#reader.stop();
      if (graceful) {
        this.#output.take((chunk) => void this.#wire.write(chunk));
        this.#closeByMs = this.#clock.monotonic() + this.#options.closeGraceMs;
        this.#arm(this.#closeByMs);
      }
    }
    this.#wire.close(graceful);
  }

  #head(code: number, flag: number, opaque: number, kind: HeaderKind, remark: string | undefined) {
    return { kind, code, flag, opaque, language: OUR_LANGUAGE, version: OUR_VERSION, remark };
  }

  /** Notes a waiting request; its opaque, or -1 when it is refused and `sink` will hear of it. */
  #ask(timeoutMs: number | undefined, sink: ReplySink, token: number): number {
    if (this.#phase !== 'open') {
      this.#refuse(sink, token, `connection to ${this.remote} is closed`);
      return -1;
    }
    const deadlineMs = this.#nowMs() + (timeoutMs ?? this.#options.requestTimeoutMs);
    const opaque = this.#pending.add(deadlineMs, sink, token);
    if (opaque < 0) this.#refuse(sink, token, `${this.#options.pendingMax} requests wait for ${this.remote} (pendingMax)`);
    else if (deadlineMs < this.#timerMs) this.#arm(deadlineMs);
    return opaque;
  }

  #refuse(sink: ReplySink, token: number, message: string): void {
    this.#turn.atEnd(() => sink.onReply(token, { kind: 'refused', message }, undefined as never));
  }

  #nowMs(): number {
    if (!this.#flushScheduled) this.#scheduleFlush();
    return this.#turnMs;
  }

  /** Where the next frame goes. */
  #stage(): Output {
    if (!this.#flushScheduled) this.#scheduleFlush();
    return this.#output;
  }

  #scheduleFlush(): void {
    this.#flushScheduled = true;
    if (this.#wire.isWritten?.() === true) this.#output.rewind();
    this.#turnMs = this.#clock.monotonic();
    this.#turn.atEnd(this.#flushAtEnd);
  }

  /** After each staged frame. */
  #staged(): void {
    const { staged } = this.#output;
    const { outputSoftBytes } = this.#options;
    if (staged < WRITE_EARLY_BYTES && staged + this.#handedBytes <= outputSoftBytes) return;
    if (this.#writable) this.#writeStaged();
    if (this.outputBytes > outputSoftBytes) this.#weigh();
  }

  #flush(): void {
    this.#flushScheduled = false;
    if (this.#phase !== 'open') return;
    this.#watchBuffers(this.#turnMs);
    if (!this.#writable) return;
    this.#writeStaged();
    this.#weigh();
  }

  /** Large buffers are looked after in a while. */
  #watchBuffers(nowMs: number): void {
    if (this.#shrinkMs < Infinity || this.bufferBytes <= BUFFERS_KEPT_BYTES) return;
    this.#shrinkMs = nowMs + SHRINK_MS;
    this.#arm(this.#shrinkMs);
  }

  #writeStaged(): void {
    if (this.#output.staged === 0) return;
    this.#activeMs = Math.max(this.#activeMs, this.#turnMs);
    this.#output.take(this.#give);
    if (this.#wire.isWritten?.() === true) this.#output.rewind();
  }

  #write(chunk: Buffer): void {
    const more = this.#wire.write(chunk);
    if (!more && this.#writable) {
      this.#writable = false;
      this.#stalledMs = this.#clock.monotonic();
      this.#unsentBytes = Infinity;
      if (this.#options.outputStallMs > 0) this.#arm(this.#stalledMs + this.#options.outputStallMs / STALL_LOOKS);
    }
    if (!this.#writable) this.#handedBytes += chunk.length;
  }

  /** Acts on how much output waits. */
  #weigh(): void {
    const bytes = this.outputBytes;
    const { outputSoftBytes, outputHardBytes } = this.#options;
    if (bytes > outputHardBytes) {
      this.close(false, `${bytes} bytes of output wait (outputHardBytes ${outputHardBytes})`);
    } else if (!this.#congested && bytes > outputSoftBytes) {
      this.#congested = true;
      if (this.#options.stopReadingWhenFull) this.#hold(HELD_BY_OUTPUT);
    } else if (this.#congested && bytes <= outputSoftBytes / 2) {
      this.#congested = false;
      this.#release(HELD_BY_OUTPUT);
      this.#handler.onDrain?.(this);
    }
  }

  #onDrain(): void {
    if (this.#phase !== 'open') return;
    this.#writable = true;
    this.#handedBytes = 0;
    this.#turnMs = this.#activeMs = this.#clock.monotonic();
    this.#writeStaged();
    this.#weigh();
  }

  #onBytes(chunk: Uint8Array): void {
    if (this.#phase !== 'open') return;
    this.#activeMs = this.#clock.monotonic();
    const fault = this.#reader.read(chunk);
    if (fault !== undefined) this.close(false, fault);
    else this.#watchBuffers(this.#activeMs);
  }

  #claim(bytes: Buffer, at: number, end: number): boolean {
    if (this.#pending.count === 0) return false;
    const opaque = answerOpaque(bytes, at, end);
    return opaque >= 0 && this.#pending.claim(opaque, bytes, at, end);
  }

  #onFrame(frame: Frame): void {
    this.#lastKind = frame.headerKind;
    this.#remoteVersion = frame.version;
    this.#remoteLanguage = frame.language;
    if ((frame.flag & RESPONSE_FLAG) !== 0) this.#pending.settle(frame.opaque, frame);
    else this.#handler.onRequest(this, frame);
  }

  #onClose(reason: string): void {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    const why = this.#reason ?? reason;
    this.#reader.stop();
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
    this.#timer = undefined;
    this.#pending.failAll({ kind: 'closed', message: `connection to ${this.remote} closed: ${why}` });
    this.#handler.onClose(this, why);
  }

  #hold(by: number): void {
    if (this.#holds === 0) {
      this.#reader.stop();
      this.#wire.pause();
    }
    this.#holds |= by;
  }

  #release(by: number): void {
    if ((this.#holds & by) === 0) return;
    this.#holds &= ~by;
    if (this.#holds === 0) this.#turn.atEnd(() => this.#readOn());
  }

  #readOn(): void {
    if (this.#phase !== 'open' || this.#holds !== 0) return;
    const fault = this.#reader.go();
    if (fault !== undefined) this.close(false, fault);
    else if (this.#phase === 'open') {
      this.#watchBuffers(this.#clock.monotonic());
      if (this.#holds === 0) this.#wire.resume();
    }
  }

  /** Sees to it that `#sweep` runs at that time at the latest. */
  #arm(atMs: number): void {
    if (this.#timer !== undefined) {
      if (atMs >= this.#timerMs) return;
      this.#timers.cancel(this.#timer);
    }
    this.#timerMs = atMs;
    this.#timer = this.#timers.after(Math.max(1, Math.ceil(atMs - this.#clock.monotonic())), () => this.#sweep());
  }

  /**
   * When output that nobody takes ends the connection; Infinity while it is taken. A wire that tells only of the last byte gets time for
   * each, so that a slow link is not taken for a dead one.
   */
  #stallAtMs(nowMs: number): number {
    const { outputStallMs } = this.#options;
    if (this.#writable || outputStallMs === 0) return Infinity;
    const unsent = this.#wire.unsentBytes?.();
    if (unsent === undefined) return this.#stalledMs + outputStallMs + this.#handedBytes / SLOWEST_BYTES_PER_MS;
    if (unsent < this.#unsentBytes) {
      this.#unsentBytes = unsent;
      this.#stalledMs = nowMs;
    }
    return this.#stalledMs + outputStallMs;
  }

  /** Gives back what is not in use when it is time; when to do so next. */
  #shrinkAtMs(nowMs: number): number {
    if (nowMs < this.#shrinkMs) return this.#shrinkMs;
    this.#reader.shrink();
    this.#output.shrink();
    return (this.#shrinkMs = this.bufferBytes > BUFFERS_KEPT_BYTES ? nowMs + SHRINK_MS : Infinity);
  }

  #sweep(): void {
    this.#timer = undefined;
    this.#timerMs = Infinity;
    const nowMs = this.#clock.monotonic();
    let nextMs = this.#pending.expire(nowMs, { kind: 'timeout', message: `no answer from ${this.remote} in time` });
    if (this.#phase === 'closed') return;
    if (this.#phase === 'closing') {
      if (nowMs >= this.#closeByMs) this.#wire.close(false);
      else nextMs = Math.min(nextMs, this.#closeByMs);
    } else {
      const stallAtMs = this.#stallAtMs(nowMs);
      if (nowMs >= stallAtMs)
        this.close(false, `the other side has taken no output for ${Math.round(nowMs - this.#stalledMs)} ms (outputStallMs)`);
      else nextMs = Math.min(nextMs, stallAtMs, this.#writable ? Infinity : nowMs + this.#options.outputStallMs / STALL_LOOKS);
    }
    if (this.#phase === 'open' && this.#options.idleMs > 0) {
      const idleAtMs = this.#activeMs + this.#options.idleMs;
      if (nowMs >= idleAtMs) this.close(false, `no byte in either direction for ${this.#options.idleMs} ms (idleMs)`);
      else nextMs = Math.min(nextMs, idleAtMs);
    }
    if (this.#phase === 'open') nextMs = Math.min(nextMs, this.#shrinkAtMs(nowMs));
    if (nextMs < Infinity) this.#arm(nextMs);
  }
}

/** What a connection needs of the world. */
export interface PeerPorts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly turn: Turn;
}

/** The owner of a connection. */
export interface PeerHandler {
  /** A request or one-way request; `frame` is valid only during the call. */
  onRequest(peer: Peer, frame: Frame): void;
  /** Output that was congested has fallen under half of `outputSoftBytes`. */
  onDrain?(peer: Peer): void;
  /** The connection has ended; called once, after all waiting requests have failed. */
  onClose(peer: Peer, reason: string): void;
}

/** Writes a whole frame (both lengths, header, body) of one shape: reserves in `out`, writes, sets `out.at` to the end. */
export interface FrameEncoder<T> {
  encode(out: Output, kind: HeaderKind, opaque: number, value: T): void;
}

/**
 * So much staged output leaves before the turn ends: the other side begins with it while this one goes on. With everything in one
 * write per turn two processes with 1,024 messages between them took turns, and both were idle for 40 % of the time.
 */
const WRITE_EARLY_BYTES = 32 * 1024;

/** 64 KB/s: a link that is slower, of a wire that does not tell what it has sent, than this is taken for one that stands. */
const SLOWEST_BYTES_PER_MS = 64;

/** Looks at a wire that asks to wait, in `outputStallMs`. */
const STALL_LOOKS = 8;

/** What a connection may keep for ever: of ten thousand 160 MB. */
const BUFFERS_KEPT_BYTES = 16 * 1024;

/** A busy connection makes its buffers anew once in so long, which nobody can measure. */
const SHRINK_MS = 1000;

const HELD_BY_OWNER = 1;
const HELD_BY_OUTPUT = 2;
