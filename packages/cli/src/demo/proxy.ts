/**
 * A TCP proxy between one bank and the broker, frame by frame in both directions. It can look at each whole frame and swallow it, cut all connections
 * and refuse new ones for a while, and hold back what the broker sends. Its port stays the same for the whole run, so a bank finds it again after
 * everything. It never changes a byte.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export type Direction = 'to-broker' | 'to-bank';

/** Looks at a whole frame, length prefix included; valid only during the call. Connections are numbered from 1. */
export type Tap = (direction: Direction, frame: Buffer, connection: number) => 'pass' | 'swallow';

interface Pair {
  readonly number: number;
  readonly bank: Socket;
  readonly broker: Socket;
}

const frameBytesMax = 32 * 1024 * 1024;

export class Proxy {
  private readonly server: Server;
  private readonly brokerPort: number;
  private readonly tap: Tap;
  private readonly pairs = new Set<Pair>();
  private connections = 0;
  private refusing = false;
  private holding = false;
  /** Connections refused since the last `cut`. */
  refused = 0;
  /** Called for each connection that is accepted and not refused. */
  onConnection: () => void = () => {};
  /** Called when a connection has ended. */
  onClosed: (connection: number) => void = () => {};

  constructor(brokerPort: number, tap: Tap) {
    this.brokerPort = brokerPort;
    this.tap = tap;
    this.server = createServer({ noDelay: true }, (bank) => this.accept(bank));
  }

  /** Listens on a free loopback port and gives it. */
  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(0, '127.0.0.1', () => resolve((this.server.address() as AddressInfo).port));
    });
  }

  /** Cuts every connection and refuses new ones until `mend`; gives the number of connections cut. */
  cut(): number {
    this.refusing = true;
    this.refused = 0;
    return this.dropAll();
  }

  /** Takes connections again. */
  mend(): void {
    this.refusing = false;
  }

  /** Holds back everything the broker sends from now on; `dropHeld` ends that together with the connections. */
  hold(): void {
    this.holding = true;
    for (const { broker } of this.pairs) broker.pause();
  }

  dropHeld(): void {
    this.holding = false;
    this.dropAll();
  }

  async close(): Promise<void> {
    this.dropAll();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private dropAll(): number {
    const count = this.pairs.size;
    for (const { bank, broker } of this.pairs) {
      bank.destroy();
      broker.destroy();
    }
    this.pairs.clear();
    return count;
  }

  private accept(bank: Socket): void {
    bank.on('error', () => {});
    if (this.refusing) {
      this.refused++;
      bank.resetAndDestroy();
      return;
    }
    const broker = connect({ port: this.brokerPort, host: '127.0.0.1', noDelay: true });
    const pair: Pair = { number: ++this.connections, bank, broker };
    this.pairs.add(pair);
    broker.on('error', () => {});
    const end = () => {
      this.pairs.delete(pair);
      bank.destroy();
      broker.destroy();
      this.onClosed(pair.number);
    };
    bank.on('close', end);
    broker.on('close', end);
    this.relay(pair, bank, broker, 'to-broker');
    this.relay(pair, broker, bank, 'to-bank');
    if (this.holding) broker.pause();
    this.onConnection();
  }

  private relay(pair: Pair, from: Socket, to: Socket, direction: Direction): void {
    let rest: Buffer = Buffer.alloc(0);
    from.on('data', (chunk: Buffer) => {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const out: Buffer[] = [];
      let at = 0;
      while (rest.length - at >= 4) {
        const end = at + 4 + rest.readUInt32BE(at);
        if (end - at > frameBytesMax) {
          from.destroy();
          return;
        }
        if (end > rest.length) break;
        const frame = rest.subarray(at, end);
        if (this.tap(direction, frame, pair.number) === 'pass') out.push(frame);
        at = end;
      }
      rest = rest.subarray(at);
      if (out.length > 0 && !to.destroyed && !to.write(out.length === 1 ? out[0]! : Buffer.concat(out))) from.pause();
    });
    to.on('drain', () => {
      if (!(this.holding && direction === 'to-bank')) from.resume();
    });
  }
}
