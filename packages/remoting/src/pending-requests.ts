import type { Frame } from './frame.ts';

/** Why a request has no answer. `refused`: it was never sent. `timeout` and `closed`: it may have been carried out. */
export interface PeerError {
  readonly kind: 'timeout' | 'closed' | 'refused';
  readonly message: string;
}

/** Receives the answer of a request; `token` is whatever the asker gave. `reply` is valid only during the call, and only without an error. */
export interface ReplySink {
  onReply(token: number, error: PeerError | undefined, reply: Frame): void;
  /** A short cut past the decoding of the frame in bytes [at, end): true when all that matters has been read from it. No effects yet. */
  reads?(bytes: Buffer, at: number, end: number): boolean;
  /** After `reads` said yes: what it has read is the answer to `token`. */
  onRead?(token: number): void;
}

/**
 * Requests that wait for their answers, in a ring of slots: a request's opaque is chosen so that its low bits are a free slot, so
 * matching is one array read and nothing is allocated per request (a Map costs about 0.2 µs more per message). The ring doubles when half full, up to
 * `pendingMax` waiting requests. Opaques all have ten digits: a frame that was encoded before its number was known keeps its length.
 */
export class PendingRequests {
  #size = 64;
  #opaques = new Int32Array(64);
  #deadlines = new Float64Array(64);
  #tokens = new Float64Array(64);
  #sinks: (ReplySink | undefined)[] = new Array<ReplySink | undefined>(64).fill(undefined);
  #next = OPAQUE_MIN;
  #count = 0;
  readonly #pendingMax: number;

  constructor(pendingMax: number) {
    this.#pendingMax = pendingMax;
  }

  get count(): number {
    return this.#count;
  }

  /** Notes a request that waits until `deadlineMs`; its opaque, or -1 when too many wait. */
  add(deadlineMs: number, sink: ReplySink, token: number): number {
    if (this.#count >= this.#pendingMax) return -1;
    if (this.#count * 2 >= this.#size) this.#grow();
    let opaque = this.#next;
    while (this.#sinks[opaque & (this.#size - 1)] !== undefined) opaque = after(opaque);
    this.#next = after(opaque);
    this.#note(opaque, deadlineMs, sink, token);
    return opaque;
  }

  /** Notes `count` requests with consecutive opaques and the tokens 0, 1, 2 …; the first opaque, or -1 when too many wait. */
  addRange(count: number, deadlineMs: number, sink: ReplySink): number {
    if (this.#count + count > this.#pendingMax) return -1;
    while ((this.#count + count) * 2 > this.#size) this.#grow();
    let first = this.#next;
    for (let free = 0, passed = 0; free < count;) {
      if (first + free > OPAQUE_MAX) {
        first = OPAQUE_MIN;
        free = 0;
      } else if (this.#sinks[(first + free) & (this.#size - 1)] === undefined) {
        free++;
      } else {
        passed += free + 1;
        first += free + 1;
        free = 0;
        // Long waits lie scattered over the ring: twice the ring has twice the gaps.
        if (passed > this.#size) {
          this.#grow();
          passed = 0;
        }
      }
    }
    for (let n = 0; n < count; n++) this.#note(first + n, deadlineMs, sink, n);
    this.#next = after(first + count - 1);
    return first;
  }

  /** Hands an answer to whom it belongs; false when nobody waits for it (late, repeated or invented). */
  settle(opaque: number, reply: Frame): boolean {
    const slot = opaque & (this.#size - 1);
    const sink = this.#sinks[slot];
    if (sink === undefined || this.#opaques[slot] !== opaque) return false;
    this.#sinks[slot] = undefined;
    this.#count--;
    sink.onReply(this.#tokens[slot]!, undefined, reply);
    return true;
  }

  /** As `settle` for a frame that has not been decoded; false when it has to be. */
  claim(opaque: number, bytes: Buffer, at: number, end: number): boolean {
    const slot = opaque & (this.#size - 1);
    const sink = this.#sinks[slot];
    if (sink === undefined || this.#opaques[slot] !== opaque || sink.reads === undefined || !sink.reads(bytes, at, end))
      return false;
    this.#sinks[slot] = undefined;
    this.#count--;
    sink.onRead!(this.#tokens[slot]!);
    return true;
  }

  /** Fails all whose time is over; the earliest deadline of the others, or Infinity. */
  expire(nowMs: number, error: PeerError): number {
    const late = this.#inOrder((slot) => this.#deadlines[slot]! <= nowMs);
    this.#fail(late, error);
    let earliest = Infinity;
    for (let slot = 0; slot < this.#size; slot++) {
      if (this.#sinks[slot] !== undefined && this.#deadlines[slot]! < earliest) earliest = this.#deadlines[slot]!;
    }
    return earliest;
  }

  /** Fails all, in the order they were asked. */
  failAll(error: PeerError): void {
    this.#fail(
      this.#inOrder(() => true),
      error,
    );
  }

  #note(opaque: number, deadlineMs: number, sink: ReplySink, token: number): void {
    const slot = opaque & (this.#size - 1);
    this.#opaques[slot] = opaque;
    this.#deadlines[slot] = deadlineMs;
    this.#tokens[slot] = token;
    this.#sinks[slot] = sink;
    this.#count++;
  }

  #fail(opaques: readonly number[], error: PeerError): void {
    for (const opaque of opaques) {
      const slot = opaque & (this.#size - 1);
      const sink = this.#sinks[slot];
      if (sink === undefined || this.#opaques[slot] !== opaque) continue;
      this.#sinks[slot] = undefined;
      this.#count--;
      sink.onReply(this.#tokens[slot]!, error, undefined as never);
    }
  }

  /** Opaques of the waiting requests that match, oldest first. */
  #inOrder(matches: (slot: number) => boolean): number[] {
    const opaques: number[] = [];
    for (let slot = 0; slot < this.#size; slot++) {
      if (this.#sinks[slot] !== undefined && matches(slot)) opaques.push(this.#opaques[slot]!);
    }
    const age = (opaque: number): number => (this.#next - opaque) & (OPAQUE_MIN - 1);
    return opaques.sort((a, b) => age(b) - age(a));
  }

  /** Opaques that differ in their low bits still differ with one bit more. */
  #grow(): void {
    const old = {
      size: this.#size,
      opaques: this.#opaques,
      deadlines: this.#deadlines,
      tokens: this.#tokens,
      sinks: this.#sinks,
    };
    this.#size *= 2;
    this.#opaques = new Int32Array(this.#size);
    this.#deadlines = new Float64Array(this.#size);
    this.#tokens = new Float64Array(this.#size);
    this.#sinks = new Array<ReplySink | undefined>(this.#size).fill(undefined);
    for (let from = 0; from < old.size; from++) {
      if (old.sinks[from] === undefined) continue;
      const slot = old.opaques[from]! & (this.#size - 1);
      this.#opaques[slot] = old.opaques[from]!;
      this.#deadlines[slot] = old.deadlines[from]!;
      this.#tokens[slot] = old.tokens[from]!;
      this.#sinks[slot] = old.sinks[from];
    }
  }
}

/** Opaques run through these 2^30 numbers and start anew. */
const OPAQUE_MIN = 0x40000000;
const OPAQUE_MAX = 0x7fffffff;

function after(opaque: number): number {
  return opaque === OPAQUE_MAX ? OPAQUE_MIN : opaque + 1;
}
