/** The program of the guide about testing runs as written and prints what the guide says. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { CRASH_STEPS } from '@tallystick/reliable/testing';

const root = fileURLToPath(new URL('../../', import.meta.url));
const guide = readFileSync(join(root, 'docs/guides/testing.md'), 'utf8');

const programs = [...guide.matchAll(/^```ts\n([^]*?)^```[^]*?^```text\n([^]*?)^```/gm)].map(([, code = '', output = '']) => ({
  code,
  output,
}));

test('the guide about testing has two programs', () => {
  expect(programs.length).toBe(2);
});

test.each(programs)('a program of the guide about testing prints what stands beside it', async ({ code, output }) => {
  // Inside the project, so that its packages are found by name.
  mkdirSync(join(root, '.tmp'), { recursive: true });
  const folder = mkdtempSync(join(root, '.tmp', 'guide-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'program.ts'), code);
  const sources = join(root, 'packages/cli/bin/sources.js');
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', sources, 'program.ts'], { cwd: folder });
  expect(stdout).toBe(output);
});

test('the guide names every step at which a process can die', () => {
  for (const step of CRASH_STEPS) expect(guide).toContain(`\`${step}\``);
});
