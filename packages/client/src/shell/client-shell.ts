/** The client with real sockets, clocks and promises. Decides nothing: everything happens in {@link ClientCore}. */
import { hostname } from 'node:os';
import type { Dialer, Turn, Wire } from '@tallystick/base';
import { systemClock, systemRandom, systemTimers, systemTurn, tcpDialer } from '@tallystick/base/node';
import { ClientCore, type ClientCoreOptions } from '../client-core.ts';
import { Admin } from './admin-shell.ts';
import { Consumer, type ConsumerSettings } from './consumer-shell.ts';
import { Producer, type ProducerSettings } from './producer-shell.ts';
import { TransactionProducer, type TransactionSettings } from './transaction-producer-shell.ts';

export type ClientSettings = Omit<ClientCoreOptions, 'address'> & {
  /** Name servers, `host:port`, several joined by `;`. Default 127.0.0.1:9876. */
  readonly address?: string | undefined;
  /** Connects to an embedded broker instead of dialing: `connect: () => broker.connect()`. */
  readonly connect?: (() => Wire) | undefined;
  /** Opens connections in another way than TCP. */
  readonly dialer?: Dialer | undefined;
};

const DEFAULT_ADDRESS = '127.0.0.1:9876';

export class Client {
  readonly core: ClientCore;
  #closed: Promise<void> | undefined;

  /** Connects to nothing yet. Throws an OptionsError for settings that cannot work. */
  constructor({ connect, dialer, ...settings }: ClientSettings = {}) {
    const turn = systemTurn();
    const ports = {
      clock: systemClock,
      timers: systemTimers(),
      turn,
      random: systemRandom(),
      dialer: connect !== undefined ? embeddedDialer(connect, turn) : (dialer ?? tcpDialer()),
    };
    this.core = new ClientCore(ports, {
      onReport: warn,
      ...settings,
      address: settings.address ?? DEFAULT_ADDRESS,
      clientId: settings.clientId ?? `${hostname()}@${process.pid}#${ports.random.u32().toString(16)}`,
    });
  }

  get clientId(): string {
    return this.core.clientId;
  }

  /** `K` and `V`: what your serializers take. */
  producer<K = Uint8Array | string, V = Uint8Array | string>(options?: ProducerSettings<K, V>): Producer<K, V> {
    return new Producer(this.core.producer(options));
  }

  transactionProducer<A = unknown, K = Uint8Array | string, V = Uint8Array | string>(
    settings: TransactionSettings<A, K, V>,
  ): TransactionProducer<A, K, V> {
    return new TransactionProducer(this.core, settings);
  }

  consumer(settings: ConsumerSettings): Consumer {
    return new Consumer(this.core, settings);
  }

  admin(): Admin {
    return new Admin(this.core.admin());
  }

  /** Closes everything made from this client, then its connections. */
  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => this.core.close(resolve));
    return this.#closed;
  }
}

function embeddedDialer(connect: () => Wire, turn: Turn): Dialer {
  return {
    dial(_address, done) {
      turn.atEnd(() => {
        let wire: Wire;
        try {
          wire = connect();
        } catch (thrown) {
          return done(String(thrown), undefined as unknown as Wire);
        }
        done(undefined, wire);
      });
    },
  };
}

function warn(sentence: string, cause: unknown): void {
  const because = cause instanceof Error ? `: ${cause.message}` : typeof cause === 'string' ? `: ${cause}` : '';
  console.warn(`tallystick: ${sentence}${because}`);
}
