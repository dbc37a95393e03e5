import { readFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { pipe, type Wire } from '@tallystick/base';
import {
  nodeDisk,
  parseAddress,
  socketWire,
  systemClock,
  systemRandom,
  systemTimers,
  systemTurn,
  tcpDialer,
} from '@tallystick/base/node';
import { BrokerCore, type BrokerSignals } from '../broker.ts';
import type { GivenBrokerOptions } from '../options.ts';
import { StoreOwner } from './store-owner.ts';

/** Where a broker lives and listens, and whom it tells. */
export interface BrokerSettings extends GivenBrokerOptions, BrokerHooks {
  /** Folder of the store; made when missing. */
  readonly dataDir: string;
  /** Address to listen on; false for none (embedded use). Default 127.0.0.1. */
  readonly host?: string | false | undefined;
  /** Default 9876; 0 takes a free one. */
  readonly port?: number | undefined;
  /** Allows an address that others can reach, although nobody is asked for a name or a signature. */
  readonly insecure?: boolean | undefined;
  /** The process may end although the broker runs: its timers and its port keep nothing alive. */
  readonly unref?: boolean | undefined;
}

export interface BrokerHooks {
  /** The store has failed: nothing will be acknowledged any more, every connection is being closed. Stop, look, start again. */
  readonly onFailed?: ((reason: string) => void) | undefined;
  readonly onFull?: ((isFull: boolean) => void) | undefined;
  readonly onAlarm?: ((sentence: string) => void) | undefined;
}

/**
 * A broker on real files, sockets and clocks: `new Broker({ dataDir }).start()`. Decides nothing: {@link BrokerCore} does. Embedded,
 * `connect()` gives a client's end of an in-memory connection; served, clients come by TCP.
 */
export class Broker {
  readonly #settings: BrokerSettings;
  readonly #turn = systemTurn();
  #core: BrokerCore | undefined;
  #server: Server | undefined;
  #owner: StoreOwner | undefined;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #address: string | undefined;

  constructor(settings: BrokerSettings) {
    this.#settings = settings;
  }

  /** Opens the store, recovers it and listens. Rejects with the reason when the store is refused, locked, or the port taken. */
  async start(): Promise<void> {
    if (this.#starting !== undefined) throw new Error('this broker has been started before; make a new one');
    this.#starting = this.#start();
    await this.#starting;
  }

  /** Stops reading requests, answers what was accepted, closes connections and the store. A start on its way is waited for. */
  async stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    await this.#stopping;
  }

  async #start(): Promise<void> {
    const { dataDir, host, port, insecure, unref, onFailed, onFull, onAlarm, ...options } = this.#settings;
    const listenHost = host === false ? undefined : (host ?? '127.0.0.1');
    if (listenHost !== undefined && !isLoopback(listenHost) && insecure !== true) {
      throw new Error(
        `${listenHost} can be reached by others, and this broker asks nobody who he is; listen on 127.0.0.1, or say insecure`,
      );
    }
    const signals: BrokerSignals = {
      failed: (reason) => onFailed?.(reason),
      full: (isFull) => onFull?.(isFull),
      alarm: (sentence) => onAlarm?.(sentence),
    };
    // Connections that come while the store recovers wait here.
    const early: Socket[] = [];
    try {
      this.#owner = await StoreOwner.take(dataDir);
      if (listenHost !== undefined) await this.#listen(listenHost, port ?? 9876, unref === true, early);
      const advertise = options.advertise ?? advertised(this.#address);
      const ports = {
        disk: nodeDisk(dataDir),
        dialer: tcpDialer({ timeoutMs: DIAL_TIMEOUT_MS }),
        clock: systemClock,
        timers: systemTimers({ unref }),
        turn: this.#turn,
        random: systemRandom(),
      };
      const core = new BrokerCore(ports, { ...options, advertise }, signals);
      await new Promise<void>((resolve, reject) => core.start((error) => (error === undefined ? resolve() : reject(error))));
      this.#core = core;
      for (const socket of early.splice(0)) serve(core, socket);
    } catch (error) {
      for (const socket of early) socket.destroy();
      await this.#unlisten();
      await this.#release();
      throw error;
    }
  }

  async #stop(): Promise<void> {
    await this.#starting?.catch(() => {});
    const unlistened = this.#unlisten();
    const core = this.#core;
    try {
      if (core !== undefined)
        await new Promise<void>((resolve, reject) => core.stop((error) => (error === undefined ? resolve() : reject(error))));
    } finally {
      await unlistened;
      await this.#release();
    }
  }

  /** A client's end of a connection inside this process. */
  connect(): Wire {
    const [ours, theirs] = pipe(this.#turn);
    this.core.accept(ours);
    return theirs;
  }

  /** The running core, for counters, halves and topics. */
  get core(): BrokerCore {
    if (this.#core === undefined) throw new Error('the broker is not started');
    return this.#core;
  }

  /** `host:port` that it listens on; undefined when it does not. */
  get address(): string | undefined {
    return this.#address;
  }

  /** Listens before the store is opened, so that a taken port costs no recovery; connections wait until it is. */
  #listen(host: string, port: number, unref: boolean, early: Socket[]): Promise<void> {
    return new Promise((resolve, reject) => {
      // Nothing is read before the broker serves: what a client sends to one that is still recovering must not get lost.
      const server = createServer({ pauseOnConnect: true }, (socket) => {
        if (this.#core !== undefined) return serve(this.#core, socket);
        socket.on('error', () => {});
        early.push(socket);
      });
      const socketsMax = descriptorsMax() - DESCRIPTORS_KEPT;
      if (Number.isFinite(socketsMax)) server.maxConnections = Math.max(1, socketsMax);
      server.on('drop', () => {
        if (this.#core !== undefined) this.#core.counters.refusedConnections++;
      });
      if (unref) server.unref();
      server.once('error', reject);
      server.listen({ host, port }, () => {
        server.off('error', reject);
        const bound = server.address();
        const boundPort = typeof bound === 'object' && bound !== null ? bound.port : port;
        this.#address = host.includes(':') ? `[${host}]:${boundPort}` : `${host}:${boundPort}`;
        this.#server = server;
        resolve();
      });
    });
  }

  async #release(): Promise<void> {
    const owner = this.#owner;
    this.#owner = undefined;
    await owner?.release();
  }

  #unlisten(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    return server === undefined ? Promise.resolve() : new Promise((resolve) => server.close(() => resolve()));
  }
}

function serve(core: BrokerCore, socket: Socket): void {
  if (socket.destroyed) return;
  core.accept(socketWire(socket));
  socket.resume();
}

const DIAL_TIMEOUT_MS = 3000;

/** How many files and sockets this process may have open; Infinity when the system does not tell. */
function descriptorsMax(): number {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'));
    return limit === null ? Number.POSITIVE_INFINITY : Number(limit[1]);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** Not for connections: the log, what it is read from, and Node's own. With all taken by sockets no segment could be made. */
const DESCRIPTORS_KEPT = 64;

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** What clients are told when nothing else is said: the address listened on, as numbers; an embedded broker has none. */
function advertised(address: string | undefined): string {
  const parsed = address === undefined ? undefined : parseAddress(address);
  if (parsed === undefined) return '127.0.0.1:0';
  const { host, port } = parsed;
  if (host === 'localhost' || host === '0.0.0.0') return `127.0.0.1:${port}`;
  if (host === '::') return `[::1]:${port}`;
  return address!;
}
