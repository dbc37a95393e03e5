/**
 * A simulated machine's disk. Every file has two images: the page cache, which survives a killed process, and the durable one,
 * which survives a power cut. Between them lie 512-byte sectors; a sync moves to the durable image what was written before it
 * began. Folder entries (creations, renames, removals) are durable only after `syncFolder`.
 *
 *   kill          calls in flight: a write lands as a prefix of any length, another call happens or does not. The cache stays.
 *   power cut     as kill, then of each file every unsynced sector is kept or lost on its own, a size change likewise, and of each
 *                 folder's unsynced changes only a prefix is kept. The boot id changes.
 *   write-through a write that is durable when it ends; interrupted, any sector of what landed may be durable already.
 *   failed sync   as Linux does it: the dirty mark is gone, the cache shows new bytes, the disk has the old ones.
 *
 * A call takes effect when it completes, not when it is made: who changes a buffer too early is found out. `onCall` sees each
 * call and may fail it or schedule a crash within its latency.
 */
import type { Disk, DiskDone, DiskError, DiskFile } from '@tallystick/base';
import type { Prng } from './prng.ts';
import type { SimProcess, World } from './world.ts';

export const SECTOR_BYTES = 512;

export type DiskCallKind =
  | 'open'
  | 'create'
  | 'write'
  | 'write-through'
  | 'read'
  | 'sync'
  | 'size'
  | 'truncate'
  | 'close'
  | 'allocate'
  | 'folder'
  | 'list'
  | 'rename'
  | 'remove'
  | 'sync-folder';

/** One call, as `onCall` sees it before it is in flight. */
export interface DiskCall {
  /** Counts from 0 over the life of the disk. */
  readonly index: number;
  readonly kind: DiskCallKind;
  readonly path: string;
  readonly position: number;
  readonly bytes: number;
  readonly latencyMs: number;
}

/** What becomes of a call: an errno's name fails it (a write may leave a prefix), undefined lets it go. */
export type DiskFate = string | undefined;

export interface DiskOptions {
  /** Multiplies all latencies; 1 is a quick SSD. */
  slowness?: number | undefined;
  /** Chance that a write is followed by write-back of some dirty sectors, unasked. */
  writeBack?: number | undefined;
}

export class SimDisk {
  readonly world: World;
  onCall: ((call: DiskCall) => DiskFate) | undefined;
  /** Every write that would grow a file, and every creation, fails with ENOSPC. */
  full = false;
  /** A device that reports syncs done without doing them (a control: checkers must notice). */
  lyingSync = false;
  /** Whether files opened from now on know writes through. */
  writesThrough = true;
  /** Whether files can be given their space without being written. */
  allocates = true;
  /** Added to the latency of every sync. */
  syncStallMs = 0;
  calls = 0;
  readonly #random: Prng;
  readonly #slowness: number;
  readonly #writeBack: number;
  #boot = 1;
  #cached = new Map<string, Node>();
  #durable = new Map<string, Node>();
  #changes: FolderChange[] = [];
  readonly #inFlight = new Set<Flight>();

  constructor(world: World, options: DiskOptions = {}) {
    this.world = world;
    this.#random = world.random.fork();
    this.#slowness = options.slowness ?? 1;
    this.#writeBack = options.writeBack ?? 0.02;
  }

  get bootId(): string {
    return `00000000-0000-4000-8000-${String(this.#boot).padStart(12, '0')}`;
  }

  /** The port for one process on this machine. */
  mount(owner: SimProcess): Disk {
    owner.onDeath(() => this.#processDied(owner));
    return new MountedDisk(this, owner);
  }

  /** Loses what a power cut loses. All processes of the machine must be dead. `keep` = chance of each unsynced sector. */
  powerCut(keep: number = this.#drawKeep()): void {
    for (const flight of this.#inFlight) if (flight.owner.alive) throw new Error(`power cut while ${flight.owner.name} lives`);
    this.world.trace(`power cut, keeping ${(keep * 100).toFixed(0)} % of what was unsynced`);
    this.#boot++;
    const folders = new Map<string, number>();
    for (const change of this.#changes) for (const folder of change.folders) folders.set(folder, (folders.get(folder) ?? 0) + 1);
    for (const [folder, count] of folders)
      folders.set(folder, this.#random.chance(1 - keep) ? 0 : this.#random.between(0, count));
    for (const change of this.#changes) {
      let kept = false;
      for (const folder of change.folders) {
        const left = folders.get(folder) as number;
        if (left > 0) kept = true;
        folders.set(folder, left - 1);
      }
      if (kept) change.apply(this.#durable);
    }
    this.#changes = [];
    const nodes = new Set<FileNode>();
    for (const node of this.#durable.values()) if (node !== FOLDER) nodes.add(node);
    for (const node of nodes) node.losePower(this.#random, keep);
    for (const path of [...this.#durable.keys()]) if (!this.#hasAncestors(path)) this.#durable.delete(path);
    this.#cached = new Map(this.#durable);
    for (const [path, node] of this.#cached) if (node !== FOLDER) node.path = path;
    this.world.mix(nodes.size);
  }

  /** Rot: flips one bit in cache and disk alike. */
  flipBit(path: string, byte: number, bit: number): void {
    const node = this.#file(path);
    node.flip(byte, bit);
    this.world.trace(`bit ${bit} of byte ${byte} of ${path} flips`);
  }

  /** Paths of all files as processes see them, sorted. */
  files(): string[] {
    return [...this.#cached]
      .filter(([, node]) => node !== FOLDER)
      .map(([path]) => path)
      .sort();
  }

  has(path: string): boolean {
    return this.#cached.has(plain(path));
  }

  /** A copy of a file's bytes as processes see them. */
  contents(path: string): Buffer {
    return this.#file(path).visible();
  }

  /** A copy of a file's bytes as they would be found if every unsynced byte were lost. */
  durableContents(path: string): Buffer | undefined {
    const node = this.#durable.get(plain(path));
    return node === undefined || node === FOLDER ? undefined : node.durableBytes();
  }

  /** Replaces a file's bytes in both images, as an outside hand would. */
  overwrite(path: string, bytes: Uint8Array): void {
    const node = new FileNode();
    node.write([bytes], 0, bytes.length);
    node.settleAll();
    this.#cached.set(plain(path), node);
    this.#durable.set(plain(path), node);
  }

  /** Removes a file from both images, as an outside hand would. */
  erase(path: string): void {
    this.#cached.delete(plain(path));
    this.#durable.delete(plain(path));
  }

  /** Starts a call: sees to latency, fate and what remains of it if its process dies meanwhile. For MountedDisk only. */
  begin(
    owner: SimProcess,
    kind: DiskCallKind,
    path: string,
    position: number,
    bytes: number,
    effect: Effect,
    done: (error: DiskError | undefined) => void,
  ): void {
    if (!owner.alive) return;
    const latencyMs = this.#latency(kind, bytes);
    const index = this.calls++;
    const fate = this.onCall?.({ index, kind, path, position, bytes, latencyMs });
    if (!owner.alive) return;
    if (this.world.onTrace !== undefined)
      this.world.trace(
        `${owner.name} disk ${index} ${kind} ${path} ${position}+${bytes}${fate === undefined ? '' : ` -> ${fate}`}`,
      );
    this.world.mix(bytes);
    const flight: Flight = { owner, effect };
    this.#inFlight.add(flight);
    this.world.after(
      latencyMs,
      () => {
        this.#inFlight.delete(flight);
        if (fate !== undefined) {
          effect.fail?.(this.#random, fate);
          done({ code: fate, message: `${fate}: ${kind} ${path} (simulated)` });
        } else {
          done(effect.complete());
        }
      },
      owner,
    );
  }

  open(path: string, mode: 'open' | 'create'): FileNode | DiskError {
    const existing = this.#cached.get(path);
    if (existing === FOLDER) return failure('EISDIR', path);
    if (mode === 'open') return existing ?? failure('ENOENT', path);
    if (existing !== undefined) {
      existing.resize(0);
      return existing;
    }
    if (this.full) return failure('ENOSPC', path);
    if (!this.#hasParent(path)) return failure('ENOENT', path);
    const node = new FileNode();
    node.path = path;
    this.#change([parentOf(path)], (entries) => entries.set(path, node));
    return node;
  }

  writeNode(node: FileNode, chunks: readonly Uint8Array[], position: number, bytes: number): DiskError | undefined {
    if (this.full && position + bytes > node.size) return failure('ENOSPC', 'write');
    node.write(chunks, position, bytes);
    if (this.#random.chance(this.#writeBack)) node.writeBack(this.#random);
    return undefined;
  }

  writeNodeThrough(node: FileNode, chunks: readonly Uint8Array[], position: number, bytes: number): DiskError | undefined {
    if (this.lyingSync) return this.writeNode(node, chunks, position, bytes);
    if (this.full && position + bytes > node.size) return failure('ENOSPC', 'write');
    node.writeThrough(chunks, position, bytes);
    return undefined;
  }

  allocateFile(path: string, bytes: number): DiskError | undefined {
    const node = this.#cached.get(path);
    if (node === undefined || node === FOLDER) return failure('ENOENT', path);
    if (!this.allocates) return failure('ENOTSUP', path);
    if (this.full && bytes > node.size) return failure('ENOSPC', path);
    node.resize(Math.max(node.size, bytes));
    return undefined;
  }

  makeFolder(path: string): DiskError | undefined {
    const parts = path === '' ? [] : path.split('/');
    for (let count = 1; count <= parts.length; count++) {
      const folder = parts.slice(0, count).join('/');
      const existing = this.#cached.get(folder);
      if (existing === FOLDER) continue;
      if (existing !== undefined) return failure('EEXIST', folder);
      this.#change([parentOf(folder)], (entries) => entries.set(folder, FOLDER));
    }
    return undefined;
  }

  list(path: string): string[] {
    const start = path === '' ? '' : `${path}/`;
    const names: string[] = [];
    for (const entry of this.#cached.keys()) {
      if (entry.startsWith(start) && !entry.includes('/', start.length)) names.push(entry.slice(start.length));
    }
    return names.sort();
  }

  rename(from: string, to: string): DiskError | undefined {
    const node = this.#cached.get(from);
    if (node === undefined || node === FOLDER || !this.#hasParent(to)) return failure('ENOENT', from);
    node.path = to;
    this.#change([parentOf(from), parentOf(to)], (entries) => {
      entries.delete(from);
      entries.set(to, node);
    });
    return undefined;
  }

  remove(path: string): DiskError | undefined {
    if (!this.#cached.has(path)) return failure('ENOENT', path);
    this.#change([parentOf(path)], (entries) => entries.delete(path));
    return undefined;
  }

  /** The changes of a folder that a sync begun now covers. */
  pendingChanges(path: string): FolderChange[] {
    return this.#changes.filter((change) => change.folders.includes(path));
  }

  settleChanges(changes: readonly FolderChange[]): void {
    if (this.lyingSync) return;
    const settled = new Set(changes);
    this.#changes = this.#changes.filter((change) => {
      if (!settled.has(change)) return true;
      change.apply(this.#durable);
      return false;
    });
  }

  #change(folders: string[], apply: (entries: Map<string, Node>) => void): void {
    apply(this.#cached);
    this.#changes.push({ folders: folders[0] === folders[1] ? folders.slice(1) : folders, apply });
  }

  #processDied(owner: SimProcess): void {
    for (const flight of this.#inFlight) {
      if (flight.owner !== owner) continue;
      this.#inFlight.delete(flight);
      flight.effect.interrupt?.(this.#random);
    }
  }

  #file(path: string): FileNode {
    const node = this.#cached.get(plain(path));
    if (node === undefined || node === FOLDER) throw new Error(`no file ${path}`);
    return node;
  }

  #hasParent(path: string): boolean {
    const parent = parentOf(path);
    return parent === '' || this.#cached.get(parent) === FOLDER;
  }

  #hasAncestors(path: string): boolean {
    for (let parent = parentOf(path); parent !== ''; parent = parentOf(parent))
      if (this.#durable.get(parent) !== FOLDER) return false;
    return true;
  }

  #latency(kind: DiskCallKind, bytes: number): number {
    const base = SYNCING.has(kind) ? 0.1 + this.#random.unit() * 1.5 : 0.01 + this.#random.unit() * 0.1;
    return (base + bytes / 1_000_000) * this.#slowness + (kind === 'sync' || kind === 'write-through' ? this.syncStallMs : 0);
  }

  #drawKeep(): number {
    return this.#random.pick([0, 0, 0.3, 0.5, 0.9, 1]);
  }
}

/** What a call does on completion, on an injected error, and when its process dies while it is in flight. */
interface Effect {
  complete(): DiskError | undefined;
  fail?(random: Prng, code: string): void;
  interrupt?(random: Prng): void;
}

interface Flight {
  readonly owner: SimProcess;
  readonly effect: Effect;
}

interface FolderChange {
  readonly folders: readonly string[];
  readonly apply: (entries: Map<string, Node>) => void;
}

const SYNCING: ReadonlySet<DiskCallKind> = new Set(['sync', 'sync-folder', 'write-through']);

const FOLDER = 'folder';
type Node = FileNode | typeof FOLDER;

/** Sectors captured by a sync in flight, with the bytes they had when it began. */
interface Capture {
  readonly sectors: readonly number[];
  readonly bytes: Buffer;
  readonly size: number;
}

/** A file's two images. */
class FileNode {
  /** Its present name: a handle opened under an earlier one follows. */
  path = '';
  size = 0;
  #cache: Buffer = Buffer.alloc(0);
  #durable: Buffer = Buffer.alloc(0);
  #durableSize = 0;
  #dirty = new Set<number>();
  readonly #captures = new Set<Capture>();

  write(chunks: readonly Uint8Array[], position: number, bytes: number): void {
    if (bytes === 0) return;
    this.#reserve(position + bytes);
    let at = position;
    let left = bytes;
    for (const chunk of chunks) {
      const count = Math.min(chunk.length, left);
      this.#cache.set(count === chunk.length ? chunk : chunk.subarray(0, count), at);
      at += count;
      left -= count;
      if (left === 0) break;
    }
    this.#markDirty(position, at);
    this.size = Math.max(this.size, at);
  }

  /** The first `bytes` of a write-through, and which of its sectors are durable: all, or some (`random`). `stillDirty`: those that are not yet. */
  writeThrough(
    chunks: readonly Uint8Array[],
    position: number,
    bytes: number,
    partly?: { readonly random: Prng; readonly stillDirty: boolean },
  ): void {
    this.write(chunks, position, bytes);
    const share = partly === undefined ? 1 : partly.random.pick([0, 0.5, 1]);
    for (let sector = Math.floor(position / SECTOR_BYTES); sector < Math.ceil((position + bytes) / SECTOR_BYTES); sector++) {
      const isKept = partly === undefined || partly.random.chance(share);
      if (isKept) this.#keep(sector, this.#cache, sector * SECTOR_BYTES);
      if (isKept || !partly.stillDirty) this.#dirty.delete(sector);
    }
    if (partly === undefined) this.#durableSize = Math.max(this.#durableSize, position + bytes);
  }

  read(into: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(into.length, this.size - position));
    if (count > 0) this.#cache.copy(into, 0, position, position + count);
    return count;
  }

  resize(bytes: number): void {
    this.#reserve(bytes);
    if (bytes < this.size) {
      this.#cache.fill(0, bytes, this.size);
      this.#markDirty(bytes, this.size);
    }
    this.size = bytes;
  }

  /** What a sync begun now covers: all dirty sectors, those of other syncs in flight too. */
  capture(): Capture {
    for (const other of this.#captures) for (const sector of other.sectors) this.#dirty.add(sector);
    const sectors = [...this.#dirty];
    this.#dirty = new Set();
    const bytes = Buffer.alloc(sectors.length * SECTOR_BYTES);
    sectors.forEach((sector, i) => this.#cache.copy(bytes, i * SECTOR_BYTES, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES));
    const capture = { sectors, bytes, size: this.size };
    this.#captures.add(capture);
    return capture;
  }

  settle(capture: Capture): void {
    this.#captures.delete(capture);
    capture.sectors.forEach((sector, i) => this.#keep(sector, capture.bytes, i * SECTOR_BYTES));
    this.#durableSize = capture.size;
  }

  /** A sync that failed, or was interrupted: some of it happened. A failed one leaves the rest clean but not durable. */
  settlePartly(capture: Capture, random: Prng, stillDirty: boolean): void {
    this.#captures.delete(capture);
    const share = random.pick([0, 0.5, 1]);
    capture.sectors.forEach((sector, i) => {
      if (random.chance(share)) this.#keep(sector, capture.bytes, i * SECTOR_BYTES);
      else if (stillDirty) this.#dirty.add(sector);
    });
  }

  /** A sync that did nothing at all. */
  abandon(capture: Capture): void {
    this.#captures.delete(capture);
    for (const sector of capture.sectors) this.#dirty.add(sector);
  }

  settleAll(): void {
    this.settle(this.capture());
  }

  /** Not of sectors that a sync has in hand: its older bytes must not land after the newer ones. */
  writeBack(random: Prng): void {
    if (this.#captures.size > 0) return;
    for (const sector of [...this.#dirty]) {
      if (!random.chance(0.5) || (sector + 1) * SECTOR_BYTES > this.#durableSize) continue;
      this.#keep(sector, this.#cache, sector * SECTOR_BYTES);
      this.#dirty.delete(sector);
    }
  }

  losePower(random: Prng, keep: number): void {
    const size =
      this.size === this.#durableSize || random.chance(1 - keep)
        ? this.#durableSize
        : this.size > this.#durableSize
          ? random.between(this.#durableSize, this.size)
          : this.size;
    for (const sector of this.#dirty) if (random.chance(keep)) this.#keep(sector, this.#cache, sector * SECTOR_BYTES);
    this.#dirty.clear();
    this.#captures.clear();
    this.#durableSize = size;
    this.size = size;
    this.#cache = Buffer.alloc(this.#cache.length);
    this.#durable.copy(this.#cache, 0, 0, Math.min(size, this.#durable.length));
    this.#durable = Buffer.from(this.#cache);
  }

  flip(byte: number, bit: number): void {
    this.#cache[byte] = (this.#cache[byte] ?? 0) ^ (1 << bit);
    if (byte < this.#durable.length) this.#durable[byte] = (this.#durable[byte] ?? 0) ^ (1 << bit);
  }

  visible(): Buffer {
    return Buffer.from(this.#cache.subarray(0, this.size));
  }

  durableBytes(): Buffer {
    const copy = Buffer.alloc(this.#durableSize);
    this.#durable.copy(copy, 0, 0, Math.min(this.#durableSize, this.#durable.length));
    return copy;
  }

  #keep(sector: number, from: Buffer, at: number): void {
    const end = (sector + 1) * SECTOR_BYTES;
    if (this.#durable.length < end) this.#durable = grow(this.#durable, Math.max(end, this.#cache.length));
    from.copy(this.#durable, sector * SECTOR_BYTES, at, at + SECTOR_BYTES);
  }

  #markDirty(from: number, end: number): void {
    const last = Math.ceil(end / SECTOR_BYTES);
    for (let sector = Math.floor(from / SECTOR_BYTES); sector < last; sector++) this.#dirty.add(sector);
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#cache.length) return;
    this.#cache = grow(this.#cache, Math.max(bytes, this.#cache.length * 2, 4 * SECTOR_BYTES));
  }
}

/** The Disk port of one process; all calls of a dead process are void. */
class MountedDisk implements Disk {
  readonly #disk: SimDisk;
  readonly #owner: SimProcess;

  constructor(disk: SimDisk, owner: SimProcess) {
    this.#disk = disk;
    this.#owner = owner;
  }

  open(path: string, mode: 'open' | 'create', done: (error: DiskError | undefined, file: DiskFile) => void): void {
    const at = plain(path);
    let file: DiskFile | undefined;
    const complete = (): DiskError | undefined => {
      const node = this.#disk.open(at, mode);
      if (!(node instanceof FileNode)) return node;
      file = new MountedFile(this.#disk, this.#owner, at, node);
      return undefined;
    };
    this.#begin(mode, at, 0, perhaps(complete), (error) => done(error, file as DiskFile));
  }

  allocate(path: string, bytes: number, done: (isAllocated: boolean) => void): void {
    const complete = (): DiskError | undefined => this.#disk.allocateFile(plain(path), bytes);
    this.#begin('allocate', plain(path), 0, perhaps(complete), (error) => done(error === undefined));
  }

  makeFolder(path: string, done: DiskDone): void {
    this.#begin(
      'folder',
      plain(path),
      0,
      perhaps(() => this.#disk.makeFolder(plain(path))),
      done,
    );
  }

  list(path: string, done: (error: DiskError | undefined, names: readonly string[]) => void): void {
    this.#begin('list', plain(path), 0, { complete: nothing }, (error) =>
      done(error, error === undefined ? this.#disk.list(plain(path)) : []),
    );
  }

  rename(from: string, to: string, done: DiskDone): void {
    this.#begin(
      'rename',
      plain(to),
      0,
      perhaps(() => this.#disk.rename(plain(from), plain(to))),
      done,
    );
  }

  remove(path: string, done: DiskDone): void {
    this.#begin(
      'remove',
      plain(path),
      0,
      perhaps(() => this.#disk.remove(plain(path))),
      done,
    );
  }

  syncFolder(path: string, done: DiskDone): void {
    const changes = this.#disk.pendingChanges(plain(path));
    const complete = (): undefined => {
      this.#disk.settleChanges(changes);
    };
    this.#begin('sync-folder', plain(path), 0, perhaps(complete), done);
  }

  bootId(): string {
    return this.#disk.bootId;
  }

  #begin(kind: DiskCallKind, path: string, bytes: number, effect: Effect, done: (error: DiskError | undefined) => void): void {
    this.#disk.begin(this.#owner, kind, path, 0, bytes, effect, done);
  }
}

class MountedFile implements DiskFile {
  readonly path: string;
  readonly #disk: SimDisk;
  readonly #owner: SimProcess;
  readonly #node: FileNode;
  #closed = false;
  readonly writeThrough?: NonNullable<DiskFile['writeThrough']>;

  constructor(disk: SimDisk, owner: SimProcess, path: string, node: FileNode) {
    if (disk.writesThrough) this.writeThrough = (chunks, position, done) => this.#writeThrough(chunks, position, done);
    this.path = path;
    this.#disk = disk;
    this.#owner = owner;
    this.#node = node;
  }

  write(chunks: readonly Uint8Array[], position: number, done: DiskDone): void {
    let bytes = 0;
    for (const chunk of chunks) bytes += chunk.length;
    const prefix = (random: Prng): void => this.#node.write(chunks, position, random.pick([0, random.between(0, bytes), bytes]));
    this.#begin(
      'write',
      position,
      bytes,
      { complete: () => this.#disk.writeNode(this.#node, chunks, position, bytes), fail: prefix, interrupt: prefix },
      done,
    );
  }

  #writeThrough(chunks: readonly Uint8Array[], position: number, done: DiskDone): void {
    let bytes = 0;
    for (const chunk of chunks) bytes += chunk.length;
    const partly = (stillDirty: boolean) => (random: Prng) =>
      this.#node.writeThrough(chunks, position, random.pick([0, random.between(0, bytes), bytes]), { random, stillDirty });
    this.#begin(
      'write-through',
      position,
      bytes,
      {
        complete: () => this.#disk.writeNodeThrough(this.#node, chunks, position, bytes),
        fail: partly(false),
        interrupt: partly(true),
      },
      done,
    );
  }

  read(into: Uint8Array, position: number, done: (error: DiskError | undefined, bytesRead: number) => void): void {
    let count = 0;
    const complete = (): undefined => {
      count = this.#node.read(into, position);
    };
    this.#begin('read', position, into.length, { complete }, (error) => done(error, count));
  }

  sync(done: DiskDone): void {
    const capture = this.#node.capture();
    this.#begin(
      'sync',
      0,
      0,
      {
        complete: () => {
          if (this.#disk.lyingSync) this.#node.abandon(capture);
          else this.#node.settle(capture);
          return undefined;
        },
        fail: (random) => this.#node.settlePartly(capture, random, false),
        interrupt: (random) => this.#node.settlePartly(capture, random, true),
      },
      done,
    );
  }

  size(done: (error: DiskError | undefined, bytes: number) => void): void {
    this.#begin('size', 0, 0, { complete: nothing }, (error) => done(error, this.#node.size));
  }

  truncate(bytes: number, done: DiskDone): void {
    const complete = (): DiskError | undefined => {
      if (this.#disk.full && bytes > this.#node.size) return failure('ENOSPC', this.path);
      this.#node.resize(bytes);
      return undefined;
    };
    this.#begin('truncate', 0, bytes, perhaps(complete), done);
  }

  close(done: DiskDone): void {
    this.#begin('close', 0, 0, { complete: nothing }, done);
    this.#closed = true;
  }

  #begin(
    kind: DiskCallKind,
    position: number,
    bytes: number,
    effect: Effect,
    done: (error: DiskError | undefined) => void,
  ): void {
    if (this.#closed) throw new Error(`${kind} on ${this.path} after close`);
    this.#disk.begin(this.#owner, kind, this.#node.path, position, bytes, effect, done);
  }
}

/** An effect that, interrupted, has happened or not. */
function perhaps(complete: () => DiskError | undefined): Effect {
  return {
    complete,
    interrupt: (random) => {
      if (random.chance(0.5)) complete();
    },
  };
}

function nothing(): undefined {
  return undefined;
}

function failure(code: string, path: string): DiskError {
  return { code, message: `${code}: ${path} (simulated)` };
}

function grow(buffer: Buffer, bytes: number): Buffer {
  const larger = Buffer.alloc(bytes);
  buffer.copy(larger);
  return larger;
}

function plain(path: string): string {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}
