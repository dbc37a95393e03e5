/** The programs of the guides run as written: a `ts` block that a `text` block follows is a whole program and its output. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const guides = join(root, 'docs/guides');
// Inside the project, so that its packages are found by name.
mkdirSync(join(root, '.tmp'), { recursive: true });
const folder = mkdtempSync(join(root, '.tmp', 'guides-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const programs = readdirSync(guides).flatMap((guide) =>
  [...readFileSync(join(guides, guide), 'utf8').matchAll(/^```ts\n([^]*?)^```\n\n```text\n([^]*?)^```/gm)].map(
    ([, code = '', output = '']) => ({ guide, code, output }),
  ),
);

it.each(programs)('the program of $guide prints what it says', async ({ guide, code, output }) => {
  const own = mkdtempSync(join(folder, `${guide}-`));
  writeFileSync(join(own, 'program.ts'), code);
  const sources = join(root, 'packages/cli/bin/sources.js');
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', sources, 'program.ts'], { cwd: own });
  expect(stdout).toBe(output);
});
