/**
 * `npm run crash -- --cycles 200`: a real broker process under load from real clients, killed with SIGKILL again and again, each time
 * with requests unanswered. What was interrupted is read from a note that the kernel keeps (see watch-disk.js). In the end everything
 * is read through the wire and judged against the history by the same rules as in simulation.
 *
 *   --cycles N   kills (200)      --flush async   the other flush mode     --seed K   chance of moments and sizes
 *   --defect D   with that defect built in: must fail                      --json          end with one JSON object
 *   --keep       leave the store and the history behind (a failing run always does)
 *
 * A class of interrupted work that was never hit fails the run, because it would prove nothing.
 *
 * `npm run crash -- reliable`: outbox, relay and inbox on PostgreSQL instead; see reliable/run.ts.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { systemTimers, tcpDialer } from '@tallystick/base/node';
import type { QueueRead } from '../checkers/ledger.ts';
import { Probe, readQueue } from '../checkers/probe.ts';
import { asked, type Command, oneOf, wholeNumber } from '../process/command-line.ts';
import { Prng } from '../sim/prng.ts';
import { DEFECTS } from './defects.ts';
import { History, readHistory } from './history.ts';
import { GROUP, Load, QUEUES, TOPIC } from './load.ts';

if (process.argv[2] === 'reliable') {
  const { crashReliable } = await import('./reliable/run.ts');
  process.exit(await crashReliable(process.argv.slice(3)));
}

const CLASSES = ['append', 'sync', 'through', 'roll', 'snapshot', 'recovery'] as const;
type Class = (typeof CLASSES)[number];
/** Of these there are many a second. */
const OFTEN: readonly Class[] = ['append', 'sync', 'through'];
/** As watch-disk.js notes them, one byte each. */
const NOTED = ['append', 'sync', 'through', 'roll', 'snapshot', 'checkpoint', 'other'];
const READY_LIMIT_MS = 20_000;
const REST_LIMIT_MS = 60_000;

const command: Command = { file: import.meta.url, tables: { '--defect': DEFECTS } };
const values = asked(command, {
  cycles: { type: 'string', default: '200' },
  seed: { type: 'string', default: '1' },
  flush: { type: 'string', default: 'sync' },
  defect: { type: 'string' },
  json: { type: 'boolean', default: false },
  keep: { type: 'boolean', default: false },
});

const cycles = wholeNumber(command, '--cycles', values.cycles, 1);
const random = new Prng(wholeNumber(command, '--seed', values.seed));
oneOf(command, '--flush', values.flush, ['sync', 'async']);
if (values.defect !== undefined) {
  const names = DEFECTS.map(({ name }) => name);
  oneOf(command, '--defect', values.defect, names);
}
const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tallystick-crash-'));
const statusPath = join(folder, 'in-flight');
const historyPath = join(folder, 'history.jsonl');
const program = join(folder, 'broker.mjs');

async function main(): Promise<number> {
  const startedMs = performance.now();
  const port = await freePort();
  const history = new History(historyPath);
  const classes = CLASSES.filter((each) => each !== 'through' || values.flush === 'sync');
  const hits = new Map<Class, number>(classes.map((each) => [each, 0]));
  const load = new Load(`127.0.0.1:${port}`, history, random.fork());
  const problems: string[] = [];
  let killed = 0;
  let unanswered = 0;
  let idle = 0;
  let started = false;
  let refusal: string | undefined;

  for (let cycle = 1; cycle <= cycles && refusal === undefined; cycle++) {
    const target = nextTarget(hits, cycle);
    const unknownBefore = load.unknown;
    const broker = startBroker(port, started ? target : undefined);
    const ready = await broker.ready;
    if (!started && ready) {
      await load.start();
      started = true;
    }
    if (ready) {
      await noteOffsets(port, history);
      await someWait(load);
      broker.process.kill('SIGUSR2');
      if (await alive(broker, target === 'random' ? random.between(5, 120) : 700)) broker.process.kill('SIGKILL');
    }
    const signal = await broker.ended;
    // Clients that have seen the connection end have been told "unknown" already, and wait a moment before they ask again.
    const pending = Math.max(load.unanswered, load.unknown - unknownBefore);
    if (signal !== 'SIGKILL') {
      refusal = `cycle ${cycle}: the broker ended by itself (${signal}): ${broker.errors().trim()}`;
      break;
    }
    if (pending === 0) {
      if (++idle > cycles) refusal = `${idle} brokers were killed while nobody waited for an answer: the clients are not at work`;
      cycle--;
      continue;
    }
    killed++;
    unanswered += pending;
    const during = interrupted(ready);
    for (const each of during) hits.set(each, (hits.get(each) ?? 0) + 1);
    history.write({ op: 'killed', cycle, unanswered: pending, during });
    if (!values.json && cycle % 20 === 0)
      console.log(`${cycle} kills, ${load.confirmed} confirmed, ${load.halves} halves, ${load.checkBacks} check-backs`);
  }

  if (refusal === undefined) problems.push(...(await finish(port, load, history)));
  else problems.push(refusal);
  for (const each of classes) if (refusal === undefined && hits.get(each) === 0) problems.push(`never interrupted: ${each}`);
  const failed = problems.length > 0;
  const summary = {
    cycles: killed,
    flush: values.flush,
    unansweredAtKill: unanswered,
    confirmed: load.confirmed,
    unknown: load.unknown,
    halves: load.halves,
    checkBacks: load.checkBacks,
    consumed: load.consumed,
    interrupted: Object.fromEntries(hits),
    problems: problems.length,
    seconds: Math.round((performance.now() - startedMs) / 1000),
  };
  for (const problem of problems.slice(0, 20)) console.log(problem);
  if (failed)
    console.log(
      `store and history are in ${folder}; repeat: npm run crash -- --cycles ${cycles} --seed ${values.seed} --flush ${values.flush}${values.defect === undefined ? '' : ` --defect ${values.defect}`}`,
    );
  else if (!values.keep) rmSync(folder, { recursive: true, force: true });
  console.log(values.json ? JSON.stringify(summary) : sentence(summary));
  return failed ? 1 : 0;
}

/** Lets the broker live, waits until all is quiet, reads everything twice (over one more start), and asks the ledger. */
async function finish(port: number, load: Load, history: History): Promise<string[]> {
  let broker = startBroker(port, undefined);
  if (!(await broker.ready)) return [`the last start failed: ${broker.errors().trim()}`];
  await load.settle();
  const first = await waitForRest(port, load);
  await load.stop();
  broker.process.kill('SIGKILL');
  await broker.ended;
  broker = startBroker(port, undefined);
  if (!(await broker.ready)) return [`the start after the first reading failed: ${broker.errors().trim()}`];
  const second = await readAll(port);
  broker.process.kill('SIGTERM');
  const ending = await broker.ended;
  history.close();
  const ledger = readHistory(history.path);
  for (const read of first) for (const record of read.records) ledger.saw(record, 'the first reading');
  ledger.settle(second);
  const problems = ledger.violations.map(({ invariant, detail }) => `${invariant}: ${detail}`);
  if (ending !== 0) problems.push(`SIGTERM ended the broker with ${ending}`);
  return problems;
}

/** Open halves end by check-back: all is quiet when two readings a little apart are equal and every committed half shows. */
async function waitForRest(port: number, load: Load): Promise<QueueRead[]> {
  const limitMs = performance.now() + REST_LIMIT_MS;
  let before = await readAll(port);
  for (;;) {
    await sleep(2000);
    const now = await readAll(port);
    const ids = new Set(now.flatMap(({ records }) => records.map(({ id }) => id)));
    const isQuiet =
      now.every((read, n) => read.maxOffset === before[n]?.maxOffset) && [...load.committed].every((id) => ids.has(id));
    if (isQuiet || performance.now() > limitMs) return now;
    before = now;
  }
}

async function readAll(port: number): Promise<QueueRead[]> {
  return withProbe(port, async (probe) => {
    const reads: QueueRead[] = [];
    for (let queueId = 0; queueId < QUEUES; queueId++) {
      const read = await new Promise<QueueRead | undefined>((resolve) => readQueue(probe, TOPIC, queueId, resolve));
      if (read === undefined) throw new Error(`queue ${queueId} of ${TOPIC} could not be read`);
      reads.push(read);
    }
    return reads;
  });
}

const QUERY_CONSUMER_OFFSET = 14;

async function noteOffsets(port: number, history: History): Promise<void> {
  await withProbe(port, async (probe) => {
    for (let queueId = 0; queueId < QUEUES; queueId++) {
      const fields = { consumerGroup: GROUP, topic: TOPIC, queueId, setZeroIfNotFound: false };
      const offset = await new Promise<number | undefined>((resolve) =>
        probe.call(QUERY_CONSUMER_OFFSET, fields, new Uint8Array(0), (answer) =>
          resolve(answer?.code === 0 ? Number(answer.fields['offset']) : undefined),
        ),
      );
      if (offset !== undefined) history.write({ op: 'offset', group: GROUP, topic: TOPIC, queueId, offset, maxOffset: -1 });
    }
  });
}

async function withProbe<T>(port: number, use: (probe: Probe) => Promise<T>): Promise<T> {
  const probe = new Probe(tcpDialer(), systemTimers(), `127.0.0.1:${port}`, 60_000);
  try {
    return await use(probe);
  } finally {
    probe.close();
  }
}

interface RunningBroker {
  readonly process: ChildProcess;
  readonly ready: Promise<boolean>;
  readonly ended: Promise<string | number | null>;
  readonly errors: () => string;
}

function startBroker(port: number, target: Class | 'random' | undefined): RunningBroker {
  const env: NodeJS.ProcessEnv = { ...process.env, CRASH_STATUS: statusPath };
  if (values.defect !== undefined) env['CRASH_DEFECT'] = values.defect;
  if (target === 'recovery') env['CRASH_AT'] = `any:${random.between(1, 25)}`;
  else if (target !== undefined && target !== 'random')
    env['CRASH_AT'] = `${target}:${random.between(1, OFTEN.includes(target) ? 20 : 3)}`;
  const child = spawn(
    process.execPath,
    ['--import', join(here, 'watch-disk.js'), program, String(port), join(folder, 'data'), values.flush],
    { env, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const ended = new Promise<string | number | null>((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));
  const ready = new Promise<boolean>((resolve) => {
    child.stdout.once('data', () => resolve(true));
    void ended.then(() => resolve(false));
    setTimeout(() => resolve(false), READY_LIMIT_MS).unref();
  });
  return { process: child, ready, ended, errors: () => errors };
}

/** The clients are back: some request waits for its answer. Not for ever, so that a broker that nobody comes back to is killed too. */
async function someWait(load: Load): Promise<void> {
  for (let looks = 0; load.unanswered === 0 && looks < 400; looks++) await sleep(5);
}

/** True when the broker still lives after so many ms. */
async function alive(broker: RunningBroker, ms: number): Promise<boolean> {
  return Promise.race([broker.ended.then(() => false), sleep(ms, true)]);
}

/** Every fourth kill falls anywhere, the others on the class that was hit least. */
function nextTarget(hits: ReadonlyMap<Class, number>, cycle: number): Class | 'random' {
  if (cycle % 4 === 1) return 'random';
  return [...hits].sort((a, b) => a[1] - b[1])[0]?.[0] ?? 'random';
}

/** Which work the kernel had in hand when the process died. */
function interrupted(ready: boolean): Class[] {
  const counts = readFileSync(statusPath);
  const classes = new Set<Class>();
  NOTED.forEach((name, n) => {
    if ((counts[n] ?? 0) === 0) return;
    if (name !== 'other') classes.add(name === 'checkpoint' ? 'snapshot' : (name as Class));
  });
  if (!ready) return counts[NOTED.length] === 1 ? ['recovery'] : [];
  return [...classes];
}

function sentence(summary: Record<string, unknown>): string {
  const {
    cycles: count,
    confirmed,
    halves,
    seconds,
    interrupted: what,
    problems,
  } = summary as { cycles: number; confirmed: number; halves: number; seconds: number; interrupted: object; problems: number };
  const parts = Object.entries(what).map(([name, times]) => `${name} ${String(times)}`);
  return `${count} kills in ${seconds} s, ${confirmed} sends and ${halves} halves confirmed; interrupted: ${parts.join(', ')}; ${problems} problems`;
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}

await build({
  entryPoints: [join(here, 'broker-child.ts')],
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  conditions: ['@tallystick/source'],
  outfile: program,
  logLevel: 'error',
});
// The clients of a run that failed early are still at work: they end here.
process.exit(await main());
