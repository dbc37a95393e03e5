/** Runs the real command in a process of its own, for tests. */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const bin = fileURLToPath(new URL('../bin/tallystick.js', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves with the first match in what the process has printed so far or prints later; rejects if it ends before. */
  seen(pattern: RegExp): Promise<RegExpExecArray>;
}

/** Starts `tallystick ...args` in the folder `cwd`, with `env` added to the environment. */
export function start(args: readonly string[], input?: string, env: NodeJS.ProcessEnv = {}, cwd?: string): Running {
  const child = spawn(process.execPath, [bin, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    cwd,
  });
  child.stdin.end(input);
  let out = '';
  let err = '';
  const lookers = new Set<() => void>();
  const look = () => {
    for (const looker of [...lookers]) looker();
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    look();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const ended = new Promise<Ended>((resolve) => child.once('close', (code, signal) => resolve({ code, signal, out, err })));
  return {
    child,
    ended,
    seen: (pattern) =>
      new Promise((resolve, reject) => {
        const looker = () => {
          const match = pattern.exec(out);
          if (match === null) return;
          lookers.delete(looker);
          resolve(match);
        };
        lookers.add(looker);
        looker();
        void ended.then(({ code }) => reject(new Error(`ended with ${code} before it printed ${pattern}\n${out}\n${err}`)));
      }),
  };
}

/** Runs `tallystick ...args` to its end. */
export function run(args: readonly string[], input?: string): Promise<Ended> {
  return start(args, input).ended;
}

/** The JSON objects printed, one per line. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
