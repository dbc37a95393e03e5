/**
 * The programs of the README run as written, each in a process and a folder of its own, and print what the README says: a `ts` block
 * is a program, the `text` block after it is its output.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const readme = readFileSync(join(root, 'README.md'), 'utf8');
// Inside the project, so that its packages are found by name.
mkdirSync(join(root, '.tmp'), { recursive: true });
const folder = mkdtempSync(join(root, '.tmp', 'readme-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const programs = [...readme.matchAll(/^### (.+)$[^]*?^```ts\n([^]*?)^```[^]*?^```text\n([^]*?)^```/gm)].map(
  ([, title = '', code = '', output = '']) => ({ title, code, output }),
);

describe('the programs of the README', () => {
  it('are the same in Chinese', () => {
    const chinese = readFileSync(join(root, 'README.zh.md'), 'utf8');
    const blocks = (text: string): string[] => [...text.matchAll(/^```(?:ts|text)\n[^]*?^```/gm)].map(([block]) => block);
    expect(blocks(chinese)).toEqual(blocks(readme));
    const promises = (text: string): number => text.split('\n').filter((line) => line.startsWith('| ')).length;
    expect(promises(chinese)).toBe(promises(readme));
  });

  it('are three, each with its output', () => {
    expect(programs).toHaveLength(3);
    expect(readme.match(/^```ts$/gm)).toHaveLength(3);
  });

  it.each(programs)('$title', async ({ title, code, output }) => {
    const own = join(folder, title.replaceAll(/\W+/g, '-'));
    mkdirSync(own);
    writeFileSync(join(own, 'program.ts'), code);
    const sources = join(root, 'packages/cli/bin/sources.js');
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--import', sources, 'program.ts'], { cwd: own });
    // Whoever tries these for the first time shall not wonder what a warning means.
    expect({ stdout, stderr }).toEqual({ stdout: output, stderr: '' });
  });
});

describe('the commands of the README', () => {
  const scripts = Object.keys(
    (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }).scripts,
  );

  it('are scripts of the root package', () => {
    const named = [...readme.matchAll(/npm run (?:-s )?([\w:]+)/g)].map(([, name]) => name);
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => !scripts.includes(name ?? ''))).toEqual([]);
  });

  it('begin with the two that work on a fresh clone', () => {
    const commands = readme.split('\n').filter((line) => line.startsWith('npm '));
    expect(commands.slice(0, 2).map((line) => line.replace(/ *#.*/, ''))).toEqual([
      'npm ci && npm run demo',
      'npm ci && npm test',
    ]);
  });
});
