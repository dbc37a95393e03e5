import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Dialer, Wire } from '../ports.ts';

/** A TCP socket as a wire, with Nagle's delay off: answers are already gathered per turn. */
export function socketWire(socket: Socket): Wire {
  socket.setNoDelay(true);
  return duplexWire(socket, joinAddress(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0));
}

/**
 * Any byte Duplex (TLS, a child's stdio, a test's stream) as a wire. Several writes in one tick leave as one system call.
 * An error of the stream is the reason given to `onClose`.
 */
export function duplexWire(duplex: Duplex, remote = 'duplex'): Wire {
  let reason = 'closed by the other side';
  let corked = false;
  const uncork = (): void => {
    corked = false;
    duplex.uncork();
  };
  const wire: Wire = {
    remote,
    onBytes: nothing,
    onDrain: nothing,
    onClose: nothing,
    write(chunk) {
      if (duplex.destroyed || duplex.writableEnded) return false;
      if (!corked) {
        corked = true;
        duplex.cork();
        process.nextTick(uncork);
      }
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
      const socket = connect({ host: parsed.host, port: parsed.port });
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
        done(undefined, socketWire(socket));
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
