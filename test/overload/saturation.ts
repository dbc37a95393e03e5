/**
 * More load than the broker can take, twice: limited by a disk of 20,000 messages a second that is offered ten times as much, and
 * limited by the processor at twice its best. What must hold is the same: what can be served is served, the rest is told so at once,
 * memory stays under its cap, the control lane does not notice, and a few seconds later it is as if nothing had been.
 */
import type { GivenBrokerOptions } from '@tallystick/broker';
import type { BrokerReport } from './broker-child.ts';
import { Checks, type CaseResult } from './checks.ts';
import type { Child } from './children.ts';
import type { FloodResult } from './flood.ts';
import type { Answer } from './frame-heads.ts';
import { busyCounters, deviceOf, peakOf, probed, readBack, recovery, report, run, Stage } from './loads.ts';
import type { ProberResult } from './prober-child.ts';
import type { Verdict } from './read-back.ts';
import { NO_LIMIT, type DiskMood } from './slow-disk.ts';

/** Share of the peak that must still be acknowledged. */
const GOODPUT_SHARE = 0.8;
const REFUSAL_MS = 50;
/** A disk that is offered ten times what it takes has so many sends refused in a moment, at the door and in the lane. */
const REFUSED_MIN = 1000;
/** What may lie in a lane before fast failure takes it out (waitTimeMillsInSendQueue). */
const WAIT_MS = 200;
const CONTROL_MS = 100;
const RECOVERY_S = 10;
/** A peak of a processor: shorter ones differ by half, on a machine with nothing else to do. */
const PEAK_S = 10;
/** Runs that are shorter than this are for machines that have other work too, and have no time for long peaks. */
const LONG_S = 20;
/** Messages per second that are due at most: twice the best that any machine here has shown. */
const OFFERED_MAX = 1_200_000;
/** Broker's whole process: 64 MiB tail, 64 MiB of waiting sends, Node itself, the meter of this test. */
export const RSS_CAP_MIB = 448;

interface Saturation {
  readonly name: string;
  readonly disk: DiskMood;
  readonly options: GivenBrokerOptions;
  readonly times: number;
  /** Messages kept open when the peak is measured. */
  readonly inFlight: number;
  readonly seconds: number;
  /** How long each peak is measured. */
  readonly peakS: number;
  /** Its peak is no setting of ours and may change meanwhile: it is measured after the load, too. */
  readonly driftsAway: boolean;
  readonly patienceS: number;
}

/** `patienceS`: how long recovery is waited for. */
export function diskBound(
  seconds: number,
  options: GivenBrokerOptions = {},
  name = 'disk-bound',
  patienceS = 2 * RECOVERY_S,
): Promise<CaseResult> {
  return saturate({
    name,
    disk: deviceOf(20_000),
    options: { flush: 'async', ...options },
    times: 10,
    inFlight: 2000,
    seconds,
    peakS: shortPeakS(seconds),
    driftsAway: false,
    patienceS,
  });
}

export function cpuBound(seconds: number, options: GivenBrokerOptions = {}): Promise<CaseResult> {
  return saturate({
    name: 'cpu-bound',
    disk: NO_LIMIT,
    options: { flush: 'async', ...options },
    times: 2,
    inFlight: 4096,
    seconds,
    peakS: seconds < LONG_S ? shortPeakS(seconds) : PEAK_S,
    driftsAway: true,
    patienceS: 2 * RECOVERY_S,
  });
}

function shortPeakS(seconds: number): number {
  return Math.min(5, Math.max(2, seconds / 4));
}

async function saturate(given: Saturation): Promise<CaseResult> {
  const { name, disk, options, times, inFlight, seconds, peakS, driftsAway, patienceS } = given;
  const stage = new Stage();
  try {
    const broker = await stage.broker(disk, options);
    const capacity = Math.max(16_000_000, OFFERED_MAX * (seconds + 2 * peakS));
    const flood = await stage.flood(broker, { capacity });
    const prober = await stage.prober(broker, seconds + 2);
    const first = await measuredPeak(broker, flood, peakS, inFlight);
    const before = await report(broker);
    await broker.ask({ do: 'reset' });
    const offered = first.goodput * times;
    const { value: load, probe } = await probed(prober, () => run(flood, [{ seconds, rate: offered }]));
    const after = await report(broker);
    const { peakMiB } = broker.memory();
    const recoveredS = await recovery(flood, Math.round(first.goodput / 10), patienceS);
    const last = driftsAway ? await measuredPeak(broker, flood, peakS, inFlight) : undefined;
    const peak = yardstick(first, last);
    const verdict = await readBack(flood);
    const visible = Number(await prober.ask({ do: 'visible' }));
    const loadCost = costOf(before, after, load.seconds);
    const peaks = { before: first.goodput, after: last?.goodput };
    const seen: Seen = {
      name,
      loadCost,
      peak,
      peaks,
      load,
      probe,
      before,
      after,
      peakMiB,
      recoveredS,
      verdict,
      visible,
      offered,
    };
    return { name, checks: judge(seen), figures: figures(seen) };
  } finally {
    await stage.clear();
  }
}

interface Peak {
  readonly goodput: number;
  readonly cost: Cost;
  /** Cores that the sending process had. */
  readonly cpuShare: number;
}

async function measuredPeak(broker: Child, flood: Child, seconds: number, inFlight: number): Promise<Peak> {
  const from = await report(broker);
  const beganMs = performance.now();
  const { goodput, cpuShare } = await peakOf(flood, seconds, inFlight);
  const cost = costOf(from, await report(broker), (performance.now() - beganMs) / 1000);
  return { goodput, cost, cpuShare };
}

/**
 * What goodput is a share of: the larger of the two. A mean would let a broker that stays slow after the load lower what it is measured by,
 * and a peak before alone is now and then that of a process that is not warm yet, of which the load is then served to more than all.
 */
export function yardstick<P extends Pick<Peak, 'goodput'>>(before: P, after: P | undefined): P {
  return after !== undefined && after.goodput > before.goodput ? after : before;
}

interface Seen {
  readonly name: string;
  readonly loadCost: Cost;
  readonly peak: Peak;
  /** Acknowledged per second. */
  readonly peaks: { readonly before: number; readonly after: number | undefined };
  readonly offered: number;
  readonly load: FloodResult;
  readonly probe: ProberResult;
  readonly before: BrokerReport;
  readonly after: BrokerReport;
  readonly peakMiB: number;
  readonly recoveredS: number | undefined;
  readonly verdict: Verdict;
  readonly visible: number;
}

/** What the broker's process had and used: with other work on the machine it is given less, and with refusals an acknowledgement costs more. */
interface Cost {
  readonly cores: number;
  /** Processor time per acknowledged send, with what all others cost. */
  readonly microsPerSend: number;
}

function costOf(from: BrokerReport, to: BrokerReport, seconds: number): Cost {
  const cpuMs = to.cpuMs - from.cpuMs;
  const sends = Number(to.counters['sends']) - Number(from.counters['sends']);
  return { cores: Number((cpuMs / seconds / 1000).toFixed(2)), microsPerSend: Number(((1000 * cpuMs) / sends).toFixed(2)) };
}

function judge(seen: Seen) {
  const { name, peak, load, probe, before, after, peakMiB, recoveredS, verdict, visible } = seen;
  const checks = new Checks();
  const { answers } = after;
  const share = load.goodput / peak.goodput;
  const isDiskBound = name.startsWith('disk');
  checks.inTime(
    share >= GOODPUT_SHARE,
    `goodput is at least ${GOODPUT_SHARE * 100} % of the peak`,
    `${load.goodput}/s of ${peak.goodput}/s, ${Math.round(share * 100)} %${bothPeaks(seen)}; ${told(seen)}`,
    isDiskBound,
  );
  const atOnce = [answers.overload, answers['reject-request'], answers['pc-synchronized'], answers.busy];
  const countMin = isDiskBound ? REFUSED_MIN : 0;
  checks.allWithin(
    atOnce,
    REFUSAL_MS,
    countMin,
    `refusals at the door leave the broker within ${REFUSAL_MS} ms of the frame's arrival (p99)`,
    true,
  );
  checks.allWithin(
    [answers['timeout-clean-queue'], answers['pcbusy-clean-queue']],
    WAIT_MS + REFUSAL_MS,
    countMin,
    `those that waited in vain are told within their ${WAIT_MS} ms and ${REFUSAL_MS} more (p99)`,
  );
  checks.that(
    load.answers.maybe === 0 && load.unanswered === 0,
    'every send gets an answer, and none that leaves open whether it was stored',
    {
      maybe: load.answers.maybe,
      unanswered: load.unanswered,
    },
  );
  checks.that(peakMiB <= RSS_CAP_MIB, `the broker's memory stays under ${RSS_CAP_MIB} MiB`, `${peakMiB} MiB at most`);
  checks.inTime(probe.all.p99Ms <= CONTROL_MS, `control requests are answered within ${CONTROL_MS} ms (p99)`, probe.latency);
  const asked = Object.fromEntries(Object.entries(probe.latency).map(([kind, { count }]) => [kind, count]));
  checks.that(
    Object.keys(probe.failures).length === 0 && Object.values(asked).every((count) => count > 0),
    'no control request fails, of any kind',
    Object.keys(probe.failures).length === 0 ? asked : probe.failures,
  );
  checks.that(
    probe.committed > 0 && visible >= probe.committed,
    'every confirmed commit can be read',
    `${probe.committed} confirmed, ${visible} to be read`,
  );
  checks.inTime(
    recoveredS !== undefined && recoveredS < RECOVERY_S,
    `${RECOVERY_S} s after the load a light one is served as if nothing had been`,
    recoveredS === undefined ? 'not in time' : `after ${recoveredS} s`,
    true,
  );
  checks.that(
    verdict.problems.length === 0 && verdict.acknowledged > 0,
    'everything acknowledged is there once and in order, nothing refused is',
    verdict.problems.length === 0 ? `${verdict.acknowledged} acknowledged, ${verdict.stored} read` : verdict.problems.slice(0, 3),
  );
  if (isDiskBound) {
    const earlier = busyCounters(before.counters);
    const counted = Object.entries(busyCounters(after.counters));
    const told = counted.map(([answer, count]) => [answer, count - earlier[answer as Answer]!, answers[answer as Answer].count]);
    checks.that(
      told.every(([, ours, seen]) => ours === seen),
      'each busy answer is counted under its cause',
      Object.fromEntries(told.map(([answer, ours]) => [answer, ours])),
    );
    // By the counters: a store that has no next segment ready says [OVERLOAD] too.
    const since = (counter: string): number => Number(after.counters[counter]) - Number(before.counters[counter]);
    const filled = since('busyQueueCount') + since('busyQueueBytes');
    checks.that(filled > 0, 'the run filled the queue: [OVERLOAD]', filled);
    checks.that(
      answers['timeout-clean-queue'].count > 0,
      'the run made sends wait too long: [TIMEOUT_CLEAN_QUEUE]',
      answers['timeout-clean-queue'].count,
    );
  }
  return checks.list;
}

function bothPeaks({ peaks: { before, after } }: Seen): string {
  return after === undefined ? '' : ` of the larger peak: ${before}/s before the load, ${after}/s after it`;
}

function told({ peak, load, loadCost }: Seen): string {
  const cost = ({ cores, microsPerSend }: Cost, its: number): string =>
    `${cores} cores, ${microsPerSend} µs each, its sender ${its}`;
  return `the broker had ${cost(loadCost, load.cpuShare)}; at its peak ${cost(peak.cost, peak.cpuShare)}`;
}

function figures({ loadCost, peak, peaks, offered, load, probe, after, peakMiB, recoveredS, verdict }: Seen) {
  const { perSecond, ...rest } = load;
  return {
    peakPerSecond: peak.goodput,
    peaksPerSecond: peaks,
    offeredPerSecond: offered,
    load: rest,
    perSecond: perSecond.map(({ ok, refused }) => [ok, refused]),
    atBroker: Object.fromEntries(Object.entries(after.answers).filter(([, { count }]) => count > 0)),
    counters: after.counters,
    bytesPerMessage: Math.round(after.disk.bytes / Number(after.counters['sends'])),
    costs: { peak: peak.cost, load: loadCost, sender: [peak.cpuShare, load.cpuShare] },
    control: probe.latency,
    peakMiB,
    recoveredS,
    verdict,
  };
}
