/**
 * A disk whose power can be cut: ext4 in an image file, mounted through a loop device. `cut` tells the file system to stop at once,
 * without flushing anything (FS_IOC_SHUTDOWN); what had not been synced is gone after the next mount, as after a real power cut.
 * Needs root, xfs_io (xfsprogs) and mkfs.ext4 (e2fsprogs).
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class LoopDisk {
  readonly folder: string;
  readonly #root: string;
  readonly #image: string;

  private constructor(root: string) {
    this.#root = root;
    this.#image = join(root, 'disk.img');
    this.folder = join(root, 'mounted');
  }

  /** Makes and mounts a fresh file system; the image is sparse. */
  static make(mebibytes: number): LoopDisk {
    const disk = new LoopDisk(mkdtempSync(join(tmpdir(), 'tallystick-powercut-')));
    writeFileSync(disk.#image, '');
    truncateSync(disk.#image, mebibytes * 1024 * 1024);
    mkdirSync(disk.folder);
    try {
      command('mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0', disk.#image);
      disk.mount();
    } catch (error) {
      rmSync(disk.#root, { recursive: true, force: true });
      throw error;
    }
    return disk;
  }

  /** Power off, in the middle of whatever is being written. */
  cut(): void {
    command('xfs_io', '-x', '-c', 'shutdown', this.folder);
  }

  mount(): void {
    command('mount', '-o', 'loop', this.#image, this.folder);
  }

  unmount(): void {
    command('umount', this.folder);
  }

  /** Unmounts and deletes everything. */
  remove(): void {
    try {
      this.unmount();
    } catch {
      // Not mounted: a cycle failed between unmount and mount.
    }
    rmSync(this.#root, { recursive: true, force: true });
  }
}

/** Why this machine cannot cut its power; undefined when it can. Shown by doing it once. */
export function whyImpossible(): string | undefined {
  try {
    const disk = LoopDisk.make(16);
    try {
      disk.cut();
    } finally {
      disk.remove();
    }
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.trim() : String(error);
  }
}

function command(name: string, ...args: string[]): void {
  execFileSync(name, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
