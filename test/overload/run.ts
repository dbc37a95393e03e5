/**
 * `npm run overload [-- --seconds N --case NAME --json]`: real processes under more load than they can take. See the cases below; all
 * of them by default. `--seconds` is the length of each flood (60). `--guide` prints the table of
 * docs/guides/when-the-broker-is-busy.md instead. Ends with 1 when a sentence did not hold, or when a run that had to fail did not.
 */
import { parseArgs } from 'node:util';
import { failed, type CaseResult } from './checks.ts';
import { cpuBound, diskBound } from './saturation.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    case: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);

const CASES: Readonly<Record<string, (seconds: number) => Promise<CaseResult>>> = {
  'disk-bound': (each) => diskBound(each),
  'cpu-bound': (each) => cpuBound(each),
};

const chosen = Object.entries(CASES).filter(([name]) => values.case === undefined || name.includes(values.case));
if (chosen.length === 0 || !(seconds >= 2)) {
  process.stderr.write(
    `usage: npm run overload [-- --seconds N (at least 2)] [--case ${Object.keys(CASES).join(' | ')}] [--json]\n`,
  );
  process.exit(2);
}

const results: CaseResult[] = [];
for (const [name, work] of chosen) {
  const startMs = performance.now();
  const result = await work(seconds);
  results.push(result);
  say(`${name}: ${failed(result).length === 0 ? 'holds' : 'FAILS'} (${Math.round((performance.now() - startMs) / 1000)} s)`);
  for (const { holds, sentence, seen } of result.checks) say(`  ${holds ? 'ok  ' : 'FAIL'} ${sentence}: ${seen}`);
}
const bad = results.filter((result) => failed(result).length > 0);
if (values.json) process.stdout.write(`${JSON.stringify({ seconds, results, failed: bad.map(({ name }) => name) })}\n`);
else say(bad.length === 0 ? `${results.length} cases hold` : `${bad.length} of ${results.length} cases fail`);
if (bad.length > 0) say(`repeat: npm run overload -- --seconds ${seconds} --case ${bad[0]!.name}`);
process.exitCode = bad.length > 0 ? 1 : 0;

function say(line: string): void {
  (values.json ? process.stderr : process.stdout).write(`${line}\n`);
}
