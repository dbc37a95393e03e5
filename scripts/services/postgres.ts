/** PostgreSQL with nothing about its durability changed: what a test commits here has been synced. */
import { randomBytes } from 'node:crypto';
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { postgresProgram } from './install.ts';
import { emptyFolder, freePorts, launch, runToEnd, serviceUser, accepts, type User } from './processes.ts';
import type { ServiceState } from './state.ts';

const USER = 'tallystick';

/** A server of one's own; every connection is let in by password. */
export interface PostgresServer extends ServiceState {
  readonly urls: { readonly url: string };
}

/**
 * Starts a PostgreSQL on a new folder. `settings` are lines of postgresql.conf, for those who want a server that is set up wrongly.
 */
export async function startPostgres(path: string, settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
  const user = serviceUser('postgres');
  const folder = emptyFolder(path, user);
  const [port] = (await freePorts(1)) as [number];
  const password = randomBytes(12).toString('hex');
  createCluster(folder, password, user);
  const all = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: folder,
    max_connections: '300',
    shared_buffers: '256MB',
    max_wal_size: '4GB',
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    log_min_messages: 'log',
    log_lock_waits: 'on',
    ...settings,
  };
  // In the file, not on the command line: what stands there can be changed with `alter system`.
  const lines = Object.entries(all).map(([name, value]) => `${name} = '${value}'\n`);
  appendFileSync(join(folder, 'data', 'postgresql.conf'), lines.join(''));
  const server = await launch('postgres', {
    command: program('postgres'),
    args: ['-D', join(folder, 'data')],
    user,
    folder,
    ready: () => Promise.resolve(serves(port, folder)),
  });
  return { processes: [server], urls: { url: `postgresql://${USER}:${password}@127.0.0.1:${port}/postgres` } };
}

function createCluster(folder: string, password: string, user: User | undefined): void {
  const secret = join(folder, 'password');
  writeFileSync(secret, `${password}\n`, { mode: 0o644 });
  const flags = ['--auth=scram-sha-256', `--pwfile=${secret}`, '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync'];
  runToEnd(program('initdb'), ['-D', join(folder, 'data'), '-U', USER, ...flags], user, folder);
}

/** A port that accepts is not enough: a server that starts refuses its clients. */
async function serves(port: number, folder: string): Promise<boolean> {
  if (!(await accepts(port))) return false;
  try {
    runToEnd(program('pg_isready'), ['-q', '-h', '127.0.0.1', '-p', String(port)], undefined, folder);
    return true;
  } catch {
    return false;
  }
}

function program(name: string): string {
  const path = postgresProgram(name);
  if (path === undefined) throw new Error('PostgreSQL is not installed; Debian: apt-get install postgresql');
  return path;
}
