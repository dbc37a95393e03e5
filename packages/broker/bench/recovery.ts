/**
 * How fast the log is read back at a start: fills a store, leaves it as a kill would, opens it again and again and prints the rate of
 * the scan with its checksums against the bare rate of `fs.read` in 1 MiB pieces. Warm: out of the page cache.
 *
 *     node --import ./packages/cli/bin/sources.js packages/broker/bench/recovery.ts [--mib 256] [--rounds 3]
 */
import { closeSync, cpSync, mkdtempSync, openSync, readdirSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { nodeDisk, systemClock, systemRandom, systemTimers, systemTurn } from '@tallystick/base/node';
import { AppendMessage } from '../src/store/append-message.ts';
import type { RecoveryReport } from '../src/store/store-types.ts';
import { sinkOf } from '../src/store/store-types.ts';
import { Store } from '../src/store/store.ts';

const { values: flags } = parseArgs({
  options: {
    mib: { type: 'string', default: '256' },
    rounds: { type: 'string', default: '3' },
    bytes: { type: 'string', default: '100' },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'tallystick-recovery-'));
const bytesWanted = Number(flags.mib) * 1024 * 1024;

try {
  await fill();
  for (let round = 0; round < Number(flags.rounds); round++) {
    const copy = join(folder, `copy-${round}`);
    cpSync(join(folder, 'data'), copy, { recursive: true });
    const bare = readBare(join(copy, 'log'));
    const began = performance.now();
    const cpu = process.cpuUsage();
    const { store, report } = await open(copy);
    const ms = performance.now() - began;
    const { user, system } = process.cpuUsage(cpu);
    const rate = (time: number): string => (report.scannedBytes / 1e6 / time).toFixed(2);
    console.log(
      `${(report.scannedBytes / 1e6).toFixed(0)} MB scanned at ${rate(ms)} GB/s (${rate((user + system) / 1000)} GB per CPU second), bare read ${bare.toFixed(2)} GB/s`,
    );
    await new Promise<void>((resolve) => store.close(() => resolve()));
    rmSync(copy, { recursive: true, force: true });
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);

function open(data: string): Promise<{ store: Store; report: RecoveryReport }> {
  const ports = { disk: nodeDisk(data), clock: systemClock, timers: systemTimers(), turn: systemTurn(), random: systemRandom() };
  const store = new Store(ports, { flush: 'async' }, {}, { arrived() {}, failed() {}, full() {} }, []);
  return new Promise((resolve, reject) =>
    store.open((error, report) => (error === undefined ? resolve({ store, report }) : reject(error))),
  );
}

/** Leaves the store open: what lies on the disk is what a kill leaves. Snapshots are removed, so that all of the log is read. */
async function fill(): Promise<void> {
  const data = join(folder, 'data');
  cpSync(mkdtempSync(join(tmpdir(), 'tallystick-empty-')), data, { recursive: true });
  const { store } = await open(data);
  const m = new AppendMessage();
  const body = Buffer.alloc(Number(flags.bytes), 97);
  const properties = Buffer.from(`UNIQ_KEY\u0001${'A'.repeat(32)}\u0002KEYS\u0001order-1\u0002`);
  for (let written = 0; written < bytesWanted;) {
    await new Promise<void>((resolve) => {
      const sink = sinkOf(() => --left === 0 && resolve());
      let left = 4000;
      for (let n = 0; n < 4000; n++) {
        m.queue = store.queue('recovery', n & 7);
        m.setBody(body);
        m.setProperties(properties);
        store.append(m, 'flush', sink, n);
        written += m.recordBytes;
      }
    });
  }
}

function readBare(log: string): number {
  const into = Buffer.alloc(1024 * 1024);
  let bytes = 0;
  const began = performance.now();
  for (const name of readdirSync(log)) {
    const file = openSync(join(log, name), 'r');
    for (let read = 1; read > 0; bytes += read) read = readSync(file, into, 0, into.length, null);
    closeSync(file);
  }
  return bytes / 1e6 / (performance.now() - began);
}
