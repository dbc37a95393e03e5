import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

function run(program: string, ...args: string[]) {
  const command = ['--import', './packages/cli/bin/sources.js', `test/${program}/run.ts`, ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { cwd: root, encoding: 'utf8' });
  return { status, out: stdout, err: stderr };
}

it.each([
  ['sim', '--seeds', '0', '--seeds takes a whole number, at least 1, not "0"'],
  ['sim', '--defect', 'none-such', '--defect takes one of '],
  ['crash', '--cycle', '5', "Unknown option '--cycle'"],
  ['crash', '--flush', 'never', '--flush takes one of sync, async, not "never"'],
  ['powercut', '--cycles', 'ten', '--cycles takes a whole number'],
])('%s %s %s: one sentence and the usage, no stack', { timeout: 60_000 }, (program, option, value, sentence) => {
  const { status, out, err } = run(program, option, value);
  expect([status, out]).toEqual([2, '']);
  expect(err.startsWith(sentence)).toBe(true);
  expect(err).toContain(`npm run ${program}`);
  expect(err).not.toContain('    at ');
});

it('--help prints the usage and does nothing', { timeout: 60_000 }, () => {
  const { status, out, err } = run('crash', 'reliable', '--help');
  expect([status, err]).toEqual([0, '']);
  expect(out).toMatch(/^`npm run crash -- reliable`: .*\n/);
  expect(out).toContain('\n  --transfers N ');
});
