/**
 * `npm run crash -- reliable`: business transaction and outbox on one PostgreSQL, relay, broker, inbox and effect on another, each in a
 * process of its own, and everything that can be killed, stopped, cut or held back. In the end both databases are read from outside.
 *
 *   --transfers N      transfers per broker (2000)         --broker ours|rabbitmq|both (both)
 *   --only NAME,…      scenarios by name                   --outage S    seconds without a broker (30)
 *   --controls MODE    with | without | only (with): runs with a defect built in, which must be caught
 *   --backlog N  rows that lie in the outbox before a relay starts (100,000)
 *   --full             20,000 transfers, an outage of 10 minutes, a backlog of a million; writes a ledger file and prints its path
 *   --side-by-side N   scenarios at once (2), but those that hurt a server
 *   --ledger FILE      appends one line of JSON about the run
 *   --seed N  --json   --list   --trace: what is done and told, as it happens
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { asked, oneOf, refuse, wholeNumber } from '../../process/command-line.ts';
import { DEFECTS, type DefectName } from './defects.ts';
import { INVARIANTS, type Violation } from './invariants.ts';
import type { Scenario } from './scenario.ts';
import { backlogScenarios } from './scenarios/backlog.ts';
import { brokerScenarios } from './scenarios/brokers.ts';
import { confirmationScenarios } from './scenarios/confirmation.ts';
import { consumerScenarios } from './scenarios/consumers.ts';
import { deadLetterScenarios } from './scenarios/dead-letters.ts';
import { databaseScenarios } from './scenarios/databases.ts';
import { drainScenarios } from './scenarios/drain.ts';
import { failoverScenarios } from './scenarios/failover.ts';
import { holderScenarios } from './scenarios/holders.ts';
import { killScenarios } from './scenarios/kills.ts';
import { relayScenarios } from './scenarios/relays.ts';
import { windowScenarios } from './scenarios/windows.ts';
import { type BrokerKind, type BrokerServer, OurServer } from './servers/broker-server.ts';
import { PostgresServer } from './servers/postgres-server.ts';
import { RabbitServer } from './servers/rabbit-server.ts';
import { type Servers, Stage } from './stage.ts';

export const SCENARIOS: readonly Scenario[] = [
  ...killScenarios,
  ...databaseScenarios,
  ...failoverScenarios,
  ...relayScenarios,
  ...brokerScenarios,
  ...consumerScenarios,
  ...holderScenarios,
  ...deadLetterScenarios,
  ...confirmationScenarios,
  ...backlogScenarios,
  ...drainScenarios,
  ...windowScenarios,
];

const here = dirname(fileURLToPath(import.meta.url));
/** A run with a defect needs no more than the fault that exposes it. */
const CONTROL_TRANSFERS = 80;
const CONTROL_OUTAGE_MS = 3000;
/** Runs that are made again when they proved nothing. */
const ATTEMPTS_MORE = 2;

interface Settings {
  readonly transfers: number;
  readonly brokers: readonly BrokerKind[];
  readonly only: readonly string[];
  readonly controls: 'with' | 'without' | 'only';
  readonly outageMs: number;
  readonly backlog: number;
  readonly full: boolean;
  readonly ledger: string | undefined;
  readonly seed: number;
  readonly json: boolean;
  readonly trace: boolean;
  /** Scenarios at once: most of their time is waiting. */
  readonly sideBySide: number;
}

interface Result {
  readonly broker: BrokerKind;
  readonly scenario: string;
  readonly defect: DefectName | undefined;
  readonly transfers: number;
  readonly seconds: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly counts: Readonly<Record<string, number>>;
  /** What came last with each of them. */
  readonly details: Readonly<Record<string, string>>;
  readonly violations: readonly Violation[];
  /** Sound: no violation. With a defect: caught by the invariant that stands in its row. */
  readonly passed: boolean;
}

export async function crashReliable(args: readonly string[]): Promise<number> {
  const settings = settingsOf(args);
  if (settings === undefined) return 0;
  const startedMs = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'tallystick-crash-reliable-'));
  const program = await bundled(folder);
  const [a, b] = await Promise.all([PostgresServer.make('a'), PostgresServer.make('b')]);
  const results: Result[] = [];
  try {
    for (const kind of settings.brokers) {
      const broker: BrokerServer = await (kind === 'ours' ? OurServer.make() : RabbitServer.make());
      try {
        results.push(...(await runAll({ a, b, broker, program }, settings)));
      } finally {
        await broker.stop();
      }
    }
  } finally {
    await Promise.all([a.stop(), b.stop()]);
    rmSync(folder, { recursive: true, force: true });
  }
  return conclude(results, settings, Math.round((performance.now() - startedMs) / 1000));
}

async function runAll(servers: Servers, settings: Settings): Promise<Result[]> {
  const { kind } = servers.broker;
  const mine = SCENARIOS.filter(({ brokers }) => brokers === undefined || brokers.includes(kind));
  const shares = mine.reduce((total, { share }) => total + share, 0);
  const wanted = mine.filter(({ name }) => settings.only.length === 0 || settings.only.includes(name));
  const runs: Planned[] = [];
  if (settings.controls !== 'only')
    for (const scenario of wanted)
      runs.push({ scenario, transfers: Math.ceil((settings.transfers * scenario.share) / shares), defect: undefined });
  if (settings.controls !== 'without')
    for (const { name, scenario } of defectsFor(kind, settings)) {
      const exposing = wanted.find((one) => one.name === scenario);
      if (exposing !== undefined) runs.push({ scenario: exposing, transfers: CONTROL_TRANSFERS, defect: name });
    }
  const results: Result[] = [];
  const work = async (queue: Planned[]): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      let result = await runOne(servers, next, settings);
      for (let more = ATTEMPTS_MORE; more > 0 && provedNothing(result); more--) {
        tell(result, settings);
        if (!settings.json) console.log('       which proves nothing: once more');
        result = await runOne(servers, next, settings);
      }
      results.push(result);
      tell(result, settings);
    }
  };
  await work(runs.filter(({ scenario }) => scenario.alone === true));
  const others = runs.filter(({ scenario }) => scenario.alone !== true);
  await Promise.all(Array.from({ length: settings.sideBySide }, () => work(others)));
  return results;
}

/** The fault did not come about, or a defect had no occasion to do harm: chance, on a machine that has other work. No invariant is given a second chance. */
function provedNothing({ defect, passed, violations }: Result): boolean {
  return !passed && (defect !== undefined || violations.every(({ invariant }) => invariant === 'fault-came-about'));
}

interface Planned {
  readonly scenario: Scenario;
  readonly transfers: number;
  readonly defect: DefectName | undefined;
}

/** With two brokers each defect is shown to one of them, by turns, unless its scenario needs a certain one: it is the harness that is tested here. */
function defectsFor(kind: BrokerKind, { brokers }: Settings): readonly (typeof DEFECTS)[number][] {
  return DEFECTS.filter(({ scenario }, n) => {
    const needed = SCENARIOS.find(({ name }) => name === scenario)?.brokers;
    const able = brokers.filter((broker) => needed?.includes(broker) ?? true);
    return able[n % able.length] === kind;
  });
}

async function runOne(servers: Servers, { scenario, transfers, defect }: Planned, settings: Settings): Promise<Result> {
  const startedMs = performance.now();
  const outageMs = defect === undefined ? settings.outageMs : CONTROL_OUTAGE_MS;
  const stage = await Stage.set(servers, {
    name: scenario.name,
    transfers,
    seed: settings.seed,
    defect,
    full: settings.full,
    outageMs,
    schemaVersion: scenario.schemaVersion,
    trace: settings.trace,
    backlog: settings.backlog,
  });
  const violations: Violation[] = [];
  try {
    await scenario.run(stage);
    violations.push(...(await stage.finish()));
  } catch (error) {
    violations.push({ invariant: 'came-to-rest', seen: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  } finally {
    await stage.strike();
  }
  for (const fault of scenario.faults)
    if ((stage.faults.get(fault) ?? 0) === 0) violations.push({ invariant: 'fault-came-about', seen: `never: ${fault}` });
  const expected = DEFECTS.find(({ name }) => name === defect)?.invariant;
  return {
    broker: servers.broker.kind,
    scenario: scenario.name,
    defect,
    transfers,
    seconds: Math.round((performance.now() - startedMs) / 1000),
    faults: Object.fromEntries(stage.faults),
    counts: Object.fromEntries(stage.counts),
    details: Object.fromEntries(stage.details),
    violations,
    passed: expected === undefined ? violations.length === 0 : violations.some(({ invariant }) => invariant === expected),
  };
}

function tell(result: Result, { json }: Settings): void {
  if (json) return;
  const { broker, scenario, defect, transfers, seconds, faults, violations, passed } = result;
  const done = Object.entries(faults).map(([name, times]) => `${name} ${times}`);
  const name = defect === undefined ? scenario : `${scenario} with ${defect}`;
  console.log(`${passed ? 'ok    ' : 'FAILED'} ${broker} ${name}: ${transfers} transfers in ${seconds} s; ${done.join(', ')}`);
  if (defect !== undefined && passed)
    console.log(`       caught: ${[...new Set(violations.map(({ invariant }) => invariant))].join(', ')}`);
  if (passed) return;
  for (const { invariant, seen } of violations.slice(0, 8))
    console.log(`       ${invariant}: ${seen}\n         (${INVARIANTS[invariant]})`);
  if (defect !== undefined)
    console.log(`       the defect was not caught by ${DEFECTS.find((row) => row.name === defect)?.invariant}`);
  console.log(`       told: ${JSON.stringify(result.counts)}`);
  for (const [what, detail] of Object.entries(result.details)) console.log(`       last ${what}: ${detail.slice(0, 300)}`);
}

function conclude(results: readonly Result[], settings: Settings, seconds: number): number {
  const sound = results.filter(({ defect }) => defect === undefined);
  const failed = results.filter(({ passed }) => !passed);
  const faults = sound.reduce((total, result) => total + Object.values(result.faults).reduce((sum, n) => sum + n, 0), 0);
  const summary = {
    transfers: sound.reduce((total, result) => total + result.transfers, 0),
    scenarios: sound.length,
    faults,
    duplicatesAbsorbed: sound.reduce((total, { counts }) => total + (counts['duplicate-absorbed'] ?? 0), 0),
    lost: violationsOf(sound, 'nothing-lost'),
    double: violationsOf(sound, 'one-effect'),
    sumExact: violationsOf(sound, 'sum-exact') === 0,
    defectsCaught: results.filter(({ defect, passed }) => defect !== undefined && passed).length,
    defects: results.length - sound.length,
    failed: failed.map(({ broker, scenario, defect }) => `${broker} ${scenario}${defect === undefined ? '' : ` with ${defect}`}`),
    seconds,
  };
  if (settings.ledger !== undefined) appendFileSync(settings.ledger, `${JSON.stringify(ledgerLine(summary, settings))}\n`);
  if (settings.full) writeLedger({ ...summary, results });
  if (settings.json) console.log(JSON.stringify({ ...summary, results }));
  else {
    console.log(
      `${summary.transfers} transfers in ${summary.scenarios} scenarios, ${faults} faults, ${summary.duplicatesAbsorbed} repeats absorbed; ` +
        `sum ${summary.sumExact ? 'exact' : 'WRONG'}, ${summary.lost} lost, ${summary.double} double; ` +
        `${summary.defectsCaught} of ${summary.defects} defects caught; ${seconds} s`,
    );
    for (const name of failed.map(({ scenario }) => scenario))
      console.log(`repeat: npm run crash -- reliable --only ${name} --transfers ${settings.transfers} --seed ${settings.seed}`);
  }
  return failed.length === 0 && results.length > 0 ? 0 : 1;
}

function violationsOf(results: readonly Result[], invariant: string): number {
  return results.reduce((total, { violations }) => total + violations.filter((one) => one.invariant === invariant).length, 0);
}

/** When, what and with which settings, and what came of it. */
function ledgerLine(summary: object, { brokers, outageMs, backlog, seed }: Settings): object {
  const git = (...args: string[]): string => execFileSync('git', args, { cwd: here, encoding: 'utf8' }).trim();
  const commit = `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '+'}`;
  return { at: new Date().toISOString(), commit, brokers, outageS: outageMs / 1000, backlog, seed, ...summary };
}

function writeLedger(content: object): void {
  const folder = join(here, '../../../.tmp');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `crash-reliable-${Date.now()}.json`);
  writeFileSync(path, `${JSON.stringify(content, null, 2)}\n`);
  console.log(`ledger: ${path}`);
}

function settingsOf(args: readonly string[]): Settings | undefined {
  const command = { file: import.meta.url };
  const options = {
    transfers: { type: 'string' },
    broker: { type: 'string', default: 'both' },
    only: { type: 'string', default: '' },
    controls: { type: 'string', default: 'with' },
    outage: { type: 'string' },
    backlog: { type: 'string' },
    full: { type: 'boolean', default: false },
    ledger: { type: 'string' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    'side-by-side': { type: 'string', default: '2' },
    list: { type: 'boolean', default: false },
  } as const;
  const values = asked(command, options, args);
  const number = (option: string, text: string, min = 1): number => wholeNumber(command, option, text, min);
  if (values.list) {
    for (const { name, sentence } of SCENARIOS) console.log(`${name.padEnd(20)} ${sentence}`);
    for (const { name, sentence, scenario, invariant } of DEFECTS)
      console.log(`${name.padEnd(26)} ${sentence} (${scenario}: ${invariant})`);
    return undefined;
  }
  const only = values.only.split(',').filter((name) => name !== '');
  const unknown = only.filter((name) => !SCENARIOS.some((scenario) => scenario.name === name));
  if (unknown.length > 0) refuse(command, `no scenario ${unknown.join(', ')}; --list names them`);
  return {
    transfers: number('--transfers', values.transfers ?? (values.full ? '20000' : '2000')),
    brokers: values.broker === 'both' ? ['ours', 'rabbitmq'] : [oneOf(command, '--broker', values.broker, ['ours', 'rabbitmq'])],
    only,
    controls: oneOf(command, '--controls', values.controls, ['with', 'without', 'only']),
    outageMs: number('--outage', values.outage ?? (values.full ? '600' : '30')) * 1000,
    backlog: number('--backlog', values.backlog ?? (values.full ? '1000000' : '100000')),
    full: values.full,
    ledger: values.ledger,
    seed: number('--seed', values.seed, 0),
    json: values.json,
    trace: values.trace,
    sideBySide: number('--side-by-side', values['side-by-side']),
  };
}

async function bundled(folder: string): Promise<string> {
  const program = join(folder, 'child.mjs');
  await build({
    entryPoints: [join(here, 'child/run-child.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    conditions: ['@tallystick/source'],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    external: ['pg-native'],
    sourcemap: 'inline',
    outfile: program,
    logLevel: 'error',
  });
  return program;
}
