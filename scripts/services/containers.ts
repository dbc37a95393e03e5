/** The same services from compose.yaml, for machines with containers and without apt. Their ports and passwords stand in that file. */
import { spawnSync } from 'node:child_process';
import type { ServicesFile } from './state.ts';

export const CONTAINER_SERVICES: ServicesFile['services'] = {
  postgres: { processes: [], urls: { url: 'postgresql://tallystick:tallystick@127.0.0.1:54329/postgres' } },
  rabbitmq: {
    processes: [],
    urls: {
      url: 'amqp://tallystick:tallystick@127.0.0.1:56729/%2F',
      managementUrl: 'http://tallystick:tallystick@127.0.0.1:15679',
    },
  },
  pgbouncer: { processes: [], urls: { url: 'postgresql://tallystick:tallystick@127.0.0.1:64329/postgres' } },
};

export function startContainers(): void {
  compose('up', '--detach', '--wait');
}

export function stopContainers(): void {
  compose('down', '--volumes');
}

function compose(...args: string[]): void {
  const { status, error } = spawnSync('docker', ['compose', ...args], { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`docker compose ${args[0]} failed: ${error?.message ?? `status ${status}`}`);
}
