/** Java peers: their jars come by Maven, our small load programs are compiled against them, once, into `.tmp/bench`. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MissingPeer } from './server-process.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const SOURCES = fileURLToPath(new URL('../java/', import.meta.url));

export type JavaPeer = 'kafka' | 'rocketmq';

/** The class path of a Java peer and of the load program that drives it; builds both when they are older than their sources. */
export function classPathOf(peer: JavaPeer): string {
  const built = join(ROOT, '.tmp/bench', peer);
  const classes = join(built, 'classes');
  if (!existsSync(classes) || newest(classes) < newest(join(SOURCES, peer))) build(peer);
  return `${classes}:${join(built, 'lib')}/*`;
}

/** Version in the name of the jar that begins with `prefix`. */
export function jarVersion(peer: JavaPeer, prefix: string): string {
  const names = readdirSync(join(ROOT, '.tmp/bench', peer, 'lib'));
  const jar = names.find((name) => name.startsWith(prefix));
  return jar === undefined ? 'unknown' : jar.slice(prefix.length, -'.jar'.length);
}

export const SHORT_LIVED = ['-Xms256m', '-Xmx1g'] as const;

function build(peer: JavaPeer): void {
  const { status, stdout, error } = spawnSync('mvn', ['-B', '-q', '-f', join(SOURCES, peer, 'pom.xml'), 'process-classes'], {
    encoding: 'utf8',
  });
  if (status !== 0)
    throw new MissingPeer(
      `${peer}: its jars could not be fetched (Maven and a JDK 17 are needed): ${error?.message ?? stdout.slice(0, 300)}`,
    );
}

function newest(path: string): number {
  const stats = statSync(path);
  if (!stats.isDirectory()) return stats.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}
