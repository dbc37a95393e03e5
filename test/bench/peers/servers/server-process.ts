/**
 * A peer's server as a child process: on a port and in a folder of its own, ended with all its own children by its process group.
 * A server that cannot be started is a MissingPeer, which the benchmark reports with its reason instead of a figure.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** Why a peer is not in the run. */
export class MissingPeer extends Error {}

/** A server that serves, however many processes it is. */
export interface RunningServer {
  readonly address: string;
  /** Process whose memory and time are the server's. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  /** Another user to run as; only root can. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /** Port that accepts connections once the server serves. */
  readonly port: number;
  readonly readyWithinMs?: number | undefined;
}

const READY_WITHIN_MS = 60_000;
const OUTPUT_KEPT = 4000;
const TICKS_PER_SECOND = 100;
const running = new Set<ChildProcess>();
const folders = new Set<string>();
process.on('exit', () => {
  running.forEach(endGroup);
  folders.forEach(removeFolder);
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

/** Starts a server and waits until its port accepts; whoever starts one stops it. */
export async function launch(
  name: string,
  given: Launch,
): Promise<{ readonly child: ChildProcess; readonly stop: () => Promise<void> }> {
  const child = spawn(given.command, given.args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...given.env },
    detached: true,
    ...(given.cwd === undefined ? {} : { cwd: given.cwd }),
    ...given.user,
  });
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-OUTPUT_KEPT);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(`ended (${signal ?? code}) before it served: ${output.trim().slice(-500)}`));
  });
  running.add(child);
  const stop = async (): Promise<void> => {
    running.delete(child);
    if (child.pid === undefined) return;
    const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    endGroup(child);
    await exited;
  };
  const why = await Promise.race([ended, accepts(given.port, given.readyWithinMs ?? READY_WITHIN_MS)]);
  if (why === undefined) return { child, stop };
  await stop();
  throw new MissingPeer(`${name} ${why}`);
}

/** A folder for one server's data, removed when the server has ended. */
export function dataFolder(name: string): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), `tallystick-bench-${name}-`));
  folders.add(path);
  return {
    path,
    remove: () => {
      folders.delete(path);
      removeFolder(path);
    },
  };
}

/** Processor time that a server's process and its group have used, s. */
export function cpuSeconds(pid: number | undefined): number {
  let ticks = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // After the name in parentheses: state, parent, group, then ten more before user and system time.
      const fields = readFileSync(`/proc/${name}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ');
      if (Number(name) === pid || Number(fields[2]) === pid) ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It has ended meanwhile.
    }
  }
  return ticks / TICKS_PER_SECOND;
}

/** What a command prints, or the reason why the peer is missing. */
export function outputOf(command: string, args: readonly string[], why: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (error !== undefined || status !== 0)
    throw new MissingPeer(`${why} (${error?.message ?? `${command} ended with ${status}`})`);
  return `${stdout}${stderr}`;
}

async function accepts(port: number, withinMs: number): Promise<string | undefined> {
  for (const began = performance.now(); performance.now() - began < withinMs; await pause(50)) {
    const socket = createConnection({ port, host: '127.0.0.1' });
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (open) return undefined;
  }
  return `did not accept connections within ${withinMs / 1000} s`;
}

function removeFolder(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/** The data is thrown away, so nothing is gained by asking nicely. */
function endGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // All of the group has ended.
  }
}
