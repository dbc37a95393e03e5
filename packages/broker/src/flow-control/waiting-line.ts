import { Frame, parseFrame, type HeaderKind, type Peer, type ReplyRef } from '@tallystick/remoting';

/**
 * Requests that wait in a lane, first in first out. A frame is a view that dies with the call, so its bytes are copied into pages
 * that are used again when all their frames have gone: no object per request. It counts and bounds nothing; its lane does.
 */
export class WaitingLine {
  /** Requests that wait, and the bytes of their frames. */
  size = 0;
  bytes = 0;
  #mask = 63;
  #head = 0;
  #peers: (Peer | undefined)[] = new Array<Peer | undefined>(64).fill(undefined);
  #pages: (Page | undefined)[] = new Array<Page | undefined>(64).fill(undefined);
  #starts = new Int32Array(64);
  #ends = new Int32Array(64);
  #opaques = new Int32Array(64);
  /** Header kind, or {@link ONEWAY}. */
  #kinds = new Uint8Array(64);
  #sinceMs = new Float64Array(64);
  #page = new Page(PAGE_BYTES);
  #spare: Page | undefined;
  readonly #frame = new Frame();

  /** Monotonic time at which the first one came; Infinity when none waits. */
  get headMs(): number {
    return this.size === 0 ? Infinity : this.#sinceMs[this.#head]!;
  }

  push(peer: Peer, frame: Frame, nowMs: number): void {
    if (this.size > this.#mask) this.#grow();
    const { start, bodyEnd } = frame;
    const length = bodyEnd - start;
    const page = this.#pageFor(length);
    const at = (this.#head + this.size) & this.#mask;
    frame.bytes.copy(page.bytes, page.used, start, bodyEnd);
    this.#peers[at] = peer;
    this.#pages[at] = page;
    this.#starts[at] = page.used;
    this.#ends[at] = page.used += length;
    this.#opaques[at] = frame.opaque;
    this.#kinds[at] = frame.isOneway ? ONEWAY : frame.headerKind;
    this.#sinceMs[at] = nowMs;
    page.live++;
    this.size++;
    this.bytes += length;
  }

  /** Takes the first one out and hands it to `serve`, as it was when it came; the frame is valid during the call. */
  serveFirst(serve: (peer: Peer, frame: Frame) => void): void {
    const at = this.#head;
    const peer = this.#peers[at]!;
    const page = this.#pages[at]!;
    const frame = this.#frame;
    // It was parsed before it was taken in, so it cannot fail now.
    parseFrame(frame, page.bytes, this.#starts[at]!, this.#ends[at]!);
    this.#leave(at);
    try {
      serve(peer, frame);
    } finally {
      this.#free(page);
    }
  }

  /** Takes the first one out unserved. `answer` is told whom, and how long it has waited; the line is already one shorter. */
  dropFirst(nowMs: number, answer: (peer: Peer, ref: ReplyRef, waitedMs: number) => void): void {
    const at = this.#head;
    const peer = this.#peers[at]!;
    const page = this.#pages[at]!;
    const kind = this.#kinds[at]!;
    const oneway = kind === ONEWAY;
    const waitedMs = nowMs - this.#sinceMs[at]!;
    this.#leave(at);
    this.#free(page);
    answer(peer, { opaque: this.#opaques[at]!, kind: (oneway ? 0 : kind) as HeaderKind, oneway }, waitedMs);
  }

  #leave(at: number): void {
    this.bytes -= this.#ends[at]! - this.#starts[at]!;
    this.#peers[at] = undefined;
    this.#pages[at] = undefined;
    this.#head = (at + 1) & this.#mask;
    this.size--;
  }

  #free(page: Page): void {
    if (--page.live > 0) return;
    page.used = 0;
    if (page !== this.#page && page.bytes.length === PAGE_BYTES) this.#spare = page;
  }

  #pageFor(length: number): Page {
    // A large one gets a page of its own, which goes with it.
    if (length > PAGE_BYTES / 4) return new Page(length);
    if (this.#page.used + length > PAGE_BYTES) {
      this.#page = this.#spare ?? new Page(PAGE_BYTES);
      this.#spare = undefined;
    }
    return this.#page;
  }

  #grow(): void {
    const old = this.#mask + 1;
    const from = this.#head;
    const turned = <T>(ring: readonly T[], filler: T): T[] => [
      ...ring.slice(from),
      ...ring.slice(0, from),
      ...new Array<T>(old).fill(filler),
    ];
    const doubled = <T extends Int32Array | Uint8Array | Float64Array>(ring: T, made: T): T => {
      made.set(ring.subarray(from));
      made.set(ring.subarray(0, from), old - from);
      return made;
    };
    this.#peers = turned<Peer | undefined>(this.#peers, undefined);
    this.#pages = turned<Page | undefined>(this.#pages, undefined);
    this.#starts = doubled(this.#starts, new Int32Array(2 * old));
    this.#ends = doubled(this.#ends, new Int32Array(2 * old));
    this.#opaques = doubled(this.#opaques, new Int32Array(2 * old));
    this.#kinds = doubled(this.#kinds, new Uint8Array(2 * old));
    this.#sinceMs = doubled(this.#sinceMs, new Float64Array(2 * old));
    this.#mask = 2 * old - 1;
    this.#head = 0;
  }
}

class Page {
  readonly bytes: Buffer;
  used = 0;
  /** Frames inside that wait or are being served. */
  live = 0;

  constructor(bytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(bytes);
  }
}

/** 256 KiB: some thousand small sends, and what an idle lane keeps. */
const PAGE_BYTES = 256 * 1024;
/** In `#kinds`: nobody waits for an answer. */
const ONEWAY = 255;
