import type { DiskFile } from '@tallystick/base';
import type { IndexedQueue } from './index-file.ts';
import { SEGMENT_HEADER_BYTES, segmentPath } from './segment-header.ts';

/**
 * One file of the log.
 *
 *   planned    groups are encoded for it, but there is no file yet (the next one was not ready in time); `size` is the reserve's
 *   prepared   the file is there with all its space, reads as zeros and is synced, its header says prepared
 *   active     its first write, which carries the real header, has returned
 *
 * moved by: Segments (planned → prepared), LogWriter (prepared → active). A segment before the newest active one is sealed.
 */
export class Segment {
  readonly base: number;
  size: number;
  file: DiskFile | undefined;
  isReady: boolean;
  isActive = false;
  /** End of its last group that was written. */
  writtenEnd: number;
  /** End of its last group. */
  lastEnd: number;
  /** Crc of its last group; with it goes the link to the next segment and to the index file. */
  lastCrc = 0;
  /** Store time of its newest record, ms. */
  newestMs = 0;
  /** Its index file is written. */
  isIndexed = false;
  /** Where its runs are in the index file, as long as they are in RAM too. */
  places: readonly IndexedQueue[] | undefined;

  constructor(base: number, size: number, file: DiskFile | undefined) {
    this.base = base;
    this.size = size;
    this.file = file;
    this.isReady = file !== undefined;
    this.writtenEnd = this.firstGroup;
    this.lastEnd = this.firstGroup;
  }

  get end(): number {
    return this.base + this.size;
  }

  get firstGroup(): number {
    return this.base + SEGMENT_HEADER_BYTES;
  }

  get path(): string {
    return segmentPath(this.base);
  }
}
