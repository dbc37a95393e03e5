/**
 * The client's wiring: one session (groups, heartbeats, brokers), one set of connections, one table of routes, and whatever
 * producers and consumers are made of them. Synchronous and free of promises; `shell/` adds those.
 */
import { resolveOptions } from '@tallystick/base';
import { AdminCore } from './admin/admin-core.ts';
import { type ConsumerSetup, PushConsumerCore } from './consumer/push-consumer-core.ts';
import type { ClientContext } from './context.ts';
import {
  CLIENT_OPTIONS,
  CONSUMER_OPTIONS,
  type GivenClientOptions,
  type GivenConsumerOptions,
  type GivenProducerOptions,
  type GivenTransactionOptions,
  TRANSACTION_OPTIONS,
} from './options.ts';
import { Peers, type PeersPorts } from './peers.ts';
import { producerOptions, resolveWithRules } from './producer/config-rules.ts';
import { ProducerCore } from './producer/producer-core.ts';
import { NameServer } from './route/name-server.ts';
import { RouteTable } from './route/route-table.ts';
import { Session } from './session.ts';
import { type TransactionCallbacks, TransactionProducerCore } from './transaction/transaction-producer-core.ts';

export type ClientCoreOptions = GivenClientOptions & {
  /** Name servers, `host:port`, several joined by `;`. */
  readonly address: string;
  /** Dials another address for an advertised one (proxies, port maps). */
  readonly mapAddress?: ((address: string) => string) | undefined;
  /** Gets what goes wrong and no caller is told, one sentence each. */
  readonly onReport?: ((sentence: string, cause: unknown) => void) | undefined;
};

export type TransactionCoreOptions = GivenTransactionOptions & { readonly listener: TransactionCallbacks };

export type ConsumerCoreOptions = GivenConsumerOptions & {
  readonly topics: ConsumerSetup['topics'];
  /**
   * Where a group without stored offsets begins: with what is there (`first`), or with what comes (`last`, the default). A topic that is
   * made while the consumer waits for it is consumed from its first message either way.
   */
  readonly from?: 'first' | 'last' | undefined;
  readonly handler: ConsumerSetup['handler'];
};

/** The group name that RocketMQ's clients send retry copies under. */
const RETRY_PRODUCER_GROUP = 'CLIENT_INNER_PRODUCER';
/** How long a close waits for the last records when the caller says nothing. */
const CLOSE_TIMEOUT_MS = 30_000;

interface Closable {
  close(done: () => void): void;
}

export class ClientCore {
  readonly clientId: string;
  readonly #context: ClientContext;
  /** What is to be closed, in the order it was made. */
  readonly #parts = new Set<Closable>();
  /** Who waits for the end of a close that is under way. */
  readonly #whenClosed: (() => void)[] = [];
  #isClosed = false;

  /** Throws an OptionsError for options that cannot work. */
  constructor(ports: PeersPorts, { address, mapAddress, onReport, ...given }: ClientCoreOptions) {
    const options = resolveOptions('Client', CLIENT_OPTIONS, given);
    const report = onReport ?? (() => {});
    this.clientId =
      options.clientId === '' ? `tallystick@${hex8(ports.random.u32())}${hex8(ports.random.u32())}` : options.clientId;
    const session = new Session(this.clientId, options, report);
    const peers = new Peers(ports, { ...options, mapAddress: mapAddress ?? ((advertised) => advertised) }, session);
    const servers = address.split(';').map((server) => server.trim());
    const names = new NameServer(peers, servers, options.requestTimeoutMs);
    const routes = new RouteTable(names, ports.timers, options, (route) => session.learned(route.addresses.values()));
    session.wire(peers, names);
    this.#context = { ports, options, peers, names, routes, session, report };
  }

  producer(given: GivenProducerOptions = {}): ProducerCore {
    const options = producerOptions('producer', given);
    const producer = new ProducerCore(this.#context, options);
    const member = { group: options.group, reachable: false, checked: () => {} };
    this.#context.session.joinProducer(member);
    producer.onClosed = (done) => {
      this.#parts.delete(part);
      this.#context.session.leaveProducer(member, done);
    };
    const part: Closable = { close: (done) => producer.close(CLOSE_TIMEOUT_MS, done) };
    this.#parts.add(part);
    return producer;
  }

  transactionProducer({ listener, ...given }: TransactionCoreOptions): TransactionProducerCore {
    const options = resolveWithRules('transaction producer', TRANSACTION_OPTIONS, given);
    const producer = new TransactionProducerCore(this.#context, options, listener);
    const part: Closable = { close: (done) => producer.close(CLOSE_TIMEOUT_MS, done) };
    this.#parts.add(part);
    producer.onClosed = () => this.#parts.delete(part);
    return producer;
  }

  /** Producers and consumers that are not closed. */
  get parts(): number {
    return this.#parts.size;
  }

  consumer({ topics, from, handler, ...given }: ConsumerCoreOptions): PushConsumerCore {
    const options = resolveOptions('consumer', CONSUMER_OPTIONS, given);
    const retries = new ProducerCore(this.#context, producerOptions('producer', { group: RETRY_PRODUCER_GROUP }));
    const consumer = new PushConsumerCore(this.#context, options, { topics, from: from ?? 'last', handler }, retries);
    this.#parts.add(consumer);
    consumer.onClosed = () => this.#parts.delete(consumer);
    return consumer;
  }

  admin(): AdminCore {
    return new AdminCore(this.#context);
  }

  /** Closes consumers and producers, last made first, then the connections. Waits as each of them does. */
  close(done: () => void): void {
    if (this.#isClosed) return done();
    this.#whenClosed.push(done);
    if (this.#whenClosed.length > 1) return;
    const parts = [...this.#parts].reverse();
    const next = (): void => {
      const part = parts.shift();
      if (part !== undefined) return part.close(next);
      this.#context.routes.close();
      this.#context.session.close();
      this.#context.peers.close(true);
      this.#isClosed = true;
      for (const tell of this.#whenClosed.splice(0)) tell();
    };
    next();
  }
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, '0');
}
