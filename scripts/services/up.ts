/**
 * `npm run services:up [-- --containers]`: PostgreSQL, RabbitMQ and pgbouncer for the tests, on private ports and data folders. What is
 * missing is installed with apt; what runs already is left alone; what has died is started anew, on an empty folder. Writes
 * `.tmp/services.json` and prints the addresses, as lines that a shell can read.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, rmSync, writeFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { addressLines } from './addresses.ts';
import { CONTAINER_SERVICES, startContainers } from './containers.ts';
import { installMissing } from './install.ts';
import { startPgbouncer } from './pgbouncer.ts';
import { startPostgres } from './postgres.ts';
import { identify, isAlive, stop, until } from './processes.ts';
import { startRabbitmq } from './rabbitmq.ts';
import { readState, SERVICES_FOLDER, writeState, type ServiceName, type ServicesFile, type ServiceState } from './state.ts';

const LOCK_WITHIN_MS = 300_000;

const given = process.argv.slice(2);
if (given.some((argument) => argument !== '--containers')) {
  console.error('usage: npm run services:up [-- --containers]');
  process.exit(2);
}
try {
  const state = given.includes('--containers') ? withContainers() : await alone(withProcesses);
  for (const line of addressLines(state)) console.log(line);
} catch (error) {
  console.error(`services:up: ${(error as Error).message}`);
  process.exitCode = 1;
}

function withContainers(): ServicesFile {
  startContainers();
  const state: ServicesFile = { kind: 'containers', folder: '', services: CONTAINER_SERVICES };
  writeState(state);
  return state;
}

async function withProcesses(): Promise<ServicesFile> {
  installMissing();
  const found = readState();
  let state: ServicesFile = {
    kind: 'processes',
    folder: SERVICES_FOLDER,
    services: found?.kind === 'processes' ? found.services : {},
  };
  const ensure = async (name: ServiceName, start: (folder: string) => Promise<ServiceState>): Promise<ServiceState> => {
    const old = state.services[name];
    if (old?.processes.every(isAlive) === true) return old;
    for (const running of old?.processes ?? []) await stop(running, 'SIGTERM');
    const service = await start(join(SERVICES_FOLDER, name));
    state = { ...state, services: { ...state.services, [name]: service } };
    writeState(state);
    return service;
  };
  // RabbitMQ needs the longest.
  const rabbitmq = ensure('rabbitmq', startBroker);
  rabbitmq.catch(() => undefined);
  const before = state.services.postgres;
  const postgres = await ensure('postgres', startPostgres);
  // A new PostgreSQL has a new port, which an old pgbouncer does not know.
  if (postgres !== before) await stopOld('pgbouncer');
  await ensure('pgbouncer', (folder) => startPgbouncer(folder, postgres.urls['url']!));
  await rabbitmq;
  writeState(state);
  return state;

  async function stopOld(name: ServiceName): Promise<void> {
    for (const running of state.services[name]?.processes ?? []) await stop(running, 'SIGTERM');
  }
}

/** The tests make their virtual hosts by its management. */
async function startBroker(folder: string): Promise<ServiceState> {
  const user = { name: 'tallystick', password: randomBytes(12).toString('hex') };
  return (await startRabbitmq({ folder, user, management: true, outlives: true })).state;
}

/** Two of these at once would start everything twice: the second waits for the first. */
async function alone<T>(work: () => Promise<T>): Promise<T> {
  mkdirSync(SERVICES_FOLDER, { recursive: true });
  // Each server's folder lets in only its own user; this one must let them pass.
  chmodSync(SERVICES_FOLDER, 0o711);
  const lock = join(SERVICES_FOLDER, 'up.lock');
  if (!(await until(() => take(lock), LOCK_WITHIN_MS))) throw new Error(`another services:up does not end; see ${lock}`);
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}

function take(lock: string): boolean {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch {
    const holder = readHolder(lock);
    if (holder !== undefined && identify(holder) === undefined) rmSync(lock, { force: true });
    return false;
  }
}

function readHolder(lock: string): number | undefined {
  try {
    return Number(readFileSync(lock, 'utf8'));
  } catch {
    return undefined;
  }
}
