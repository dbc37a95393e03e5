/**
 * `npm run overload [-- --seconds N --case NAME --json]`: real processes under more load than they can take; all cases by default.
 * Ends with 1 when a sentence did not hold, or when a run that had to fail did not.
 *
 *   --seconds N    length of each flood (60), or of each row of the guide (20)     --json          end with one JSON object
 *   --broker JSON  options for the brokers, to try them out                       --case NAME     one case, or one cause
 *   --times-shown  what fails by the clock alone is shown and does not fail the run, unless it holds with much to spare: for machines that
 *                  have other work too
 *   --guide        print the tables of docs/guides/when-the-broker-is-busy.md      --guide --write and put them there
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { GivenBrokerOptions } from '@tallystick/broker';
import { controls } from './controls.ts';
import { failed, toldLines, type CaseResult, type Check } from './checks.ts';
import { causes, CAUSE_NAMES } from './causes.ts';
import { guide } from './guide.ts';
import { metastable } from './metastable.ts';
import { cpuBound, diskBound } from './saturation.ts';

const OPTIONS = {
  seconds: { type: 'string' },
  case: { type: 'string' },
  broker: { type: 'string', default: '{}' },
  guide: { type: 'boolean', default: false },
  write: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  'times-shown': { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;
const BEGIN = '<!-- npm run overload -- --guide -->';
const END = '<!-- end -->';

const CASES: Record<string, (failed?: readonly string[]) => Promise<readonly CaseResult[]>> = {
  'disk-bound': async () => [await diskBound(seconds, given)],
  'cpu-bound': async () => [await cpuBound(seconds <= 10 ? Math.min(seconds, 6) : seconds, given)],
  metastable: async () => [await metastable(Math.min(20, Math.max(5, seconds / 2)), given)],
  causes: (names) => causes(names),
  controls: async () => [await controls(Math.min(seconds, 4))],
};
for (const name of CAUSE_NAMES) CASES[name] = () => causes([name]);

const USAGE = `usage: npm run overload [-- --seconds N (at least 2)] [--case ${Object.keys(CASES).join(' | ')}] [--broker JSON] [--times-shown] [--json]
       npm run overload -- --guide [--write] [--seconds N]
`;
const { values, given } = asked();
const seconds = Number(values.seconds ?? (values.guide ? '20' : '60'));
if (values.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}

if (values.guide) {
  const lines: string[] = [];
  await guide(seconds, (line) => {
    lines.push(line);
    say(line);
  });
  if (values.write) writeGuide(lines.join('\n'));
  process.exit(0);
}

const chosen = Object.entries(CASES).filter(([name]) =>
  values.case === undefined ? !CAUSE_NAMES.includes(name) : name === values.case,
);
if (chosen.length === 0 || !(seconds >= 2)) {
  process.stderr.write(USAGE);
  process.exit(2);
}

const results: CaseResult[] = [];
for (const [name, work] of chosen) {
  const startMs = performance.now();
  const found = [...(await work())];
  for (const result of found) tell(result);
  // Other work on the machine can cost time, but no message: what failed by the clock alone is run once more, and that counts.
  const late = found.filter((result) => failed(result).some(counts) && failed(result).every(({ isTimed }) => isTimed));
  if (late.length > 0 && name !== 'controls') {
    say(`once more, because only times failed: ${late.map((result) => result.name).join(', ')}`);
    for (const result of await work(late.map((each) => each.name))) {
      tell(result);
      found[found.findIndex((each) => each.name === result.name)] = result;
    }
  }
  results.push(...found);
  say(`${name} took ${Math.round((performance.now() - startMs) / 1000)} s`);
}
const bad = results.filter((result) => failed(result).some(counts));
if (values.json) process.stdout.write(`${JSON.stringify({ seconds, results, failed: bad.map(({ name }) => name) })}\n`);
else say(bad.length === 0 ? `${results.length} cases hold` : `${bad.length} of ${results.length} cases fail`);
if (bad.length > 0) say(`repeat: npm run overload -- --seconds ${seconds} --case ${bad[0]!.name}`);
process.exitCode = bad.length > 0 ? 1 : 0;

/** What was asked for; ends the process when that cannot be understood. */
function asked() {
  try {
    const { values: found } = parseArgs({ options: OPTIONS });
    return { values: found, given: JSON.parse(found.broker) as GivenBrokerOptions };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

/** Whether the run fails for it. */
function counts({ isTimed, isFirm }: Check): boolean {
  return !isTimed || isFirm || !values['times-shown'];
}

function tell(result: CaseResult): void {
  for (const line of toldLines(result, counts)) say(line);
}

function say(line: string): void {
  (values.json ? process.stderr : process.stdout).write(`${line}\n`);
}

/** Between the guide's marks. */
function writeGuide(tables: string): void {
  const path = fileURLToPath(new URL('../../docs/guides/when-the-broker-is-busy.md', import.meta.url));
  const [before, rest] = readFileSync(path, 'utf8').split(BEGIN) as [string, string];
  writeFileSync(path, `${before}${BEGIN}\n${tables}\n\n${END}${rest.split(END)[1]}`);
}
