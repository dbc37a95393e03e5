import type { Turn, Wire } from './ports.ts';

/**
 * Two wires joined in memory: what one writes the other receives at the end of the turn, in order, chunk by chunk, without a
 * copy. It keeps a socket's manners: `write` says false above `PIPE_SOFT_BYTES` undelivered bytes and `onDrain` follows, a paused end
 * receives nothing, `onClose` comes once at each end and never synchronously, and a graceful close delivers what was written.
 */
export function pipe(turn: Turn, names: readonly [string, string] = ['pipe:a', 'pipe:b']): [Wire, Wire] {
  const a = new PipeEnd(turn, names[1]);
  const b = new PipeEnd(turn, names[0]);
  a.other = b;
  b.other = a;
  return [a, b];
}

/** Undelivered bytes in one direction above which a writer is asked to wait. */
export const PIPE_SOFT_BYTES = 256 * 1024;

/**
 * States: open; closing (close was called here or there, the end of the turn will tell); closed. `#inbox` holds what the other
 * end wrote and this end has not received. `#ended`: the other end will write no more, so an empty inbox means the end.
 */
class PipeEnd implements Wire {
  readonly remote: string;
  onBytes: (chunk: Uint8Array) => void = nothing;
  onDrain: () => void = nothing;
  onClose: (reason: string) => void = nothing;
  other!: PipeEnd;
  readonly #turn: Turn;
  #inbox: Uint8Array[] = [];
  #inboxBytes = 0;
  #scheduled = false;
  #paused = false;
  #closing: string | undefined;
  #ended: string | undefined;
  #closed = false;
  #writerWaits = false;

  constructor(turn: Turn, remote: string) {
    this.#turn = turn;
    this.remote = remote;
  }

  write(chunk: Uint8Array): boolean {
    if (this.#closed || this.#closing !== undefined) return false;
    return this.other.#receive(chunk);
  }

  close(graceful: boolean): void {
    if (this.#closed || this.#closing !== undefined) return;
    this.#closing = 'closed here';
    this.#schedule();
    if (!graceful) this.other.#forget();
    this.other.#ended = 'closed by the other side';
    this.other.#schedule();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  #receive(chunk: Uint8Array): boolean {
    if (this.#closed || this.#closing !== undefined) return true;
    if (chunk.length > 0) {
      this.#inbox.push(chunk);
      this.#inboxBytes += chunk.length;
      this.#schedule();
    }
    this.#writerWaits = this.#inboxBytes > PIPE_SOFT_BYTES;
    return !this.#writerWaits;
  }

  #forget(): void {
    this.#inbox = [];
    this.#inboxBytes = 0;
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    this.#turn.atEnd(() => this.#deliver());
  }

  #deliver(): void {
    this.#scheduled = false;
    // Only what was there when the turn ended: an echo between the ends must not run for ever in one turn.
    let chunks = this.#inbox.length;
    while (chunks-- > 0 && !this.#paused && this.#closing === undefined && this.#inbox.length > 0) {
      const chunk = this.#inbox.shift()!;
      this.#inboxBytes -= chunk.length;
      this.onBytes(chunk);
    }
    if (this.#closing !== undefined) return this.#finish(this.#closing);
    if (this.#writerWaits && this.#inboxBytes <= PIPE_SOFT_BYTES) {
      this.#writerWaits = false;
      this.other.#drained();
    }
    if (this.#inbox.length > 0) {
      if (!this.#paused) this.#schedule();
    } else if (this.#ended !== undefined) {
      this.#finish(this.#ended);
    }
  }

  #drained(): void {
    if (!this.#closed && this.#closing === undefined) this.onDrain();
  }

  #finish(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#forget();
    this.onClose(reason);
  }
}

function nothing(): void {}
