/**
 * Starts the demo's child processes, keeps `processes.json`, and starts again whatever dies, by whose hand ever, until the run is over. Children
 * get a process group of their own, so that Ctrl-C in the terminal reaches only the parent; their output goes to `logs/NAME.log`.
 *
 * states of a child: starting → ready (it said so) → gone → starting …; with `retire` or `stopAll`: gone for good.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ToChild, ToParent } from './child.ts';
import type { FaultLog } from './fault-log.ts';
import type { DemoFolder } from './folder.ts';

export interface ChildSpec {
  readonly name: string;
  /** Arguments after `tallystick`. */
  readonly args: readonly string[];
  /** The child prints a ready line of its own instead of saying so over IPC. */
  readonly readyLine?: RegExp;
}

interface Child {
  readonly spec: ChildSpec;
  process: ChildProcess | undefined;
  state: 'starting' | 'ready' | 'gone';
  retired: boolean;
  /** Starts in a row that ended before the child was ready. */
  failures: number;
}

export interface SupervisorEvents {
  /** A child sent something. */
  message(name: string, message: ToParent): void;
  /** A child is gone; it will be started again unless the run is over. */
  gone(name: string): void;
  /** A child cannot be started. */
  hopeless(name: string, why: string): void;
}

const bin = fileURLToPath(new URL('../../bin/tallystick.js', import.meta.url));
const failuresMax = 8;
const stopLimitMs = 8_000;
const restartAfterMs = 100;

export class Supervisor {
  private readonly folder: DemoFolder;
  private readonly log: FaultLog;
  private readonly events: SupervisorEvents;
  private readonly children = new Map<string, Child>();
  private readonly restarts = new Set<NodeJS.Timeout>();
  private stopping = false;

  constructor(folder: DemoFolder, log: FaultLog, events: SupervisorEvents) {
    this.folder = folder;
    this.log = log;
    this.events = events;
  }

  start(spec: ChildSpec): void {
    if (this.stopping) return;
    const child: Child = { spec, process: undefined, state: 'gone', retired: false, failures: 0 };
    this.children.set(spec.name, child);
    this.spawn(child);
  }

  pidOf(name: string): number | undefined {
    return this.children.get(name)?.process?.pid;
  }

  isReady(name: string): boolean {
    return this.children.get(name)?.state === 'ready';
  }

  send(name: string, message: ToChild): void {
    const process = this.children.get(name)?.process;
    if (process?.connected) process.send(message, () => {});
  }

  /** Sends a signal to a child; false when there is no such process. */
  signal(name: string, signal: NodeJS.Signals): boolean {
    return this.children.get(name)?.process?.kill(signal) ?? false;
  }

  /** Stops one child for good. */
  async retire(name: string): Promise<void> {
    const child = this.children.get(name);
    if (child === undefined) return;
    child.retired = true;
    await this.stop(child);
    this.children.delete(name);
    this.listProcesses();
  }

  /** From now on a child that dies stays dead. */
  stopRestarting(): void {
    this.stopping = true;
    for (const timer of this.restarts) clearTimeout(timer);
  }

  /** Stops all children of these names together and waits until they are gone. */
  async stopAll(names: readonly string[] = [...this.children.keys()]): Promise<void> {
    const children = names.map((name) => this.children.get(name)).filter((child) => child !== undefined);
    for (const child of children) child.retired = true;
    await Promise.all(children.map((child) => this.stop(child)));
  }

  /** For the end of the parent itself: nothing may survive it. */
  killAll(): void {
    this.stopRestarting();
    for (const child of this.children.values()) {
      child.process?.kill('SIGCONT');
      child.process?.kill('SIGKILL');
    }
  }

  private async stop(child: Child): Promise<void> {
    const { process } = child;
    if (process === undefined) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => process.kill('SIGKILL'), stopLimitMs);
      process.once('exit', () => {
        clearTimeout(timer);
        resolve();
      });
      process.kill('SIGCONT');
      process.kill('SIGTERM');
    });
  }

  private spawn(child: Child): void {
    const { name, args, readyLine } = child.spec;
    const output = openSync(this.logPath(name), 'a');
    const started = spawn(process.execPath, [bin, ...args], {
      detached: true,
      stdio: ['ignore', readyLine === undefined ? output : 'pipe', output, 'ipc'],
    });
    closeSync(output);
    child.process = started;
    child.state = 'starting';
    if (readyLine !== undefined) this.watchReadyLine(child, started, readyLine);
    started.on('message', (message: ToParent) => {
      if (child.process !== started) return;
      if (message.type === 'ready') this.becomeReady(child);
      this.events.message(name, message);
    });
    started.on('error', (error) => this.events.hopeless(name, error.message));
    started.once('exit', (code, signal) => this.exited(child, started, code, signal));
    if (started.pid !== undefined) this.log.add({ what: 'start', name, pid: started.pid });
    this.listProcesses();
  }

  private watchReadyLine(child: Child, started: ChildProcess, readyLine: RegExp): void {
    let text = '';
    started.stdout?.setEncoding('utf8');
    started.stdout?.on('data', (chunk: string) => {
      if (child.process !== started || child.state !== 'starting') return;
      text = (text + chunk).slice(-4096);
      if (readyLine.test(text)) this.becomeReady(child);
    });
  }

  private becomeReady(child: Child): void {
    child.state = 'ready';
    child.failures = 0;
    this.log.add({ what: 'ready', name: child.spec.name });
  }

  private exited(child: Child, process: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    const { name } = child.spec;
    if (child.process !== process) return;
    if (child.state === 'starting' && signal === null) child.failures++;
    child.process = undefined;
    child.state = 'gone';
    this.log.add({ what: 'exit', name, pid: process.pid ?? 0, code, signal });
    this.events.gone(name);
    if (this.stopping || child.retired) return;
    if (child.failures >= failuresMax) {
      this.events.hopeless(name, this.lastWords(name));
      return;
    }
    const timer = setTimeout(
      () => {
        this.restarts.delete(timer);
        if (!this.stopping && !child.retired) this.spawn(child);
      },
      restartAfterMs * (1 + child.failures),
    );
    this.restarts.add(timer);
  }

  private listProcesses(): void {
    const rows = [...this.children.values()].flatMap(({ spec, process }) =>
      process?.pid === undefined ? [] : [{ name: spec.name, pid: process.pid }],
    );
    this.folder.writeProcesses(rows);
  }

  private lastWords(name: string): string {
    const text = readFileSync(this.logPath(name), 'utf8').trimEnd();
    return text.slice(-1_000);
  }

  private logPath(name: string): string {
    return join(this.folder.logs, `${name}.log`);
  }
}
