/**
 * One connection per broker address, opened when somebody needs it, shared by everything in a client. Calls made while it opens wait
 * for it (bounded) and go out in order; when it cannot be opened they fail as never sent. A connection that is `held` comes back by itself
 * with growing pauses, because a broker can only ask (check-backs, group changes) over a connection that is there.
 *
 *    state     what is true                              leaves it
 *    idle      nothing there, nothing wanted             want(), a call, hold → dialing
 *    dialing   the dialer is at work, calls wait         wire → open; refusal or connectTimeoutMs → pausing
 *    open      a Peer is there                           Peer closed → pausing (held or wanted) or idle
 *    pausing   the back-off runs, calls fail at once     its end → dialing (held) or idle
 *    closed    the client is closed                      never
 */
import { type Clock, type Dialer, type Random, type Timer, type Timers, type Turn, type Wire, backoffMs } from '@tallystick/base';
import { type Frame, Peer, type PeerError } from '@tallystick/remoting';

export interface PeersPorts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly turn: Turn;
  readonly random: Random;
  readonly dialer: Dialer;
}

export interface PeersOptions {
  readonly connectTimeoutMs: number;
  readonly reconnectFirstMs: number;
  readonly reconnectMaxMs: number;
  readonly waitingCallsMax: number;
  readonly header: 'binary' | 'json';
  readonly connectionIdleMs: number;
  /** Another address to dial for an advertised one (proxies, port maps). */
  readonly mapAddress: (address: string) => string;
}

/** What the owner of the connections wants to know. */
export interface PeersOwner {
  /** A connection is there; what is sent in this call goes out before anything that waited. */
  opened(connection: Connection): void;
  /** It broke, or could not be opened (`reason`). */
  down(connection: Connection, reason: string): void;
  /** The broker asks something. */
  asked(connection: Connection, frame: Frame): void;
}

export type ReplyDone = (error: PeerError | undefined, reply: Frame) => void;
export type Fields = Record<string, string | number | boolean | undefined>;

export class Peers {
  readonly ports: PeersPorts;
  readonly options: PeersOptions;
  readonly owner: PeersOwner;
  readonly #byAddress = new Map<string, Connection>();
  #closed = false;

  constructor(ports: PeersPorts, options: PeersOptions, owner: PeersOwner) {
    this.ports = ports;
    this.options = options;
    this.owner = owner;
  }

  /** The connection for an address, made (not opened) on first sight. */
  to(address: string): Connection {
    let connection = this.#byAddress.get(address);
    if (connection === undefined) {
      connection = new Connection(address, this);
      this.#byAddress.set(address, connection);
      if (this.#closed) connection.close(false);
    }
    return connection;
  }

  all(): Iterable<Connection> {
    return this.#byAddress.values();
  }

  close(graceful: boolean): void {
    this.#closed = true;
    for (const connection of this.#byAddress.values()) connection.close(graceful);
  }
}

/** Somebody who was turned away because a connection had no room. */
export interface TurnedAway {
  /** There may be room now. */
  schedule(): void;
}

interface WaitingCall {
  readonly send: (peer: Peer) => void;
  readonly refuse: (error: PeerError) => void;
}

export class Connection {
  readonly address: string;
  peer: Peer | undefined;
  state: 'idle' | 'dialing' | 'open' | 'pausing' | 'closed' = 'idle';
  /** Counts the peers this connection has had. */
  generation = 0;
  /** Sends without an answer, in messages and bytes; the senders' account. */
  inFlightMessages = 0;
  inFlightBytes = 0;
  /** Senders that this account, which they share, has turned away: a line, whose first one goes before all others. */
  readonly turnedAway = new Set<TurnedAway>();
  /** Whether the broker has said that it stores a numbered request once, however often it comes; undefined until this peer has said either. */
  deduplicates: boolean | undefined = undefined;
  readonly #peers: Peers;
  #held = false;
  #failures = 0;
  /** Why it is not there, for people. */
  #trouble = '';
  #waiting: WaitingCall[] = [];
  #timer: Timer | undefined;
  #dial = 0;

  constructor(address: string, peers: Peers) {
    this.address = address;
    this.#peers = peers;
  }

  /** Opens it if it is not there and no pause runs. */
  want(): void {
    if (this.state === 'idle') this.#open();
  }

  /** From now on it reconnects by itself. */
  hold(): void {
    this.#held = true;
    this.want();
  }

  release(): void {
    this.#held = false;
  }

  /** A request; `done` is called once. An error of kind `refused` says that nothing has been sent. */
  request(code: number, fields: Fields, body: Uint8Array | undefined, timeoutMs: number, done: ReplyDone): void {
    const peer = this.peer;
    if (peer !== undefined) return peer.request(code, fields, body, timeoutMs, done);
    const send = (opened: Peer): void => opened.request(code, fields, body, timeoutMs, done);
    this.#later({ send, refuse: (error) => done(error, undefined as unknown as Frame) });
  }

  /** A one-way message, perhaps with a remark; lost without a word when there is no connection to be had. */
  oneway(code: number, fields: Fields, body?: Uint8Array, remark?: string): void {
    const peer = this.peer;
    if (peer !== undefined) return void peer.oneway(code, fields, body, remark);
    this.#later({ send: (opened) => void opened.oneway(code, fields, body, remark), refuse: () => {} });
  }

  /** Drops the present connection because the other side is silent; calls in flight on it end as closed. */
  drop(): void {
    this.peer?.close(false);
  }

  /** The first of those turned away. */
  firstInLine(): TurnedAway | undefined {
    for (const first of this.turnedAway) return first;
    return undefined;
  }

  /** One of them has sent something, or wants to no more: the next one's turn. */
  leaveLine(sender: TurnedAway): void {
    if (this.turnedAway.delete(sender)) this.firstInLine()?.schedule();
  }

  close(graceful: boolean): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.#cancelTimer();
    this.peer?.close(graceful);
    this.#refuseWaiting('the client is closed');
  }

  #later(call: WaitingCall): void {
    this.want();
    const reason = this.#refusal();
    if (reason === undefined) this.#waiting.push(call);
    else this.#peers.ports.turn.atEnd(() => call.refuse({ kind: 'refused', message: reason }));
  }

  #refusal(): string | undefined {
    if (this.state === 'closed') return 'the client is closed';
    if (this.state === 'pausing') return `a moment ago: ${this.#trouble}`;
    const max = this.#peers.options.waitingCallsMax;
    return this.#waiting.length >= max ? `${max} calls wait for ${this.address} already (waitingCallsMax)` : undefined;
  }

  #open(): void {
    const { ports, options } = this.#peers;
    this.state = 'dialing';
    const dial = ++this.#dial;
    this.#timer = ports.timers.after(options.connectTimeoutMs, () => {
      this.#timer = undefined;
      if (this.#dial === dial) this.#failed(`no connection within ${options.connectTimeoutMs} ms (connectTimeoutMs)`);
    });
    ports.dialer.dial(options.mapAddress(this.address), (error, wire) => {
      if (this.#dial !== dial || this.state !== 'dialing') {
        if (error === undefined) wire.close(false);
        return;
      }
      if (error === undefined) this.#opened(wire);
      else this.#failed(error);
    });
  }

  #opened(wire: Wire): void {
    this.#cancelTimer();
    const { ports, options, owner } = this.#peers;
    const peer = new Peer(
      wire,
      ports,
      { kind: options.header, idleMs: options.connectionIdleMs },
      {
        onRequest: (_, frame) => owner.asked(this, frame),
        onClose: (_, reason) => this.#lost(peer, reason),
      },
    );
    this.peer = peer;
    this.state = 'open';
    this.#failures = 0;
    // Another broker may listen there now.
    this.deduplicates = undefined;
    this.generation++;
    owner.opened(this);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const call of waiting) call.send(peer);
  }

  #lost(peer: Peer, reason: string): void {
    if (this.peer !== peer) return;
    this.peer = undefined;
    this.#trouble = `${this.address}: ${reason}`;
    if (this.state === 'open') {
      // A pause even before the first attempt: who has just closed is seldom listening yet.
      this.state = 'idle';
      if (this.#held) this.#pause();
    }
    this.#peers.owner.down(this, reason);
  }

  #failed(reason: string): void {
    this.#cancelTimer();
    this.#dial++;
    if (this.state !== 'dialing') return;
    this.#failures++;
    this.#trouble = reason.includes(this.address) ? reason : `${this.address}: ${reason}`;
    this.#pause();
    this.#refuseWaiting(this.#trouble);
    this.#peers.owner.down(this, reason);
  }

  #pause(): void {
    const { ports, options } = this.#peers;
    const backoff = { firstMs: options.reconnectFirstMs, maxMs: options.reconnectMaxMs };
    this.state = 'pausing';
    this.#timer = ports.timers.after(backoffMs(backoff, Math.max(1, this.#failures), ports.random.u32()), () => {
      this.#timer = undefined;
      this.state = 'idle';
      if (this.#held) this.#open();
      else this.#peers.owner.down(this, 'pause over');
    });
  }

  #refuseWaiting(message: string): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const call of waiting) call.refuse({ kind: 'refused', message });
  }

  #cancelTimer(): void {
    if (this.#timer !== undefined) this.#peers.ports.timers.cancel(this.#timer);
    this.#timer = undefined;
  }
}
