/**
 * A disk that keeps what was written in memory until it is synced, so that killing the process is as hard on the data as a power cut: what nobody synced is gone, on
 * every machine. Names (made, renamed, removed files) and truncations are durable at once; the store's own tests are about those.
 *
 * While `forgets` says so it also builds in the defect "acknowledged before synced": a sync is answered and has no effect.
 */
import type { Disk, DiskDone, DiskFile, Timers } from '@tallystick/base';

interface Write {
  readonly position: number;
  readonly bytes: Uint8Array;
}

/** The unsynced writes of one file, oldest first; shared by all its handles. */
interface Overlay {
  writes: Write[];
  /** Syncs of one file take effect one after the other. */
  settling: boolean;
  readonly waiting: (() => void)[];
}

export function lossyDisk(disk: Disk, timers: Timers, forgets: () => boolean): Disk {
  const overlays = new Map<string, Overlay>();
  return {
    ...disk,
    bootId: () => disk.bootId(),
    open(path, mode, done) {
      disk.open(path, mode, (error, file) => {
        if (mode === 'create') overlays.delete(path);
        const overlay = overlays.get(path) ?? { writes: [], settling: false, waiting: [] };
        overlays.set(path, overlay);
        done(error, error === undefined ? new LossyFile(file, overlay, timers, forgets) : file);
      });
    },
    rename(from, to, done) {
      disk.rename(from, to, (error) => {
        const overlay = overlays.get(from);
        overlays.delete(from);
        if (error === undefined && overlay !== undefined) overlays.set(to, overlay);
        done(error);
      });
    },
    remove(path, done) {
      overlays.delete(path);
      disk.remove(path, done);
    },
  };
}

class LossyFile implements DiskFile {
  readonly path: string;
  private readonly file: DiskFile;
  private readonly overlay: Overlay;
  private readonly timers: Timers;
  private readonly forgets: () => boolean;

  constructor(file: DiskFile, overlay: Overlay, timers: Timers, forgets: () => boolean) {
    this.path = file.path;
    this.file = file;
    this.overlay = overlay;
    this.timers = timers;
    this.forgets = forgets;
  }

  write(chunks: readonly Uint8Array[], position: number, done: DiskDone): void {
    this.overlay.writes.push({ position, bytes: Buffer.concat(chunks) });
    this.timers.after(0, () => done(undefined));
  }

  read(into: Uint8Array, position: number, done: Parameters<DiskFile['read']>[2]): void {
    const unsynced = [...this.overlay.writes];
    this.file.read(into, position, (error, bytesRead) => {
      if (error !== undefined) return done(error, 0);
      let end = bytesRead;
      into.fill(0, bytesRead);
      for (const { position: at, bytes } of unsynced) {
        const from = Math.max(at, position);
        const to = Math.min(at + bytes.length, position + into.length);
        if (from >= to) continue;
        into.set(bytes.subarray(from - at, to - at), from - position);
        end = Math.max(end, to - position);
      }
      done(undefined, end);
    });
  }

  sync(done: DiskDone): void {
    if (this.forgets()) this.timers.after(0, () => done(undefined));
    else this.settle(this.overlay.writes.at(-1), done);
  }

  size(done: Parameters<DiskFile['size']>[0]): void {
    this.file.size((error, bytes) =>
      done(
        error,
        this.overlay.writes.reduce((end, write) => Math.max(end, write.position + write.bytes.length), bytes),
      ),
    );
  }

  truncate(bytes: number, done: DiskDone): void {
    this.overlay.writes = this.overlay.writes.flatMap((write) => {
      const kept = Math.min(write.bytes.length, bytes - write.position);
      return kept > 0 ? [{ position: write.position, bytes: write.bytes.subarray(0, kept) }] : [];
    });
    this.file.truncate(bytes, done);
  }

  /** Closing makes nothing durable; the overlay stays with the path. */
  close(done: DiskDone): void {
    this.file.close(done);
  }

  /** Carries the writes up to and including `through` to the real file and syncs that. */
  private settle(through: Write | undefined, done: DiskDone): void {
    const { overlay } = this;
    if (overlay.settling) {
      overlay.waiting.push(() => this.settle(through, done));
      return;
    }
    overlay.settling = true;
    this.carry(through, (error) => {
      overlay.settling = false;
      done(error);
      overlay.waiting.shift()?.();
    });
  }

  private carry(through: Write | undefined, done: DiskDone): void {
    const upTo = through === undefined ? -1 : this.overlay.writes.indexOf(through);
    const due = this.overlay.writes.slice(0, upTo + 1);
    const next = (i: number): void => {
      const write = due[i];
      if (write === undefined) {
        this.overlay.writes = this.overlay.writes.filter((kept) => !due.includes(kept));
        this.file.sync(done);
        return;
      }
      this.file.write([write.bytes], write.position, (error) => (error === undefined ? next(i + 1) : done(error)));
    };
    next(0);
  }
}
