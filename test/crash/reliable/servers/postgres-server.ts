/**
 * A PostgreSQL of the harness's own, on a private port and a fresh folder, so that it can be killed without asking anybody: `kill()` is
 * SIGKILL to the postmaster while connections are at work, `start()` lets it recover. Durable as it comes (fsync and synchronous_commit on);
 * the folder lies in memory where the machine offers that, because a killed process loses nothing there either.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, openSync, closeSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { freePort } from '../../../process/broker-process.ts';
import { until } from '../until.ts';

const VERSIONS = '/usr/lib/postgresql';
const IN_MEMORY = '/dev/shm';
const START_WITHIN_MS = 60_000;

export class PostgresServer {
  readonly port: number;
  readonly folder: string;
  restarts = 0;
  readonly #user: { readonly uid: number; readonly gid: number } | undefined;
  readonly #bin: string;
  #postmaster: ChildProcess | undefined;

  private constructor(port: number, folder: string, bin: string, user: { uid: number; gid: number } | undefined) {
    this.port = port;
    this.folder = folder;
    this.#bin = bin;
    this.#user = user;
  }

  static async make(name: string): Promise<PostgresServer> {
    const folder = mkdtempSync(join(existsSync(IN_MEMORY) ? IN_MEMORY : tmpdir(), `tallystick-crash-${name}-`));
    const user = process.getuid?.() === 0 ? userNamed('postgres') : undefined;
    if (user !== undefined) chownSync(folder, user.uid, user.gid);
    const server = new PostgresServer(await freePort(), folder, newestBin(), user);
    execFileSync(
      join(server.#bin, 'initdb'),
      ['-D', join(folder, 'data'), '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
      { stdio: 'pipe', cwd: folder, ...user },
    );
    await server.start();
    return server;
  }

  get pid(): number | undefined {
    return this.#postmaster?.pid;
  }

  url(database: string, name?: string, port = this.port): string {
    const label = name === undefined ? '' : `?application_name=${encodeURIComponent(name)}`;
    return `postgres://postgres@127.0.0.1:${port}/${database}${label}`;
  }

  /** Starts it, again and again while the processes of the one before it still hold its memory; resolves when it answers. */
  async start(): Promise<void> {
    await until(`PostgreSQL on port ${this.port} answers`, START_WITHIN_MS, async () => {
      if (this.#postmaster === undefined || this.#postmaster.exitCode !== null || this.#postmaster.signalCode !== null)
        this.#spawn();
      return this.#answers();
    });
  }

  /** SIGKILL to the postmaster: nothing is written down, every connection breaks. */
  async kill(): Promise<void> {
    const postmaster = this.#postmaster;
    if (postmaster === undefined || postmaster.exitCode !== null || postmaster.signalCode !== null) return;
    const ended = once(postmaster, 'exit');
    postmaster.kill('SIGKILL');
    await ended;
  }

  async restartByKill(): Promise<void> {
    await this.kill();
    await this.start();
    this.restarts++;
  }

  async stop(): Promise<void> {
    await this.kill();
    // Its children see its death within moments; they must not write into a folder that is being removed.
    await until('the last process of PostgreSQL has ended', 20_000, () => !processesIn(this.folder)).catch(() => undefined);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Runs `use` on a connection of its own. It keeps to the indexes, so that the server's counts of sequential scans are those of the others. */
  async with<T>(database: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = new pg.Client({ connectionString: this.url(database, 'checker'), options: '-c enable_seqscan=off' });
    client.on('error', () => undefined);
    await client.connect();
    try {
      return await use(client);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  #spawn(): void {
    const log = openSync(join(this.folder, 'log'), 'a');
    const settings = {
      listen_addresses: '127.0.0.1',
      port: this.port,
      unix_socket_directories: '',
      max_connections: 100,
      shared_buffers: '32MB',
      deadlock_timeout: '100ms',
      max_wal_size: '256MB',
      log_min_messages: 'warning',
    };
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    this.#postmaster = spawn(join(this.#bin, 'postgres'), ['-D', join(this.folder, 'data'), ...flags], {
      stdio: ['ignore', log, log],
      cwd: this.folder,
      ...this.#user,
    });
    closeSync(log);
    const kill = (): void => void this.#postmaster?.kill('SIGKILL');
    process.once('exit', kill);
    this.#postmaster.once('exit', () => process.off('exit', kill));
  }

  async #answers(): Promise<boolean> {
    try {
      return await this.with('postgres', async (client) => (await client.query('select 1')).rowCount === 1);
    } catch {
      return false;
    }
  }
}

export function userNamed(name: string): { uid: number; gid: number } {
  const id = (flag: string): number => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

function newestBin(): string {
  const versions = existsSync(VERSIONS) ? readdirSync(VERSIONS).map(Number).filter(Number.isFinite) : [];
  if (versions.length === 0) throw new Error('PostgreSQL is not installed; Debian: apt-get install postgresql');
  return join(VERSIONS, String(Math.max(...versions)), 'bin');
}

/** Whether any process works in this folder. */
function processesIn(folder: string): boolean {
  return readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, 'latin1');
      return command.includes(folder);
    } catch {
      return false;
    }
  });
}
