/**
 * Full load for many minutes on a store of at most 4 GiB, and what the broker's memory does meanwhile: the slope of its resident set
 * over the second half, by least squares. Ends early when the store outgrows twice its limit: then there is nothing to learn.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { measureIn, SOURCES } from '../processes.ts';
import type { Job } from './loads/job.ts';
import type { MarkResult } from './marks.ts';

const STORE_BYTES = 4 * 1024 ** 3;
const SAMPLE_MS = 1000;
const MIB = 1024 * 1024;
/** Growth that still counts as flat: what a heap may move within ten minutes without a trend. */
const FLAT_MIB_PER_10_MINUTES = 32;

export interface Soak {
  readonly minutes: number;
  readonly messagesPerSecond: number;
  readonly residentMiB: { readonly first: number; readonly middle: number; readonly last: number; readonly highest: number };
  readonly slopeMiBPer10Minutes: number;
  readonly storeGiB: number;
}

export async function soak(minutes: number, progress: (line: string) => void): Promise<Soak> {
  const dataDir = mkdtempSync(join(tmpdir(), 'tallystick-bench-soak-'));
  const broker = spawn(
    process.execPath,
    ['--import', SOURCES, fileURLToPath(new URL('./soak-broker.ts', import.meta.url)), dataDir, String(STORE_BYTES)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const exited = once(broker, 'exit');
  try {
    const [address] = (await once(createInterface({ input: broker.stdout }), 'line')) as [string];
    const job: Job = { mode: 'produce', bytes: 100, window: 1024, warmUpMs: 2000, windowMs: minutes * 60_000 };
    let isOver = false;
    const load = measureIn<{ perSecond: number }>(new URL('./loads/tallystick-load.ts', import.meta.url).href, [
      address,
      JSON.stringify(job),
    ]).finally(() => (isOver = true));
    const samples: number[] = [];
    while (!isOver) {
      await Promise.race([load, pause(SAMPLE_MS)]);
      if (isOver) break;
      samples.push(residentBytes(broker.pid!) / MIB);
      const stored = storedBytes(dataDir);
      if (samples.length % 30 === 0)
        progress(`soak: ${samples.at(-1)!.toFixed(0)} MiB resident, store ${(stored / 1024 ** 3).toFixed(2)} GiB`);
      if (stored > 2 * STORE_BYTES) throw new Error(`the store has grown to ${stored} B, its limit is ${STORE_BYTES} B`);
    }
    const { perSecond } = await load;
    const half = samples.slice(samples.length >> 1);
    return {
      minutes,
      messagesPerSecond: perSecond,
      residentMiB: {
        first: Math.round(samples[0] ?? 0),
        middle: Math.round(half[0] ?? 0),
        last: Math.round(samples.at(-1) ?? 0),
        highest: Math.round(Math.max(0, ...samples)),
      },
      slopeMiBPer10Minutes: Number((slope(half) * ((600 * 1000) / SAMPLE_MS)).toFixed(1)),
      storeGiB: Number((storedBytes(dataDir) / 1024 ** 3).toFixed(2)),
    };
  } finally {
    broker.kill('SIGKILL');
    await exited;
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** The mark of a soak: allowed growth ÷ measured growth. Memory that shrinks is as good as memory that stays. */
export function soakMark({ minutes, slopeMiBPer10Minutes }: Soak): MarkResult {
  const ratio = Math.min(1000, FLAT_MIB_PER_10_MINUTES / Math.max(slopeMiBPer10Minutes, 0.001));
  return {
    work: 'half-memory soak',
    ratio: Math.floor(ratio * 1000) / 1000,
    mark: 1,
    against: `at most ${FLAT_MIB_PER_10_MINUTES} MiB growth in 10 minutes (${minutes} minutes of full load, 4 GiB store)`,
    ours: slopeMiBPer10Minutes,
    theirs: FLAT_MIB_PER_10_MINUTES,
    durability: 'written to the page cache; synced within 200 ms',
  };
}

/** Least squares: growth per sample. */
export function slope(samples: readonly number[]): number {
  const n = samples.length;
  if (n < 2) return 0;
  const middle = (n - 1) / 2;
  const mean = samples.reduce((sum, value) => sum + value, 0) / n;
  let above = 0;
  let below = 0;
  samples.forEach((value, at) => {
    above += (at - middle) * (value - mean);
    below += (at - middle) ** 2;
  });
  return above / below;
}

function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return Number(kib ?? 0) * 1024;
}

function storedBytes(folder: string): number {
  let total = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    try {
      const stats = statSync(join(folder, name));
      if (stats.isFile()) total += stats.size;
    } catch {
      // Deleted between the listing and the look.
    }
  }
  return total;
}
