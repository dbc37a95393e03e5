/** Runs one load in a process of its own against a running server, and returns what it measured. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { measureIn } from '../processes.ts';
import type { Figure, Job } from './loads/job.ts';
import { classPathOf, type JavaPeer, SHORT_LIVED } from './servers/java.ts';
import type { Side, Way } from './works.ts';

export interface Times {
  readonly warmUpMs: number;
  readonly windowMs: number;
}

/** A virtual machine compiles for longer before it shows what it can. */
const JAVA_WARM_UP_MS = 3000;
/** A load that takes longer than this besides its window hangs. */
const WITHIN_MS = 120_000;

const files = {
  tallystick: './loads/tallystick-load.ts',
  redis: './loads/redis-load.ts',
  nats: './loads/nats-load.ts',
  rabbitmq: './loads/rabbitmq-load.ts',
} as const;

export function runLoad(side: Side, way: Way, address: string, times: Times): Promise<Figure> {
  const { load } = side;
  if (load === 'kafka' || load === 'rocketmq') return runJava(load, javaArguments(side, way, address, times));
  const job: Job = { ...side.job, window: way.window, ...times };
  return measureIn<Figure>(
    new URL(files[load], import.meta.url).href,
    [address, JSON.stringify(job)],
    WITHIN_MS + 2 * times.windowMs,
  );
}

function javaArguments({ load, job }: Side, { window, variant }: Way, address: string, { warmUpMs, windowMs }: Times): string[] {
  const sizes = [job.bytes, window, Math.max(warmUpMs, JAVA_WARM_UP_MS), windowMs].map(String);
  return load === 'kafka' ? [address, ...sizes, String(variant === 'keys')] : [variant ?? 'threads', address, ...sizes];
}

async function runJava(peer: JavaPeer, args: readonly string[]): Promise<Figure> {
  const main = peer === 'kafka' ? 'tallystick.bench.KafkaLoad' : 'tallystick.bench.RocketLoad';
  const home = '-Duser.home=.tmp/bench/home';
  const child = spawn('java', [...SHORT_LIVED, home, '-cp', classPathOf(peer), main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: WITHIN_MS,
    killSignal: 'SIGKILL',
  });
  let last = '';
  let complaints = '';
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line.startsWith('{')) last = line;
  });
  child.stderr.on('data', (chunk: Buffer) => (complaints = (complaints + chunk.toString()).slice(-2000)));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0 || last === '') throw new Error(`${main} ended with ${code}: ${complaints}`);
  return JSON.parse(last) as Figure;
}
