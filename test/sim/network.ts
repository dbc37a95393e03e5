/**
 * A simulated network: listeners by address, wires in pairs, one link per pair. A link carries bytes in order, late, in chunks of
 * its own choosing. It can be cut (at once or after N more bytes), stalled, made half-open (one side never learns of the end), and
 * asked to judge whole frames (u32 length first, as the remoting protocol has them): pass, drop, duplicate or cut.
 *
 * A chunk handed to `onBytes` is overwritten afterwards, and bytes handed to `write` are read when they leave: who keeps a view or
 * changes a buffer too early is found out.
 */
import type { Dialer, Wire } from '@tallystick/base';
import type { Prng } from './prng.ts';
import type { SimProcess, World } from './world.ts';

export type FrameFate = 'pass' | 'drop' | 'duplicate' | 'cut';

export interface NetworkRates {
  /** One-way delay in ms, drawn anew per chunk in [min, max]. */
  delayMinMs: number;
  delayMaxMs: number;
  /** Chance that a chunk is split at a random byte. */
  split: number;
  /** Chance, per chunk, that the link is cut somewhere inside it. */
  cut: number;
  /** Chance, per cut, that one side does not learn of it. */
  halfOpen: number;
  /** Chance that a dial is refused although somebody listens. */
  refuse: number;
}

export type NetworkOptions = Partial<NetworkRates>;

/** Judges one frame on its way; `toServer` is true from the dialing side to the listening one. */
export type FrameJudge = (frame: Buffer, toServer: boolean, link: SimLink) => FrameFate;

export class SimNetwork {
  readonly world: World;
  readonly options: NetworkRates;
  /** Undefined: frames are not looked at. Set before wires are made. */
  judge: FrameJudge | undefined;
  readonly links = new Set<SimLink>();
  readonly random: Prng;
  cuts = 0;
  halfOpenCuts = 0;
  readonly #listeners = new Map<string, { owner: SimProcess; accept: (wire: Wire) => void }>();
  #nextPort = 40_000;

  constructor(world: World, options: NetworkOptions = {}) {
    this.world = world;
    this.random = world.random.fork();
    this.options = { delayMinMs: 0.05, delayMaxMs: 0.5, split: 0.1, cut: 0, halfOpen: 0, refuse: 0, ...options };
  }

  /** From now on dials to `address` reach `accept`, until `owner` dies or the returned function is called. */
  listen(address: string, owner: SimProcess, accept: (wire: Wire) => void): () => void {
    const listener = { owner, accept };
    this.#listeners.set(address, listener);
    const stop = (): void => {
      if (this.#listeners.get(address) === listener) this.#listeners.delete(address);
    };
    owner.onDeath(stop);
    return stop;
  }

  dialer(owner: SimProcess): Dialer {
    return {
      dial: (address, done) => {
        this.world.after(
          this.delay() * 2,
          () => {
            const listener = this.#listeners.get(address);
            if (listener === undefined || this.random.chance(this.options.refuse)) {
              done(`ECONNREFUSED ${address} (simulated)`, undefined as unknown as Wire);
              return;
            }
            const link = new SimLink(this, owner, listener.owner, `client:${this.#nextPort++}`, address);
            this.world.after(0, () => listener.accept(link.serverSide), listener.owner);
            done(undefined, link.clientSide);
          },
          owner,
        );
      },
    };
  }

  /** Cuts every link. */
  cutAll(): void {
    for (const link of [...this.links]) link.cut();
  }

  /** No faults from now on; links that are stalled or half-open end now. */
  heal(): void {
    Object.assign(this.options, { cut: 0, halfOpen: 0, refuse: 0, split: 0.05 });
    if (this.world.onTrace === undefined) this.judge = undefined;
    for (const link of [...this.links]) link.heal();
  }

  delay(): number {
    return this.options.delayMinMs + this.random.unit() * (this.options.delayMaxMs - this.options.delayMinMs);
  }
}

/** One connection. */
export class SimLink {
  readonly clientSide: SimWire;
  readonly serverSide: SimWire;
  readonly network: SimNetwork;
  #faulted = false;

  constructor(network: SimNetwork, client: SimProcess, server: SimProcess, clientAddress: string, serverAddress: string) {
    this.network = network;
    this.clientSide = new SimWire(this, client, serverAddress, true);
    this.serverSide = new SimWire(this, server, clientAddress, false);
    this.clientSide.other = this.serverSide;
    this.serverSide.other = this.clientSide;
    network.links.add(this);
    client.onDeath(() => this.#sideDied(this.serverSide));
    server.onDeath(() => this.#sideDied(this.clientSide));
  }

  /** Ends the connection for both sides; with `halfOpen` one side does not learn of it until the network heals. */
  cut(halfOpen = false): void {
    if (!this.network.links.has(this)) return;
    this.network.cuts++;
    if (halfOpen) this.network.halfOpenCuts++;
    this.network.world.trace(`link ${this.serverSide.remote} cut${halfOpen ? ', half open' : ''}`);
    const deaf = !halfOpen ? undefined : this.network.random.chance(0.5) ? this.clientSide : this.serverSide;
    this.#faulted = deaf !== undefined;
    for (const side of [this.clientSide, this.serverSide]) {
      side.sever();
      if (side !== deaf) side.end('cut', this.network.delay());
    }
    if (deaf === undefined) this.network.links.delete(this);
  }

  /** Nothing moves in either direction for `ms`, nothing is lost. */
  stall(ms: number): void {
    this.clientSide.stall(ms);
    this.serverSide.stall(ms);
  }

  /** Cuts once `bytes` more bytes have gone towards the server (or the client). */
  cutAfter(bytes: number, toServer: boolean): void {
    (toServer ? this.serverSide : this.clientSide).cutAfterBytes = bytes;
  }

  heal(): void {
    if (!this.#faulted) return;
    for (const side of [this.clientSide, this.serverSide]) side.end('reset', this.network.delay());
    this.network.links.delete(this);
  }

  forget(): void {
    if (this.clientSide.ended && this.serverSide.ended) this.network.links.delete(this);
  }

  #sideDied(survivor: SimWire): void {
    survivor.end('reset by peer', this.network.delay());
    this.network.links.delete(this);
  }
}

const HIGH_WATER_BYTES = 64 * 1024;

/** One end of a link. `incoming` is what the other end has sent and this one has not been given yet. */
export class SimWire implements Wire {
  readonly remote: string;
  readonly link: SimLink;
  other!: SimWire;
  onBytes: (chunk: Uint8Array) => void = ignore;
  onDrain: () => void = ignore;
  onClose: (reason: string) => void = ignore;
  ended = false;
  cutAfterBytes = Infinity;
  readonly #owner: SimProcess;
  readonly #isClient: boolean;
  readonly #incoming: Uint8Array[] = [];
  #incomingBytes = 0;
  #paused = false;
  #severed = false;
  #closing = false;
  #arrivesAtMs = 0;
  #blocked = false;
  #deliveryDue = false;
  #finished = false;
  #frames: Buffer | undefined;

  constructor(link: SimLink, owner: SimProcess, remote: string, isClient: boolean) {
    this.link = link;
    this.#owner = owner;
    this.remote = remote;
    this.#isClient = isClient;
  }

  write(chunk: Uint8Array): boolean {
    if (!this.#owner.alive || this.ended || this.#closing || chunk.length === 0) return true;
    const other = this.other;
    if (this.#severed || other.ended) return true;
    other.#incoming.push(chunk);
    other.#incomingBytes += chunk.length;
    other.#scheduleDelivery();
    this.#blocked = other.#incomingBytes > HIGH_WATER_BYTES;
    return !this.#blocked;
  }

  close(graceful: boolean): void {
    if (!this.#owner.alive || this.ended || this.#closing) return;
    this.#closing = true;
    const other = this.other;
    if (!graceful) this.sever();
    if (!graceful || other.#incoming.length === 0) other.end('closed by peer', this.link.network.delay());
    else other.#finished = true;
    this.end('closed', 0);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#scheduleDelivery();
  }

  /** Drops everything on its way out of this end. */
  sever(): void {
    this.#severed = true;
    this.other.#incoming.length = 0;
    this.other.#incomingBytes = 0;
  }

  stall(ms: number): void {
    this.#arrivesAtMs = Math.max(this.#arrivesAtMs, this.link.network.world.timeMs + ms);
  }

  end(reason: string, delayMs: number): void {
    if (this.ended) return;
    this.ended = true;
    this.#incoming.length = 0;
    this.link.forget();
    this.link.network.world.after(delayMs, () => this.onClose(reason), this.#owner);
  }

  #scheduleDelivery(): void {
    if (this.#deliveryDue || this.#paused || this.ended || this.#incoming.length === 0) return;
    this.#deliveryDue = true;
    const network = this.link.network;
    this.#arrivesAtMs = Math.max(this.#arrivesAtMs, network.world.timeMs + network.delay());
    network.world.after(this.#arrivesAtMs - network.world.timeMs, () => this.#deliver(), this.#owner);
  }

  #deliver(): void {
    this.#deliveryDue = false;
    const { network } = this.link;
    if (this.#arrivesAtMs > network.world.timeMs) return this.#scheduleDelivery();
    if (this.#paused || this.ended || this.#incoming.length === 0) return;
    const { random, options, world } = network;
    const due = this.#incoming.splice(0);
    let chunk = due.length === 1 ? Buffer.from(due[0] as Uint8Array) : Buffer.concat(due);
    if (random.chance(options.split) && chunk.length > 1) {
      const at = random.between(1, chunk.length - 1);
      this.#incoming.unshift(Buffer.from(chunk.subarray(at)));
      chunk = chunk.subarray(0, at);
    }
    this.#incomingBytes -= chunk.length;
    let cut = false;
    if (random.chance(options.cut)) this.cutAfterBytes = Math.min(this.cutAfterBytes, random.between(0, chunk.length));
    if (chunk.length >= this.cutAfterBytes) {
      chunk = chunk.subarray(0, this.cutAfterBytes);
      cut = true;
    }
    this.cutAfterBytes -= chunk.length;
    world.mix(chunk.length);
    if (network.judge === undefined && this.#frames === undefined) this.#hand(chunk);
    else cut = this.#judgeFrames(chunk) || cut;
    if (cut) this.link.cut(random.chance(options.halfOpen));
    if (this.ended) return;
    if (this.#incoming.length > 0) this.#scheduleDelivery();
    else if (this.#finished) this.end('closed by peer', network.delay());
    const sender = this.other;
    if (sender.#blocked && this.#incomingBytes <= HIGH_WATER_BYTES / 2) {
      sender.#blocked = false;
      world.after(0, () => (sender.ended ? undefined : sender.onDrain()), sender.#owner);
    }
  }

  /** Cuts the stream into frames and hands on what the judge lets through. True: the judge wants the link cut. */
  #judgeFrames(chunk: Buffer): boolean {
    const { judge } = this.link.network;
    let bytes = this.#frames === undefined ? chunk : Buffer.concat([this.#frames, chunk]);
    const out: Buffer[] = [];
    let cut = false;
    while (bytes.length >= 4 && !cut) {
      const end = 4 + bytes.readUInt32BE(0);
      if (bytes.length < end) break;
      const frame = bytes.subarray(0, end);
      const fate = judge?.(frame, !this.#isClient, this.link) ?? 'pass';
      if (fate === 'cut') cut = true;
      else if (fate !== 'drop') out.push(frame);
      if (fate === 'duplicate') out.push(frame);
      bytes = bytes.subarray(end);
    }
    this.#frames = bytes.length === 0 && judge === undefined ? undefined : Buffer.from(bytes);
    if (out.length > 0) this.#hand(Buffer.concat(out));
    return cut;
  }

  #hand(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.onBytes(chunk);
    chunk.fill(0xdb);
  }
}

function ignore(): void {}
