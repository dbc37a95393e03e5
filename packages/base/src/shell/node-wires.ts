import { connect, Socket, type SocketConstructorOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Dialer, Wire } from '../ports.ts';

/** A TCP socket as a wire, with Nagle's delay off: answers are already gathered per turn. Nothing of it may have been read before. */
export function socketWire(socket: Socket): Wire {
  const reader = new InPlaceReader();
  const own = reader.takeOver(socket);
  if (own === undefined) return plainWire(socket);
  const wire = plainWire(own);
  reader.wire = wire;
  own.resume();
  return wire;
}

function plainWire(socket: Socket): Wire {
  socket.setNoDelay(true);
  const wire = duplexWire(socket, joinAddress(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0));
  // True of sockets only: another Duplex may count a chunk as written and hand it on, as it is, much later.
  wire.isWritten = () => socket.writableLength === 0;
  wire.unsentBytes = () => unsentBytes(socket);
  return wire;
}

/** What the kernel has not taken. Node counts a write as a whole when all of it is gone; its handle knows how much is left of it. */
function unsentBytes(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { bytesWritten?: unknown; writeQueueSize?: unknown } | null };
  const begun = handle?.bytesWritten;
  const queued = handle?.writeQueueSize;
  if (typeof begun !== 'number' || typeof queued !== 'number') return socket.writableLength;
  return socket.bytesWritten - begun + queued;
}

/**
 * Where all sockets of the process read to: chunks are valid only during the call that hands them out, so one buffer does for all.
 * Fresh 64 KiB for each read had the garbage collector mark the whole heap eight times a second at 270,000 messages a second (10 % of
 * the broker's time and half a core beside it). Twice the size a read had before: fewer turns, and still in the second-level cache.
 */
const READ_BYTES = 128 * 1024;
let readBuffer: Buffer | undefined;

/** Hands what a socket reads to its wire, in the shared buffer. */
class InPlaceReader {
  wire: Wire | undefined;
  readonly onread = {
    buffer: (readBuffer ??= Buffer.allocUnsafeSlow(READ_BYTES)),
    callback: (bytes: number, buffer: Uint8Array): boolean => {
      this.wire?.onBytes((buffer as Buffer).subarray(0, bytes));
      return true;
    },
  };

  /**
   * A socket in place of one that a server accepted: Node lets only sockets that one makes oneself read in place (`onread`), so the
   * connection is moved over. Undefined when that cannot be: the socket has read already, or is none of Node's own.
   */
  takeOver(accepted: Socket): Socket | undefined {
    const holder = accepted as unknown as { _handle: { useUserBuffer?: unknown } | null };
    const handle = holder._handle;
    if (typeof handle?.useUserBuffer !== 'function' || accepted.bytesRead > 0 || accepted.connecting) return undefined;
    holder._handle = null;
    const own = new Socket({ handle, manualStart: true, onread: this.onread } as SocketConstructorOpts);
    // The server counts the accepted one.
    own.once('close', () => accepted.destroy());
    return own;
  }
}

/**
 * Any byte Duplex (TLS, a child's stdio, a test's stream) as a wire. What is written leaves at once: whoever writes gathers.
 * An error of the stream is the reason given to `onClose`.
 */
export function duplexWire(duplex: Duplex, remote = 'duplex'): Wire {
  let reason = 'closed by the other side';
  const wire: Wire = {
    remote,
    onBytes: nothing,
    onDrain: nothing,
    onClose: nothing,
    write(chunk) {
      if (duplex.destroyed || duplex.writableEnded) return false;
      return duplex.write(chunk);
    },
    close(graceful) {
      if (duplex.destroyed) return;
      reason = 'closed here';
      if (!graceful) {
        duplex.destroy();
        return;
      }
      // The other side may never read the rest or never end its half: destroy once our half is out.
      duplex.pause();
      duplex.end(() => duplex.destroy());
    },
    pause: () => void duplex.pause(),
    resume: () => void duplex.resume(),
  };
  duplex.on('data', (chunk: Uint8Array) => {
    if (!duplex.writableEnded) wire.onBytes(chunk);
  });
  duplex.on('drain', () => wire.onDrain());
  duplex.on('error', (error: NodeJS.ErrnoException) => {
    reason = error.code === undefined ? error.message : `${error.code}: ${error.message}`;
  });
  duplex.on('end', () => duplex.destroy());
  duplex.once('close', () => wire.onClose(reason));
  return wire;
}

/** Dials `host:port` (IPv6 in brackets); gives up after `timeoutMs` (3 s, as RocketMQ's clients do). */
export function tcpDialer(options: { readonly timeoutMs?: number | undefined } = {}): Dialer {
  const timeoutMs = options.timeoutMs ?? 3000;
  return {
    dial(address, done) {
      const parsed = parseAddress(address);
      if (parsed === undefined) {
        setImmediate(() => done(`"${address}" is not host:port`, undefined as never));
        return;
      }
      const reader = new InPlaceReader();
      const socket = connect({ host: parsed.host, port: parsed.port, onread: reader.onread });
      const fail = (error: Error): void => {
        socket.destroy();
        done(`cannot connect to ${address}: ${sentenceOf(error)}`, undefined as never);
      };
      const tooLate = (): void => {
        socket.off('error', fail);
        socket.on('error', nothing);
        fail(new Error(`no answer in ${timeoutMs} ms`));
      };
      socket.setTimeout(timeoutMs, tooLate);
      socket.once('error', fail);
      socket.once('connect', () => {
        socket.setTimeout(0);
        socket.off('timeout', tooLate);
        socket.off('error', fail);
        reader.wire = plainWire(socket);
        done(undefined, reader.wire);
      });
    },
  };
}

/** `host:port` or `[v6]:port` in its parts; undefined when it is neither. */
export function parseAddress(address: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:\s]+)):(\d{1,5})$/.exec(address);
  if (match === null) return undefined;
  const port = Number(match[3]);
  return port > 65535 ? undefined : { host: (match[1] ?? match[2])!, port };
}

function joinAddress(host: string, port: number): string {
  const plain = host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host;
  return plain.includes(':') ? `[${plain}]:${port}` : `${plain}:${port}`;
}

/** A name with several addresses fails with one error for each and no message of its own. */
function sentenceOf(error: Error): string {
  return error instanceof AggregateError ? error.errors.map((one: Error) => one.message).join(', ') : error.message;
}

function nothing(): void {}
