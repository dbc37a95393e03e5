import type { Clock, Timer, Timers } from '@tallystick/base';
import type { Peer } from '@tallystick/remoting';
import type { Counters } from '../counters.ts';

/**
 * What is held for all connections together (unfinished and waiting requests, unanswered sends, answers that nobody has taken), against
 * `clientBytesMax`. Each connection has limits of its own; ten thousand of them are more than a machine has. Looked at as turns end,
 * every {@link LOOK_MS}, and by a timer while it is much, or may be after what was read and pulled since.
 *
 *   free    under 70 %                                                                       → spare
 *   spare   sends are refused at the door: they are what can wait, and go elsewhere            → free under 60 %, short
 *   short   from 85 % on: a pull is answered with 64 KiB at most                             → spare, full
 *   full    from 95 % on: the connections that hold most are closed, until it is 90 %         → short
 *
 * Nobody is left unread for it: what is unread holds its piece of memory for ever, and confirmations and heartbeats come by the same
 * connections. Parked pulls stay: they hold nothing, and answered they would come again at once.
 */
export class ClientBytes {
  readonly #ports: { readonly clock: Clock; readonly timers: Timers };
  readonly #max: number;
  readonly #waiting: () => number;
  readonly #readBytes: () => number;
  readonly #counters: Counters;
  readonly #changed: () => void;
  /** In the order in which they came. */
  readonly #peers = new Set<Peer>();
  #lookedMs = -Infinity;
  /** What had been pulled and read then. */
  #pulledBytes = 0;
  #lookedBytes = 0;
  #isSparing = false;
  #timer: Timer | undefined;

  /**
   * `waiting`: bytes of requests that wait in lanes and of sends that wait for the store. `readBytes`: what was read of connections, ever.
   * `changed`: sends are refused from now on, or are no more.
   */
  constructor(
    ports: { readonly clock: Clock; readonly timers: Timers },
    max: number,
    waiting: () => number,
    readBytes: () => number,
    counters: Counters,
    changed: () => void,
  ) {
    this.#ports = ports;
    this.#max = max;
    this.#waiting = waiting;
    this.#readBytes = readBytes;
    this.#counters = counters;
    this.#changed = changed;
  }

  entered(peer: Peer): void {
    this.#peers.add(peer);
  }

  left(peer: Peer): void {
    this.#peers.delete(peer);
  }

  /** Sends are refused. */
  get isSparing(): boolean {
    return this.#isSparing;
  }

  /** How much the answer to a pull may carry that asks for `wanted`. */
  ofPull(wanted: number): number {
    const { clientBytes, pulledBytes } = this.#counters;
    // Whatever was pulled since may still be on its way.
    const held = clientBytes + pulledBytes - this.#pulledBytes;
    // The answer may come when no turn does any more.
    if (held + wanted >= this.#max * MUCH) this.#lookLater();
    return held < this.#max * SHORT ? wanted : Math.min(wanted, SHORT_PULL_BYTES);
  }

  /** A turn has ended. */
  turnEnded(nowMs: number): void {
    const { clientBytes, pulledBytes } = this.#counters;
    if (nowMs - this.#lookedMs >= LOOK_MS) this.#look(nowMs);
    else if (clientBytes + pulledBytes - this.#pulledBytes + this.#readBytes() - this.#lookedBytes >= this.#max * MUCH)
      this.#lookLater();
  }

  stop(): void {
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    this.#timer = undefined;
  }

  #look(nowMs: number): void {
    this.#lookedMs = nowMs;
    this.#pulledBytes = this.#counters.pulledBytes;
    this.#lookedBytes = this.#readBytes();
    const waiting = this.#waiting();
    let bytes = waiting;
    for (const peer of this.#peers) bytes += held(peer);
    // What waits in lanes is freed by nobody's end.
    if (bytes >= this.#max * FULL && waiting < this.#max * RELIEVED) bytes = this.#closeLargest(bytes);
    this.#counters.clientBytes = bytes;
    const isSparing = bytes >= this.#max * (this.#isSparing ? FREE : SPARE);
    if (isSparing !== this.#isSparing) {
      this.#isSparing = isSparing;
      this.#changed();
    }
    if (bytes >= this.#max * MUCH) this.#lookLater();
  }

  #lookLater(): void {
    this.#timer ??= this.#ports.timers.after(LOOK_MS, () => {
      this.#timer = undefined;
      this.#look(this.#ports.clock.monotonic());
    });
  }

  /** Of those that hold as much the newest first. Answers what is left. */
  #closeLargest(bytes: number): number {
    let left = bytes;
    const largest = [...this.#peers].reverse().sort((a, b) => held(b) - held(a));
    for (const peer of largest) {
      if (left < this.#max * RELIEVED || held(peer) === 0) break;
      left -= held(peer);
      this.#peers.delete(peer);
      peer.close(false, `${bytes} bytes are held for clients (clientBytesMax ${this.#max})`);
    }
    return left;
  }
}

function held(peer: Peer): number {
  return peer.heldBytes + peer.outputBytes;
}

/** It is looked at again and again although nothing happens. */
const MUCH = 0.5;
const FREE = 0.6;
const SPARE = 0.7;
const SHORT = 0.85;
const RELIEVED = 0.9;
const FULL = 0.95;
const SHORT_PULL_BYTES = 64 * 1024;
/** Ten thousand connections are summed up in 0.5 ms; in 50 ms a link of 10 Gbit/s brings 60 MB. */
const LOOK_MS = 50;
