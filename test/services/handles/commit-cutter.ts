/**
 * A way to the database that can be cut at the next COMMIT: before the server gets it, or after the server has answered and before the
 * answer arrives. Both look the same to the client.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export type Cut = 'before the server' | 'after the server';

export interface CommitCutter {
  /** The same database, through here. */
  readonly url: string;
  /** Cuts the connection on which the next COMMIT passes. */
  cutNext(cut: Cut): void;
  readonly cuts: () => number;
  close(): Promise<void>;
}

export async function cutterTo(url: string): Promise<CommitCutter> {
  const target = new URL(url);
  const open = new Set<Socket>();
  let armed: Cut | undefined;
  let cuts = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    const statements = new Statements();
    let held = false;
    const end = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on('error', end);
      socket.on('close', () => {
        open.delete(socket);
        end();
      });
    }
    client.on('data', (bytes) => {
      const commits = statements.commits(bytes.toString('latin1'));
      if (armed !== undefined && commits) {
        const cut = armed;
        armed = undefined;
        cuts++;
        if (cut === 'before the server') return end();
        held = true;
      }
      upstream.write(bytes);
    });
    upstream.on('data', (bytes) => {
      // The tag of its answer: the server has done it.
      if (held && bytes.toString('latin1').includes('COMMIT\0')) end();
      else client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = new URL(url);
  address.port = String((server.address() as AddressInfo).port);
  return {
    url: address.href,
    cutNext: (cut) => (armed = cut),
    cuts: () => cuts,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What passes to the server, as far as a COMMIT is concerned: as a text, or as a statement that was prepared from one. */
class Statements {
  readonly #names = new Set<string>();

  commits(text: string): boolean {
    const parsed = /P[^]{4}([^\0]*)\0commit;?\0/i.exec(text);
    if (parsed !== null) this.#names.add(parsed[1]!);
    if (parsed !== null || /Q[^]{4}commit;?\0/i.test(text)) return true;
    const bound = /B[^]{4}[^\0]*\0([^\0]+)\0/.exec(text);
    return bound !== null && this.#names.has(bound[1]!);
  }
}
