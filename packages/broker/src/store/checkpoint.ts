import {
  call,
  crc32,
  readI64,
  readU16,
  readU32,
  writeI32,
  writeI64,
  writeU16,
  type Disk,
  type DiskFile,
  type Steps,
} from '@tallystick/base';

/**
 * The checkpoint: how far the log was durable, who last owned the store in which boot of the machine, and whether it was closed.
 * Two slots in separate pages are written alternately, so that a torn write leaves the other.
 *
 *      0 u32 magic "TSCP"    16 16 B store id       48 i64 snapshot position (-1: none)
 *      4 u16 format          32 u64 durable up to   56 u32 epoch
 *      6 u16 flags (1 clean) 40 u64 log end         60 u16 length of boot id, then the boot id
 *      8 u64 sequence                              508 u32 crc of bytes 0 to 508
 */
export interface Checkpoint {
  readonly sequence: number;
  readonly storeId: string;
  readonly isClean: boolean;
  readonly durableEnd: number;
  readonly end: number;
  readonly snapshotPosition: number;
  readonly epoch: number;
  readonly bootId: string;
}

const PATH = 'checkpoint';
const SLOT_STRIDE = 4096;
const SLOT_BYTES = 512;
const MAGIC = 0x54534350;
const FORMAT = 1;
const CRC_AT = 508;
const BOOT_ID_MAX = 440;

export function encodeCheckpoint(checkpoint: Checkpoint): Buffer {
  const bytes = Buffer.alloc(SLOT_BYTES);
  writeI32(bytes, 0, MAGIC);
  writeU16(bytes, 4, FORMAT);
  writeU16(bytes, 6, checkpoint.isClean ? 1 : 0);
  writeI64(bytes, 8, checkpoint.sequence);
  bytes.write(checkpoint.storeId, 16, 'hex');
  writeI64(bytes, 32, checkpoint.durableEnd);
  writeI64(bytes, 40, checkpoint.end);
  writeI64(bytes, 48, checkpoint.snapshotPosition);
  writeI32(bytes, 56, checkpoint.epoch);
  const bootId = Buffer.from(checkpoint.bootId, 'utf8').subarray(0, BOOT_ID_MAX);
  writeU16(bytes, 60, bootId.length);
  bytes.set(bootId, 62);
  writeI32(bytes, CRC_AT, crc32(bytes, 0, CRC_AT));
  return bytes;
}

export function decodeCheckpoint(bytes: Buffer): Checkpoint | string {
  if (bytes.length < SLOT_BYTES || readU32(bytes, 0) !== MAGIC) return 'no checkpoint magic';
  if (crc32(bytes, 0, CRC_AT) !== readU32(bytes, CRC_AT)) return 'checkpoint checksum differs';
  if (readU16(bytes, 4) !== FORMAT) return `unknown-format: checkpoint format ${readU16(bytes, 4)}, this broker reads ${FORMAT}`;
  return {
    sequence: readI64(bytes, 8),
    storeId: bytes.toString('hex', 16, 32),
    isClean: (readU16(bytes, 6) & 1) === 1,
    durableEnd: readI64(bytes, 32),
    end: readI64(bytes, 40),
    snapshotPosition: readI64(bytes, 48),
    epoch: readU32(bytes, 56),
    bootId: bytes.toString('utf8', 62, 62 + Math.min(readU16(bytes, 60), BOOT_ID_MAX)),
  };
}

/** The file with the two slots. */
export class CheckpointFile {
  readonly #disk: Disk;
  #file: DiskFile | undefined;
  #sequence = 0;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** The newest sound slot, undefined when there is none; faults of the others are sentences. */
  *load(names: readonly string[]): Steps<{ readonly newest: Checkpoint | undefined; readonly faults: readonly string[] }> {
    if (!names.includes(PATH)) return { newest: undefined, faults: [] };
    const file = yield* call<DiskFile>((done) => this.#disk.open(PATH, 'open', done));
    this.#file = file;
    const bytes = Buffer.alloc(2 * SLOT_STRIDE);
    yield* call<number>((done) => file.read(bytes, 0, done));
    let newest: Checkpoint | undefined;
    const faults: string[] = [];
    for (const at of [0, SLOT_STRIDE]) {
      const slot = bytes.subarray(at, at + SLOT_BYTES);
      if (slot.every((byte) => byte === 0)) continue;
      const found = decodeCheckpoint(slot);
      if (typeof found === 'string') faults.push(`checkpoint slot at ${at}: ${found}`);
      else if (newest === undefined || found.sequence > newest.sequence) newest = found;
    }
    this.#sequence = newest?.sequence ?? 0;
    return { newest, faults };
  }

  /** Writes the next slot; durable when the steps end. */
  *save(checkpoint: Omit<Checkpoint, 'sequence'>): Steps<void> {
    const sequence = this.#sequence + 1;
    const slot = encodeCheckpoint({ ...checkpoint, sequence });
    const at = (sequence % 2) * SLOT_STRIDE;
    if (this.#file === undefined) yield* this.#create(slot, at);
    else {
      const file = this.#file;
      yield* call((done) => file.write([slot], at, done));
      yield* call((done) => file.sync(done));
    }
    this.#sequence = sequence;
  }

  *close(): Steps<void> {
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) yield* call((done) => file.close(done));
  }

  *#create(slot: Buffer, at: number): Steps<void> {
    const bytes = Buffer.alloc(2 * SLOT_STRIDE);
    bytes.set(slot, at);
    const file = yield* call<DiskFile>((done) => this.#disk.open(`${PATH}.tmp`, 'create', done));
    yield* call((done) => file.write([bytes], 0, done));
    yield* call((done) => file.sync(done));
    yield* call((done) => this.#disk.rename(`${PATH}.tmp`, PATH, done));
    yield* call((done) => this.#disk.syncFolder('', done));
    this.#file = file;
  }
}
