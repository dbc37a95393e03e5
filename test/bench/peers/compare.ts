/**
 * Plays the works round by round: in each round every side of a work against a fresh server, one directly after the other, in turned
 * order every second round. The figure of a side is the median of its rounds. A side that cannot be started, or whose load fails,
 * stands in the result as missing with its reason, and the others go on.
 */
import type { Figure } from './loads/job.ts';
import { runLoad, type Times } from './load-process.ts';
import { median, type SideResult } from './marks.ts';
import { SERVERS } from './servers.ts';
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
  const { work, side } = contestant;
  if (contestant.missing !== undefined) return;
  const label = `${round}/${options.rounds} ${work.name} ${side.who}`;
  let best: { figure: Figure; way: Way } | undefined;
  try {
    for (const way of contestant.way === undefined ? side.ways : [contestant.way]) {
      const figure = await measure(side, way, options);
      options.progress(`${label} ${wayText(way)}: ${JSON.stringify(figure)}`);
      if (best === undefined || isBetter(figure, best.figure)) best = { figure, way };
    }
  } catch (error) {
    contestant.missing = error instanceof Error ? error.message : String(error);
    options.progress(`${label} missing: ${contestant.missing}`);
    return;
  }
  if (best === undefined) return;
  contestant.way = best.way;
  contestant.rounds.push(valuesOf(best.figure));
  if (best.figure.barePerSecond !== undefined) contestant.bare.push({ perSecond: best.figure.barePerSecond });
}

async function measure(side: Side, way: Way, times: Times): Promise<Figure> {
  const server = await SERVERS[side.server]();
  try {
    return await runLoad(side, way, server.address, times);
  } finally {
    await server.stop();
  }
}

function isBetter(figure: Figure, best: Figure): boolean {
  return (figure.perSecond ?? 0) > (best.perSecond ?? 0);
}

function wayText({ window, variant }: Way): string {
  return [variant, window > 0 ? `window ${window}` : undefined].filter((part) => part !== undefined).join(', ');
}

function valuesOf({ perSecond, p50Ms, p99Ms }: Figure): Values {
  return {
    ...(perSecond === undefined ? {} : { perSecond }),
    ...(p50Ms === undefined ? {} : { p50Ms }),
    ...(p99Ms === undefined ? {} : { p99Ms }),
  };
}

function resultsOf({ work, side, rounds, bare, way, missing }: Contestant): SideResult[] {
  const common = { work: work.name, durability: side.durability, way: way === undefined ? '' : wayText(way) };
  const result: SideResult = {
    ...common,
    who: side.who,
    values: medians(rounds),
    rounds,
    note: side.note ?? '',
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
