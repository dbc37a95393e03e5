/** A child as the harness holds it: armed, awaited at a step, stopped, continued, killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Arm, ChildOptions, FromChild, ToChild } from './child/line.ts';
import type { Role, StepName } from './steps.ts';
import { diesWithUs } from '../../process/dies-with-us.ts';
import { within } from './until.ts';

const READY_WITHIN_MS = 30_000;
const STOP_WITHIN_MS = 8000;
const OUTPUT_KEPT = 4000;

export interface Reached {
  readonly step: StepName;
  readonly number: number;
  readonly serial: string;
}

/** What children tell beside their steps. */
export interface Told {
  count(what: string, detail: string): void;
  committed(serial: string): void;
  took(ms: number): void;
}

export class Child {
  readonly name: string;
  readonly role: Role;
  /** Whether its end is the harness's doing. */
  expectedToEnd = false;
  output = '';
  readonly #process: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #reached = new Map<StepName, Reached>();
  #waiting: { readonly step: StepName; readonly tell: (reached: Reached) => void }[] = [];

  private constructor(child: ChildProcess, name: string, role: Role) {
    this.#process = child;
    this.#ended = new Promise((resolve) => child.once('exit', resolve));
    this.name = name;
    this.role = role;
  }

  static async start(program: string, options: ChildOptions, told: Told): Promise<Child> {
    const command = ['--enable-source-maps', program, JSON.stringify(options)];
    const node = diesWithUs(spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }));
    const child = new Child(node, options.name, options.role);
    for (const stream of [node.stdout!, node.stderr!])
      stream.on('data', (chunk: Buffer) => (child.output = (child.output + chunk.toString()).slice(-OUTPUT_KEPT)));
    const ready = new Promise<void>((resolve, reject) => {
      node.on('message', (message: FromChild) => {
        if (message.event === 'ready') resolve();
        else if (message.event === 'count') told.count(message.what, message.detail ?? '');
        else if (message.event === 'committed') told.committed(message.serial);
        else if (message.event === 'took') told.took(message.ms);
        else child.#arrived(message);
      });
      node.once('exit', (code, signal) => reject(new Error(`${options.name} ended (${signal ?? code}): ${child.output}`)));
    });
    // One that is armed may be waiting at its first step before it is ready.
    await within(`${options.name} is ready`, READY_WITHIN_MS, Promise.race([ready, child.anyStep()]));
    ready.catch(() => undefined);
    return child;
  }

  get alive(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Most memory it has ever had at once, as the kernel counts it. */
  peakBytes(): number {
    const status = readFileSync(`/proc/${this.#process.pid}/status`, 'latin1');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  get ending(): string {
    return String(this.#process.signalCode ?? this.#process.exitCode);
  }

  arm(arm: Arm): void {
    this.#tell({ order: 'arm', arm });
  }

  allow(upTo: number): void {
    this.#tell({ order: 'allow', upTo });
  }

  /** Lets it go on from where it waits. */
  go(): void {
    this.#tell({ order: 'go' });
  }

  /** Resolves when it waits at this step. */
  at(step: StepName): Promise<Reached> {
    const already = this.#reached.get(step);
    if (already !== undefined) {
      this.#reached.delete(step);
      return Promise.resolve(already);
    }
    return new Promise((resolve) => this.#waiting.push({ step, tell: resolve }));
  }

  async kill(): Promise<void> {
    await this.#end(() => this.#process.kill('SIGKILL'));
  }

  pause(): void {
    this.#process.kill('SIGSTOP');
  }

  resume(): void {
    this.#process.kill('SIGCONT');
  }

  /** Asks it to end in order; kills it when it does not. */
  async stop(): Promise<void> {
    this.resume();
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_WITHIN_MS);
    await this.#end(() => {
      this.go();
      this.#tell({ order: 'stop' });
    });
    clearTimeout(timer);
  }

  /** Whether it has ended, by itself, at the latest in so many ms. */
  async endsWithin(ms: number): Promise<boolean> {
    if (this.alive) await Promise.race([this.#ended, sleep(ms)]);
    return !this.alive;
  }

  #anyStep: (() => void) | undefined;

  private anyStep(): Promise<void> {
    return new Promise((resolve) => (this.#anyStep = resolve));
  }

  #arrived({ step, number, serial }: Reached): void {
    this.#anyStep?.();
    const at = this.#waiting.findIndex((one) => one.step === step);
    if (at < 0) this.#reached.set(step, { step, number, serial });
    else this.#waiting.splice(at, 1)[0]!.tell({ step, number, serial });
  }

  async #end(act: () => void): Promise<void> {
    this.expectedToEnd = true;
    if (!this.alive) return;
    act();
    await this.#ended;
  }

  #tell(message: ToChild): void {
    if (this.#process.connected) this.#process.send(message, () => undefined);
  }
}
