/**
 * The end of a run: stops the banks, reads the broker's store, has the checker read both databases, reads the fault log from the disk, and makes the report of
 * nothing else.
 */
import { CliError } from '../cli-error.ts';
import type { CheckerLine } from './checker-line.ts';
import { readFaultLog, type FaultLog } from './fault-log.ts';
import type { DemoFolder } from './folder.ts';
import { deadLetterTopic } from './messages.ts';
import type { Person } from './person.ts';
import type { PlanOptions } from './plan.ts';
import { reportOf, type Report, type StoreReading } from './report.ts';
import { limited, sleep } from './sleep.ts';
import type { StoreReader } from './store-reader.ts';
import type { Supervisor } from './supervisor.ts';

export interface RunToReadBack {
  readonly plan: PlanOptions;
  readonly folder: DemoFolder;
  readonly log: FaultLog;
  readonly supervisor: Supervisor;
  readonly checker: CheckerLine;
  readonly store: StoreReader;
  readonly person: Person;
  /** `performance.now()` at its beginning. */
  readonly startedAt: number;
}

const storeLimitMs = 60_000;
const closeLimitMs = 3_000;

export async function readBack({
  plan,
  folder,
  log,
  supervisor,
  checker,
  store,
  person,
  startedAt,
}: RunToReadBack): Promise<Report> {
  await supervisor.stopAll(['bank-a', 'bank-b', 'bank-a-standby']);
  const stored = await readStore(store);
  await limited(person.stop(), closeLimitMs);
  await limited(store.close(), closeLimitMs);
  const account = await checker.finalAccount();
  const settledSerials = new Set(account.settledSerials);
  confirmPoison(stored, settledSerials, folder, log);
  supervisor.stopRestarting();
  await supervisor.stopAll();
  return reportOf(plan, {
    figures: account.figures,
    duplicatesAbsorbed: account.duplicatesAbsorbed,
    settledSerials,
    serialsOfA: new Set(account.serialsOfA),
    store: stored,
    log: readFaultLog(folder.faultLog),
    violations: account.violations,
    seconds: (performance.now() - startedAt) / 1000,
  });
}

async function readStore(store: StoreReader): Promise<StoreReading> {
  const until = performance.now() + storeLimitMs;
  while (performance.now() < until) {
    const halves = await store.halves();
    const deadLetters = await store.serialsIn(deadLetterTopic);
    if (halves !== undefined && deadLetters !== undefined) return { halves, deadLetters };
    await sleep(200);
  }
  throw new CliError(
    `the broker's store could not be read for ${storeLimitMs / 1000} s`,
    'see its log in the folder of the run',
    'internal',
  );
}

/** The poison was seen when its dead letter lies in the store, a person has sent it again, and its transfer is settled in both banks. */
function confirmPoison({ deadLetters }: StoreReading, settled: ReadonlySet<string>, folder: DemoFolder, log: FaultLog): void {
  const mended = new Set(readFaultLog(folder.faultLog).flatMap((seen) => (seen.what === 'mended' ? [seen.serial] : [])));
  for (const serial of deadLetters) {
    if (!mended.has(serial) || !settled.has(serial)) continue;
    const seen = `${serial} lies in ${deadLetterTopic}, was sent again and is settled`;
    log.add({ what: 'fault-confirmed', fault: 'poison', number: 0, serial, seen });
  }
}
