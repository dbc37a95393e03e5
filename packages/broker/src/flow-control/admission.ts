/**
 * The door for sends: how many, and how many bytes of them, may wait for the store at once. Confirmations, offsets and heartbeats
 * do not pass here: what has been accepted must be able to end even when nothing new can begin.
 */
export class Admission {
  readonly #countMax: number;
  readonly #bytesMax: number;
  #count = 0;
  #bytes = 0;

  constructor(countMax: number, bytesMax: number) {
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
  }

  /** Takes a send in; false when the house is full. A single send larger than the whole limit enters an empty house. */
  enter(bytes: number): boolean {
    if (this.#count >= this.#countMax || (this.#count > 0 && this.#bytes + bytes > this.#bytesMax)) return false;
    this.#count++;
    this.#bytes += bytes;
    return true;
  }

  leave(bytes: number): void {
    this.#count--;
    this.#bytes -= bytes;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }
}

/** RocketMQ's words for a full queue; the "too many requests" of its log never was on the wire. */
export const OVERLOAD_TEXT = '[OVERLOAD]system busy, start flow control for a while';
