/**
 * The figures of docs/guides/when-the-broker-is-busy.md: our client at a fixed schedule against a broker whose disk stalls, and many senders
 * against one whose disk is too slow for good; as it is, then with each change that people make when they read "broker busy". Besides, what a
 * transient store pool gains and costs. Prints Markdown.
 */
import type { GivenBrokerOptions } from '@tallystick/broker';
import type { BrokerReport } from './broker-child.ts';
import type { Child } from './children.ts';
import type { ClientResult, ClientVerdict } from './client-child.ts';
import type { FloodResult } from './flood.ts';
import { busyCounters, deviceOf, pause, peakOf, readBack, report, run, settled, Stage, use } from './loads.ts';
import { FAST_DISK, type DiskMood } from './slow-disk.ts';

interface Cure {
  readonly name: string;
  readonly options: GivenBrokerOptions;
  /** Two brokers instead of one, each with such a disk. */
  readonly brokers?: 2;
  readonly disk?: (mood: DiskMood) => DiskMood;
  /** The other disk does not stall. */
  readonly calm?: boolean;
}

const ALL_THREE: GivenBrokerOptions = {
  osPageCacheBusyTimeOutMills: 3000,
  sendThreadPoolQueueCapacity: 100_000,
  brokerFastFailureEnable: false,
};

const CURES: readonly Cure[] = [
  { name: 'as it is', options: {} },
  { name: '`osPageCacheBusyTimeOutMills` 1,000 → 3,000', options: { osPageCacheBusyTimeOutMills: 3000 } },
  { name: '`sendThreadPoolQueueCapacity` 10,000 → 100,000', options: { sendThreadPoolQueueCapacity: 100_000 } },
  { name: '`brokerFastFailureEnable` false', options: { brokerFastFailureEnable: false } },
  { name: 'all three', options: ALL_THREE },
  { name: '`transientStorePoolEnable` true', options: { transientStorePoolEnable: true } },
  { name: 'a second broker', options: {}, brokers: 2 },
  {
    name: 'a second broker, and all three',
    options: ALL_THREE,
    brokers: 2,
  },
  {
    name: 'a better disk',
    options: {},
    disk: (mood) => ({ ...mood, bytesPerSecond: mood.bytesPerSecond * 2, cacheBytes: mood.cacheBytes * 2 }),
    calm: true,
  },
];

interface Trouble {
  readonly name: string;
  readonly rate: number;
  /** Every so often the disk takes no write for so long. */
  readonly stall?: { readonly everyMs: number; readonly forMs: number };
}

const CAPACITY = 20_000;
const TROUBLES: readonly Trouble[] = [
  {
    name: `a disk for ${text(CAPACITY)}/s that takes no write for 4 s out of 10 s, offered 8,000/s`,
    rate: 8000,
    stall: { everyMs: 10_000, forMs: 4000 },
  },
  { name: `a disk for ${text(CAPACITY)}/s, offered 40,000/s`, rate: 40_000 },
];

/** The tables; `seconds` for each row. */
export async function guide(seconds: number, say: (line: string) => void): Promise<void> {
  for (const trouble of TROUBLES) {
    const who = trouble.stall === undefined ? 'single messages of many senders that never repeat' : 'our client';
    say(`\n**${trouble.name}**: ${who}, 100 B, ${seconds} s a row\n`);
    say('| changed | acknowledged | within 1 s | p99 | refused for good | not known | busy answers | broker memory |');
    say('|---|---|---|---|---|---|---|---|');
    for (const cure of CURES) say(await row(trouble, cure, seconds));
  }
  say('\n**The pool beside the plain path**, `flush async`, single messages of 100 B on the real disk:\n');
  say('| | acknowledged per second, 2,048 in flight | acknowledged and lost by kill -9 |');
  say('|---|---|---|');
  for (const pooled of [false, true]) {
    const { perSecond, acknowledged, lost } = await pool(pooled, seconds / 2);
    say(`| ${pooled ? 'pooled' : 'plain'} | ${text(perSecond)} | ${text(lost)} of ${text(acknowledged)} |`);
  }
}

async function row(trouble: Trouble, cure: Cure, seconds: number): Promise<string> {
  const stage = new Stage();
  try {
    const disk = (cure.disk ?? ((mood) => mood))(deviceOf(CAPACITY));
    const names = cure.brokers === 2 ? ['broker-a', 'broker-b'] : ['broker-a'];
    const brokers: Child[] = [];
    for (const brokerName of names)
      brokers.push(await stage.broker(disk, { flush: 'async', brokerName, ...cure.options }, brokerName));
    const { stall } = trouble;
    const seen =
      stall === undefined
        ? await flooded(stage, brokers, trouble.rate, seconds)
        : await sent(stage, brokers, names, trouble.rate, seconds, () =>
            cure.calm === true ? [] : brokers.map((each, at) => stallOften(each, stall, at)),
          );
    const reports = await Promise.all(brokers.map(report));
    const memory = Math.max(...brokers.map((each) => each.memory().peakMiB));
    return line(cure, seen, reports, memory);
  } finally {
    await stage.clear();
  }
}

/** What became of the messages that were due. */
interface Fates {
  readonly due: number;
  readonly stored: number;
  readonly timely: number;
  readonly unknown: number;
  readonly p99Ms: number;
}

/** Our client over all brokers. */
async function sent(
  stage: Stage,
  brokers: readonly Child[],
  names: readonly string[],
  rate: number,
  seconds: number,
  stall: () => readonly (() => Promise<void>)[],
): Promise<Fates> {
  const client = await stage.client(names.map((brokerName, at) => ({ brokerName, port: brokers[at]!.ready as number })));
  await use(client, [{ rate: 1000, seconds: 1 }]);
  const stalls = stall();
  const used: ClientResult = await use(client, [{ rate, seconds }]);
  for (const end of stalls) await end();
  for (const each of brokers) await settled(each);
  const ports = brokers.map((each) => each.ready);
  const { problems } = await client.ask<ClientVerdict>({ do: 'readBack', ports });
  if (problems.length > 0) throw new Error(problems.join('; '));
  const { due, stored, unknown, latency } = used;
  const timely = used.perSecond.reduce((sum, each) => sum + each.timely, 0);
  return { due, stored, unknown, timely, p99Ms: latency.p99Ms };
}

/** Many senders of single messages, half of them to each of two brokers; what is answered after 3 s is known to nobody any more. */
async function flooded(stage: Stage, brokers: readonly Child[], rate: number, seconds: number): Promise<Fates> {
  const floods: Child[] = [];
  for (const broker of brokers) floods.push(await stage.flood(broker));
  await Promise.all(floods.map((each) => run(each, [{ seconds: 1, rate: 1000 }])));
  const each = await Promise.all(floods.map((flood) => run(flood, [{ seconds, rate: rate / floods.length }])));
  for (const broker of brokers) await settled(broker);
  for (const flood of floods) {
    const { problems } = await readBack(flood);
    if (problems.length > 0) throw new Error(problems.join('; '));
  }
  const sum = (of: (result: FloodResult) => number): number => each.reduce((total, result) => total + of(result), 0);
  return {
    due: sum(({ due }) => due),
    stored: sum(({ answers, late }) => answers.ok - late),
    unknown: sum(({ answers, late, unanswered }) => answers.maybe + late + unanswered),
    timely: sum(({ perSecond }) => perSecond.reduce((total, { timely }) => total + timely, 0)),
    p99Ms: Math.max(...each.map(({ latency }) => latency.p99Ms)),
  };
}

function line(
  cure: Cure,
  { due, stored, unknown, timely, p99Ms }: Fates,
  reports: readonly BrokerReport[],
  memory: number,
): string {
  const share = (count: number): string => `${((100 * count) / due).toFixed(1)} %`;
  const busy = reports.reduce(
    (sum, { counters }) => sum + Object.values(busyCounters(counters)).reduce((total, count) => total + count, 0),
    0,
  );
  const cells = [
    cure.name,
    share(stored),
    share(timely),
    `${text(p99Ms)} ms`,
    share(due - stored - unknown),
    share(unknown),
    text(busy),
    `${memory} MiB`,
  ];
  return `| ${cells.join(' | ')} |`;
}

/** Stalls the disk again and again, until told to end; the second broker's at another time than the first one's. */
function stallOften(
  broker: Child,
  { everyMs, forMs }: { readonly everyMs: number; readonly forMs: number },
  at: number,
): () => Promise<void> {
  let running = true;
  const work = async (): Promise<void> => {
    await pause(1000 + (at * everyMs) / 2);
    while (running) {
      await broker.ask({ do: 'mood', mood: { held: 'writes' } });
      await pause(forMs);
      await broker.ask({ do: 'mood', mood: { held: 'nothing' } });
      await pause(everyMs - forMs);
    }
  };
  const done = work();
  return () => {
    running = false;
    return done;
  };
}

/** Highest rate, and what is gone after a kill in the middle of it. */
async function pool(
  pooled: boolean,
  seconds: number,
): Promise<{ readonly perSecond: number; readonly acknowledged: number; readonly lost: number }> {
  const stage = new Stage();
  try {
    const options: GivenBrokerOptions = { flush: 'async', transientStorePoolEnable: pooled };
    const broker = await stage.broker(FAST_DISK, options);
    const flood = await stage.flood(broker);
    const { goodput } = await peakOf(flood, seconds, 2048);
    const flooded = run(flood, [{ seconds: 1.5, rate: 20_000 }]);
    await pause(1000);
    await broker.end('SIGKILL');
    await flooded;
    const again = await stage.broker(FAST_DISK, options);
    const { acknowledged, lost } = await readBack(flood, again);
    return { perSecond: goodput, acknowledged, lost };
  } finally {
    await stage.clear();
  }
}

function text(count: number): string {
  return count.toLocaleString('en-US');
}
