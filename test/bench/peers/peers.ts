/** The `peers` work: chooses the rows, plays them, judges the marks, and gives the whole as one object whose last entry is the marks. */
import { halfMemory, recovery } from './absolute.ts';
import { compare, type CompareOptions } from './compare.ts';
import { type Machine, machineFacts } from './machine.ts';
import { isHeld, type MarkResult, marksOf, type SideResult } from './marks.ts';
import { chosen } from '../only.ts';
import { peerVersions } from './servers.ts';
import { type Soak, soak, soakMark } from './soak.ts';
import { type Work, WORKS } from './works.ts';

export interface PeersOptions {
  readonly seconds: number;
  readonly rounds: number;
  readonly only?: string | undefined;
  readonly soakMinutes?: number | undefined;
  readonly progress: (line: string) => void;
}

export interface PeersResult {
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly settings: { readonly seconds: number; readonly warmUpSeconds: number; readonly rounds: number };
  readonly tookSeconds: number;
  readonly soak?: Soak | undefined;
  readonly results: readonly SideResult[];
  readonly marks: readonly MarkResult[];
}

const WARM_UP_MS_MAX = 1200;

export async function peers(options: PeersOptions): Promise<PeersResult> {
  const began = performance.now();
  const works = worksOf(options.only);
  const windowMs = options.seconds * 1000;
  const warmUpMs = Math.min(WARM_UP_MS_MAX, windowMs);
  const progress = (line: string): void =>
    options.progress(`${((performance.now() - began) / 1000).toFixed(0).padStart(4)} s  ${line}`);
  const play: CompareOptions = { windowMs, warmUpMs, rounds: options.rounds, progress };
  const versions = peerVersions();
  const results = await compare(works, play);
  const names = works.map(({ name }) => name);
  if (names.includes('half-memory')) results.push(...(await halfMemory(play)));
  if (names.some((name) => name.startsWith('recovery'))) results.push(...(await recovery(play)));
  const soaked = options.soakMinutes === undefined ? undefined : await soak(options.soakMinutes, progress);
  return {
    machine: machineFacts(),
    versions,
    settings: { seconds: options.seconds, warmUpSeconds: warmUpMs / 1000, rounds: options.rounds },
    tookSeconds: Math.round((performance.now() - began) / 1000),
    ...(soaked === undefined ? {} : { soak: soaked }),
    results,
    marks: [...marksOf(works, results), ...(soaked === undefined ? [] : [soakMark(soaked)])],
  };
}

/** One line per mark, for a terminal. */
export function marksText(marks: readonly MarkResult[]): string {
  return marks
    .map((mark) => {
      const verdict = mark.ratio === null ? 'missing ' : isHeld(mark) ? 'held    ' : 'NOT HELD';
      const ratio =
        mark.ratio === null
          ? (mark.missing ?? '')
          : `${mark.ratio} (mark ${mark.mark}), ours ${mark.ours}, theirs ${mark.theirs}`;
      return `${verdict} ${mark.work.padEnd(16)} ${mark.against.padEnd(26)} ${ratio}`;
    })
    .join('\n');
}

/** The works that are asked for, and those that their marks are measured against. */
function worksOf(only: string | undefined): Work[] {
  const asked = chosen(
    WORKS.map(({ name }) => name),
    only,
  );
  const wanted = new Set(asked);
  for (const { name, from, marks } of WORKS) {
    if (!asked.includes(name)) continue;
    if (from !== undefined) wanted.add(from);
    for (const mark of marks) if (mark.kind === 'times' && mark.of !== undefined) wanted.add(mark.of);
  }
  return WORKS.filter(({ name }) => wanted.has(name));
}
