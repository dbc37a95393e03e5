/**
 * The programs of the producer's guide run as written, each in a process and a folder of its own, and print what the guide says: a `ts` block is
 * a program, the `text` block after it is its output.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const guide = readFileSync(join(root, 'docs/guides/producer.md'), 'utf8');
// Inside the project, so that its packages are found by name.
mkdirSync(join(root, '.tmp'), { recursive: true });
const folder = mkdtempSync(join(root, '.tmp', 'guide-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const programs = [...guide.matchAll(/^### (.+)$[^]*?^```ts\n([^]*?)^```[^]*?^```text\n([^]*?)^```/gm)].map(
  ([, title = '', code = '', output = '']) => ({ title, code, output }),
);

describe("the programs of the producer's guide", () => {
  it('all have their output beside them', () => {
    expect(guide.match(/^```ts$/gm)).toHaveLength(programs.length);
  });

  it.each(programs)('$title', async ({ title, code, output }) => {
    const own = join(folder, title.replaceAll(/\W+/g, '-'));
    mkdirSync(own);
    writeFileSync(join(own, 'program.ts'), code);
    const sources = join(root, 'packages/cli/bin/sources.js');
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', sources, 'program.ts'], { cwd: own });
    expect(stdout).toBe(output);
  });
});
