/**
 * Defects built in on purpose: each is a mistake that real systems have made, and a simulation that does not find it proves nothing.
 * The product has no branches for them; they wrap a port or replace a method for the time of one schedule.
 */
import type { Disk, DiskFile } from '@tallystick/base';
import type { Plan } from './plan.ts';
import { runSchedule } from './schedule.ts';

export interface Defect {
  readonly name: string;
  readonly sentence: string;
  /** Schedules within which it has to be caught. */
  readonly budget: number;
  /** Wraps the broker's disk. */
  readonly disk?: ((disk: Disk) => Disk) | undefined;
  /** Replaces methods of the product; gives the function that puts them back. */
  readonly plant?: (() => () => void) | undefined;
  /** What the plan must have for the defect to matter. */
  readonly plan?: Partial<Plan> | undefined;
  /** Rules of which one must catch it; any rule when absent. */
  readonly rules?: readonly string[] | undefined;
}

export interface Hunt {
  readonly caughtBy: string | undefined;
  readonly schedules: number;
  readonly seed: number | undefined;
}

/** Runs schedules with the defect until one is caught or the budget is spent. */
export function huntDefect(defect: Defect, budget: number, firstSeed = 1): Hunt {
  for (let n = 1; n <= budget; n++) {
    const seed = firstSeed + n - 1;
    const violation = runSchedule(seed, { defect }).violations.find(({ invariant }) => defect.rules === undefined || defect.rules.includes(invariant));
    if (violation !== undefined) return { caughtBy: violation.invariant, schedules: n, seed };
  }
  return { caughtBy: undefined, schedules: budget, seed: undefined };
}

export function defectNamed(name: string): Defect {
  const defect = DEFECTS.find((each) => each.name === name);
  if (defect === undefined) throw new Error(`no defect ${name}; there are ${DEFECTS.map((each) => each.name).join(', ')}`);
  return defect;
}

export const DEFECTS: readonly Defect[] = [
  {
    name: 'no-folder-sync',
    sentence: 'a new segment is synced, its folder is not: a power cut loses the whole file',
    budget: 200,
    disk: (disk) => ({ ...bound(disk), syncFolder: (path, done) => disk.list(path, (error) => done(error)) }),
    plan: { powerCuts: 1, crashes: 4 },
  },
  {
    name: 'ack-before-sync',
    sentence: 'a sync is reported done when it begins',
    budget: 200,
    disk: (disk) =>
      withFiles(disk, (file) => ({
        ...boundFile(file),
        sync: (done) => {
          file.sync(() => {});
          file.size((error) => done(error));
        },
      })),
    plan: { powerCuts: 1, crashes: 4, flush: 'sync' },
  },
];

/** A disk's methods as own properties, so that some can be replaced. */
function bound(disk: Disk): Disk {
  return {
    open: (path, mode, done) => disk.open(path, mode, done),
    makeFolder: (path, done) => disk.makeFolder(path, done),
    list: (path, done) => disk.list(path, done),
    rename: (from, to, done) => disk.rename(from, to, done),
    remove: (path, done) => disk.remove(path, done),
    syncFolder: (path, done) => disk.syncFolder(path, done),
    bootId: () => disk.bootId(),
  };
}

function boundFile(file: DiskFile): DiskFile {
  return {
    path: file.path,
    write: (chunks, position, done) => file.write(chunks, position, done),
    read: (into, position, done) => file.read(into, position, done),
    sync: (done) => file.sync(done),
    size: (done) => file.size(done),
    truncate: (bytes, done) => file.truncate(bytes, done),
    close: (done) => file.close(done),
  };
}

function withFiles(disk: Disk, wrap: (file: DiskFile) => DiskFile): Disk {
  return { ...bound(disk), open: (path, mode, done) => disk.open(path, mode, (error, file) => done(error, error === undefined ? wrap(file) : file)) };
}
