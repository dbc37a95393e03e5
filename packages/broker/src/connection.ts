import { parseHost, type Peer } from '@tallystick/remoting';
import type { HeldPull } from './delivery/pull-hold.ts';
import { LOCAL_HOST } from './identity.ts';

/** What the broker keeps about one connection, in the peer's own slot, so that no map is asked per message. */
export class Connection {
  /** Address of the other side as record bytes. */
  readonly bornHost: Buffer;
  /** Pulls of this connection that wait. */
  readonly held = new Set<HeldPull>();
  /** Requests that came by it. */
  requests = 0;
  /** Sends that were taken in and are not answered, and their bytes; kept by `Admission`. */
  sends = 0;
  sendBytes = 0;
  readonly #peer: Peer;
  #holds = 0;

  constructor(peer: Peer) {
    this.#peer = peer;
    this.bornHost = parseHost(peer.remote) ?? LOCAL_HOST;
  }

  /** Why it is not read now: bits of {@link Hold}; 0 when it is read. */
  get holds(): number {
    return this.#holds;
  }

  /** Is not read until every reason has gone. */
  hold(reason: number): void {
    if (this.#holds === 0) this.#peer.pause();
    this.#holds |= reason;
  }

  release(reason: number): void {
    if ((this.#holds & reason) === 0) return;
    this.#holds &= ~reason;
    if (this.#holds === 0) this.#peer.resume();
  }
}

/** Reasons not to read a connection. */
export const Hold = {
  /** Too many of its sends are not answered. */
  SENDS: 1,
  /** The lane of its requests is full. */
  LANE: 2,
  /** Too many confirmations are unfinished. */
  ENDS: 4,
  /** The broker is stopping. */
  STOPPING: 8,
} as const;

export function connectionOf(peer: Peer): Connection {
  return peer.state as Connection;
}
