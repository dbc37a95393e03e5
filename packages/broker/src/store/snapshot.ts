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
const SYNC_BYTES = 8 * WRITE_BYTES;
/** Smaller parts are copied behind one another, so that a small snapshot is one write. */
const COPIED_BYTES = 64 * 1024;

/** All but the checksum, in chunks. Large parts stand in them as they are: their checksum and their way to the disk take turns of their own. */
export function encodeSnapshot(snapshot: Snapshot): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let packer = new Packer(64 * 1024);
  packer
    .i32(MAGIC)
    .u16(FORMAT)
    .u16(snapshot.parts.length)
    .raw(Buffer.from(snapshot.storeId, 'hex'))
    .i64(snapshot.position)
    .i64(snapshot.end);
  packer.i32(snapshot.queues.length);
  for (const queue of snapshot.queues) packer.text(queue.topic).i32(queue.queueId).i64(queue.nextOffset);
  for (const part of snapshot.parts) {
    packer.text(part.name);
    if (part.bytes.length < COPIED_BYTES) packer.block(part.bytes);
    else {
      chunks.push(packer.i32(part.bytes.length).bytes, part.bytes);
      packer = new Packer(64 * 1024);
    }
  }
  if (packer.bytes.length > 0) chunks.push(packer.bytes);
  return chunks;
}

/** The chunks in portions for one write each; behind the last stands the checksum. */
export function* snapshotWrites(chunks: readonly Uint8Array[]): Generator<Uint8Array[]> {
  let crc = 0;
  for (const [index, chunk] of chunks.entries()) {
    for (let at = 0; at < chunk.length; at += WRITE_BYTES) {
      const piece = chunk.subarray(at, at + WRITE_BYTES);
      crc = crc32(piece, 0, piece.length, crc);
      const isLast = index === chunks.length - 1 && at + piece.length === chunk.length;
      yield isLast ? [piece, new Packer(4).i32(crc).bytes] : [piece];
    }
  }
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
export function* saveSnapshot(disk: Disk, position: number, chunks: readonly Uint8Array[]): Steps<void> {
  const temporary = `${FOLDER}/writing`;
  const file = yield* call<DiskFile>((done) => disk.open(temporary, 'create', done));
  const failed = yield* writeAll(file, chunks);
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

function* writeAll(file: DiskFile, chunks: readonly Uint8Array[]): Steps<DiskError | undefined> {
  let at = 0;
  let unsynced = 0;
  for (const pieces of snapshotWrites(chunks)) {
    const { error } = yield* attempt<void, DiskError>((done) => file.write(pieces, at, done));
    if (error !== undefined) return error;
    for (const piece of pieces) {
      at += piece.length;
      unsynced += piece.length;
    }
    // In portions, so that the log's own syncs beside it do not wait for all of it.
    if (unsynced < SYNC_BYTES) continue;
    unsynced = 0;
    const synced = yield* attempt<void, DiskError>((done) => file.sync(done));
    if (synced.error !== undefined) return synced.error;
  }
  const { error } = yield* attempt<void, DiskError>((done) => file.sync(done));
  return error;
}
