/**
 * `npm run sim -- --seeds 5000`: runs schedules one after another and says what they found.
 *
 *   --seeds N        how many schedules (1,000)           --seed K      the first seed, alone unless --seeds says otherwise
 *   --defect NAME    with that defect built in            --defects     every defect in turn; each must be caught
 *   --play broker|store  the whole product or its store alone, whatever the seed says
 *   --trace          print what happens                   --steps N     with --trace: the last N lines only
 *   --json           end with one JSON object
 *
 * Exit status 1: a rule was broken, a seed did not repeat, a defect went unseen, or a full run (1,000 schedules or more) never met
 * some situation that it is meant to meet.
 */
import { asked, type Command, oneOf, wholeNumber } from '../process/command-line.ts';
import { Coverage, SOMETIMES } from './coverage.ts';
import type { Defect } from './defect.ts';
import { DEFECTS, huntDefect } from './defects.ts';
import type { Plan } from './plan.ts';
import { runSchedule, type Outcome } from './schedule.ts';

const FULL_RUN = 1000;
const FAILURES_SHOWN = 5;

const here: Command = { file: import.meta.url, tables: { '--defect': DEFECTS } };
const values = asked(here, {
  seeds: { type: 'string' },
  seed: { type: 'string' },
  defect: { type: 'string' },
  defects: { type: 'boolean', default: false },
  trace: { type: 'boolean', default: false },
  steps: { type: 'string' },
  json: { type: 'boolean', default: false },
  play: { type: 'string' },
});

const plan: Partial<Plan> | undefined =
  values.play === undefined ? undefined : { play: oneOf(here, '--play', values.play, ['broker', 'store']) };
const first = wholeNumber(here, '--seed', values.seed ?? '1');
const count = wholeNumber(here, '--seeds', values.seeds ?? (values.seed === undefined ? '1000' : '1'), 1);

if (values.defect !== undefined) {
  const names = DEFECTS.map(({ name }) => name);
  oneOf(here, '--defect', values.defect, names);
}
process.exitCode = values.defects ? huntAll() : runMany(DEFECTS.find(({ name }) => name === values.defect));

function runMany(defect: Defect | undefined): number {
  const startedAtMs = performance.now();
  const coverage = new Coverage();
  const failures: Outcome[] = [];
  const unrepeatable: number[] = [];
  let messages = 0;
  let crashes = 0;
  let refused = 0;
  let steps = 0;
  for (let seed = first; seed < first + count; seed++) {
    const outcome = runOne(seed, defect);
    coverage.add(outcome.coverage);
    messages += outcome.messages;
    crashes += outcome.crashes;
    steps += outcome.steps;
    if (outcome.refused) refused++;
    if (outcome.violations.length > 0) failures.push(outcome);
    if ((seed % 100 === 0 || count === 1) && runSchedule(seed, { defect, plan }).traceHash !== outcome.traceHash)
      unrepeatable.push(seed);
    if (failures.length === FAILURES_SHOWN) break;
  }
  const seconds = (performance.now() - startedAtMs) / 1000;
  for (const failure of failures) describe(failure, defect);
  for (const seed of unrepeatable) console.log(`seed ${seed} did not repeat: two runs, two traces`);
  const missing = count >= FULL_RUN && failures.length === 0 ? coverage.missing() : [];
  if (count > 1) for (const mark of SOMETIMES) console.log(`${String(coverage.counts.get(mark) ?? 0).padStart(9)}  ${mark}`);
  for (const mark of missing) console.log(`never met in ${count} schedules: ${mark}`);
  const summary = {
    schedules: count,
    failed: failures.length,
    unrepeatable: unrepeatable.length,
    neverMet: missing,
    messages,
    crashes,
    refused,
    events: steps,
    seconds: Number(seconds.toFixed(2)),
    schedulesPerSecond: Math.round(count / seconds),
  };
  if (values.json) console.log(JSON.stringify(summary));
  else
    console.log(
      `${count} schedules, ${messages} messages, ${crashes} crashes, ${refused} starts refused, ${steps} events in ${summary.seconds} s (${summary.schedulesPerSecond}/s): ${failures.length} failed`,
    );
  return failures.length + unrepeatable.length + missing.length > 0 ? 1 : 0;
}

function runOne(seed: number, defect: Defect | undefined): Outcome {
  if (!values.trace) return runSchedule(seed, { defect, plan });
  const lines: string[] = [];
  const kept = values.steps === undefined ? Infinity : wholeNumber(here, '--steps', values.steps);
  const outcome = runSchedule(seed, {
    defect,
    plan,
    trace: (line) => (lines.push(line) > 2 * kept ? void lines.splice(0, kept) : undefined),
  });
  process.stdout.write(`${lines.slice(-Math.min(kept, lines.length)).join('\n')}\n`);
  return outcome;
}

function describe(outcome: Outcome, defect: Defect | undefined): void {
  console.log(`\nseed ${outcome.seed}: ${outcome.violations.length} violations`);
  for (const { invariant, detail } of outcome.violations.slice(0, 8)) console.log(`  ${invariant}: ${detail}`);
  console.log(
    `  repeat: npm run sim -- --seed ${outcome.seed}${defect === undefined ? '' : ` --defect ${defect.name}`}${values.play === undefined ? '' : ` --play ${values.play}`} --trace`,
  );
}

function huntAll(): number {
  const rows = DEFECTS.map((defect) => {
    const hunt = huntDefect(defect, values.seeds === undefined ? defect.budget : count, first);
    const found = hunt.caughtBy === undefined ? 'NOT CAUGHT' : `caught by ${hunt.caughtBy}`;
    console.log(`${defect.name.padEnd(32)} ${found} after ${hunt.schedules} schedules`);
    return { defect: defect.name, caughtBy: hunt.caughtBy ?? null, schedules: hunt.schedules, seed: hunt.seed ?? null };
  });
  if (values.json) console.log(JSON.stringify({ defects: rows }));
  return rows.every((row) => row.caughtBy !== null) ? 0 : 1;
}
