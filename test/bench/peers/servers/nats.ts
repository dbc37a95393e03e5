/** NATS with JetStream at its defaults: streams in files, synced every two minutes. */
import { freePort } from '../../processes.ts';
import { dataFolder, launch, outputOf, type RunningServer } from './server-process.ts';

const MISSING = 'nats-server is not installed; Debian: apt-get install nats-server';

export function natsVersion(): string {
  return /v(\d\S+)/.exec(outputOf('nats-server', ['--version'], MISSING))?.[1] ?? 'unknown';
}

export async function startNats(): Promise<RunningServer> {
  natsVersion();
  const folder = dataFolder('nats');
  const port = await freePort();
  const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', folder.path];
  const { child, stop } = await launch('nats-server', { command: 'nats-server', args, port });
  return { address: `127.0.0.1:${port}`, pid: child.pid, stop: () => stop().finally(folder.remove) };
}
