import net from 'node:net';
import { onTestFinished } from 'vitest';

export interface Silencer {
  /** Of the wire. */
  readonly url: string;
  silence(): void;
  /** Somebody has said something that the silence has swallowed: an answer to it will not come. */
  onSwallowed: () => void;
}

/** A wire to the server that can fall silent: connections that are open then stay open and carry nothing; later ones are whole. */
export async function silencer(database: string): Promise<Silencer> {
  const { hostname, port } = new URL(database);
  const open = new Set<net.Socket>();
  const silent = new Set<net.Socket>();
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    open.add(near);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (bytes) => {
        if (silent.has(near)) wire.onSwallowed();
        else to.write(bytes);
      });
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    }
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const url = new URL(database);
  url.port = String((server.address() as net.AddressInfo).port);
  const wire: Silencer = {
    url: url.href,
    silence() {
      for (const socket of open) silent.add(socket);
    },
    onSwallowed: () => undefined,
  };
  return wire;
}
