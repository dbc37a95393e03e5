/**
 * `npm run overload`: real processes under more load than they can take; all cases by default. Ends with 1 when a sentence did not hold, or
 * when a run that had to fail did not.
 *
 *   --seconds N    length of each flood (60; at least 2), or of each row of the guide (20)     --json   end with one JSON object
 *   --broker JSON  options for the brokers, to try them out                       --case NAME     one case, or one cause
 *   --times-shown  what fails by the clock alone is shown and does not fail the run, unless it holds with much to spare: for machines that
 *                  have other work too
 *   --guide        print the tables of docs/guides/when-the-broker-is-busy.md      --guide --write and put them there
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { GivenBrokerOptions } from '@tallystick/broker';
import { asked, type Command, oneOf, refuse, someNumber } from '../process/command-line.ts';
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
} as const;
/** Floods no longer than this are for machines that have other work too. */
const SHORT_S = 10;
const BEGIN = '<!-- npm run overload -- --guide -->';
const END = '<!-- end -->';

interface Case {
  readonly name: string;
  readonly sentence: string;
  /** `names`: of its results that are wanted; all by default. */
  readonly run: (names?: readonly string[]) => Promise<readonly CaseResult[]>;
}

const ALL: readonly Case[] = [
  {
    name: 'disk-bound',
    sentence: 'a disk that is offered ten times what it takes',
    run: async () => [await diskBound(seconds, given)],
  },
  {
    name: 'cpu-bound',
    sentence: 'a processor that is offered twice its best',
    run: async () => [await cpuBound(seconds <= SHORT_S ? Math.min(seconds, 6) : seconds, given)],
  },
  {
    name: 'metastable',
    sentence: 'a little too much, then a little less than can be served',
    run: async () => [await metastable(Math.min(20, Math.max(5, seconds / 2)), given)],
  },
  { name: 'causes', sentence: 'each cause of busy by itself', run: (names) => causes(names) },
  { name: 'controls', sentence: 'builds that must fail', run: async () => [await controls(Math.min(seconds, 4))] },
];
const CAUSES = CAUSE_NAMES.map((name): Case => ({ name, sentence: 'that cause alone', run: () => causes([name]) }));
const CASES = [...ALL, ...CAUSES];

const command: Command = { file: import.meta.url, tables: { '--case': CASES } };
const values = asked(command, OPTIONS);
const given = brokerOptions(values.broker);
const seconds = someNumber(command, '--seconds', values.seconds ?? (values.guide ? '20' : '60'), 2);
const names = CASES.map(({ name }) => name);
const wanted = values.case === undefined ? undefined : oneOf(command, '--case', values.case, names);

if (values.guide) {
  const lines: string[] = [];
  await guide(seconds, (line) => {
    lines.push(line);
    say(line);
  });
  if (values.write) writeGuide(lines.join('\n'));
  process.exit(0);
}

const chosen = wanted === undefined ? ALL : CASES.filter(({ name }) => name === wanted);
const results: CaseResult[] = [];
for (const { name, run } of chosen) {
  const startMs = performance.now();
  const found = [...(await run())];
  for (const result of found) tell(result);
  // Other work on the machine can cost time, but no message: what failed by the clock alone is run once more, and that counts.
  const late = found.filter((result) => failed(result).some(counts) && failed(result).every(({ isTimed }) => isTimed));
  if (late.length > 0 && name !== 'controls') {
    say(`once more, because only times failed: ${late.map((result) => result.name).join(', ')}`);
    for (const result of await run(late.map((each) => each.name))) {
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

function brokerOptions(text: string): GivenBrokerOptions {
  try {
    return JSON.parse(text) as GivenBrokerOptions;
  } catch {
    return refuse(command, `--broker takes JSON, not "${text}"`);
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
