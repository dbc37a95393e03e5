import type { ClientOptions } from './options.ts';
import type { Peers, PeersPorts } from './peers.ts';
import type { RouteTable } from './route/route-table.ts';
import type { NameServer } from './route/name-server.ts';
import type { Session } from './session.ts';

/** What producers, consumers and admin share, handed to each by the client. */
export interface ClientContext {
  readonly ports: PeersPorts;
  readonly options: ClientOptions;
  readonly peers: Peers;
  readonly names: NameServer;
  readonly routes: RouteTable;
  readonly session: Session;
  /** A line for the log: something went wrong that no caller is told. */
  readonly report: (sentence: string, cause: unknown) => void;
}
