/**
 * The folder of one run: where its files lie, and that nothing else is ever overwritten. A folder is taken when it does not exist, is
 * empty, or holds an earlier demo's files (known by its marker file); those are removed first. Any other folder is refused, and so is
 * one in which a demo is still running.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CliError } from '../cli-error.ts';

export interface ProcessRow {
  readonly name: string;
  readonly pid: number;
}

const markerName = 'tallystick-demo.json';
const ours =
  /^(bank-[ab]\.db(-wal|-shm|-journal)?|broker|logs|processes\.json(\.new)?|fault-log\.jsonl|report\.json|tallystick-demo\.json)$/;

export class DemoFolder {
  readonly path: string;
  readonly bankA: string;
  readonly bankB: string;
  readonly broker: string;
  readonly logs: string;
  readonly faultLog: string;
  readonly report: string;

  constructor(path: string) {
    this.path = path;
    this.bankA = join(path, 'bank-a.db');
    this.bankB = join(path, 'bank-b.db');
    this.broker = join(path, 'broker');
    this.logs = join(path, 'logs');
    this.faultLog = join(path, 'fault-log.jsonl');
    this.report = join(path, 'report.json');
  }

  /** Makes the folder ready for a new run, or throws a CliError that says what is in the way. */
  take(about: object): void {
    try {
      if (existsSync(this.path)) this.clear();
      makeFolder(this.path);
      writeFileSync(
        join(this.path, markerName),
        `${JSON.stringify({ what: 'a run of tallystick demo bank', pid: process.pid, ...about })}\n`,
      );
      mkdirSync(this.logs);
    } catch (error) {
      if (error instanceof CliError) throw error;
      const why = (error as Error).message;
      throw new CliError(
        `${this.path} cannot be the demo's folder: ${why}`,
        'give --data a folder that can be written',
        'usage',
        error,
      );
    }
  }

  /** Marks the run as over, so that the folder can be taken again. */
  leave(): void {
    const marker = readMarker(this.path);
    if (marker?.pid === process.pid) writeFileSync(join(this.path, markerName), `${JSON.stringify({ ...marker, pid: 0 })}\n`);
  }

  /** Rewrites processes.json as a whole; a reader sees the old list or the new one, never half of one. */
  writeProcesses(rows: readonly ProcessRow[]): void {
    const path = join(this.path, 'processes.json');
    writeFileSync(`${path}.new`, `${JSON.stringify(rows)}\n`);
    renameSync(`${path}.new`, path);
  }

  private clear(): void {
    const names = readdirSync(this.path);
    if (names.length === 0) return;
    const marker = readMarker(this.path);
    const foreign = names.filter((name) => !ours.test(name));
    if (marker === undefined || foreign.length > 0) {
      const what = foreign[0] ?? names[0];
      throw new CliError(
        `${this.path} is not an earlier demo's folder: it holds ${what}`,
        'give --data a new or an empty folder',
        'usage',
      );
    }
    if (marker.pid !== 0 && marker.pid !== process.pid && isDemo(marker.pid)) {
      throw new CliError(
        `a demo is running in ${this.path} (process ${marker.pid})`,
        'wait for its end or give --data another folder',
        'usage',
      );
    }
    for (const name of names) rmSync(join(this.path, name), { recursive: true, force: true });
  }
}

/** One by one from above: below /proc Node's own recursive way does not end. */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  mkdirSync(path);
}

function readMarker(folder: string): { pid: number } | undefined {
  try {
    const marker: unknown = JSON.parse(readFileSync(join(folder, markerName), 'utf8'));
    if (typeof marker !== 'object' || marker === null || !('pid' in marker) || typeof marker.pid !== 'number') return undefined;
    return { ...marker, pid: marker.pid };
  } catch {
    return undefined;
  }
}

/** True when the process lives and, where the system can tell, is a demo rather than a stranger who got the number later. */
function isDemo(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('demo');
  } catch {
    return true;
  }
}
