import { crc32, type Clock, type Dialer, type Timer, type Timers, type Turn } from '@tallystick/base';
import { decodeClusterInfo, Peer, RequestCode, ResponseCode, type Frame, type PeerError } from '@tallystick/remoting';
import type { Identity } from '../identity.ts';
import { encodeRegisterBody, type DataVersion } from './register-body.ts';

export interface RegistrarPorts {
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly turn: Turn;
}

export interface RegistrarOptions {
  readonly nameServers: string;
  readonly registerPeriodMs: number;
  readonly registerTimeoutMs: number;
}

/** What a registration says besides who the broker is. */
export interface Registered {
  version(): DataVersion;
  /** Topics by name in RocketMQ's shape. */
  topicConfigTable(): unknown;
}

/**
 * Makes this broker known to name servers, Apache's or another of ours: at the start, every {@link RegistrarOptions.registerPeriodMs}, soon after a
 * topic has changed, and again when a connection comes back. At the stop it takes itself off their lists. A name server that is down is
 * told of once, and again after it has answered; one that knows another broker of the same name refuses, and that is told.
 */
export class Registrar {
  readonly #ports: RegistrarPorts;
  readonly #report: (sentence: string) => void;
  readonly #places: Place[];
  #changeTimer: Timer | undefined;

  constructor(
    ports: RegistrarPorts,
    options: RegistrarOptions,
    self: Identity,
    registered: Registered,
    report: (sentence: string) => void,
  ) {
    this.#ports = ports;
    this.#report = report;
    const addresses = options.nameServers.split(/[,;]/).map((address) => address.trim());
    this.#places = [...new Set(addresses)].map((address) => new Place(address, ports, options, self, registered));
    for (const place of this.#places) place.onSilent = report;
  }

  /** `done` when every name server has answered or failed to, with the first refusal if there was one; then it goes on by itself. */
  start(done: (refusal: string | undefined) => void): void {
    let left = this.#places.length;
    let refusal: string | undefined;
    for (const place of this.#places) {
      place.start((refused) => {
        refusal ??= refused;
        if (--left > 0) return;
        for (const each of this.#places) each.onRefused = (sentence) => this.#report(sentence);
        done(refusal);
      });
    }
  }

  /** A topic was made or changed. A burst of changes is told once. */
  changed(): void {
    this.#changeTimer ??= this.#ports.timers.after(CHANGE_MS, () => {
      this.#changeTimer = undefined;
      for (const place of this.#places) place.register();
    });
  }

  /** `done` when all have answered the farewell or had their time. Who still waits for {@link start} is told that it has failed. */
  stop(done: () => void): void {
    if (this.#changeTimer !== undefined) this.#ports.timers.cancel(this.#changeTimer);
    let left = this.#places.length;
    if (left === 0) return done();
    for (const place of this.#places)
      place.stop(() => {
        if (--left === 0) done();
      });
  }
}

/**
 * One name server.
 *
 *   away      no connection: one is tried when the timer says so
 *   dialing   waiting for a connection
 *   asking    the first question of a connection: does another broker have our name?
 *   known     registered, or on the way to it; repeated by the timer
 *   stopped   the end
 */
class Place {
  readonly address: string;
  onRefused: (sentence: string) => void = () => {};
  /** Hears when it cannot be reached, once until it answers again. */
  onSilent: (sentence: string) => void = () => {};
  readonly #ports: RegistrarPorts;
  readonly #options: RegistrarOptions;
  readonly #self: Identity;
  readonly #registered: Registered;
  #state: 'away' | 'dialing' | 'asking' | 'known' | 'stopped' = 'away';
  #peer: Peer | undefined;
  #timer: Timer | undefined;
  #refused = '';
  #isSilent = false;
  #first: ((refusal: string | undefined) => void) | undefined;

  constructor(address: string, ports: RegistrarPorts, options: RegistrarOptions, self: Identity, registered: Registered) {
    this.address = address;
    this.#ports = ports;
    this.#options = options;
    this.#self = self;
    this.#registered = registered;
  }

  /** `done` with the outcome of the first attempt: a refusal, or nothing. */
  start(done: (refusal: string | undefined) => void): void {
    this.#first = done;
    this.#dial();
  }

  /** Tells the name server what we are now, when there is a connection. */
  register(): void {
    if (this.#state !== 'known' || this.#peer === undefined) return;
    const { brokerName, clusterName, address } = this.#self;
    const body = encodeRegisterBody(this.#registered.version(), this.#registered.topicConfigTable());
    const fields = {
      brokerName,
      brokerAddr: address,
      clusterName,
      // There is no replication; the field may not be empty.
      haServerAddr: address,
      brokerId: MASTER,
      compressed: false,
      enableActingMaster: false,
      bodyCrc32: crc32(body) & 0x7fffffff,
    };
    this.#ask(RequestCode.REGISTER_BROKER, fields, body, (error, reply) => {
      if (error !== undefined) return this.#failed(error.message);
      if (reply.code === ResponseCode.SUCCESS) this.#settled(undefined);
      else this.#settled(`the name server ${this.address} does not take this broker: ${reply.remark() ?? `code ${reply.code}`}`);
      this.#arm(this.#options.registerPeriodMs);
    });
  }

  stop(done: () => void): void {
    const peer = this.#peer;
    const isKnown = this.#state === 'known' && this.#refused === '';
    this.#state = 'stopped';
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    const first = this.#first;
    this.#first = undefined;
    first?.('the broker was stopped before it was registered');
    const end = (): void => {
      peer?.close(true, 'the broker is stopping');
      done();
    };
    if (peer === undefined || !isKnown) return end();
    const { brokerName, clusterName, address } = this.#self;
    const fields = { brokerName, brokerAddr: address, clusterName, brokerId: MASTER };
    peer.request(RequestCode.UNREGISTER_BROKER, fields, undefined, FAREWELL_MS, end);
  }

  #dial(): void {
    this.#state = 'dialing';
    this.#ports.dialer.dial(this.address, (error, wire) => {
      if (this.#state === 'stopped') {
        if (error === undefined) wire.close(false);
        return;
      }
      if (error !== undefined) return this.#failed(error);
      const peer = new Peer(wire, this.#ports, PEER, {
        onRequest: (asked, frame) =>
          asked.answer(frame.ref(), ResponseCode.REQUEST_CODE_NOT_SUPPORTED, ` request type ${frame.code} not supported`),
        onClose: (_, reason) => {
          if (this.#peer === peer) this.#failed(reason);
        },
      });
      this.#peer = peer;
      this.#state = 'asking';
      this.#askForNamesake();
    });
  }

  /** Apache's name server would quietly put us in the place of another broker of our name. */
  #askForNamesake(): void {
    const { brokerName, address } = this.#self;
    this.#ask(RequestCode.GET_BROKER_CLUSTER_INFO, {}, undefined, (error, reply) => {
      if (error !== undefined) return this.#failed(error.message);
      const info = reply.code === ResponseCode.SUCCESS ? decodeClusterInfo(reply.body()) : 'no list';
      const namesake = typeof info === 'string' ? undefined : info.brokers.find((broker) => broker.brokerName === brokerName);
      const other = namesake?.brokerAddrs.get(String(MASTER));
      if (other !== undefined && other !== address) {
        this.#settled(
          `the name server ${this.address} knows a broker ${brokerName} at ${other}; give this one (${address}) another brokerName (--broker-name)`,
        );
        return this.#arm(this.#options.registerPeriodMs);
      }
      this.#state = 'known';
      this.register();
    });
  }

  #ask(
    code: number,
    fields: Readonly<Record<string, string | number | boolean>>,
    body: Uint8Array | undefined,
    done: (error: PeerError | undefined, reply: Frame) => void,
  ): void {
    const peer = this.#peer!;
    peer.request(code, fields, body, this.#options.registerTimeoutMs, (error, reply) => {
      if (this.#peer === peer && this.#state !== 'stopped') done(error, reply);
    });
  }

  /** The connection is of no use: another one soon. */
  #failed(reason: string): void {
    if (this.#state === 'stopped') return;
    const peer = this.#peer;
    this.#peer = undefined;
    this.#state = 'away';
    peer?.close(false, 'the name server does not answer');
    this.#settled(undefined, false);
    const againMs = Math.min(AGAIN_MS, this.#options.registerPeriodMs);
    if (!this.#isSilent)
      this.onSilent(
        `this broker is not registered at the name server ${this.address} (${reason}); it tries again every ${againMs} ms`,
      );
    this.#isSilent = true;
    this.#arm(againMs);
  }

  /** An attempt has ended: the first one is waited for, a new refusal is told. */
  #settled(refusal: string | undefined, isAnswer = true): void {
    const first = this.#first;
    this.#first = undefined;
    if (refusal !== undefined && refusal !== this.#refused) this.onRefused(refusal);
    if (isAnswer) this.#refused = refusal ?? '';
    if (isAnswer) this.#isSilent = false;
    first?.(refusal);
  }

  #arm(ms: number): void {
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    this.#timer = this.#ports.timers.after(ms, () => {
      this.#timer = undefined;
      if (this.#state === 'known') this.register();
      else if (this.#state === 'asking') this.#askForNamesake();
      else if (this.#state === 'away') this.#dial();
    });
  }
}

const MASTER = 0;
/** Several topics are often made together. */
const CHANGE_MS = 100;
/** A name server forgets us with the connection, so it is looked for sooner than it would be told again. */
const AGAIN_MS = 1000;
const FAREWELL_MS = 1000;
/** A name server reads both kinds of header; JSON is what Apache's brokers send. */
const PEER = { kind: 'json', idleMs: 0 } as const;
