import { attempt, call, crc32, readU32, type Disk, type DiskError, type DiskFile, type Steps } from '@tallystick/base';
import { Packer, Unpacker } from './packing.ts';
import { baseName, baseOfName } from './segment-header.ts';

/**
 * A snapshot: what the log up to a position amounts to. Holds the next offset of every queue, so that offsets never start again
 * when old segments go, and the state of each derived part. One file per generation, written under a temporary name.
 *
 *     u32 magic "TSSN"  u16 format  u16 parts  16 B store id  i64 position  i64 end of the last group before it
 *     i32 queues, each: topic  i32 queue id  i64 next offset     parts, each: name  u32 length, bytes     u32 crc of all before
 */
export interface Snapshot {
  readonly storeId: string;
  /** Records from here on are not in it: a segment's base, or the end of a group. */
  readonly position: number;
  /** End of the last group in it. */
  readonly end: number;
  readonly queues: readonly { readonly topic: string; readonly queueId: number; readonly nextOffset: number }[];
  readonly parts: readonly { readonly name: string; readonly bytes: Uint8Array }[];
}

const FOLDER = 'snapshot';
const MAGIC = 0x5453534e;
const FORMAT = 1;
const WRITE_BYTES = 1024 * 1024;

export function encodeSnapshot(snapshot: Snapshot): Buffer {
  const packer = new Packer(64 * 1024);
  packer
    .i32(MAGIC)
    .u16(FORMAT)
    .u16(snapshot.parts.length)
    .raw(Buffer.from(snapshot.storeId, 'hex'))
    .i64(snapshot.position)
    .i64(snapshot.end);
  packer.i32(snapshot.queues.length);
  for (const queue of snapshot.queues) packer.text(queue.topic).i32(queue.queueId).i64(queue.nextOffset);
  for (const part of snapshot.parts) packer.text(part.name).block(part.bytes);
  packer.i32(crc32(packer.bytes));
  return packer.bytes;
}

export function decodeSnapshot(bytes: Buffer): Snapshot | string {
  const crcAt = bytes.length - 4;
  if (crcAt < 40 || readU32(bytes, 0) !== MAGIC) return 'no snapshot magic';
  if (crc32(bytes, 0, crcAt) !== readU32(bytes, crcAt)) return 'snapshot checksum differs';
  const from = new Unpacker(bytes, 4, crcAt);
  const format = from.u16();
  if (format !== FORMAT) return `snapshot format ${format}`;
  const partCount = from.u16();
  const storeId = from.raw(16).toString('hex');
  const position = from.i64();
  const end = from.i64();
  const queues = [];
  for (let left = from.i32(); left > 0 && !from.failed; left--)
    queues.push({ topic: from.text(), queueId: from.i32(), nextOffset: from.i64() });
  const parts = [];
  for (let left = partCount; left > 0 && !from.failed; left--) parts.push({ name: from.text(), bytes: from.block() });
  return from.failed || from.rest !== 0 ? 'snapshot does not add up' : { storeId, position, end, queues, parts };
}

/** Writes a generation; durable when the steps end. */
export function* saveSnapshot(disk: Disk, position: number, bytes: Buffer): Steps<void> {
  const temporary = `${FOLDER}/writing`;
  const file = yield* call<DiskFile>((done) => disk.open(temporary, 'create', done));
  const failed = yield* writeAll(file, bytes);
  yield* call((done) => file.close(done));
  if (failed !== undefined) {
    // Whatever was written is of no use and takes space that may be what is missing.
    yield* attempt((done) => disk.remove(temporary, done));
    throw Object.assign(new Error(failed.message), { code: failed.code });
  }
  yield* call((done) => disk.rename(temporary, snapshotPath(position), done));
  yield* call((done) => disk.syncFolder(FOLDER, done));
}

/** Positions of the generations on the disk, newest first. */
export function* snapshotPositions(disk: Disk): Steps<number[]> {
  const names = yield* call<readonly string[]>((done) => disk.list(FOLDER, done));
  const positions: number[] = [];
  for (const name of names) {
    const position = baseOfName(name);
    if (position !== undefined) positions.push(position);
  }
  return positions.sort((a, b) => b - a);
}

/** One generation; a sentence when it cannot be used. */
export function* loadSnapshot(disk: Disk, position: number): Steps<Snapshot | string> {
  const opened = yield* attempt<DiskFile, DiskError>((done) => disk.open(snapshotPath(position), 'open', done));
  if (opened.error !== undefined) return opened.error.message;
  const file = opened.value;
  const size = yield* call<number>((done) => file.size(done));
  const bytes = Buffer.allocUnsafe(size);
  const read = yield* attempt<number, DiskError>((done) => (size === 0 ? done(undefined, 0) : file.read(bytes, 0, done)));
  yield* call((done) => file.close(done));
  if (read.error !== undefined) return read.error.message;
  if (read.value !== size) return 'snapshot cut off';
  const snapshot = decodeSnapshot(bytes);
  if (typeof snapshot !== 'string' && snapshot.position !== position) return 'snapshot of another position';
  return snapshot;
}

export function snapshotPath(position: number): string {
  return `${FOLDER}/${baseName(position)}`;
}

/** Removes a derived file; that an operator did so before is no fault. */
export function* removeIfThere(disk: Disk, path: string): Steps<void> {
  const { error } = yield* attempt<void, DiskError>((done) => disk.remove(path, done));
  if (error !== undefined && error.code !== 'ENOENT') throw Object.assign(new Error(error.message), { code: error.code });
}

function* writeAll(file: DiskFile, bytes: Buffer): Steps<DiskError | undefined> {
  for (let at = 0; at < bytes.length; at += WRITE_BYTES) {
    const chunk = bytes.subarray(at, Math.min(bytes.length, at + WRITE_BYTES));
    const { error } = yield* attempt<void, DiskError>((done) => file.write([chunk], at, done));
    if (error !== undefined) return error;
  }
  const { error } = yield* attempt<void, DiskError>((done) => file.sync(done));
  return error;
}
