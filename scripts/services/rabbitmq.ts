/**
 * RabbitMQ: one node with a name, a cookie, a folder and a port mapper of its own, so that none meets a RabbitMQ that the machine already
 * runs, nor another of these. This is the only place that knows how one is installed, started, killed and revived; the shared
 * services, the tests, the benchmarks and the crash harness ask here, each with what it wants to be different.
 *
 * The node keeps its ports, its name and its cookie over a kill: its data belongs to its name, and a quorum queue knows its members by it.
 * It will not run as root: then it runs as the package's user.
 *
 * States: start() → `up` → kill() → `down` → start() … ; close() → gone, with its folder.
 */
import { connect } from 'amqplib';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accepts, emptyFolder, freePorts, groupIsAlive, killGroup, launch, serviceUser, until, type User } from './processes.ts';
import type { RunningProcess, ServiceState } from './state.ts';

const PROGRAMS = '/usr/lib/rabbitmq/bin';
const SERVER = join(PROGRAMS, 'rabbitmq-server');
export const RABBITMQ_PACKAGE = 'rabbitmq-server';
const MISSING = `RabbitMQ is not installed; Debian: apt-get install ${RABBITMQ_PACKAGE}`;
const GONE_WITHIN_MS = 30_000;
const REMEMBERED_WITHIN_MS = 30_000;

export interface RabbitmqOptions {
  /** Emptied first, and removed at the end; one in the temporary folder when absent. */
  readonly folder?: string | undefined;
  /** `guest`, RabbitMQ's own default, when absent. */
  readonly user?: { readonly name: string; readonly password: string } | undefined;
  /** The management plug-in: it makes virtual hosts in milliseconds where `rabbitmqctl` needs seconds. */
  readonly management?: boolean | undefined;
  /** Lines of rabbitmq.conf. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
  /** As RabbitMQ comes: its schedulers wait busily, quicker by a little and at the cost of whoever shares the processors. */
  readonly busyWaiting?: boolean | undefined;
  /** It goes on when this process ends, and somebody else stops it by its `state`; otherwise it ends with this process. */
  readonly outlives?: boolean | undefined;
}

export function rabbitmqIsInstalled(): boolean {
  return existsSync(SERVER);
}

/** As Debian names it. Throws when there is none. */
export function rabbitmqVersion(): string {
  if (!rabbitmqIsInstalled()) throw new Error(MISSING);
  const { stdout } = spawnSync('dpkg-query', ['-W', '-f', '${Version}', RABBITMQ_PACKAGE], { encoding: 'utf8' });
  return stdout.replace(/-.*/, '');
}

/** A node on a new folder; comes back when it lets clients in. */
export async function startRabbitmq(options: RabbitmqOptions = {}): Promise<RabbitmqNode> {
  if (!rabbitmqIsInstalled()) throw new Error(MISSING);
  const user = serviceUser('rabbitmq');
  const folder = emptyFolder(options.folder ?? mkdtempSync(join(tmpdir(), 'tallystick-rabbitmq-')), user);
  const [amqp, management, distribution, mapper] = (await freePorts(4)) as [number, number, number, number];
  const node = new RabbitmqNode({ folder, user, ports: { amqp, management, distribution, mapper }, options });
  try {
    await node.start();
    return node;
  } catch (error) {
    await node.close();
    throw error;
  }
}

interface Node {
  readonly folder: string;
  readonly user: User | undefined;
  readonly ports: { readonly amqp: number; readonly management: number; readonly distribution: number; readonly mapper: number };
  readonly options: RabbitmqOptions;
}

export class RabbitmqNode {
  /** With the default virtual host. */
  readonly url: string;
  /** With the option `management` only. */
  readonly managementUrl: string;
  readonly port: number;
  readonly #node: Node;
  readonly #env: Readonly<Record<string, string>>;
  #mapper: RunningProcess | undefined;
  #server: RunningProcess | undefined;

  constructor(node: Node) {
    const { ports, options } = node;
    const { name, password } = options.user ?? { name: 'guest', password: 'guest' };
    this.url = `amqp://${name}:${password}@127.0.0.1:${ports.amqp}/%2F`;
    this.managementUrl = `http://${name}:${password}@127.0.0.1:${ports.management}`;
    this.port = ports.amqp;
    this.#node = node;
    this.#env = environmentOf(node);
    writeFilesOf(node, name, password);
    if (options.outlives !== true) endWithUs(this);
  }

  /** The group of the server: its shell script leads it, the Erlang machine is its child. */
  get pid(): number | undefined {
    return this.#server?.pid;
  }

  /** For whoever stops it from another process. */
  get state(): ServiceState {
    const { management } = this.#node.options;
    return {
      processes: [this.#mapper, this.#server].filter((running) => running !== undefined),
      urls: { url: this.url, ...(management === true ? { managementUrl: this.managementUrl } : {}) },
    };
  }

  /** Starts it on its data, the first time on none. */
  async start(): Promise<void> {
    const { folder, user, ports, options } = this.#node;
    const common = { env: this.#env, user, folder };
    this.#mapper ??= await launch('epmd', {
      ...common,
      command: 'epmd',
      args: ['-port', String(ports.mapper)],
      ready: () => accepts(ports.mapper),
    });
    this.#server = await launch('rabbitmq-server', {
      ...common,
      command: SERVER,
      args: [],
      // A port that accepts is not enough: users and virtual hosts come later.
      ready: async () =>
        (await accepts(ports.amqp)) &&
        (await letsIn(this.url)) &&
        (options.management !== true || (await answers(this.managementUrl))),
    });
  }

  /** SIGKILL to all of it; comes back when nothing of it runs. */
  async kill(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    await this.#end(server);
  }

  /**
   * Waits until the node would find this quorum queue of the default virtual host again after a kill. RabbitMQ 3.10 writes down where a
   * quorum queue's log lies half a second after its declaration (`names.dets`); killed before, it starts the queue anew beside its
   * old log: what it has confirmed is gone, and the queue finds no leader.
   */
  async remembers(queue: string): Promise<void> {
    const name = this.#env['RABBITMQ_NODENAME']!;
    const file = join(this.#node.folder, 'data', name, 'quorum', name, 'names.dets');
    if (!(await until(() => readFileSync(file, 'latin1').includes(`%2F_${queue}`), REMEMBERED_WITHIN_MS)))
      throw new Error(`${file} does not name ${queue}`);
  }

  /** Runs an expression in the server; takes seconds. */
  evaluate(expression: string): string {
    const { folder, user } = this.#node;
    const { status, stdout, stderr } = spawnSync(
      join(PROGRAMS, 'rabbitmqctl'),
      ['-n', this.#env['RABBITMQ_NODENAME']!, 'eval', expression],
      { encoding: 'utf8', env: { ...process.env, ...this.#env }, cwd: folder, ...user },
    );
    if (status !== 0) throw new Error(`rabbitmqctl eval ${expression}: ${stdout}${stderr}`);
    return stdout;
  }

  /** The data is thrown away, so nothing is gained by asking nicely. */
  async close(): Promise<void> {
    nodes.delete(this);
    await this.kill();
    if (this.#mapper !== undefined) await this.#end(this.#mapper);
    this.#mapper = undefined;
    rmSync(this.#node.folder, { recursive: true, force: true });
  }

  /** The script is gone at once; the machine, with its files and ports, a moment later: one that starts too soon finds them taken. */
  async #end({ pid }: RunningProcess): Promise<void> {
    killGroup(pid);
    if (!(await until(() => !groupIsAlive(pid), GONE_WITHIN_MS))) throw new Error(`process group ${pid} does not end`);
  }

  /** When this process ends and nothing can be waited for. */
  drop(): void {
    for (const running of [this.#server, this.#mapper]) if (running !== undefined) killGroup(running.pid);
    rmSync(this.#node.folder, { recursive: true, force: true });
  }
}

/** Those that end with this process. */
const nodes = new Set<RabbitmqNode>();

function endWithUs(node: RabbitmqNode): void {
  if (nodes.size === 0) {
    process.once('exit', () => nodes.forEach((one) => one.drop()));
    // Without a listener a signal ends a process and its exit event never comes.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  }
  nodes.add(node);
}

function environmentOf({ folder, ports, options }: Node): Record<string, string> {
  const quiet = options.busyWaiting === true ? '' : '+sbwt none +sbwtdcpu none +sbwtdio none ';
  return {
    HOME: folder,
    ERL_EPMD_PORT: String(ports.mapper),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `tallystick-${ports.mapper}@localhost`,
    RABBITMQ_DIST_PORT: String(ports.distribution),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `${quiet}-kernel inet_dist_use_interface {127,0,0,1}`,
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none.env'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
    RABBITMQ_PID_FILE: join(folder, 'pid'),
  };
}

function writeFilesOf({ folder, user, ports, options }: Node, name: string, password: string): void {
  for (const inside of ['data', 'log']) emptyFolder(join(folder, inside), user);
  const cookie = join(folder, '.erlang.cookie');
  writeFileSync(cookie, randomBytes(12).toString('hex'), { mode: 0o400 });
  if (user !== undefined) chownSync(cookie, user.uid, user.gid);
  writeFileSync(join(folder, 'plugins'), options.management === true ? '[rabbitmq_management].\n' : '[].\n');
  const lines = {
    'listeners.tcp.1': `127.0.0.1:${ports.amqp}`,
    default_user: name,
    default_pass: password,
    // The tests are small; a nearly full disk must not make them wait.
    'disk_free_limit.absolute': '50MB',
    ...(options.management === true && {
      'management.tcp.ip': '127.0.0.1',
      'management.tcp.port': String(ports.management),
      'management_agent.disable_metrics_collector': 'true',
    }),
    ...options.settings,
  };
  const text = Object.entries(lines).map(([key, value]) => `${key} = ${value}\n`);
  writeFileSync(join(folder, 'rabbitmq.conf'), text.join(''));
}

async function letsIn(url: string): Promise<boolean> {
  try {
    const connection = await connect(url);
    connection.on('error', () => undefined);
    await connection.close();
    return true;
  } catch {
    return false;
  }
}

async function answers(url: string): Promise<boolean> {
  const { username, password, origin } = new URL(url);
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  try {
    const { ok } = await fetch(`${origin}/api/vhosts`, { headers: { authorization } });
    return ok;
  } catch {
    return false;
  }
}
