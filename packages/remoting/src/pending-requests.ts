import type { Frame } from './frame.ts';

/** Why a request has no answer. `refused`: it was never sent. `timeout` and `closed`: it may have been carried out. */
export interface PeerError {
  readonly kind: 'timeout' | 'closed' | 'refused';
  readonly message: string;
}

/** Receives the answer of a request; `token` is whatever the asker gave. `reply` is valid only during the call, and only without an error. */
export interface ReplySink {
  onReply(token: number, error: PeerError | undefined, reply: Frame): void;
}

/**
 * Requests that wait for their answers, in a ring of slots: a request's opaque is chosen so that its low bits are a free slot, so
 * matching is one array read and nothing is allocated per request (a Map costs about 0.2 µs more per message). The ring doubles when half full, up to
 * `pendingMax` waiting requests.
 */
export class PendingRequests {
  #size = 64;
  #opaques = new Int32Array(64);
  #deadlines = new Float64Array(64);
  #tokens = new Float64Array(64);
  #sinks: (ReplySink | undefined)[] = new Array<ReplySink | undefined>(64).fill(undefined);
  #next = 0;
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
    while (this.#sinks[opaque & (this.#size - 1)] !== undefined) opaque = (opaque + 1) & 0x7fffffff;
    this.#next = (opaque + 1) & 0x7fffffff;
    const slot = opaque & (this.#size - 1);
    this.#opaques[slot] = opaque;
    this.#deadlines[slot] = deadlineMs;
    this.#tokens[slot] = token;
    this.#sinks[slot] = sink;
    this.#count++;
    return opaque;
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
    const age = (opaque: number): number => (this.#next - opaque) & 0x7fffffff;
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
