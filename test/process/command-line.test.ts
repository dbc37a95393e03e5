import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { DEFECTS } from '../sim/defects.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

function run(program: string, ...args: string[]) {
  const command = ['--import', './packages/cli/bin/sources.js', `test/${program}/run.ts`, ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { cwd: root, encoding: 'utf8' });
  return { status, out: stdout, err: stderr };
}

it.each([
  ['sim --seeds 0', '--seeds takes a whole number, at least 1, not "0"'],
  ['sim --defect none-such', '--defect takes one of '],
  ['crash --cycle 5', "Unknown option '--cycle'"],
  ['crash --flush never', '--flush takes one of sync, async, not "never"'],
  ['crash --defect none-such', '--defect takes one of ack-before-write, drop-a-write, not "none-such"'],
  ['powercut --cycles ten', '--cycles takes a whole number'],
  ['bench produce --seconds 0.1', '--seconds takes a number, at least 0.5, not "0.1"'],
  ['bench peers --rounds 1.5', '--rounds takes a whole number, at least 1, not "1.5"'],
  ['bench relay --rows 1', '--rows takes a whole number, at least 10, not "1"'],
  ['bench peers --soak 0', '--soak takes a number, at least 0.1, not "0"'],
  ['bench relay --only nothing', '--only: no work has "nothing" in its name; there are: drain-async, '],
  ['bench prodce', 'the work takes one of produce, transfer, peers, relay, page, not "prodce"'],
  ['bench', 'the work takes one of produce, transfer, peers, relay, page, not ""'],
  ['bench produce more', 'produce takes nothing more, not "more"'],
  ['overload --seconds 1', '--seconds takes a number, at least 2, not "1"'],
  ['overload --case none-such', '--case takes one of disk-bound, cpu-bound, '],
  ['overload --broker {', '--broker takes JSON, not "{"'],
])('%s: one sentence and the usage, no stack', { timeout: 60_000 }, (line, sentence) => {
  const [program = '', ...args] = line.split(' ');
  const { status, out, err } = run(program, ...args);
  expect([status, out]).toEqual([2, '']);
  expect(err.startsWith(sentence)).toBe(true);
  expect(err).toContain(`npm run ${program}`);
  expect(err).not.toContain('    at ');
});

it.each([
  ['crash reliable', '`npm run crash -- reliable`: ', '\n  --transfers N '],
  ['bench', '`npm run bench -- produce | transfer', '\n  --only TEXT,…  '],
  ['overload', '`npm run overload', '\n  metastable  '],
  ['crash', '`npm run crash', '\n--defect takes one of\n  ack-before-write  '],
])('%s --help prints the usage and does nothing', { timeout: 60_000 }, (line, first, further) => {
  const [program = '', ...args] = line.split(' ');
  const { status, out, err } = run(program, ...args, '--help');
  expect([status, err]).toEqual([0, '']);
  expect(out.startsWith(first)).toBe(true);
  expect(out).toContain(further);
});

it('a usage names each defect of the table with its sentence', { timeout: 60_000 }, () => {
  const { out } = run('sim', '--help');
  for (const { name, sentence } of DEFECTS) expect(out).toMatch(new RegExp(`\\n  ${name} +${sentence.slice(0, 20)}`));
});
