/** The works that need no peer: memory of open half messages, and how fast a log is read and checked at a start. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measureIn } from '../processes.ts';
import type { CompareOptions } from './compare.ts';
import { median, type SideResult } from './marks.ts';
import type { Value } from './works.ts';

const HALVES = 1_000_000;
const LOG_BYTES = 1024 * 1024 * 1024;
/** With shorter windows than this the machine is only being tried out: a quarter of everything will do. */
const FULL_WINDOW_MS = 2000;
/** A load that takes longer hangs. */
const WITHIN_MS = 300_000;

export async function halfMemory(options: CompareOptions): Promise<SideResult[]> {
  const count = options.windowMs < FULL_WINDOW_MS ? HALVES / 4 : HALVES;
  return await guarded('half-memory', 'half messages are synced', async (found) => {
    const { megabytes } = await measureIn<{ megabytes: number }>(
      fileOf('./loads/half-memory-load.ts'),
      [String(count)],
      WITHIN_MS,
    );
    options.progress(`half-memory: ${megabytes} MB for a million (${count} opened)`);
    found(
      'ours',
      'megabytes',
      [megabytes],
      `heap and buffers after a collection, ${count} halves of ten groups opened over the wire`,
    );
  });
}

export async function recovery(options: CompareOptions): Promise<SideResult[]> {
  const bytes = options.windowMs < FULL_WINDOW_MS ? LOG_BYTES / 4 : LOG_BYTES;
  const dataDir = mkdtempSync(join(tmpdir(), 'tallystick-bench-recovery-'));
  const load = (what: string, size: number) =>
    measureIn<{ gigabytesPerSecond: number; scannedBytes: number }>(
      fileOf('./loads/recovery-load.ts'),
      [what, dataDir, String(size)],
      WITHIN_MS,
    );
  const measure = (cache: 'warm' | 'cold') =>
    guarded(`recovery-${cache}`, 'not applicable: nothing is written', async (found) => {
      const ours: number[] = [];
      const plain: number[] = [];
      for (let round = 0; round < options.rounds; round++) {
        prepare(cache, dataDir);
        const recovered = await load('recover', bytes);
        ours.push(recovered.gigabytesPerSecond);
        prepare(cache, dataDir);
        plain.push((await load('raw', recovered.scannedBytes)).gigabytesPerSecond);
        const rates = `${ours.at(-1)!.toFixed(2)} GB/s, raw ${plain.at(-1)!.toFixed(2)} GB/s`;
        options.progress(`recovery-${cache}: ${rates}, ${recovered.scannedBytes} B scanned`);
      }
      found('ours', 'gigabytesPerSecond', ours, 'from start() to serving; messages of 100 B, every checksum verified');
      found('raw-read', 'gigabytesPerSecond', plain, 'plain reads of 256 KiB of the same bytes');
    });
  try {
    await load('fill', bytes);
    return [...(await measure('warm')), ...(await measure('cold'))];
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** Empties the page cache, which only root may, or fills it with the store's files. */
function prepare(cache: 'warm' | 'cold', dataDir: string): void {
  if (cache === 'warm') {
    spawnSync('sh', ['-c', 'cat "$0"/log/* > /dev/null', dataDir]);
    return;
  }
  spawnSync('sync');
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

type Found = (who: string, value: Value, values: readonly number[], note: string) => void;

async function guarded(work: string, durability: string, run: (found: Found) => Promise<void>): Promise<SideResult[]> {
  const results: SideResult[] = [];
  try {
    await run((who, value, values, note) => {
      const rounds = values.map((one) => ({ [value]: Number(one.toPrecision(4)) }));
      const middle = Number(median(values).toPrecision(4));
      results.push({ work, who, values: { [value]: middle }, rounds, way: '', durability, note });
    });
  } catch (error) {
    const missing = (error as Error).message;
    results.push({ work, who: 'ours', values: {}, rounds: [], way: '', durability, note: '', missing });
  }
  return results;
}

function fileOf(name: string): string {
  return new URL(name, import.meta.url).href;
}
