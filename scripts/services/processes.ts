/**
 * Servers as processes that outlive the script which starts them: each in a session and process group of its own, its output in a
 * file, known by process id and start time.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync, openSync, closeSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { RunningProcess } from './state.ts';

export interface User {
  readonly uid: number;
  readonly gid: number;
}

export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly user: User | undefined;
  readonly folder: string;
  /** Becomes true once the server serves; asked again and again until then. */
  readonly ready: () => Promise<boolean>;
}

const READY_WITHIN_MS = 120_000;
const STOP_WITHIN_MS = 20_000;

/** Starts a server and waits until it serves. Throws with the end of its output when it ends before that. */
export async function launch(name: string, given: Launch): Promise<RunningProcess> {
  const log = join(given.folder, `${name}.log`);
  const out = openSync(log, 'a', 0o644);
  const child = spawn(given.command, given.args, {
    cwd: given.folder,
    env: { ...process.env, ...given.env },
    stdio: ['ignore', out, out],
    detached: true,
    ...given.user,
  });
  closeSync(out);
  let ended: string | undefined;
  child.once('error', (error) => (ended = error.message));
  child.once('exit', (code, signal) => (ended ??= `ended with ${signal ?? code}`));
  await until(async () => ended !== undefined || (child.pid !== undefined && (await given.ready())), READY_WITHIN_MS);
  const running = child.pid === undefined ? undefined : identify(child.pid);
  if (ended === undefined && running !== undefined && (await given.ready())) {
    child.unref();
    return running;
  }
  if (running !== undefined) await stop(running, 'SIGKILL');
  throw new Error(`${name} ${ended ?? 'did not serve in time'}; the end of ${log}:\n${tail(log)}`);
}

/** Ends a process by its id, asking first; by its whole group when it does not listen. Others that took the id are left alone. */
export async function stop(running: RunningProcess, signal: NodeJS.Signals): Promise<void> {
  if (!isAlive(running)) return;
  process.kill(running.pid, signal);
  if (await until(() => !isAlive(running), STOP_WITHIN_MS)) return;
  killGroup(running.pid);
  await until(() => !isAlive(running), STOP_WITHIN_MS);
}

/** SIGKILL to a whole process group, by its leader's id. */
export function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** Whether a process of this group still runs: the leader may have ended before the others. */
export function groupIsAlive(pid: number): boolean {
  return readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false;
    const [state, , group] = statOf(name);
    return Number(group) === pid && state !== 'Z';
  });
}

export function isAlive({ pid, startedAt }: RunningProcess): boolean {
  return identify(pid)?.startedAt === startedAt;
}

/** The process that has this id now, unless it has ended and only waits to be collected. */
export function identify(pid: number): RunningProcess | undefined {
  const fields = statOf(String(pid));
  return fields[0] === undefined || fields[0] === 'Z' ? undefined : { pid, startedAt: fields[19] ?? '' };
}

/** What the kernel says of a process: its state, parent and group first, the start time twentieth; nothing when there is none. */
function statOf(pid: string): readonly string[] {
  try {
    // The name, in parentheses, may hold anything.
    return readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
  } catch {
    return [];
  }
}

/** Asks until the answer is yes, or gives up; returns the last answer. */
export async function until(condition: () => boolean | Promise<boolean>, withinMs: number): Promise<boolean> {
  for (const began = performance.now(); performance.now() - began < withinMs; await pause(50)) {
    if (await condition()) return true;
  }
  return false;
}

export async function accepts(port: number): Promise<boolean> {
  const socket = createConnection({ port, host: '127.0.0.1' });
  const open = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  });
  socket.destroy();
  return open;
}

/** Ports that were free a moment ago, no two the same. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  for (const server of servers) server.close();
  await Promise.all(servers.map((server) => once(server, 'close')));
  return ports;
}

/** Root starts each server as the user its package made; anybody else starts it as himself. */
export function serviceUser(name: string): User | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string): number => {
    const { status, stdout } = spawnSync('id', [flag, name], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`there is no user ${name}, which the package of this server should have made`);
    return Number(stdout);
  };
  return { uid: id('-u'), gid: id('-g') };
}

/** A new, empty folder that only `user` can read. */
export function emptyFolder(path: string, user: User | undefined): string {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (user !== undefined) chownSync(path, user.uid, user.gid);
  return path;
}

/** Runs a command to its end, as a user. Throws with what it printed when it fails. */
export function runToEnd(command: string, args: readonly string[], user: User | undefined, cwd?: string): void {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', cwd, ...user });
  if (status === 0) return;
  throw new Error(`${command} failed (${error?.message ?? status}):\n${stdout}${stderr}`);
}

function tail(path: string): string {
  return readFileSync(path, 'utf8').slice(-2000);
}
