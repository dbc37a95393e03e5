/**
 * A RabbitMQ of the harness's own: ports, port mapper, cookie and folder are private, and it may be killed with SIGKILL and started again on
 * its data. It will not run as root: then it runs as the package's user.
 */
import { chownSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import amqp from 'amqplib';
import { launch } from '../../../bench/peers/servers/server-process.ts';
import { freePort } from '../../../process/broker-process.ts';
import { until } from '../until.ts';
import type { BrokerServer } from './broker-server.ts';
import { userNamed } from './postgres-server.ts';

const SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server';
type Launched = Awaited<ReturnType<typeof launch>>;

export class RabbitServer implements BrokerServer {
  readonly kind = 'rabbitmq';
  readonly endpoint: string;
  readonly #ports: { readonly broker: number; readonly distribution: number; readonly mapper: number };
  readonly #folder: string;
  readonly #user: { uid: number; gid: number } | undefined;
  #mapper: Launched | undefined;
  #server: Launched | undefined;

  private constructor(ports: { broker: number; distribution: number; mapper: number }, folder: string) {
    this.#ports = ports;
    this.#folder = folder;
    this.#user = process.getuid?.() === 0 ? userNamed('rabbitmq') : undefined;
    this.endpoint = `amqp://guest:guest@127.0.0.1:${ports.broker}?heartbeat=5`;
  }

  static async make(): Promise<RabbitServer> {
    if (!existsSync(SERVER)) throw new Error('rabbitmq-server is not installed; Debian: apt-get install rabbitmq-server');
    const folder = mkdtempSync(join(tmpdir(), 'tallystick-crash-rabbitmq-'));
    const server = new RabbitServer(
      { broker: await freePort(), distribution: await freePort(), mapper: await freePort() },
      folder,
    );
    for (const name of ['', 'data', 'log']) {
      mkdirSync(join(folder, name), { recursive: true });
      if (server.#user !== undefined) chownSync(join(folder, name), server.#user.uid, server.#user.gid);
    }
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    const { broker, distribution, mapper } = this.#ports;
    const env = {
      HOME: this.#folder,
      ERL_EPMD_PORT: String(mapper),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_NODENAME: 'tallystick-crash@localhost',
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: String(broker),
      RABBITMQ_DIST_PORT: String(distribution),
      RABBITMQ_MNESIA_BASE: join(this.#folder, 'data'),
      RABBITMQ_LOG_BASE: join(this.#folder, 'log'),
      RABBITMQ_CONFIG_FILE: join(this.#folder, 'none'),
      RABBITMQ_CONF_ENV_FILE: join(this.#folder, 'none.env'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(this.#folder, 'plugins'),
      RABBITMQ_PID_FILE: join(this.#folder, 'pid'),
      // One scheduler thread busy-waiting on two cores is one too many.
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+sbwt none +sbwtdcpu none +sbwtdio none',
    };
    const common = { env, user: this.#user, cwd: this.#folder };
    this.#mapper ??= await launch('epmd', { ...common, command: 'epmd', args: ['-port', String(mapper)], port: mapper });
    this.#server = await launch('rabbitmq-server', { ...common, command: SERVER, args: [], port: broker });
    await until('RabbitMQ lets a client in', 60_000, async () => {
      try {
        await (await amqp.connect(this.endpoint)).close();
        return true;
      } catch {
        return false;
      }
    });
  }

  /** SIGKILL to the whole group. */
  async kill(): Promise<void> {
    await this.#server?.stop();
    this.#server = undefined;
  }

  async stop(): Promise<void> {
    await this.kill();
    await this.#mapper?.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Deletes the queue with whatever is in it. */
  async deleteQueue(queue: string): Promise<void> {
    const connection = await amqp.connect(this.endpoint);
    try {
      await (await connection.createChannel()).deleteQueue(queue);
    } finally {
      await connection.close();
    }
  }
}
