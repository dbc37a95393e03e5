/** Child processes of a benchmark: a broker on a fresh folder, and a measuring process whose last line is its result. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { diesWithUs } from '../process/dies-with-us.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BIN = join(ROOT, 'packages/cli/bin/tallystick.js');
/** The loader that lets Node run the sources as they are. */
export const SOURCES = join(ROOT, 'packages/cli/bin/sources.js');

export interface RunningBroker {
  readonly address: string;
  readonly folder: string;
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

/** Starts `tallystick broker` with nothing but its flush mode chosen; resolves at its ready line. */
export async function startBroker(flush: 'sync' | 'async'): Promise<RunningBroker> {
  const folder = mkdtempSync(join(tmpdir(), 'tallystick-bench-'));
  const port = await freePort();
  const command = [BIN, 'broker', '--port', String(port), '--data', join(folder, 'data'), '--flush', flush];
  const child = diesWithUs(spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'inherit'] }));
  await lineWith(child, /ready/i);
  return {
    address: `127.0.0.1:${port}`,
    folder,
    pid: child.pid,
    async stop() {
      const ended = child.signalCode ?? child.exitCode;
      if (ended === null) {
        const exited = once(child, 'exit');
        child.kill('SIGTERM');
        await exited;
      }
      rmSync(folder, { recursive: true, force: true });
      if (ended !== null) throw new Error(`the broker ended with ${ended} before it was stopped`);
    },
  };
}

/** Runs a TypeScript file of this folder in its own process, for at most `withinMs`, and returns its last line, parsed. */
export async function measureIn<T>(file: string, args: readonly string[], withinMs?: number): Promise<T> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const child = spawn(process.execPath, ['--import', SOURCES, path, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    ...(withinMs === undefined ? {} : { timeout: withinMs, killSignal: 'SIGKILL' }),
  });
  let last = '';
  createInterface({ input: child.stdout }).on('line', (line) => (last = line));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (code !== 0) throw new Error(`${basename(path)} ended with ${signal ?? code}`);
  return JSON.parse(last) as T;
}

async function lineWith(child: ChildProcess, pattern: RegExp): Promise<void> {
  const lines = createInterface({ input: child.stdout! });
  for await (const line of lines) {
    if (pattern.test(line)) {
      child.stdout!.resume();
      return;
    }
  }
  throw new Error('the broker ended before it was ready');
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
