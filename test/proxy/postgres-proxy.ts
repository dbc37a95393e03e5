/**
 * A TCP proxy that knows PostgreSQL's frames, so that a connection can be cut after exactly this one. Within a window (from the statement
 * that opens it to the first idle ReadyForQuery) the frames of each direction are counted from 1, and a judge says for each what becomes of
 * it. What has passed before a cut has really reached the other side: the half that gets its last frame is closed in order, behind it.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type Direction, FrameReader, type PostgresFrame } from './postgres-frames.ts';

/**
 * - `pass`: it goes on;
 * - `cut-before`, `cut-after`: both halves are closed, without or with this frame;
 * - `silence`: from this frame on nothing goes in this direction, and nobody is told.
 */
export type Verdict = 'pass' | 'cut-before' | 'cut-after' | 'silence';

/** A frame within a window. */
export interface JudgedFrame extends PostgresFrame {
  readonly direction: Direction;
  /** From 1, each direction for itself. */
  readonly number: number;
  /** The statement that opened the window. */
  readonly opened: string;
}

export interface ProxySettings {
  /** Which statement opens a window. */
  readonly opens?: RegExp;
  readonly judge?: (frame: JudgedFrame) => Verdict;
}

export class PostgresProxy {
  /** How often the judge cut or silenced. */
  cuts = 0;
  opens: RegExp;
  judge: (frame: JudgedFrame) => Verdict;
  readonly #targetPort: number;
  readonly #server: Server;
  readonly #connections = new Set<ProxiedConnection>();

  private constructor(targetPort: number, settings: ProxySettings) {
    this.#targetPort = targetPort;
    this.opens = settings.opens ?? /^\s*begin\b/i;
    this.judge = settings.judge ?? (() => 'pass');
    this.#server = createServer((client) => this.#accept(client));
  }

  static async listen(targetPort: number, settings: ProxySettings = {}): Promise<PostgresProxy> {
    const proxy = new PostgresProxy(targetPort, settings);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** Cuts every connection that is open now. */
  cutAll(): number {
    const open = [...this.#connections];
    for (const connection of open) connection.destroy();
    return open.length;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.cutAll();
    await closed;
  }

  #accept(client: Socket): void {
    const connection = new ProxiedConnection(client, connect(this.#targetPort, '127.0.0.1'), this);
    this.#connections.add(connection);
    client.once('close', () => this.#connections.delete(connection));
  }
}

class ProxiedConnection {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #proxy: PostgresProxy;
  readonly #readers = { 'to-server': new FrameReader('to-server'), 'to-client': new FrameReader('to-client') };
  readonly #silent = new Set<Direction>();
  #window: { readonly opened: string; 'to-server': number; 'to-client': number } | undefined;
  #cut = false;

  constructor(client: Socket, server: Socket, proxy: PostgresProxy) {
    this.#client = client;
    this.#server = server;
    this.#proxy = proxy;
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => this.destroy());
      socket.on('close', () => this.#other(socket).end());
    }
    client.on('data', (chunk: Buffer) => this.#pass('to-server', chunk));
    server.on('data', (chunk: Buffer) => this.#pass('to-client', chunk));
  }

  destroy(): void {
    this.#cut = true;
    this.#client.destroy();
    this.#server.destroy();
  }

  #other(socket: Socket): Socket {
    return socket === this.#client ? this.#server : this.#client;
  }

  #pass(direction: Direction, chunk: Buffer): void {
    for (const frame of this.#readers[direction].read(chunk)) {
      if (this.#cut) return;
      if (frame.text === 'ssl?') this.#readers['to-client'].bareByteNext = true;
      this.#passOne(direction, frame);
    }
  }

  #passOne(direction: Direction, frame: PostgresFrame): void {
    if (this.#silent.has(direction)) return;
    if (this.#window === undefined && direction === 'to-server' && this.#proxy.opens.test(frame.text))
      this.#window = { opened: frame.text, 'to-server': 0, 'to-client': 0 };
    const window = this.#window;
    const verdict =
      window === undefined
        ? 'pass'
        : this.#proxy.judge({ ...frame, direction, number: ++window[direction], opened: window.opened });
    if (direction === 'to-client' && frame.type === 'Z' && frame.text === 'I') this.#window = undefined;
    if (verdict !== 'pass') this.#proxy.cuts++;
    const target = direction === 'to-server' ? this.#server : this.#client;
    if (verdict === 'pass' || verdict === 'cut-after') target.write(frame.bytes);
    if (verdict === 'silence') this.#silent.add(direction);
    if (verdict === 'cut-before' || verdict === 'cut-after') {
      this.#cut = true;
      // In order behind what was written: the receiver gets every frame that passed.
      target.end();
      this.#other(target).destroy();
    }
  }
}
