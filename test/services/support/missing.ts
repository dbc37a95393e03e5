import { connect } from 'node:net';
import { readState } from '../../../scripts/services/state.ts';

/** Names of services that are not there or take no connection. */
export async function missingServices(): Promise<string[]> {
  const found = readState()?.services ?? {};
  const missing: string[] = [];
  for (const name of ['postgres', 'rabbitmq', 'pgbouncer'] as const) {
    const url = found[name]?.urls['url'];
    if (url === undefined || !(await accepts(Number(new URL(url).port)))) missing.push(name);
  }
  return missing;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => (socket.destroy(), resolve(true)));
    socket.once('error', () => resolve(false));
  });
}
