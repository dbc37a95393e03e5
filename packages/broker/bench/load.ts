/**
 * The broker's cost per message, apart from any client's: a fresh `tallystick broker` process is driven with frames that were made
 * beforehand (only the opaque and the unique key differ from round to round) and its CPU time, kernel and pool threads included, is
 * read from /proc before and after the window. One line per run, with --json one object.
 *
 *     node --import ./packages/cli/bin/sources.js packages/broker/bench/load.ts \
 *       [--kind single|batch|half] [--header binary|json] [--flush async|sync] [--bytes 100] [--window 1024] [--seconds 4]
 *       [--prof FOLDER] [--json]
 *
 * `half` sends half messages and commits each one-way when its answer has come; every 1,000th commit asks for an answer.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { LoadFrames, type LoadKind } from './load-frames.ts';

const { values: flags } = parseArgs({
  options: {
    kind: { type: 'string', default: 'single' },
    header: { type: 'string', default: 'binary' },
    flush: { type: 'string', default: 'async' },
    bytes: { type: 'string', default: '100' },
    window: { type: 'string', default: '1024' },
    seconds: { type: 'string', default: '4' },
    prof: { type: 'string' },
    trace: { type: 'string' },
    json: { type: 'boolean' },
  },
});
const kind = flags.kind as LoadKind;
const windowMs = Number(flags.seconds) * 1000;
const WARM_UP_MS = 2000;

const folder = mkdtempSync(join(tmpdir(), 'tallystick-load-'));
const broker = spawn(
  process.execPath,
  [
    ...(flags.prof === undefined ? [] : ['--cpu-prof', '--cpu-prof-interval', '200', '--cpu-prof-dir', flags.prof]),
    ...(flags.trace === undefined ? [] : flags.trace.split(',')),
    fileURLToPath(new URL('../../cli/bin/tallystick.js', import.meta.url)),
    ...['broker', '--port', '0', '--data', join(folder, 'data'), '--flush', flags.flush, '--json'],
  ],
  { stdio: ['ignore', 'pipe', 'inherit'] },
);
try {
  const socket = connect(Number((await readyLine(broker)).split(':')[1]), '127.0.0.1');
  await once(socket, 'connect');
  socket.setNoDelay(true);
  report(await drive(socket));
  socket.destroy();
} finally {
  const exited = once(broker, 'exit');
  broker.kill('SIGTERM');
  await exited;
  rmSync(folder, { recursive: true, force: true });
}

interface Result {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU time of the broker per message, in µs: its main thread, and all its threads. */
  readonly mainMicros: number;
  readonly allMicros: number;
  readonly loadMicros: number;
  /** Share of the window for which the broker's main thread ran. */
  readonly busy: number;
}

/** Keeps the window full until the time is over. */
function drive(socket: Socket): Promise<Result> {
  const frames = new LoadFrames(kind, flags.header === 'json' ? 'json' : 'binary', Number(flags.bytes), Number(flags.window));
  const sentAt = new Float64Array(frames.window);
  const latencies: number[] = [];
  const begin = performance.now();
  let counting: { atMs: number; done: number; cpu: CpuNanos; own: number } | undefined;
  let done = 0;
  let open = 0;
  return new Promise((resolve, reject) => {
    const send = (count: number, nowMs: number): void => {
      for (let n = 0; n < count; n++) sentAt[(frames.sent + n) % frames.window] = nowMs;
      open += count;
      frames.next(count, (chunk) => socket.write(chunk));
    };
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => {
      const nowMs = performance.now();
      const answered = frames.answers(chunk, (bytes) => socket.write(bytes));
      if (typeof answered === 'string') return reject(new Error(answered));
      if (answered === 0) return;
      if (counting !== undefined && latencies.length < 1e6)
        for (let n = 0; n < answered; n++) latencies.push(nowMs - sentAt[(done + n) % frames.window]!);
      done += answered;
      open -= answered;
      if (nowMs - begin < WARM_UP_MS + windowMs) {
        if (counting === undefined && nowMs - begin >= WARM_UP_MS)
          counting = { atMs: nowMs, done, cpu: cpuOf(broker.pid!), own: ownCpu() };
        return send(answered, nowMs);
      }
      if (open > 0 || counting === undefined) return;
      const ms = nowMs - counting.atMs;
      if (frames.refused > 0) console.error(`${frames.refused} of ${frames.sent} were answered busy`);
      const messages = (done - counting.done) * frames.messagesPerFrame;
      const cpu = cpuOf(broker.pid!);
      latencies.sort((a, b) => a - b);
      resolve({
        perSecond: Math.round((messages / ms) * 1000),
        p50Ms: latencies[latencies.length >> 1]!,
        p99Ms: latencies[Math.floor(latencies.length * 0.99)]!,
        mainMicros: (cpu.main - counting.cpu.main) / 1000 / messages,
        allMicros: (cpu.all - counting.cpu.all) / 1000 / messages,
        loadMicros: (ownCpu() - counting.own) / messages,
        busy: (cpu.main - counting.cpu.main) / 1e6 / ms,
      });
    });
    send(frames.window, begin);
  });
}

function report(result: Result): void {
  const rounded = Object.fromEntries(Object.entries(result).map(([name, value]) => [name, Number((value as number).toFixed(3))]));
  if (flags.json) return console.log(JSON.stringify({ ...flags, ...rounded, load: loadavg()[0] }));
  const { perSecond, p50Ms, p99Ms, mainMicros, allMicros, loadMicros, busy } = rounded;
  const what = `${flags.flush} ${kind} ${flags.header} ${flags.bytes} B window ${flags.window}`;
  console.log(
    `${what.padEnd(40)} ${String(perSecond).padStart(8)}/s  p50 ${p50Ms} p99 ${p99Ms} ms  broker µs/message: main ${mainMicros} all ${allMicros} (busy ${busy})  load ${loadMicros}  loadavg ${loadavg()[0]!.toFixed(1)}`,
  );
}

interface CpuNanos {
  readonly main: number;
  readonly all: number;
}

/** Time on a processor of each thread, from the scheduler's own count. */
function cpuOf(pid: number): CpuNanos {
  let all = 0;
  let main = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const nanos = Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ')[0]);
    all += nanos;
    if (Number(task) === pid) main = nanos;
  }
  return { main, all };
}

function ownCpu(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function readyLine(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) {
    if (!line.startsWith('{')) continue;
    const event = JSON.parse(line) as { event: string; address: string };
    if (event.event !== 'ready') continue;
    child.stdout!.resume();
    return event.address;
  }
  throw new Error('the broker ended before it was ready');
}
