/**
 * How fast the log is read back at a start that finds no snapshot. One process fills a store and closes it; then, without its snapshots
 * and index files, fresh processes open it, as a restart would: the code is not warm, the log is in the page cache (or not: --cold).
 * Prints the rate of the whole start, also per second of processor time, against bare reads of 1 MiB.
 *
 *     node --import ./packages/cli/bin/sources.js packages/broker/bench/recovery.ts [--mib 512] [--rounds 3] [--cold] [--in /var/tmp]
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { nodeDisk, systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { DelayState } from '../src/delivery/delay-state.ts';
import { brokerOptions } from '../src/options.ts';
import { ProducerSequences } from '../src/sequences/producer-sequences.ts';
import { AppendMessage } from '../src/store/append-message.ts';
import { sinkOf, type RecoveryReport } from '../src/store/store-types.ts';
import { Store } from '../src/store/store.ts';
import { HalfState } from '../src/transaction/half-state.ts';

const { values: flags } = parseArgs({
  options: {
    role: { type: 'string', default: 'all' },
    data: { type: 'string', default: '' },
    in: { type: 'string', default: tmpdir() },
    mib: { type: 'string', default: '512' },
    rounds: { type: 'string', default: '3' },
    bytes: { type: 'string', default: '100' },
    queues: { type: 'string', default: '8' },
    tags: { type: 'boolean', default: false },
    cold: { type: 'boolean', default: false },
  },
});

if (flags.role === 'all') all();
else if (flags.role === 'fill') await fill(flags.data);
else if (flags.role === 'bare') console.log(`bare read ${readBare(join(flags.data, 'log'))}`);
else await start(flags.data);
process.exit(0);

function all(): void {
  const data = mkdtempSync(join(flags.in, 'tallystick-recovery-'));
  try {
    again('fill', data);
    for (let round = 0; round < Number(flags.rounds); round++) {
      chill(data);
      const bare = again('bare', data);
      for (const derived of ['snapshot', 'index']) rmSync(join(data, derived), { recursive: true, force: true });
      chill(data);
      console.log(`${again('start', data)}; ${bare}`);
    }
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

function again(role: string, data: string): string {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2), '--role', role, '--data', data];
  return execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

/** Asks the kernel to forget the log's pages. */
function chill(data: string): void {
  if (!flags.cold) return;
  for (const name of readdirSync(join(data, 'log')))
    execFileSync('dd', [`if=${join(data, 'log', name)}`, 'iflag=nocache', 'count=0', 'status=none']);
}

async function start(data: string): Promise<void> {
  const began = performance.now();
  const cpu = process.cpuUsage();
  const { report } = await open(data);
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  const megabytes = report.scannedBytes / 1e6;
  const rate = (time: number): string => (megabytes / time).toFixed(2);
  console.log(
    `${megabytes.toFixed(0)} MB scanned at ${rate(ms)} GB/s (${rate((user + system) / 1000)} GB per processor second: user ${(user / 1000).toFixed(0)} ms, system ${(system / 1000).toFixed(0)} ms)`,
  );
}

function open(data: string): Promise<{ store: Store; report: RecoveryReport }> {
  const ports = { disk: nodeDisk(data), clock: systemClock, timers: systemTimers(), turn: systemTurn(), random: systemRandom() };
  const derived = [new HalfState(), new DelayState(), new ProducerSequences(brokerOptions({}))];
  const store = new Store(ports, { flush: 'async' }, {}, { arrived() {}, failed() {}, full() {} }, derived);
  return new Promise((resolve, reject) =>
    store.open((error, report) => (error === undefined ? resolve({ store, report }) : reject(error))),
  );
}

async function fill(data: string): Promise<void> {
  mkdirSync(data, { recursive: true });
  const { store } = await open(data);
  const m = new AppendMessage();
  const body = Buffer.alloc(Number(flags.bytes), 97);
  const tags = flags.tags ? 'TAGS\u0001TagA\u0002' : '';
  const properties = Buffer.from(`UNIQ_KEY\u0001${'A'.repeat(32)}\u0002KEYS\u0001order-1\u0002${tags}`);
  const bytesWanted = Number(flags.mib) * 1024 * 1024;
  for (let written = 0; written < bytesWanted;) {
    await new Promise<void>((resolve, reject) => {
      const sink = sinkOf((outcome) => {
        if (outcome !== 'ok') reject(new Error(`append: ${outcome}`));
        if (--left === 0) resolve();
      });
      let left = 4000;
      for (let n = 0; n < 4000; n++) {
        m.queue = store.queue('recovery', n % Number(flags.queues));
        m.setBody(body);
        m.setProperties(properties);
        m.tagsCode = 0;
        store.append(m, 'flush', sink, n);
        written += m.recordBytes;
      }
    });
  }
  await new Promise<void>((resolve, reject) => store.close((error) => (error === undefined ? resolve() : reject(error))));
}

function readBare(log: string): string {
  const into = Buffer.alloc(1024 * 1024);
  let bytes = 0;
  const began = performance.now();
  for (const name of readdirSync(log)) {
    const file = openSync(join(log, name), 'r');
    for (let read = 1; read > 0; bytes += read) read = readSync(file, into, 0, into.length, null);
    closeSync(file);
  }
  return `${(bytes / 1e6 / (performance.now() - began)).toFixed(2)} GB/s`;
}
