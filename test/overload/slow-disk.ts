import type { Disk, DiskDone, DiskError, DiskFile } from '@tallystick/base';

/** How the disk behaves now; every part can be changed while it runs. */
export interface DiskMood {
  /** What the device takes per second; 0: as fast as the real disk. */
  readonly bytesPerSecond: number;
  /** Writes are done at once while less than this waits for the device, as with a page cache; then they wait for it. */
  readonly cacheBytes: number;
  /** Added to every sync, after what was written before it is on the device. */
  readonly syncMs: number;
  /** Operations of these kinds neither begin nor end until the mood changes: a disk that hangs. */
  readonly held: 'nothing' | 'writes' | 'syncs' | 'both';
  /** The next operation of this kind fails with EIO. */
  readonly failing: 'nothing' | 'write' | 'sync';
}

/** So fast that it never counts: writes go to the page cache, syncs take no time. */
export const NO_LIMIT: DiskMood = {
  bytesPerSecond: 4e9,
  cacheBytes: 1e9,
  syncMs: 0,
  held: 'nothing',
  failing: 'nothing',
};

/** The real one, as it is. */
export const FAST_DISK: DiskMood = { bytesPerSecond: 0, cacheBytes: 0, syncMs: 0, held: 'nothing', failing: 'nothing' };

/**
 * A real disk behind a device of our choosing: capacity, page cache, slow syncs, hanging, failing. The device is a clock, not a
 * queue: `#busyUntilMs` says when everything written so far will be on it. A timer that comes late costs no capacity as long as the cache
 * holds what the device does meanwhile. Only files of the log that are in use are slow: making a segment ahead (under a temporary name)
 * and snapshots would use up a capacity that is set per message.
 */
export class SlowDisk implements Disk {
  readonly #disk: Disk;
  #mood: DiskMood;
  #busyUntilMs = 0;
  #waiting: { readonly kind: 'write' | 'sync'; readonly run: () => void }[] = [];
  /** Files under their temporary names. */
  readonly #made = new Map<string, SlowFile>();
  /** Bytes that files in use were given. */
  bytes = 0;
  writes = 0;
  syncs = 0;

  constructor(disk: Disk, mood: DiskMood) {
    this.#disk = disk;
    this.#mood = mood;
  }

  get mood(): DiskMood {
    return this.#mood;
  }

  /** What was held goes on, in its order, when the new mood lets it. */
  change(mood: Partial<DiskMood>): void {
    this.#mood = { ...this.#mood, ...mood };
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { kind, run } of waiting) this.#begin(kind, run);
  }

  open(path: string, mode: 'open' | 'create', done: (error: DiskError | undefined, file: DiskFile) => void): void {
    this.#disk.open(path, mode, (error, file) => {
      if (error !== undefined) return done(error, file);
      const slow = new SlowFile(this, file);
      slow.inUse = path.startsWith('log/') && mode === 'open';
      if (mode === 'create') this.#made.set(path, slow);
      done(undefined, slow);
    });
  }

  makeFolder(path: string, done: DiskDone): void {
    this.#disk.makeFolder(path, done);
  }

  list(path: string, done: (error: DiskError | undefined, names: readonly string[]) => void): void {
    this.#disk.list(path, done);
  }

  rename(from: string, to: string, done: DiskDone): void {
    const made = this.#made.get(from);
    this.#made.delete(from);
    if (made !== undefined) made.inUse = to.startsWith('log/');
    this.#disk.rename(from, to, done);
  }

  remove(path: string, done: DiskDone): void {
    this.#disk.remove(path, done);
  }

  allocate(path: string, bytes: number, done: (isAllocated: boolean) => void): void {
    if (this.#disk.allocate === undefined) done(false);
    else this.#disk.allocate(path, bytes, done);
  }

  syncFolder(path: string, done: DiskDone): void {
    this.#disk.syncFolder(path, done);
  }

  bootId(): string {
    return this.#disk.bootId();
  }

  /** Of a file in use: the real write, done when the device has room for it. */
  write(file: DiskFile, chunks: readonly Uint8Array[], position: number, done: DiskDone): void {
    this.#begin('write', () => {
      if (this.#fails('write')) return void setImmediate(() => done(EIO));
      let bytes = 0;
      for (const chunk of chunks) bytes += chunk.length;
      this.bytes += bytes;
      this.writes++;
      const { bytesPerSecond, cacheBytes } = this.#mood;
      let untilMs = 0;
      if (bytesPerSecond > 0) {
        const msPerByte = 1000 / bytesPerSecond;
        this.#busyUntilMs = Math.max(this.#busyUntilMs, performance.now()) + bytes * msPerByte;
        untilMs = this.#busyUntilMs - cacheBytes * msPerByte;
      }
      file.write(chunks, position, (error) => this.#end('write', untilMs, () => done(error)));
    });
  }

  /** Of a file in use: done when the device has what was written before. */
  sync(file: DiskFile, done: DiskDone): void {
    this.#begin('sync', () => {
      if (this.#fails('sync')) return void setImmediate(() => done(EIO));
      this.syncs++;
      const untilMs = Math.max(this.#busyUntilMs, performance.now()) + this.#mood.syncMs;
      const end = (error: DiskError | undefined): void => this.#end('sync', untilMs, () => done(error));
      // A device of its own capacity stands in for the real one: what the real sync would add is not the test's matter.
      if (this.#mood.bytesPerSecond > 0) setImmediate(end, undefined);
      else file.sync(end);
    });
  }

  #begin(kind: 'write' | 'sync', run: () => void): void {
    if (this.#isHeld(kind)) this.#waiting.push({ kind, run });
    else run();
  }

  #end(kind: 'write' | 'sync', untilMs: number, run: () => void): void {
    const leftMs = untilMs - performance.now();
    if (leftMs >= 0.5) setTimeout(() => this.#begin(kind, run), leftMs);
    else this.#begin(kind, run);
  }

  #isHeld(kind: 'write' | 'sync'): boolean {
    const { held } = this.#mood;
    return held === 'both' || held === `${kind}s`;
  }

  #fails(kind: 'write' | 'sync'): boolean {
    if (this.#mood.failing !== kind) return false;
    this.#mood = { ...this.#mood, failing: 'nothing' };
    return true;
  }
}

/** Knows no writes that carry their sync: each mood is about writes or about syncs. */
class SlowFile implements DiskFile {
  readonly #disk: SlowDisk;
  readonly #file: DiskFile;
  /** Has its name as a file of the log: from now on its writes and syncs are those of the slow device. */
  inUse = false;

  constructor(disk: SlowDisk, file: DiskFile) {
    this.#disk = disk;
    this.#file = file;
  }

  get path(): string {
    return this.#file.path;
  }

  write(chunks: readonly Uint8Array[], position: number, done: DiskDone): void {
    if (this.inUse) this.#disk.write(this.#file, chunks, position, done);
    else this.#file.write(chunks, position, done);
  }

  read(into: Uint8Array, position: number, done: (error: DiskError | undefined, bytesRead: number) => void): void {
    this.#file.read(into, position, done);
  }

  sync(done: DiskDone): void {
    if (this.inUse) this.#disk.sync(this.#file, done);
    else if (this.#disk.mood.bytesPerSecond > 0) setImmediate(done, undefined);
    else this.#file.sync(done);
  }

  size(done: (error: DiskError | undefined, bytes: number) => void): void {
    this.#file.size(done);
  }

  truncate(bytes: number, done: DiskDone): void {
    this.#file.truncate(bytes, done);
  }

  close(done: DiskDone): void {
    this.#file.close(done);
  }
}

const EIO: DiskError = { code: 'EIO', message: 'the disk of this test fails here' };
