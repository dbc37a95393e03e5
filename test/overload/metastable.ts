/**
 * A little too much, then a little less than can be served: 110 % of a disk's capacity, then 90 %. A system that does work nobody waits for
 * any more, because requests waited too long or were sent again, stays down although the load would fit; ours must come back.
 * Once with our own client, once with senders in a hurry, which send again at once whatever was refused.
 */
import type { GivenBrokerOptions } from '@tallystick/broker';
import { Checks, type CaseResult } from './checks.ts';
import type { Retries } from './flood.ts';
import type { Child } from './children.ts';
import { deviceOf, pause, peakOf, report, run, Stage, use } from './loads.ts';

const CAPACITY = 20_000;
const RECOVERY_S = 10;
/** Of the messages of a second, so many acknowledged within a second: served again. */
const SERVED = 0.99;
/** RocketMQ's Java client against one broker: two more attempts, at once. */
const HURRIED: Retries = { timeoutMs: 3000, max: 2 };
/** Senders without any manners. */
const STORM: Retries = { timeoutMs: 500, max: 8 };

interface Found {
  readonly recoveredS: number | undefined;
  /** Acknowledged within a second, in each second. */
  readonly timely: readonly number[];
}

/** `seconds` for each of the two loads. */
export async function metastable(seconds: number, options: GivenBrokerOptions): Promise<CaseResult> {
  const [ours, hurried] = await Promise.all([
    withOurClient(seconds, { flush: 'async', ...options }),
    withRepeats(HURRIED, seconds, { flush: 'async', ...options }),
  ]);
  const checks = new Checks();
  const within = Math.min(RECOVERY_S, seconds - 1);
  const sentence = (who: string): string => `${who}: ${within} s after the load has come down to 90 %, all is served in time`;
  checks.inTime(isBack(ours, within), sentence('our client'), told(ours));
  checks.inTime(isBack(hurried, within), sentence('senders that try twice more, at once'), told(hurried));
  return { name: 'metastable', checks: checks.list, figures: { ours, hurried } };
}

/** Senders that send again at once what was refused or not answered in half a second, up to eight times: for a run that must fail. */
export function withStorm(seconds: number, options: GivenBrokerOptions): Promise<Found> {
  return withRepeats(STORM, seconds, options);
}

async function withOurClient(seconds: number, options: GivenBrokerOptions): Promise<Found> {
  const stage = new Stage();
  try {
    const broker = await stage.broker(deviceOf(CAPACITY), options);
    const client = await stage.client([{ brokerName: 'broker-a', port: broker.ready as number }]);
    // What our client sends takes other bytes than what the device was set for: its capacity shows when it has too much.
    const burst = use(client, [{ rate: CAPACITY * 2.5, seconds: 2.5 }]);
    await pause(1000);
    const before = await stored(broker);
    await pause(1500);
    const capacity = ((await stored(broker)) - before) / 1.5;
    await burst;
    const { perSecond } = await use(client, [
      { rate: capacity * 1.1, seconds },
      { rate: capacity * 0.9, seconds },
    ]);
    const after = perSecond.slice(Math.round(seconds), Math.round(2 * seconds));
    return { recoveredS: recoveredAt(after), timely: perSecond.map((each) => each.timely) };
  } finally {
    await stage.clear();
  }
}

async function stored(broker: Child): Promise<number> {
  return Number((await report(broker)).counters['sends']);
}

async function withRepeats(retries: Retries, seconds: number, options: GivenBrokerOptions): Promise<Found> {
  const stage = new Stage();
  try {
    const broker = await stage.broker(deviceOf(CAPACITY), options);
    const flood = await stage.flood(broker);
    const peak = await peakOf(flood, 2, 2000);
    const low = peak.goodput * 0.9;
    const phases = [
      { seconds, rate: peak.goodput * 1.1 },
      { seconds, rate: low },
    ];
    const { perSecond } = await run(flood, phases, retries);
    const timely = perSecond.map((each) => each.timely);
    const after = timely.slice(Math.round(seconds), Math.round(2 * seconds));
    return { recoveredS: recoveredAt(after.map((each) => ({ due: low, timely: each }))), timely };
  } finally {
    await stage.clear();
  }
}

function isBack({ recoveredS }: Found, withinS: number): boolean {
  return recoveredS !== undefined && recoveredS <= withinS;
}

function told({ recoveredS, timely }: Found): string {
  return `${recoveredS === undefined ? 'never' : `after ${recoveredS} s`}, in time per second: ${timely.join(' ')}`;
}

/** Seconds until every further one is served. */
function recoveredAt(perSecond: readonly { readonly due: number; readonly timely: number }[]): number | undefined {
  let last = -1;
  perSecond.forEach(({ due, timely }, at) => {
    if (timely < due * SERVED) last = at;
  });
  return last === perSecond.length - 1 ? undefined : last + 1;
}
