import type { Clock, Timer, Timers } from '@tallystick/base';
import type { Peer } from '@tallystick/remoting';
import { connectionOf, Hold } from '../connection.ts';
import type { Counters } from '../counters.ts';

/**
 * What is held for all connections together (unfinished and waiting requests, unanswered sends, answers that nobody has taken), against
 * `clientBytesMax`. Each connection has limits of its own; ten thousand of them are more than a machine has. Looked at as turns end,
 * every {@link LOOK_MS}, and by a timer while it is much.
 *
 *   free    under 70 %                                                                       → spare
 *   spare   connections that have sent messages are not read: their memory is the one that can wait → free under 60 %, short
 *   short   from 85 % on: a pull is answered with 64 KiB at most                             → spare, full
 *   full    from 95 % on: the newest connections that hold any are closed, until it is 90 %   → short
 *
 * A connection in the middle of a long request is read on: its bytes are freed by the end of the request. Parked pulls stay: they hold
 * nothing, and answered they would come again at once.
 */
export class ClientBytes {
  readonly #ports: { readonly clock: Clock; readonly timers: Timers };
  readonly #max: number;
  readonly #waiting: () => number;
  readonly #counters: Counters;
  /** In the order in which they came. */
  readonly #peers = new Set<Peer>();
  #lookedMs = -Infinity;
  #pulledBytes = 0;
  #isSparing = false;
  #timer: Timer | undefined;

  /** `waiting`: bytes of requests that wait in lanes and of sends that wait for the store. */
  constructor(ports: { readonly clock: Clock; readonly timers: Timers }, max: number, waiting: () => number, counters: Counters) {
    this.#ports = ports;
    this.#max = max;
    this.#waiting = waiting;
    this.#counters = counters;
  }

  entered(peer: Peer): void {
    this.#peers.add(peer);
  }

  left(peer: Peer): void {
    this.#peers.delete(peer);
  }

  /** How much the answer to a pull may carry that asks for `wanted`. */
  ofPull(wanted: number): number {
    const { clientBytes, pulledBytes } = this.#counters;
    // Whatever was pulled since may still be on its way.
    const held = clientBytes + pulledBytes - this.#pulledBytes;
    return held < this.#max * SHORT ? wanted : Math.min(wanted, SHORT_PULL_BYTES);
  }

  /** A turn has ended. What it has begun, the answer to a pull for one, may come after it: there is one more look. */
  turnEnded(nowMs: number): void {
    if (nowMs - this.#lookedMs >= LOOK_MS) this.#look(nowMs);
    this.#lookLater();
  }

  stop(): void {
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    this.#timer = undefined;
  }

  #look(nowMs: number): void {
    this.#lookedMs = nowMs;
    this.#pulledBytes = this.#counters.pulledBytes;
    let bytes = this.#waiting();
    for (const peer of this.#peers) bytes += held(peer);
    if (bytes >= this.#max * FULL) bytes = this.#closeNewest(bytes);
    this.#counters.clientBytes = bytes;
    if (bytes >= this.#max * SPARE) this.#spare();
    else if (this.#isSparing && bytes < this.#max * FREE) this.#free();
    if (bytes >= this.#max * MUCH) this.#lookLater();
  }

  #lookLater(): void {
    this.#timer ??= this.#ports.timers.after(LOOK_MS, () => {
      this.#timer = undefined;
      this.#look(this.#ports.clock.monotonic());
    });
  }

  /** Also those that have sent since the last look. */
  #spare(): void {
    if (!this.#isSparing) this.#counters.producersPaused++;
    this.#isSparing = true;
    for (const peer of this.#peers) {
      const connection = connectionOf(peer);
      if (connection.hasSent && peer.heldBytes < LONG_REQUEST_BYTES) connection.hold(Hold.MEMORY);
    }
  }

  #free(): void {
    this.#isSparing = false;
    for (const peer of this.#peers) connectionOf(peer).release(Hold.MEMORY);
  }

  /** What is left. */
  #closeNewest(bytes: number): number {
    let left = bytes;
    for (const peer of [...this.#peers].reverse()) {
      if (left < this.#max * RELIEVED) break;
      if (held(peer) === 0) continue;
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
/** An unfinished request of so much is more than the piece of one that nearly every read ends with. */
const LONG_REQUEST_BYTES = 64 * 1024;
/** Ten thousand connections are summed up in 0.5 ms; in 50 ms a link of 10 Gbit/s brings 60 MB. */
const LOOK_MS = 50;
