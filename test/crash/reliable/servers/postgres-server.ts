/**
 * A PostgreSQL of the harness's own, on a private port and a fresh folder, so that it can be killed without asking anybody: `kill()` is
 * SIGKILL to the postmaster while connections are at work, `start()` lets it recover. Durable as it comes (fsync and synchronous_commit on);
 * the folder lies in memory where the machine offers that, because a killed process loses nothing there either. `standby()` gives it a
 * second one that follows it, and `failOver()` lets that take its place, at another port.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, openSync, closeSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { freePort } from '../../../process/broker-process.ts';
import { diesWithUs } from '../../../process/dies-with-us.ts';
import { until } from '../until.ts';

const VERSIONS = '/usr/lib/postgresql';
const IN_MEMORY = '/dev/shm';
const START_WITHIN_MS = 60_000;

export class PostgresServer {
  port: number;
  folder: string;
  restarts = 0;
  readonly #user: { readonly uid: number; readonly gid: number } | undefined;
  readonly #bin: string;
  #postmaster: ChildProcess | undefined;
  #standby: PostgresServer | undefined;

  private constructor(port: number, folder: string, bin: string, user: { uid: number; gid: number } | undefined) {
    this.port = port;
    this.folder = folder;
    this.#bin = bin;
    this.#user = user;
  }

  static async make(name: string): Promise<PostgresServer> {
    const server = await PostgresServer.#empty(name);
    await server.#run('initdb', ['-D', server.#data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync']);
    await server.start();
    return server;
  }

  static async #empty(name: string): Promise<PostgresServer> {
    const folder = mkdtempSync(join(existsSync(IN_MEMORY) ? IN_MEMORY : tmpdir(), `tallystick-crash-${name}-`));
    const user = process.getuid?.() === 0 ? userNamed('postgres') : undefined;
    if (user !== undefined) chownSync(folder, user.uid, user.gid);
    return new PostgresServer(await freePort(), folder, newestBin(), user);
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

  /** A second server that follows this one; `awaited`: from now on no commit is answered before it is on that one's disk, too. */
  async standby({ awaited }: { readonly awaited: boolean }): Promise<void> {
    const standby = await PostgresServer.#empty('standby');
    this.#standby = standby;
    const from = ['-h', '127.0.0.1', '-p', String(this.port), '-U', 'postgres'];
    await standby.#run('pg_basebackup', ['-D', standby.#data, ...from, '-R', '-X', 'stream', '-c', 'fast', '--no-sync']);
    await standby.start();
    // After the copy: what it becomes shall not wait for anybody.
    if (awaited) await this.#order(`alter system set synchronous_standby_names = '*'`, 'select pg_reload_conf()');
    await until('the standby follows', START_WITHIN_MS, async () => {
      const [seen] = await this.#ask('select state, sync_state from pg_stat_replication');
      return seen?.['state'] === 'streaming' && (seen['sync_state'] === 'sync') === awaited;
    });
  }

  /** Nothing more reaches the standby: commits that wait for it go on waiting. */
  async holdBackStandby(): Promise<void> {
    for (const pid of await this.#senders()) process.kill(pid, 'SIGSTOP');
  }

  /** Commits that are done here and wait for the standby. */
  async commitsWaiting(): Promise<number> {
    const [seen] = await this.#ask(`select count(*) as n from pg_stat_activity where wait_event = 'SyncRep'`);
    return Number(seen?.['n']);
  }

  /** Dies, and lives on as its standby: with what that has, at that one's port. */
  async failOver(): Promise<void> {
    const standby = this.#standby;
    if (standby === undefined) throw new Error('there is no standby');
    const senders = await this.#senders();
    await this.kill();
    // One that is held back does not see the death of its postmaster.
    for (const pid of senders) killIfThere(pid);
    await standby.#order('select pg_promote(true, 60)');
    const { port, folder } = this;
    const old = new PostgresServer(port, folder, this.#bin, this.#user);
    this.port = standby.port;
    this.folder = standby.folder;
    this.#postmaster = standby.#postmaster;
    this.#standby = undefined;
    await old.stop();
  }

  async stop(): Promise<void> {
    await this.#standby?.stop();
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

  get #data(): string {
    return join(this.folder, 'data');
  }

  async #run(program: string, args: readonly string[]): Promise<void> {
    await promisify(execFile)(join(this.#bin, program), [...args], { cwd: this.folder, ...this.#user });
  }

  #ask(sql: string): Promise<Record<string, unknown>[]> {
    return this.with('postgres', async (client) => (await client.query<Record<string, unknown>>(sql)).rows);
  }

  async #order(...statements: readonly string[]): Promise<void> {
    for (const sql of statements) await this.#ask(sql);
  }

  /** The processes that feed its standbys. */
  async #senders(): Promise<number[]> {
    return (await this.#ask('select pid from pg_stat_replication')).map((row) => Number(row['pid']));
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
    const command = ['-D', this.#data, ...flags];
    const postmaster = diesWithUs(
      spawn(join(this.#bin, 'postgres'), command, { stdio: ['ignore', log, log], cwd: this.folder, ...this.#user }),
    );
    closeSync(log);
    this.#postmaster = postmaster;
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

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended with its postmaster.
  }
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
