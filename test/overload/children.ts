/** Processes of an overload run: TypeScript files of this folder, started with one JSON argument, asked by messages with one answer each. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SOURCES = fileURLToPath(new URL('../../packages/cli/bin/sources.js', import.meta.url));

/** A message to a child: what to do, and with what. */
export type Order = { readonly do: string } & Readonly<Record<string, unknown>>;

export class Child {
  readonly process: ChildProcess;
  readonly #waiting = new Map<number, { readonly done: (value: never) => void; readonly failed: (error: Error) => void }>();
  #next = 0;
  /** What it sends by itself. */
  onNote: (note: unknown) => void = () => {};

  /** What it said when it was ready. */
  ready: unknown;

  /** Starts `file` and waits until it is ready. */
  static async start(file: string, config: unknown): Promise<Child> {
    const child = new Child(file, config);
    child.ready = await child.#answer(0);
    return child;
  }

  private constructor(file: string, config: unknown) {
    this.process = fork(fileURLToPath(new URL(file, import.meta.url)), [JSON.stringify(config)], {
      execArgv: ['--import', SOURCES],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.process.on('message', (message: { id?: number; value?: unknown; error?: string; note?: unknown }) => {
      if (message.id === undefined) return this.onNote(message.note);
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error !== undefined) waiting?.failed(new Error(`${file}: ${message.error}`));
      else waiting?.done(message.value as never);
    });
    this.process.once('exit', (code, signal) => {
      for (const { failed } of this.#waiting.values()) failed(new Error(`${file} ended with ${signal ?? code}`));
      this.#waiting.clear();
    });
  }

  /** Has it do something; resolves with its answer. */
  ask<T>(order: Order): Promise<T> {
    const id = ++this.#next;
    const answer = this.#answer<T>(id);
    this.process.send({ id, ...order });
    return answer;
  }

  /** Memory that it holds now, MiB, and the most it ever held. */
  memory(): { readonly rssMiB: number; readonly peakMiB: number } {
    const status = readFileSync(`/proc/${this.process.pid}/status`, 'latin1');
    const mib = (name: string): number => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024);
    return { rssMiB: mib('VmRSS'), peakMiB: mib('VmHWM') };
  }

  async end(signal: 'SIGTERM' | 'SIGKILL' = 'SIGKILL'): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = once(this.process, 'exit');
    this.process.kill(signal);
    await ended;
  }

  #answer<T>(id: number): Promise<T> {
    return new Promise((resolve, reject) => this.#waiting.set(id, { done: resolve as (value: never) => void, failed: reject }));
  }
}

/** The child's side: the configuration it was started with. */
export function configOf<T>(): T {
  return JSON.parse(process.argv[2]!) as T;
}

/** The child's side: says that it is ready, then answers orders until it is ended. */
export function serve(work: Readonly<Record<string, (order: never) => unknown>>, ready?: unknown): void {
  process.on('message', (order: Order & { id: number }) => {
    const act = work[order.do] as ((order: Order) => unknown) | undefined;
    Promise.resolve()
      .then(() => act?.(order))
      .then(
        (value) => process.send!({ id: order.id, value }),
        (error: unknown) => process.send!({ id: order.id, error: String(error instanceof Error ? error.stack : error) }),
      );
  });
  process.on('disconnect', () => process.exit(0));
  process.send!({ id: 0, value: ready });
}

/** The child's side: tells something unasked. */
export function note(what: unknown): void {
  process.send!({ note: what });
}
