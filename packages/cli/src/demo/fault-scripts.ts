/**
 * How each fault is done and how it is seen: one short script per row of the fault table. A script gets the child that waits at the step, does its
 * harm through signals and proxies, and returns a sentence only when the harm was observed where it happened: in an exit status, in a process state,
 * in the frames that a proxy carried. The poison has no script: the person who mends dead letters reports it.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import type { FaultLog, Observation } from './fault-log.ts';
import type { FaultName } from './faults.ts';
import type { Expect, ReachedStep, Script } from './director.ts';
import type { DefectName } from './defects.ts';
import type { ProxyTaps } from './proxy-taps.ts';
import type { Supervisor } from './supervisor.ts';
import { limited, sleep } from './sleep.ts';

/** What scripts act on. */
export interface Stage {
  readonly supervisor: Supervisor;
  readonly log: FaultLog;
  readonly bankA: ProxyTaps;
  readonly bankB: ProxyTaps;
  readonly defect: DefectName | undefined;
  /** Starts a second instance of bank A that only answers check-backs, and stops it. */
  startStandby(): void;
  stopStandby(): Promise<void>;
}

const soonMs = 10_000;
const laterMs = 30_000;
const cutMs = 2_000;
const stoppedLimitMs = 3_000;
/** After the verdict was seen, time for it to arrive before bank A may go on. */
const verdictLeadMs = 300;

export function faultScripts(stage: Stage): ReadonlyMap<FaultName, Script> {
  return new Map<FaultName, Script>([
    ['confirmation-lost', (reached, expect) => loseConfirmation(stage, reached, expect)],
    ['bank-b-killed', (reached) => killBankB(stage, reached)],
    ['bank-a-killed', (reached) => kill(stage, 'bank-a', reached.child)],
    ['bank-a-paused', (reached, expect) => pauseBankA(stage, reached, expect)],
    ['broker-killed', (reached) => (stage.defect === 'ack-before-sync' ? cutPower(stage, reached) : killBroker(stage, reached))],
    ['connection-cut', (reached) => cutConnection(stage, reached)],
  ]);
}

/** Taken at its beginning and not at its commit, since while it waited for another fault there the broker would already have asked. */
async function loseConfirmation(
  { log, bankA, defect }: Stage,
  reached: ReachedStep,
  expect: Expect,
): Promise<string | undefined> {
  const committing = expect('committed', reached.number);
  reached.leave('go');
  const committed = await limited(committing, soonMs);
  if (committed === undefined) return undefined;
  const { serial } = committed;
  const swallowed = log.next((seen) => seen.what === 'swallowed' && seen.serial === serial, soonMs);
  const checkedBack = afterwards(swallowed, () =>
    log.next((seen) => seen.what === 'check-back' && seen.serial === serial, soonMs),
  );
  bankA.swallowConfirmation(serial);
  committed.leave('go');
  if ((await swallowed) === undefined || (await checkedBack) === undefined) return undefined;
  return `END_TRANSACTION of ${serial} swallowed by the proxy, then ${defect === 'no-check-back' ? 'asked in vain' : 'checked back'}`;
}

/** With the defect ack-before-commit the kill waits until the acknowledgement has really gone out. */
async function killBankB(stage: Stage, reached: ReachedStep): Promise<string | undefined> {
  const { place } = reached;
  if (reached.step === 'acked' && place !== undefined) {
    const covers = (seen: Observation) =>
      seen.what === 'offset-committed' && seen.queueId === place.queueId && seen.offset > place.offset;
    stage.bankB.reportOffsets(true);
    const committed = await stage.log.next(covers, soonMs);
    stage.bankB.reportOffsets(false);
    if (committed === undefined) return undefined;
  }
  return kill(stage, 'bank-b', reached.child);
}

async function kill({ supervisor, log }: Stage, name: string, child: string): Promise<string | undefined> {
  const pid = supervisor.pidOf(name);
  if (child !== name || pid === undefined) return undefined;
  const gone = log.next((seen) => seen.what === 'exit' && seen.pid === pid, soonMs);
  const back = afterwards(gone, () => log.next((seen) => seen.what === 'ready' && seen.name === name, laterMs));
  supervisor.signal(name, 'SIGKILL');
  const exit = await gone;
  if (exit?.what !== 'exit' || exit.signal !== 'SIGKILL' || (await back) === undefined) return undefined;
  return `process ${pid} ended by SIGKILL and was started again`;
}

/**
 * A second instance of bank A is started first, since the paused one cannot answer. The pause comes after the half message is stored and before the
 * transaction begins; the standby, asked often enough about a transaction nobody knows, says rollback and makes that final in the database.
 */
async function pauseBankA(stage: Stage, reached: ReachedStep, expect: Expect): Promise<string | undefined> {
  const { supervisor, log } = stage;
  const pid = supervisor.pidOf('bank-a');
  if (pid === undefined || reached.child !== 'bank-a') return undefined;
  const died = () => log.next((seen) => seen.what === 'exit' && seen.pid === pid, laterMs).then(() => undefined);
  const standbyReady = log.next((seen) => seen.what === 'ready' && seen.name === 'bank-a-standby', laterMs);
  stage.startStandby();
  try {
    if ((await Promise.race([standbyReady, died()])) === undefined) return undefined;
    const atWork = expect('worked', reached.number);
    reached.leave('go');
    const worked = await Promise.race([atWork, died()]);
    if (worked === undefined) return undefined;
    const { serial } = worked;
    const verdict = log.next((seen) => seen.what === 'verdict' && seen.serial === serial && seen.verdict === 'rollback', laterMs);
    worked.leave('stand-still');
    if (!(await isStopped(pid))) return undefined;
    log.add({ what: 'stopped', name: 'bank-a', pid });
    const given = await Promise.race([verdict, died()]);
    const stillStopped = await isStopped(pid);
    await sleep(verdictLeadMs);
    supervisor.signal('bank-a', 'SIGCONT');
    log.add({ what: 'continued', name: 'bank-a', pid });
    if (given === undefined || !stillStopped) return undefined;
    return `process ${pid} stopped by SIGSTOP; ${serial} rolled back by the standby meanwhile`;
  } finally {
    supervisor.signal('bank-a', 'SIGCONT');
    await stage.stopStandby();
  }
}

async function killBroker({ supervisor, log, bankA }: Stage, reached: ReachedStep): Promise<string | undefined> {
  const pid = supervisor.pidOf('broker');
  if (pid === undefined) return undefined;
  const gone = log.next((seen) => seen.what === 'exit' && seen.pid === pid, soonMs);
  const back = afterwards(gone, () => log.next((seen) => seen.what === 'ready' && seen.name === 'broker', laterMs));
  let unanswered = 0;
  bankA.onceAsked(reached.serial, () => {
    unanswered = bankA.unanswered;
    supervisor.signal('broker', 'SIGKILL');
  });
  reached.leave('go');
  const exit = await gone;
  bankA.forget();
  if (exit?.what !== 'exit' || exit.signal !== 'SIGKILL' || unanswered === 0 || (await back) === undefined) return undefined;
  return `process ${pid} ended by SIGKILL with ${unanswered} requests unanswered and was started again on its store`;
}

/**
 * For ack-before-sync: the broker's disk forgets at a kill what was not synced (see lossy-disk.ts). Bank B is held back, so that it cannot have the message
 * already; as soon as the broker has acknowledged it to bank A, the power goes.
 */
async function cutPower({ supervisor, log, bankA, bankB }: Stage, reached: ReachedStep): Promise<string | undefined> {
  const pid = supervisor.pidOf('broker');
  if (pid === undefined) return undefined;
  const forgetting = log.next((seen) => seen.what === 'disk-forgets', soonMs);
  supervisor.send('broker', { type: 'forget' });
  if ((await forgetting) === undefined) return undefined;
  const gone = log.next((seen) => seen.what === 'exit' && seen.pid === pid, soonMs);
  const back = afterwards(gone, () => log.next((seen) => seen.what === 'ready' && seen.name === 'broker', laterMs));
  const acknowledged = log.next((seen) => seen.what === 'acknowledged' && seen.serial === reached.serial, soonMs);
  bankB.proxy.hold();
  bankA.onceAnswered(reached.serial, () => {
    supervisor.signal('broker', 'SIGKILL');
    log.add({ what: 'acknowledged', serial: reached.serial });
  });
  reached.leave('go');
  const ack = await acknowledged;
  const exit = ack === undefined ? undefined : await gone;
  bankA.forget();
  bankB.proxy.dropHeld();
  if (exit?.what !== 'exit' || exit.signal !== 'SIGKILL' || (await back) === undefined) return undefined;
  return `power cut: ${reached.serial} was acknowledged and process ${pid} killed, its disk forgetting what it had not synced`;
}

async function cutConnection({ log, bankA }: Stage, reached: ReachedStep): Promise<string | undefined> {
  const { proxy } = bankA;
  const connections = proxy.cut();
  log.add({ what: 'cut', name: 'bank-a', connections });
  reached.leave('go');
  await sleep(cutMs);
  const again = new Promise<void>((resolve) => (proxy.onConnection = resolve));
  const { refused } = proxy;
  proxy.mend();
  const back = await Promise.race([again.then(() => true), sleep(soonMs).then(() => false)]);
  proxy.onConnection = () => {};
  if (!back || connections === 0) return undefined;
  log.add({ what: 'reconnected', name: 'bank-a', refused });
  return `${connections} connections of bank A cut for ${cutMs} ms, ${refused} attempts refused, then connected again`;
}

/** Starts the second wait only when the first has ended well, but without losing what happens right after it. */
async function afterwards(
  first: Promise<Observation | undefined>,
  second: () => Promise<Observation | undefined>,
): Promise<Observation | undefined> {
  return (await first) === undefined ? undefined : second();
}

/** True once the system shows the process as stopped by a signal. */
async function isStopped(pid: number): Promise<boolean> {
  const until = performance.now() + stoppedLimitMs;
  while (performance.now() < until) {
    const state = stateOf(pid);
    if (state === undefined || state.startsWith('T')) return state !== undefined;
    await sleep(20);
  }
  return false;
}

/** The state letter of a process, from /proc where there is one; undefined when there is no such process. */
function stateOf(pid: number): string | undefined {
  try {
    if (existsSync('/proc/self/stat')) return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '');
    return execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}
