/**
 * Plays the works round by round: in each round every side of a work against a fresh server, one directly after the other, in turned
 * order every second round. The figure of a side is the median of its rounds. A side that cannot be started,
 * or whose every load fails, stands in the result as missing with its reason; the others go on.
 */
import type { Figure } from './loads/job.ts';
import { runLoad, type Times } from './load-process.ts';
import { median, type SideResult } from './marks.ts';
import { SERVERS } from './servers.ts';
import { cpuSeconds, type RunningServer } from './servers/server-process.ts';
import type { Side, Value, Way, Work } from './works.ts';

type Values = Partial<Record<Value, number>>;

export interface CompareOptions extends Times {
  readonly rounds: number;
  readonly progress: (line: string) => void;
}

/** What one side has shown so far. */
class Contestant {
  readonly work: Work;
  readonly side: Side;
  readonly rounds: Values[] = [];
  readonly bare: Values[] = [];
  readonly failures: string[] = [];
  way: Way | undefined;
  missing: string | undefined;

  constructor(work: Work, side: Side) {
    this.work = work;
    this.side = side;
  }
}

export async function compare(works: readonly Work[], options: CompareOptions): Promise<SideResult[]> {
  const contestants = works.flatMap((work) => work.sides.map((side) => new Contestant(work, side)));
  for (let round = 1; round <= options.rounds; round++) {
    for (const work of works) {
      const sides = contestants.filter((contestant) => contestant.work === work);
      for (const contestant of round % 2 === 0 ? sides.reverse() : sides) await play(contestant, round, options);
    }
  }
  return contestants.flatMap(resultsOf);
}

async function play(contestant: Contestant, round: number, options: CompareOptions): Promise<void> {
  const { work, side, rounds, failures } = contestant;
  if (contestant.missing !== undefined) return;
  const label = `${round}/${options.rounds} ${work.name} ${side.who}`;
  const found: { readonly figure: Figure; readonly way: Way; readonly serverCpuUs: number | undefined }[] = [];
  const ways = contestant.way === undefined ? side.ways : [contestant.way];
  for (const sharing of startsSlowly(side) ? [ways] : ways.map((way) => [way])) {
    try {
      await withServer(side, async ({ address, pid }) => {
        for (const way of sharing) {
          const cpuBefore = cpuSeconds(pid);
          const figure = await runLoad(side, way, address, options);
          const serverCpuUs = perMessage(cpuSeconds(pid) - cpuBefore, figure);
          options.progress(`${label} ${wayText(way)}: ${JSON.stringify(figure)}`);
          found.push({ figure, way, serverCpuUs });
        }
      });
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
      options.progress(`${label} failed: ${failures.at(-1)}`);
    }
  }
  const best = found.reduce<(typeof found)[number] | undefined>(
    (before, one) => (before !== undefined && rateOf(before.figure) >= rateOf(one.figure) ? before : one),
    undefined,
  );
  if (best === undefined) {
    if (rounds.length === 0) contestant.missing = failures.at(-1);
    return;
  }
  contestant.way = best.way;
  rounds.push(valuesOf(best.figure, best.serverCpuUs));
  if (best.figure.barePerSecond !== undefined) contestant.bare.push({ perSecond: best.figure.barePerSecond });
}

/** Servers that take long to start are kept for all the ways of a side. */
function startsSlowly({ load }: Side): boolean {
  return load === 'kafka' || load === 'rocketmq';
}

async function withServer({ server: name }: Side, run: (server: RunningServer) => Promise<void>): Promise<void> {
  const server = await SERVERS[name]();
  try {
    await run(server);
  } finally {
    await server.stop();
  }
}

function rateOf({ perSecond }: Figure): number {
  return perSecond ?? 0;
}

function wayText({ window, variant }: Way): string {
  return [variant, window > 0 ? `window ${window}` : undefined].filter((part) => part !== undefined).join(', ');
}

function valuesOf({ perSecond, p50Ms, p99Ms, clientCpuUs }: Figure, serverCpuUs: number | undefined): Values {
  const all = { perSecond, p50Ms, p99Ms, clientCpuUs, serverCpuUs };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** µs of the server per message, its share of preparing and warming up included. */
function perMessage(seconds: number, { completed }: Figure): number | undefined {
  return completed === undefined ? undefined : Number(((seconds * 1e6) / completed).toPrecision(3));
}

function resultsOf({ work, side, rounds, bare, way, failures, missing }: Contestant): SideResult[] {
  const common = { work: work.name, durability: side.durability, way: way === undefined ? '' : wayText(way) };
  const result: SideResult = {
    ...common,
    who: side.who,
    values: medians(rounds),
    rounds,
    note: [side.note, failures.length > 0 && missing === undefined ? `${failures.length} runs failed: ${failures[0]}` : undefined]
      .filter((part) => part !== undefined)
      .join('; '),
    ...(missing === undefined ? {} : { missing }),
  };
  if (bare.length === 0) return [result];
  return [
    result,
    { ...common, who: 'bare-disk', values: medians(bare), rounds: bare, note: 'fs.write and fs.fdatasync, one after the other' },
  ];
}

/** The median of each value over the rounds. */
export function medians(rounds: readonly Values[]): Values {
  const names = new Set(rounds.flatMap((round) => Object.keys(round) as Value[]));
  return Object.fromEntries([...names].map((name) => [name, median(rounds.flatMap((round) => round[name] ?? []))]));
}
