/**
 * What the producers and consumers of one client share: the groups it has joined, the brokers it knows, and the heartbeat that tells
 * the latter of the former. A heartbeat is the first thing on every new connection to a broker, is repeated every
 * `heartbeatIntervalMs`, and goes out at once when a group joins; a broker that leaves it unanswered loses its connection, because
 * nothing else would notice a half-dead one. Members that brokers must be able to reach (transaction producers, consumers) keep the connections
 * to all known brokers open.
 *
 * It also hands on what brokers ask: check-backs to the producer of the group, group changes to the consumer.
 */
import type { Timer } from '@tallystick/base';
import { type Frame, RequestCode, ResponseCode } from '@tallystick/remoting';
import { type ClientError, answerError, callError, fail } from './errors.ts';
import type { ClientOptions } from './options.ts';
import type { Connection, Peers, PeersOwner } from './peers.ts';

export interface ProducerMember {
  readonly group: string;
  /** Brokers ask this one: its connections are kept open. */
  readonly reachable: boolean;
  /** A check-back (code 39); `frame` is valid during the call. */
  checked(connection: Connection, frame: Frame): void;
}

export interface ConsumerMember {
  readonly group: string;
  /** The group's entry in the heartbeat, in RocketMQ's shape. */
  heartbeat(): object;
  /** The group has gained or lost a member. */
  changed(): void;
}

/** Finds brokers when no route has told of one yet. */
export interface BrokerSource {
  brokers(done: (error: ClientError | undefined, addresses: readonly string[]) => void): void;
}

/** Told when a connection opens, breaks or may be tried again. */
export type ConnectionWatcher = (connection: Connection) => void;

export class Session implements PeersOwner {
  readonly clientId: string;
  readonly #options: ClientOptions;
  readonly #report: (sentence: string, cause: unknown) => void;
  readonly #brokers = new Set<string>();
  readonly #producers = new Set<ProducerMember>();
  readonly #consumers = new Map<string, ConsumerMember>();
  readonly #watchers = new Set<ConnectionWatcher>();
  /** Connections that were asked whether anybody is there. */
  readonly #suspected = new Set<Connection>();
  #peers!: Peers;
  #source!: BrokerSource;
  #timer: Timer | undefined;
  #closed = false;

  constructor(clientId: string, options: ClientOptions, report: (sentence: string, cause: unknown) => void) {
    this.clientId = clientId;
    this.#options = options;
    this.#report = report;
  }

  /** Joins session and connections, which know each other; called once, at construction of the client. */
  wire(peers: Peers, source: BrokerSource): void {
    this.#peers = peers;
    this.#source = source;
    this.#schedule();
  }

  watchConnections(watcher: ConnectionWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** A route has named brokers. */
  learned(addresses: Iterable<string>): void {
    for (const address of addresses) {
      if (this.#brokers.has(address) || this.#closed) continue;
      this.#brokers.add(address);
      const connection = this.#peers.to(address);
      if (this.#mustBeReachable()) connection.hold();
      if (connection.state === 'open') this.#beat(connection);
    }
  }

  joinProducer(member: ProducerMember): void {
    this.#producers.add(member);
    this.#holdAll();
  }

  joinConsumer(member: ConsumerMember): void {
    this.#consumers.set(member.group, member);
    this.#holdAll();
  }

  hasConsumer(group: string): boolean {
    return this.#consumers.has(group);
  }

  /**
   * Tells all brokers of our groups and waits: `done` without an error once at least one broker has taken it and the others have answered
   * or failed; with one when `startTimeoutMs` is over and none has.
   */
  announce(done: (error: ClientError | undefined) => void): void {
    const untilMs = this.#peers.ports.clock.monotonic() + this.#options.startTimeoutMs;
    const attempt = (): void => {
      this.#announceOnce((error) => {
        if (error === undefined) return done(undefined);
        if (this.#closed || this.#peers.ports.clock.monotonic() + this.#options.routeRetryMs >= untilMs) return done(error);
        this.#peers.ports.timers.after(this.#options.routeRetryMs, attempt);
      });
    };
    attempt();
  }

  /** A heartbeat to every connected broker, now. */
  beatAll(): void {
    for (const address of this.#brokers) {
      const connection = this.#peers.to(address);
      if (connection.state === 'open') this.#beat(connection);
    }
  }

  /** A producer goes; the last of its group takes the group out of the brokers' lists. `done` when they have answered or failed to. */
  leaveProducer(member: ProducerMember, done: () => void): void {
    this.#producers.delete(member);
    for (const other of this.#producers) if (other.group === member.group) return done();
    this.#unregister({ clientID: this.clientId, producerGroup: member.group }, done);
  }

  leaveConsumer(group: string, done: () => void): void {
    this.#consumers.delete(group);
    this.#unregister({ clientID: this.clientId, consumerGroup: group }, done);
  }

  /** A request went unanswered: a heartbeat finds out whether the connection is dead, and drops it then. */
  suspect(connection: Connection): void {
    if (this.#suspected.has(connection) || connection.state !== 'open' || !this.#brokers.has(connection.address)) return;
    this.#suspected.add(connection);
    this.#beat(connection, () => this.#suspected.delete(connection));
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== undefined) this.#peers.ports.timers.cancel(this.#timer);
  }

  opened(connection: Connection): void {
    if (this.#brokers.has(connection.address)) this.#beat(connection);
    for (const watcher of [...this.#watchers]) watcher(connection);
  }

  down(connection: Connection, _reason: string): void {
    for (const watcher of [...this.#watchers]) watcher(connection);
  }

  asked(connection: Connection, frame: Frame): void {
    switch (frame.code) {
      case RequestCode.CHECK_TRANSACTION_STATE:
        return this.#checked(connection, frame);
      case RequestCode.NOTIFY_CONSUMER_IDS_CHANGED:
        this.#consumers.get(frame.fields().get('consumerGroup') ?? '')?.changed();
        return;
      default:
        connection.peer?.answer(
          frame.ref(),
          ResponseCode.REQUEST_CODE_NOT_SUPPORTED,
          ` request type ${frame.code} not supported`,
        );
    }
  }

  #checked(connection: Connection, frame: Frame): void {
    for (const member of this.#producers) if (member.reachable) member.checked(connection, frame);
  }

  #unregister(fields: Readonly<Record<string, string>>, done: () => void): void {
    if (!this.#mustBeReachable()) for (const address of this.#brokers) this.#peers.to(address).release();
    const open = [...this.#brokers].map((address) => this.#peers.to(address)).filter((connection) => connection.state === 'open');
    let left = open.length;
    if (left === 0) return done();
    for (const connection of open) {
      connection.request(RequestCode.UNREGISTER_CLIENT, fields, undefined, this.#options.requestTimeoutMs, () => {
        if (--left === 0) done();
      });
    }
  }

  #mustBeReachable(): boolean {
    if (this.#consumers.size > 0) return true;
    for (const member of this.#producers) if (member.reachable) return true;
    return false;
  }

  #holdAll(): void {
    if (!this.#mustBeReachable()) return;
    for (const address of this.#brokers) this.#peers.to(address).hold();
  }

  #announceOnce(done: (error: ClientError | undefined) => void): void {
    this.#source.brokers((error, addresses) => {
      if (error !== undefined && this.#brokers.size === 0) return done(error);
      this.learned(addresses);
      this.#holdAll();
      this.#beatEach(
        [...this.#brokers].map((address) => this.#peers.to(address)),
        done,
      );
    });
  }

  #beatEach(connections: readonly Connection[], done: (error: ClientError | undefined) => void): void {
    let left = connections.length;
    let taken = 0;
    let last: ClientError | undefined;
    if (left === 0) return done(fail('NO_CONNECTION', 'no broker is known'));
    for (const connection of connections) {
      this.#beat(connection, (error) => {
        if (error === undefined) taken++;
        else last = error;
        if (--left === 0) done(taken > 0 ? undefined : last);
      });
    }
  }

  #beat(connection: Connection, done: (error: ClientError | undefined) => void = noResult): void {
    if (this.#producers.size === 0 && this.#consumers.size === 0) return done(undefined);
    const { generation } = connection;
    connection.request(RequestCode.HEART_BEAT, {}, this.#heartbeat(), this.#options.requestTimeoutMs, (error, reply) => {
      if (error !== undefined) {
        if (error.kind === 'timeout' && connection.generation === generation) connection.drop();
        return done(callError(error.kind, error.message));
      }
      if (reply.code === ResponseCode.SUCCESS) {
        connection.deduplicates = reply.fields().get('TS_DEDUP') === '1';
        return done(undefined);
      }
      const refusal = answerError(reply.code, reply.remark());
      this.#report(`${connection.address} refused our heartbeat`, refusal);
      done(refusal);
    });
  }

  #heartbeat(): Uint8Array {
    const heartbeat = {
      clientID: this.clientId,
      producerDataSet: [...new Set([...this.#producers].map((member) => member.group))].map((groupName) => ({ groupName })),
      consumerDataSet: [...this.#consumers.values()].map((member) => member.heartbeat()),
      heartbeatFingerprint: 0,
      withoutSub: false,
    };
    return Buffer.from(JSON.stringify(heartbeat), 'utf8');
  }

  #schedule(): void {
    this.#timer = this.#peers.ports.timers.after(this.#options.heartbeatIntervalMs, () => {
      this.beatAll();
      this.#schedule();
    });
  }
}

function noResult(): void {}
