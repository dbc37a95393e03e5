import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Seeded } from '../../src/demo/seeded.ts';
import { jsonLines, start } from '../processes.ts';

const killsWanted = 10;

/** What `processes.json` lists now; nothing while it is not there yet. */
function processesIn(folder: string): { name: string; pid: number }[] {
  try {
    return JSON.parse(readFileSync(join(folder, 'processes.json'), 'utf8')) as { name: string; pid: number }[];
  } catch {
    return [];
  }
}

describe('tallystick demo bank, among strangers', () => {
  it(
    'keeps the money whole while someone else kills its processes, each kill of the broker being a power cut',
    { timeout: 180_000 },
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'demo-strangers-'));
      const demo = start(['demo', 'bank', '--transfers', '50', '--seed', '11', '--data', folder, '--json', '--lose-unsynced']);
      let running = true;
      void demo.ended.then(() => (running = false));
      const random = new Seeded(11, 'strangers');
      const killed: string[] = [];
      while (running && killed.length < killsWanted) {
        await new Promise((resolve) => setTimeout(resolve, random.between(400, 1_600)));
        const processes = processesIn(folder);
        if (!running || processes.length === 0) continue;
        const { name, pid } = random.pick(processes);
        try {
          process.kill(pid, 'SIGKILL');
          killed.push(name);
        } catch {
          // Gone already; the list is rewritten when it starts again.
        }
      }
      const { code, out, err } = await demo.ended;
      expect({ code, err }).toMatchObject({ code: 0 });
      expect(jsonLines(out).at(-1)).toMatchObject({ settled: 50, lost: 0, duplicateEffects: 0, violations: [] });
      expect(killed.length).toBeGreaterThan(3);
      rmSync(folder, { recursive: true });
    },
  );
});
