/**
 * A broker as its users run it: `tallystick broker` in a process of its own, on a folder and, unless one is given, whatever port is free.
 * Starting waits for the ready line, which says where it listens; a process that ends first fails the start with what it printed. Whoever
 * starts one stops or kills it; it dies with its starter at the latest.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { diesWithUs } from './dies-with-us.ts';

const bin = fileURLToPath(new URL('../../packages/cli/bin/tallystick.js', import.meta.url));

export class BrokerProcess {
  readonly address: string;
  readonly child: ChildProcess;
  readonly #output: string[];

  private constructor(address: string, child: ChildProcess, output: string[]) {
    this.address = address;
    this.child = child;
    this.#output = output;
  }

  /** Starts `command` (by default the real bin) with `broker --port … --data …` and waits until it serves. */
  static async start(given: {
    data: string;
    port?: number;
    flags?: readonly string[];
    command?: readonly string[];
    environment?: Readonly<Record<string, string>>;
  }): Promise<BrokerProcess> {
    const port = given.port ?? 0;
    const [file, ...before] = given.command ?? [process.execPath, bin];
    const args = [...before, 'broker', '--port', String(port), '--data', given.data, ...(given.flags ?? [])];
    const env = { ...process.env, ...given.environment };
    const child = diesWithUs(spawn(file ?? process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], env }));
    const output: string[] = [];
    const ready = new Promise<string>((resolve, reject) => {
      const read = (chunk: Buffer): void => {
        output.push(chunk.toString());
        const address = /^ready on (\S+)\n/m.exec(output.join(''))?.[1];
        if (address !== undefined) resolve(address);
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('error', reject);
      child.once('exit', (code, signal) =>
        reject(new Error(`the broker ended (${signal ?? code}) before it was ready:\n${output.join('')}`)),
      );
    });
    return new BrokerProcess(await ready, child, output);
  }

  /** Everything it printed so far. */
  get output(): string {
    return this.#output.join('');
  }

  /** Sends a signal and waits for the end; answers how it ended. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | string> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = once(this.child, 'exit');
      this.child.kill(signal);
      await ended;
    }
    return this.child.signalCode ?? this.child.exitCode ?? -1;
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}
