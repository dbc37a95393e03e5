import {
  close,
  constants,
  fdatasync,
  fstat,
  fsync,
  ftruncate,
  mkdir,
  open,
  read,
  readFileSync,
  readdir,
  rename,
  rm,
  statfs,
  writev,
} from 'node:fs';
import { spawn } from 'node:child_process';
import { uptime } from 'node:os';
import { join } from 'node:path';
import type { Disk, DiskDone, DiskError, DiskFile } from '../ports.ts';

/** A folder of the real file system, which must exist. All calls go through libuv's pool: a stalled disk stalls no heartbeat. */
export function nodeDisk(folder: string): Disk {
  const full = (path: string): string => join(folder, path);
  const boot = bootId();
  const through: Through = { of: undefined };
  return {
    open(path, mode, done) {
      const flags = mode === 'create' ? constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC : constants.O_RDWR;
      open(full(path), flags, 0o644, (error, fd) =>
        done(row(error), error ? (undefined as never) : new NodeFile(path, fd, through)),
      );
    },
    allocate: (path, bytes, done) => allocate(full(path), bytes, done),
    makeFolder: (path, done) => mkdir(full(path), { recursive: true }, (error) => done(row(error))),
    list(path, done) {
      readdir(full(path), (error, names) => {
        if (error?.code === 'ENOENT') done(undefined, []);
        else done(row(error), error ? [] : names.sort());
      });
    },
    rename: (from, to, done) => rename(full(from), full(to), (error) => done(row(error))),
    remove: (path, done) => rm(full(path), (error) => done(row(error))),
    syncFolder(path, done) {
      const attempt = (left: number): void =>
        open(full(path), constants.O_RDONLY, (error, fd) => {
          // What was renamed cannot be taken back: a process with too many open files waits for one.
          if ((error?.code === 'EMFILE' || error?.code === 'ENFILE') && left > 0)
            return void setTimeout(() => attempt(left - 1), FOLDER_RETRY_MS);
          if (error) return done(row(error));
          fsync(fd, (syncError) => close(fd, (closeError) => done(row(syncError ?? closeError))));
        });
      attempt(FOLDER_TRIES);
    },
    space(done) {
      statfs(folder, (error, stats) => {
        if (error) done(row(error), 0, 0);
        else done(undefined, stats.bavail * stats.bsize, stats.blocks * stats.bsize);
      });
    },
    bootId: () => boot,
  };
}

/**
 * fallocate(2), for which Node has no call, by the command of that name (util-linux, busybox): some milliseconds for any length, where zeros
 * cost the disk and the page cache as much as the data that will follow. A machine without it, or a file system that cannot, says so by failing.
 */
function allocate(path: string, bytes: number, done: (isAllocated: boolean) => void): void {
  let isTold = false;
  const tell = (isAllocated: boolean): void => {
    if (!isTold) done(isAllocated);
    isTold = true;
  };
  try {
    spawn('fallocate', ['-l', String(bytes), '--', path], { stdio: 'ignore' })
      .once('error', () => tell(false))
      .once('close', (code) => tell(code === 0));
  } catch {
    // A machine that is out of memory has no process for it; zeros need none.
    setImmediate(tell, false);
  }
}

/** Which file has a second descriptor, for writes through: one at most, however many are open. */
interface Through {
  of: NodeFile | undefined;
}

class NodeFile implements DiskFile {
  readonly path: string;
  readonly #fd: number;
  /** Of the same file, opened again with O_DSYNC; undefined: not open yet, or it cannot be had here. */
  #throughFd: number | undefined;
  readonly #through: Through;
  #throughWrites = 0;

  constructor(path: string, fd: number, through: Through) {
    this.path = path;
    this.#fd = fd;
    this.#through = through;
  }

  write(chunks: readonly Uint8Array[], position: number, done: DiskDone): void {
    this.#writeTo(this.#fd, chunks, position, done);
  }

  writeThrough(chunks: readonly Uint8Array[], position: number, done: DiskDone): void {
    if (this.#through.of !== this && constants.O_DSYNC !== undefined) this.#openThrough();
    if (this.#throughFd === undefined)
      return this.write(chunks, position, (error) => (error === undefined ? this.sync(done) : done(error)));
    this.#throughWrites++;
    this.#writeTo(this.#throughFd, chunks, position, (error) => {
      this.#throughWrites--;
      if (this.#through.of !== this) this.#closeThrough();
      done(error);
    });
  }

  /**
   * By its descriptor, not by its name, which may have changed. What comes before it is open, or where it cannot be had, is written and
   * synced in two calls.
   */
  #openThrough(): void {
    const before = this.#through.of;
    this.#through.of = this;
    if (before !== undefined) before.#closeThrough();
    open(`/proc/self/fd/${this.#fd}`, constants.O_RDWR | constants.O_DSYNC, (error, fd) => {
      if (error) return;
      if (this.#throughFd !== undefined) return close(fd, () => {});
      this.#throughFd = fd;
      if (this.#through.of !== this) this.#closeThrough();
    });
  }

  #closeThrough(): void {
    if (this.#throughFd === undefined || this.#throughWrites > 0) return;
    close(this.#throughFd, () => {});
    this.#throughFd = undefined;
  }

  #writeTo(fd: number, chunks: readonly Uint8Array[], position: number, done: DiskDone): void {
    writev(fd, chunks, position, (error, written) => {
      if (error) return done(row(error));
      const rest = after(chunks, written);
      if (rest.length === 0) return done(undefined);
      if (written === 0) return done({ code: 'EIO', message: `${this.path}: a write of 0 bytes at ${position}` });
      this.#writeTo(fd, rest, position + written, done);
    });
  }

  read(into: Uint8Array, position: number, done: (error: DiskError | undefined, bytesRead: number) => void): void {
    this.#readOn(into, position, 0, done);
  }

  #readOn(
    into: Uint8Array,
    position: number,
    have: number,
    done: (error: DiskError | undefined, bytesRead: number) => void,
  ): void {
    if (have === into.length && have > 0) return done(undefined, have);
    read(this.#fd, into, have, into.length - have, position + have, (error, bytes) => {
      if (error) return done(row(error), have);
      if (bytes === 0 || have + bytes === into.length) return done(undefined, have + bytes);
      this.#readOn(into, position, have + bytes, done);
    });
  }

  sync(done: DiskDone): void {
    fdatasync(this.#fd, (error) => done(row(error)));
  }

  size(done: (error: DiskError | undefined, bytes: number) => void): void {
    fstat(this.#fd, (error, stats) => done(row(error), error ? 0 : stats.size));
  }

  truncate(bytes: number, done: DiskDone): void {
    ftruncate(this.#fd, bytes, (error) => done(row(error)));
  }

  close(done: DiskDone): void {
    if (this.#through.of === this) this.#through.of = undefined;
    this.#closeThrough();
    close(this.#fd, (error) => done(row(error)));
  }
}

const FOLDER_RETRY_MS = 100;
/** For a minute. */
const FOLDER_TRIES = 600;

/** What is left of the chunks after the first `bytes` bytes. */
function after(chunks: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  let at = 0;
  while (at < chunks.length && bytes >= chunks[at]!.length) bytes -= chunks[at++]!.length;
  if (at === chunks.length) return [];
  return bytes === 0 ? chunks.slice(at) : [chunks[at]!.subarray(bytes), ...chunks.slice(at + 1)];
}

function row(error: NodeJS.ErrnoException | null | undefined): DiskError | undefined {
  return error ? { code: error.code ?? 'EUNKNOWN', message: error.message } : undefined;
}

/**
 * Linux names each boot. Elsewhere the minute of the boot stands in: a clock that was set makes it differ without a boot, which
 * only makes recovery more careful.
 */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return `booted-at-minute-${Math.round((Date.now() / 1000 - uptime()) / 60)}`;
  }
}
