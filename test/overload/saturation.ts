/**
 * More load than the broker can take, twice: limited by a disk of 20,000 messages a second that is offered ten times as much, and
 * limited by the processor at twice its best. What must hold is the same: what can be served is served, the rest is told so at once,
 * memory stays under its cap, the control lane does not notice, and a few seconds later it is as if nothing had been.
 */
import type { GivenBrokerOptions } from '@tallystick/broker';
import type { BrokerReport } from './broker-child.ts';
import { Checks, type CaseResult } from './checks.ts';
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
    patienceS: 2 * RECOVERY_S,
  });
}

async function saturate({ name, disk, options, times, inFlight, seconds, patienceS }: Saturation): Promise<CaseResult> {
  const stage = new Stage();
  try {
    const broker = await stage.broker(disk, options);
    const flood = await stage.flood(broker, { capacity: Math.max(16_000_000, OFFERED_MAX * seconds) });
    const prober = await stage.prober(broker, seconds + 2);
    const idle = await report(broker);
    const beganMs = performance.now();
    const peak = await peakOf(flood, Math.min(5, Math.max(2, seconds / 4)), inFlight);
    const before = await report(broker);
    const peakS = (performance.now() - beganMs) / 1000;
    await broker.ask({ do: 'reset' });
    const offered = peak.goodput * times;
    const { value: load, probe } = await probed(prober, () => run(flood, [{ seconds, rate: offered }]));
    const after = await report(broker);
    const { peakMiB } = broker.memory();
    const recoveredS = await recovery(flood, Math.round(peak.goodput / 10), patienceS);
    const verdict = await readBack(flood);
    const visible = Number(await prober.ask({ do: 'visible' }));
    const costs = {
      peak: costOf(idle, before, peakS),
      load: costOf(before, after, load.seconds),
      sender: [peak.cpuShare, load.cpuShare],
    } as const;
    const seen: Seen = { name, costs, peak, load, probe, before, after, peakMiB, recoveredS, verdict, visible, offered };
    return { name, checks: judge(seen), figures: figures(seen) };
  } finally {
    await stage.clear();
  }
}

interface Seen {
  readonly name: string;
  readonly costs: {
    /** Of the broker, at its peak and under the load. */
    readonly peak: Cost;
    readonly load: Cost;
    /** Cores that the sending process had then. */
    readonly sender: readonly [number, number];
  };
  readonly peak: FloodResult;
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

function judge({ name, costs, peak, load, probe, before, after, peakMiB, recoveredS, verdict, visible }: Seen) {
  const checks = new Checks();
  const { answers } = after;
  const share = load.goodput / peak.goodput;
  const isDiskBound = name.startsWith('disk');
  checks.inTime(
    share >= GOODPUT_SHARE,
    `goodput is at least ${GOODPUT_SHARE * 100} % of the peak`,
    `${load.goodput}/s of ${peak.goodput}/s, ${Math.round(share * 100)} %; ${told(costs)}`,
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

function told({ peak, load, sender }: Seen['costs']): string {
  const cost = ({ cores, microsPerSend }: Cost, its: number): string =>
    `${cores} cores, ${microsPerSend} µs each, its sender ${its}`;
  return `the broker had ${cost(load, sender[1])}; at its peak ${cost(peak, sender[0])}`;
}

function figures({ costs, peak, offered, load, probe, after, peakMiB, recoveredS, verdict }: Seen) {
  const { perSecond, ...rest } = load;
  return {
    peakPerSecond: peak.goodput,
    offeredPerSecond: offered,
    load: rest,
    perSecond: perSecond.map(({ ok, refused }) => [ok, refused]),
    atBroker: Object.fromEntries(Object.entries(after.answers).filter(([, { count }]) => count > 0)),
    counters: after.counters,
    bytesPerMessage: Math.round(after.disk.bytes / Number(after.counters['sends'])),
    costs,
    control: probe.latency,
    peakMiB,
    recoveredS,
    verdict,
  };
}
