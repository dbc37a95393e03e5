/**
 * Each cause of "busy" by itself: it is brought about in a real broker while another, healthy one stands beside it, under a raw flood on
 * the sick one and our own client over both. What must hold: the answer's words and the counter name the cause, our client goes
 * elsewhere and says "unknown" only of what may be stored, heartbeats go on, nothing acknowledged is lost, and service resumes.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { GivenBrokerOptions } from '@tallystick/broker';
import type { BrokerReport } from './broker-child.ts';
import type { ClientResult, ClientVerdict } from './client-child.ts';
import { Checks, type CaseResult } from './checks.ts';
import type { Child } from './children.ts';
import type { Answer } from './frame-heads.ts';
import { busyCounters, deviceOf, pause, readBack, report, run, settled, Stage, use } from './loads.ts';
import type { ProberResult } from './prober-child.ts';
import { FAST_DISK, type DiskMood } from './slow-disk.ts';

interface Cause {
  readonly name: string;
  readonly options: GivenBrokerOptions;
  readonly disk?: DiskMood;
  /** What befalls the disk, and for how long. */
  readonly mood: Partial<DiskMood>;
  readonly holdMs: number;
  /** Of the flood, messages per second. */
  readonly rate: number;
  /** Answers that must be seen, and counters that must have counted. */
  readonly answers: readonly Answer[];
  readonly counters: readonly string[];
  /** Answers that would name a wrong cause. */
  readonly never: readonly Answer[];
  /** Sends may end without anybody knowing whether they are stored. */
  readonly mayBeUnknown: boolean;
  /** The broker goes on serving as if nothing were. */
  readonly serves?: boolean;
  /** The broker ends; it is started again on its files. */
  readonly fatal?: boolean;
}

const NO_STALL: readonly Answer[] = ['reject-request', 'pcbusy-clean-queue', 'pc-synchronized'];
const MIB = 1024 * 1024;

const CAUSES: readonly Cause[] = [
  {
    name: 'slow-sync',
    options: { flush: 'sync' },
    mood: { syncMs: 400 },
    holdMs: 3000,
    rate: 20_000,
    answers: ['timeout-clean-queue'],
    counters: ['busyCleanedTimeout'],
    // A slow sync is no busy page cache.
    never: NO_STALL,
    mayBeUnknown: false,
  },
  {
    name: 'held-write',
    options: { flush: 'async' },
    mood: { held: 'writes' },
    holdMs: 1500,
    rate: 5000,
    answers: ['reject-request', 'pcbusy-clean-queue'],
    counters: ['busyPageCache', 'busyCleanedPageCache'],
    never: ['pc-synchronized'],
    mayBeUnknown: false,
  },
  {
    name: 'held-write-no-fast-failure',
    options: { flush: 'async', brokerFastFailureEnable: false },
    mood: { held: 'writes' },
    holdMs: 1500,
    rate: 5000,
    answers: ['pc-synchronized'],
    counters: ['busyAtPut'],
    never: ['pcbusy-clean-queue', 'timeout-clean-queue'],
    mayBeUnknown: false,
  },
  {
    // With a pool the page cache is no measure: an append waits for a buffer only.
    name: 'held-write-buffers-left',
    options: { flush: 'async', transientStorePoolEnable: true },
    mood: { held: 'writes' },
    holdMs: 1800,
    rate: 5000,
    answers: [],
    counters: [],
    never: [...NO_STALL, 'overload', 'timeout-clean-queue'],
    mayBeUnknown: false,
    serves: true,
  },
  {
    name: 'empty-pool',
    options: {
      flush: 'async',
      transientStorePoolEnable: true,
      transientStorePoolSize: 3,
      transientStorePoolBufferBytes: MIB,
    },
    mood: { held: 'writes' },
    holdMs: 1800,
    rate: 20_000,
    answers: ['reject-request'],
    counters: ['busyNoBuffer'],
    never: ['pcbusy-clean-queue', 'pc-synchronized'],
    mayBeUnknown: false,
  },
  {
    name: 'full-queue',
    options: { flush: 'async', sendThreadPoolQueueCapacity: 200 },
    disk: deviceOf(2000),
    mood: {},
    holdMs: 2500,
    rate: 10_000,
    answers: ['overload'],
    counters: ['busyQueueCount'],
    never: NO_STALL,
    mayBeUnknown: false,
  },
  {
    name: 'stuck-disk',
    options: { flush: 'sync' },
    mood: { held: 'both' },
    holdMs: 4000,
    rate: 5000,
    answers: ['reject-request', 'maybe'],
    counters: ['busyPageCache', 'sendTimeouts'],
    never: [],
    mayBeUnknown: true,
  },
  {
    name: 'failing-disk',
    options: { flush: 'async' },
    mood: { failing: 'write' },
    holdMs: 1500,
    rate: 1000,
    answers: [],
    counters: [],
    never: NO_STALL,
    mayBeUnknown: true,
    fatal: true,
  },
];

/** These causes, all if none are named; some at a time, for each leaves the machine mostly idle. */
export async function causes(names: readonly string[] = CAUSE_NAMES): Promise<CaseResult[]> {
  const left = CAUSES.filter(({ name }) => names.includes(name));
  const results: CaseResult[] = [];
  const worker = async (): Promise<void> => {
    for (let cause = left.shift(); cause !== undefined; cause = left.shift()) results.push(await bringAbout(cause));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

export const CAUSE_NAMES: readonly string[] = CAUSES.map(({ name }) => name);

const AT_ONCE = 4;
const CLIENT_RATE = 500;
const CONTROL_MS = 100;

async function bringAbout(cause: Cause): Promise<CaseResult> {
  const stage = new Stage();
  try {
    const sick = await stage.broker(cause.disk ?? FAST_DISK, cause.options, 'a');
    const healthy = await stage.broker(FAST_DISK, { flush: 'async', brokerName: 'broker-b' }, 'b');
    const flood = await stage.flood(sick, { connections: 8, capacity: 1_000_000 });
    const prober = await stage.prober(sick, 0);
    const client = await stage.client([
      { brokerName: 'broker-a', port: sick.ready as number },
      { brokerName: 'broker-b', port: healthy.ready as number },
    ]);
    const send = (seconds: number): Promise<ClientResult> => use(client, [{ rate: CLIENT_RATE, seconds }]);
    const warm = await send(0.7);

    await prober.ask({ do: 'start' });
    const seconds = cause.holdMs / 1000 + 0.7;
    const flooded = run(flood, [{ seconds, rate: cause.rate }]);
    const used = send(seconds);
    await pause(200);
    await sick.ask({ do: 'mood', mood: cause.mood });
    await pause(cause.holdMs);
    const probe = await prober.ask<ProberResult>({ do: 'stop', waitMs: 500 });
    if (cause.fatal !== true) await sick.ask({ do: 'mood', mood: FAST_DISK });
    const duringFlood = await flooded;
    const during = await used;
    const seen = await report(sick);
    const serving = cause.fatal === true ? await restarted(stage, sick, cause.options) : sick;
    const again = cause.fatal === true ? undefined : await run(flood, [{ seconds: 1, rate: 500 }]);
    const after = cause.fatal === true ? undefined : await send(1);
    await settled(serving);
    const verdict = await client.ask<ClientVerdict>({ do: 'readBack', ports: [serving.ready, healthy.ready] });
    const floodVerdict = await readBack(flood, serving);

    const checks = new Checks();
    for (const answer of cause.answers)
      checks.that(seen.answers[answer].count > 0, `senders are told ${answer}`, seen.answers[answer]);
    for (const answer of cause.never)
      checks.that(seen.answers[answer].count === 0, `nobody is told ${answer}`, seen.answers[answer].count);
    for (const counter of cause.counters)
      checks.that(Number(seen.counters[counter]) > 0, `the counter ${counter} counts`, Number(seen.counters[counter]));
    sameCounts(checks, seen);
    reaction(checks, cause, warm, during, after);
    const beats = [probe.latency['heartbeat']!, probe.latency['lock']!];
    if (cause.fatal !== true)
      checks.inTime(
        beats.every(({ count, p99Ms }) => count > 0 && p99Ms <= CONTROL_MS),
        `heartbeats and locks are answered within ${CONTROL_MS} ms meanwhile (p99)`,
        beats,
      );
    if (again !== undefined) {
      const { ok } = again.answers;
      checks.inTime(ok === again.due, 'service resumes: a light load afterwards is all acknowledged', {
        due: again.due,
        ...again.answers,
      });
    }
    const problems = [...verdict.problems, ...floodVerdict.problems];
    checks.that(
      problems.length === 0 && verdict.acknowledged > 0 && floodVerdict.acknowledged > 0,
      "everything acknowledged is there once, nothing that was refused is: the client's and the flood's",
      problems.length === 0
        ? `${verdict.acknowledged} and ${floodVerdict.acknowledged} acknowledged, ${verdict.unknownButStored + floodVerdict.unknownButStored} of the unknown stored`
        : problems.slice(0, 3),
    );
    const { perSecond: _, ...floodFigures } = duringFlood;
    return {
      name: cause.name,
      checks: checks.list,
      figures: { warm, during, after, flood: floodFigures, atBroker: seen.answers, counters: seen.counters, beats },
    };
  } finally {
    await stage.clear();
  }
}

/** What went over the wire and what was counted are the same. */
function sameCounts(checks: Checks, { answers, counters }: BrokerReport): void {
  const counted = Object.entries(busyCounters(counters));
  const differing = counted.filter(([answer, count]) => answers[answer as Answer].count !== count);
  checks.ofEach(
    counted.reduce((sum, [answer, count]) => sum + count + answers[answer as Answer].count, 0),
    differing.length === 0,
    'each busy answer is counted under its cause',
    differing.map(([answer, count]) => `${answer}: ${answers[answer as Answer].count} answered, ${count} counted`).join(', ') ||
      'all agree',
  );
}

function reaction(checks: Checks, cause: Cause, warm: ClientResult, during: ClientResult, after: ClientResult | undefined): void {
  const isWell = ({ errors, stored }: ClientResult): boolean => stored > 0 && Object.keys(errors).length === 0;
  checks.that(isWell(warm), 'before, our client has no errors', warm.errors);
  const known = Object.entries(during.errors).filter(([error]) => !error.startsWith('unknown'));
  checks.that(known.length === 0, 'our client gives up nothing that it could send elsewhere', Object.fromEntries(known));
  if (cause.mayBeUnknown)
    checks.inTime(
      during.unknown < during.due / 2 && during.stored + during.unknown === during.due,
      'it says "unknown" only of what was on its way to the sick broker',
      { unknown: during.unknown, due: during.due },
    );
  else checks.that(during.unknown === 0, 'it never says "unknown": all was refused in time, or stored', during.errors);
  const elsewhere = during.storedAt['broker-b'] ?? 0;
  if (cause.serves === true)
    checks.that(
      elsewhere < during.due * 0.75,
      'it sends to both brokers meanwhile',
      `${elsewhere} of ${during.due} to the other`,
    );
  else checks.inTime(elsewhere > during.due * 0.5, 'it sends to the healthy broker meanwhile', `${elsewhere} of ${during.due}`);
  if (after === undefined) return;
  checks.that(isWell(after), 'afterwards, our client has no errors', after.errors);
}

/** The same store, served by a new process, once somebody has looked at the disk and taken the marker away. */
async function restarted(stage: Stage, sick: Child, options: GivenBrokerOptions): Promise<Child> {
  await sick.end('SIGKILL');
  rmSync(join(stage.folder, 'a', 'FSYNC_FAILED'));
  return stage.broker(FAST_DISK, options, 'a');
}
