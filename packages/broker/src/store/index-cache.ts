import { attempt, call, type Disk, type DiskError, type DiskFile, type Steps } from '@tallystick/base';
import { INDEX_BLOCK_ENTRIES, indexPath, readIndexBlock } from './index-file.ts';

/** Blocks of index files recently read: the least recently used one goes first. */
export class IndexCache {
  readonly #disk: Disk;
  readonly #blocksMax: number;
  /** In order of use: a Map remembers the order of insertion. */
  readonly #blocks = new Map<string, Buffer>();
  #lastBase = -1;
  #lastRunAt = -1;
  #lastBlock = -1;
  #lastBytes: Buffer | undefined;
  #file: DiskFile | undefined;
  #fileBase = -1;

  constructor(disk: Disk, blocksMax: number) {
    this.#disk = disk;
    this.#blocksMax = blocksMax;
  }

  /** The block that holds entry `entry` of the run at `runAt`; a sentence when it is damaged. */
  *block(segmentBase: number, runAt: number, runCount: number, entry: number): Steps<Buffer | string> {
    const block = Math.floor(entry / INDEX_BLOCK_ENTRIES);
    // Entry after entry of one block is asked for: no key is made for those.
    if (this.#lastBytes !== undefined && block === this.#lastBlock && runAt === this.#lastRunAt && segmentBase === this.#lastBase)
      return this.#lastBytes;
    const key = `${segmentBase}/${runAt}/${block}`;
    const known = this.#blocks.get(key);
    if (known !== undefined) {
      this.#blocks.delete(key);
      this.#blocks.set(key, known);
      return this.#remember(segmentBase, runAt, block, known);
    }
    const file = yield* this.#open(segmentBase);
    if (typeof file === 'string') return file;
    const read = yield* readIndexBlock(file, runAt, runCount, block);
    if (typeof read === 'string') return read;
    this.#blocks.set(key, read);
    if (this.#blocks.size > this.#blocksMax) this.#blocks.delete(this.#blocks.keys().next().value as string);
    return this.#remember(segmentBase, runAt, block, read);
  }

  /** The file read last stays open: queues that are read side by side lie in one segment. */
  *#open(segmentBase: number): Steps<DiskFile | string> {
    if (this.#file !== undefined && segmentBase === this.#fileBase) return this.#file;
    yield* this.close();
    const opened = yield* attempt<DiskFile, DiskError>((done) => this.#disk.open(indexPath(segmentBase), 'open', done));
    if (opened.error !== undefined) return opened.error.message;
    this.#file = opened.value;
    this.#fileBase = segmentBase;
    return opened.value;
  }

  /** Closes the file that is open. */
  *close(): Steps<void> {
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) yield* call((done) => file.close(done));
  }

  #remember(segmentBase: number, runAt: number, block: number, bytes: Buffer): Buffer {
    this.#lastBase = segmentBase;
    this.#lastRunAt = runAt;
    this.#lastBlock = block;
    this.#lastBytes = bytes;
    return bytes;
  }

  /** The index file of the segment was written again or removed. */
  forget(segmentBase: number): void {
    this.#lastBytes = undefined;
    // Another file may bear its name now: the open one is closed at the next use.
    if (this.#fileBase === segmentBase) this.#fileBase = -1;
    for (const key of this.#blocks.keys()) if (key.startsWith(`${segmentBase}/`)) this.#blocks.delete(key);
  }
}
