/** A broker under test as the harness handles it: killed from outside and started again on its data. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BrokerProcess, freePort } from '../../../process/broker-process.ts';

export type BrokerKind = 'ours' | 'rabbitmq';

export interface BrokerServer {
  readonly kind: BrokerKind;
  /** What a client connects to: an address, or an AMQP URL. */
  readonly endpoint: string;
  start(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

const SOURCES = fileURLToPath(new URL('../../../../packages/cli/bin/sources.js', import.meta.url));
const CHILD = fileURLToPath(new URL('./broker-child.ts', import.meta.url));

/** Our broker in a process of its own, synced before it answers. */
export class OurServer implements BrokerServer {
  readonly kind = 'ours';
  readonly endpoint: string;
  readonly #port: number;
  readonly #folder = mkdtempSync(join(tmpdir(), 'tallystick-crash-broker-'));
  #process: BrokerProcess | undefined;

  private constructor(port: number) {
    this.#port = port;
    this.endpoint = `127.0.0.1:${port}`;
  }

  static async make(): Promise<OurServer> {
    const server = new OurServer(await freePort());
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    this.#process = await BrokerProcess.start({
      data: join(this.#folder, 'data'),
      port: this.#port,
      command: [process.execPath, '--import', SOURCES, CHILD],
    });
  }

  async kill(): Promise<void> {
    await this.#process?.end('SIGKILL');
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
