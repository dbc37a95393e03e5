import {
  attempt,
  call,
  crc32,
  readI32,
  readI64,
  readU32,
  writeI32,
  writeI64,
  type Disk,
  type DiskError,
  type DiskFile,
  type Steps,
} from '@tallystick/base';
import { Packer, Unpacker } from './packing.ts';
import type { HotRun } from './queue-entries.ts';
import { baseName } from './segment-header.ts';

/**
 * The consume queue entries of one sealed segment, so that neither RAM nor restart time grows with the log. Derived: a file that is
 * missing, damaged or of another segment is made again from its segment.
 *
 *     u32 magic "TSIX"  u16 format  u16 0  16 B store id  i64 segment base  u32 crc of the segment's last group
 *     i64 newest store time, ms  i32 queues  i32 directory bytes  u32 crc of all before and the directory
 *     directory, per queue: topic (u16 length, UTF-8)  i32 queue id  i64 first offset  i32 count  i64 place in the file
 *     entries, per queue: blocks of up to 1,024 entries of 20 bytes (i64 position, i32 size, i64 tag field), each with a u32 crc
 */
export const INDEX_BLOCK_ENTRIES = 1024;
export const INDEX_ENTRY_BYTES = 20;
const BLOCK_STRIDE = INDEX_BLOCK_ENTRIES * INDEX_ENTRY_BYTES + 4;
const HEAD_BYTES = 56;
const MAGIC = 0x54534958;
const FORMAT = 1;
const DIRECTORY_BYTES_MAX = 256 * 1024 * 1024;

export interface IndexHead {
  readonly storeId: string;
  readonly base: number;
  readonly lastCrc: number;
  readonly newestMs: number;
}

export interface IndexedQueue {
  readonly topic: string;
  readonly queueId: number;
  readonly first: number;
  readonly count: number;
  readonly at: number;
}

export interface IndexDirectory extends IndexHead {
  readonly queues: readonly IndexedQueue[];
}

export function indexPath(base: number): string {
  return `index/${baseName(base)}`;
}

/** Encodes the index of a segment; also gives the directory, which says where each run went. */
export function encodeIndex(
  head: IndexHead,
  runs: readonly { readonly topic: string; readonly queueId: number; readonly run: HotRun }[],
): { readonly bytes: Buffer; readonly queues: readonly IndexedQueue[] } {
  let directoryBytes = 0;
  for (const { topic } of runs) directoryBytes += 2 + Buffer.byteLength(topic, 'utf8') + 24;
  let at = HEAD_BYTES + directoryBytes;
  const directory = new Packer(directoryBytes + 1);
  const queues: IndexedQueue[] = [];
  for (const { topic, queueId, run } of runs) {
    directory.text(topic).i32(queueId).i64(run.first).i32(run.count).i64(at);
    queues.push({ topic, queueId, first: run.first, count: run.count, at });
    at += runBytes(run.count);
  }
  const packed = new Packer(HEAD_BYTES)
    .i32(MAGIC)
    .u16(FORMAT)
    .u16(0)
    .raw(Buffer.from(head.storeId, 'hex'))
    .i64(head.base)
    .i32(head.lastCrc);
  packed.i64(head.newestMs).i32(runs.length).i32(directoryBytes);
  const bytes = Buffer.allocUnsafe(at);
  bytes.set(packed.bytes, 0);
  bytes.set(directory.bytes, HEAD_BYTES);
  writeI32(bytes, HEAD_BYTES - 4, directoryCrc(bytes, directoryBytes));
  for (let n = 0; n < runs.length; n++) encodeRun(bytes, queues[n]!.at, runs[n]!.run);
  return { bytes, queues };
}

/** Reads head and directory. A sentence when the file cannot be used for that segment; disk errors too. */
export function* loadIndex(disk: Disk, base: number, storeId: string, lastCrc: number): Steps<IndexDirectory | string> {
  const opened = yield* attempt<DiskFile, DiskError>((done) => disk.open(indexPath(base), 'open', done));
  if (opened.error !== undefined) return opened.error.code === 'ENOENT' ? 'missing' : opened.error.message;
  const file = opened.value;
  const found = yield* readDirectory(file);
  yield* call((done) => file.close(done));
  if (typeof found === 'string') return found;
  if (found.storeId !== storeId) return 'of another store';
  if (found.base !== base || found.lastCrc !== lastCrc) return 'of another segment';
  return found;
}

/** One block of entries, checked; a sentence when it is damaged. */
export function* readIndexBlock(file: DiskFile, runAt: number, runCount: number, block: number): Steps<Buffer | string> {
  const entries = Math.min(INDEX_BLOCK_ENTRIES, runCount - block * INDEX_BLOCK_ENTRIES);
  const bytes = Buffer.allocUnsafe(entries * INDEX_ENTRY_BYTES + 4);
  const read = yield* attempt<number, DiskError>((done) => file.read(bytes, runAt + block * BLOCK_STRIDE, done));
  if (read.error !== undefined) return read.error.message;
  if (read.value !== bytes.length) return 'index cut off';
  const end = entries * INDEX_ENTRY_BYTES;
  return crc32(bytes, 0, end) === readU32(bytes, end) ? bytes : 'index block checksum differs';
}

export function entryPosition(block: Buffer, entry: number): number {
  return readI64(block, entry * INDEX_ENTRY_BYTES);
}

export function entrySize(block: Buffer, entry: number): number {
  return readI32(block, entry * INDEX_ENTRY_BYTES + 8);
}

export function entryTags(block: Buffer, entry: number): number {
  return readI64(block, entry * INDEX_ENTRY_BYTES + 12);
}

function* readDirectory(file: DiskFile): Steps<IndexDirectory | string> {
  const head = Buffer.alloc(HEAD_BYTES);
  const read = yield* attempt<number, DiskError>((done) => file.read(head, 0, done));
  if (read.error !== undefined) return read.error.message;
  if (read.value !== HEAD_BYTES || readU32(head, 0) !== MAGIC) return 'no index magic';
  const from = new Unpacker(head, 4);
  if (from.u16() !== FORMAT) return 'index of another format';
  from.u16();
  const storeId = from.raw(16).toString('hex');
  const base = from.i64();
  const lastCrc = from.u32();
  const newestMs = from.i64();
  const count = from.i32();
  const directoryBytes = from.i32();
  const size = yield* call<number>((done) => file.size(done));
  if (directoryBytes < 0 || directoryBytes > DIRECTORY_BYTES_MAX || directoryBytes > size - HEAD_BYTES)
    return 'index directory cut off';
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + directoryBytes);
  const all = yield* attempt<number, DiskError>((done) => file.read(bytes, 0, done));
  if (all.error !== undefined) return all.error.message;
  if (all.value !== bytes.length || directoryCrc(bytes, directoryBytes) !== readU32(bytes, HEAD_BYTES - 4))
    return 'index checksum differs';
  const queues: IndexedQueue[] = [];
  const directory = new Unpacker(bytes, HEAD_BYTES);
  for (let n = 0; n < count && !directory.failed; n++) {
    queues.push({
      topic: directory.text(),
      queueId: directory.i32(),
      first: directory.i64(),
      count: directory.i32(),
      at: directory.i64(),
    });
  }
  const last = queues[queues.length - 1];
  if (directory.failed || (last !== undefined && last.at + runBytes(last.count) > size)) return 'index cut off';
  return { storeId, base, lastCrc, newestMs, queues };
}

function encodeRun(bytes: Buffer, at: number, run: HotRun): void {
  for (let first = 0; first < run.count; first += INDEX_BLOCK_ENTRIES) {
    const start = at;
    const end = Math.min(run.count, first + INDEX_BLOCK_ENTRIES);
    for (let n = first; n < end; n++) {
      writeI64(bytes, at, run.segmentBase + run.relative[n]!);
      writeI32(bytes, at + 8, run.sizes[n]!);
      writeI64(bytes, at + 12, run.tags[n]!);
      at += INDEX_ENTRY_BYTES;
    }
    writeI32(bytes, at, crc32(bytes, start, at));
    at += 4;
  }
}

function runBytes(count: number): number {
  return count * INDEX_ENTRY_BYTES + Math.ceil(count / INDEX_BLOCK_ENTRIES) * 4;
}

function directoryCrc(bytes: Buffer, directoryBytes: number): number {
  return crc32(bytes, HEAD_BYTES, HEAD_BYTES + directoryBytes, crc32(bytes, 0, HEAD_BYTES - 4));
}
