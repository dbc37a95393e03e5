/** Redis with an append-only file. Snapshots and rewrites of the file are off: they would cost it time in the middle of a row. */
import { freePort } from '../../processes.ts';
import { dataFolder, launch, outputOf, type RunningServer } from './server-process.ts';

const MISSING = 'redis-server is not installed; Debian: apt-get install redis-server';

export function redisVersion(): string {
  return /v=(\S+)/.exec(outputOf('redis-server', ['--version'], MISSING))?.[1] ?? 'unknown';
}

export async function startRedis(appendfsync: 'everysec' | 'always'): Promise<RunningServer> {
  redisVersion();
  const folder = dataFolder('redis');
  const port = await freePort();
  const settings = { port, bind: '127.0.0.1', dir: folder.path, save: '', appendonly: 'yes', appendfsync };
  const args = Object.entries({ ...settings, 'auto-aof-rewrite-percentage': 0 }).flatMap(([name, value]) => [
    `--${name}`,
    String(value),
  ]);
  const { child, stop } = await launch('redis-server', { command: 'redis-server', args, port });
  return { address: `127.0.0.1:${port}`, pid: child.pid, stop: () => stop().finally(folder.remove) };
}
