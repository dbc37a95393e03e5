/**
 * Where the services of a checkout live and what is known of them: a data folder of the checkout's own in the temporary folder
 * (servers run as users who may not be able to enter the checkout), and `.tmp/services.json` for those who use them.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A process by its id and by when it started, so that a later process of the same id is never taken for it. */
export interface RunningProcess {
  readonly pid: number;
  /** Start time in clock ticks since boot. */
  readonly startedAt: string;
}

export type ServiceName = 'postgres' | 'rabbitmq' | 'pgbouncer';

export interface ServiceState {
  /** In the order in which they started. */
  readonly processes: readonly RunningProcess[];
  readonly urls: Readonly<Record<string, string>>;
}

export interface ServicesFile {
  /** `containers`: started by `docker compose`, stopped by it too. */
  readonly kind: 'processes' | 'containers';
  readonly folder: string;
  readonly services: Readonly<Partial<Record<ServiceName, ServiceState>>>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const SERVICES_FILE = join(ROOT, '.tmp', 'services.json');

/** The data folder of this checkout's services. */
export const SERVICES_FOLDER = join(
  tmpdir(),
  `tallystick-services-${createHash('sha256').update(ROOT).digest('hex').slice(0, 8)}`,
);

export function readState(): ServicesFile | undefined {
  try {
    return JSON.parse(readFileSync(SERVICES_FILE, 'utf8')) as ServicesFile;
  } catch {
    return undefined;
  }
}

export function writeState(state: ServicesFile): void {
  mkdirSync(dirname(SERVICES_FILE), { recursive: true });
  writeFileSync(SERVICES_FILE, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
}

export function forgetState(): void {
  rmSync(SERVICES_FILE, { force: true });
}
