import { parseHost, type Peer } from '@tallystick/remoting';
import type { HeldPull } from './delivery/pull-hold.ts';
import { LOCAL_HOST } from './identity.ts';

/** What the broker keeps about one connection, in the peer's own slot, so that no map is asked per message. */
export class Connection {
  /** Address of the other side as record bytes. */
  readonly bornHost: Buffer;
  /** Pulls of this connection that wait. */
  readonly held = new Set<HeldPull>();

  constructor(remote: string) {
    this.bornHost = parseHost(remote) ?? LOCAL_HOST;
  }
}

export function connectionOf(peer: Peer): Connection {
  return peer.state as Connection;
}
