/** Facts about the machine that a reader of figures needs. */
import { execFileSync } from 'node:child_process';
import { cpus, release, tmpdir, totalmem } from 'node:os';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly fileSystem: string;
  readonly node: string;
  readonly date: string;
}

export function machineFacts(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    system: `Linux ${release()}`,
    fileSystem: fileSystemOf(tmpdir()),
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** Where all servers have their data. */
function fileSystemOf(path: string): string {
  try {
    const line = execFileSync('df', ['--output=fstype,source', path], { encoding: 'utf8' }).trim().split('\n').at(-1) ?? '';
    return line.trim().replace(/\s+/, ' on ');
  } catch {
    return 'unknown';
  }
}
