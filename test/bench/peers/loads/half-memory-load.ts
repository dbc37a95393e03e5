/**
 * What open half messages cost in a broker's memory: a broker in this process, its clients in another. First as many plain messages as
 * there will be halves, so that buffers, caches and the newest segment's index are as full as they get; then the halves; each time the
 * heap and all buffers after a full garbage collection. The difference is the halves'.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Broker } from '@tallystick/broker';
import { measureIn } from '../../processes.ts';

const MEGABYTE = 1_000_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Messages of 512 KiB that fill a segment: entries of the newest one lie in memory, and their number should not blur the difference. */
const LARGE = 160;

const count = Number(process.argv[2]);
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const folder = mkdtempSync(join(tmpdir(), 'tallystick-bench-halves-'));
const broker = new Broker({
  dataDir: folder,
  port: 0,
  flush: 'async',
  checkAfterMs: HOUR_MS,
  syncFlushTimeoutMs: MINUTE_MS,
  halvesMax: 2 * count,
});
try {
  await broker.start();
  const fill = async (what: 'plain' | 'halves'): Promise<void> => {
    const load = new URL('./fill-load.ts', import.meta.url).href;
    await measureIn(load, [broker.address!, what, String(count)]);
    await measureIn(load, [broker.address!, 'large', String(LARGE)]);
  };
  await fill('plain');
  const before = await settled();
  await fill('halves');
  const after = await settled();
  const megabytes = Number(((after - before) / MEGABYTE / (count / 1_000_000)).toFixed(2));
  process.stdout.write(`${JSON.stringify({ megabytes, count })}\n`);
  await broker.stop();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);

/** Heap and buffers once nothing is on its way any more. */
async function settled(): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 1500));
  collect();
  await new Promise((resolve) => setTimeout(resolve, 100));
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
