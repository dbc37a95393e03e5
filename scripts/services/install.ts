/**
 * What the services need on this machine, and how it gets there. The packages' own services, which apt may start on their usual
 * ports, are neither used nor touched.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { RABBITMQ_PACKAGE, rabbitmqIsInstalled } from './rabbitmq.ts';

const POSTGRES_VERSIONS = '/usr/lib/postgresql';
const DEBIAN_PACKAGES = { postgres: 'postgresql', rabbitmq: RABBITMQ_PACKAGE, pgbouncer: 'pgbouncer' };

/** Path of a program of the newest PostgreSQL here, such as `initdb`; undefined when there is none. */
export function postgresProgram(name: string): string | undefined {
  if (!existsSync(POSTGRES_VERSIONS)) return undefined;
  const versions = readdirSync(POSTGRES_VERSIONS)
    .filter((version) => existsSync(join(POSTGRES_VERSIONS, version, 'bin', name)))
    .sort((a, b) => Number(b) - Number(a));
  return versions[0] === undefined ? undefined : join(POSTGRES_VERSIONS, versions[0], 'bin', name);
}

export function pgbouncerProgram(): string | undefined {
  return ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer'].find((path) => existsSync(path));
}

/** Installs what is missing with apt. Throws with the command to run when this process may not. */
export function installMissing(): void {
  const missing = missingPackages();
  if (missing.length === 0) return;
  const command = `apt-get install ${missing.join(' ')}`;
  const others = 'or run `npm run services:up -- --containers`, which needs docker compose only';
  if (process.getuid?.() !== 0)
    throw new Error(`${missing.join(', ')} missing, and only root can install: sudo ${command}; ${others}`);
  if (!existsSync('/usr/bin/apt-get')) throw new Error(`${missing.join(', ')} missing, and there is no apt here; ${others}`);
  console.log(`installing ${missing.join(', ')}`);
  apt('-qq', 'update');
  apt('-qq', '-y', '--no-install-recommends', 'install', ...missing);
  const still = missingPackages();
  if (still.length > 0) throw new Error(`still missing after ${command}: ${still.join(', ')}`);
}

function missingPackages(): string[] {
  return [
    ...(postgresProgram('initdb') === undefined ? [DEBIAN_PACKAGES.postgres] : []),
    ...(rabbitmqIsInstalled() ? [] : [DEBIAN_PACKAGES.rabbitmq]),
    ...(pgbouncerProgram() === undefined ? [DEBIAN_PACKAGES.pgbouncer] : []),
  ];
}

function apt(...args: string[]): void {
  const { status } = spawnSync('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (status !== 0) throw new Error(`apt-get ${args.join(' ')} ended with ${status}`);
}
