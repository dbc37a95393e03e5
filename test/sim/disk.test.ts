import { describe, expect, it } from 'vitest';
import type { Disk, DiskError, DiskFile } from '@tallystick/base';
import { SECTOR_BYTES, SimDisk, type DiskCall } from './disk.ts';
import { World, type SimProcess } from './world.ts';

interface Machine {
  world: World;
  disk: SimDisk;
  owner: SimProcess;
  port: Disk;
}

function machine(seed = 1): Machine {
  const world = new World(seed);
  const disk = new SimDisk(world, { writeBack: 0 });
  const owner = world.process('writer');
  return { world, disk, owner, port: disk.mount(owner) };
}

function settle<T>(m: Machine, start: (done: (error: DiskError | undefined, value?: T) => void) => void): T {
  let out: { error: DiskError | undefined; value: T | undefined } | undefined;
  start((error, value) => (out = { error, value }));
  m.world.runUntil(() => out !== undefined, 1000);
  if (out === undefined) throw new Error('no answer');
  if (out.error !== undefined) throw new Error(out.error.code);
  return out.value as T;
}

function fileOf(m: Machine, path: string, bytes: string | Uint8Array, synced: boolean, folderSynced: boolean): DiskFile {
  const file = settle<DiskFile>(m, (done) => m.port.open(path, 'create', done));
  settle<void>(m, (done) => file.write([Buffer.from(bytes)], 0, done));
  if (synced) settle<void>(m, (done) => file.sync(done));
  if (folderSynced) settle<void>(m, (done) => m.port.syncFolder('.', done));
  return file;
}

function cut(m: Machine, keep: number): void {
  m.owner.kill();
  m.disk.powerCut(keep);
}

describe('simulated disk', () => {
  it('keeps synced bytes of a file in a synced folder over a power cut', () => {
    const m = machine();
    fileOf(m, 'a', 'hello', true, true);
    cut(m, 0);
    expect(m.disk.contents('a').toString()).toBe('hello');
  });

  it('loses unsynced bytes in a power cut and keeps them over a kill', () => {
    const m = machine();
    fileOf(m, 'a', 'hello', false, true);
    m.owner.kill();
    expect(m.disk.contents('a').toString()).toBe('hello');
    m.disk.powerCut(0);
    expect(m.disk.contents('a').length).toBe(0);
  });

  it('loses a synced file whose folder was not synced', () => {
    const m = machine();
    fileOf(m, 'a', 'hello', true, false);
    cut(m, 0);
    expect(m.disk.has('a')).toBe(false);
  });

  it('loses a file in a new folder whose parent was not synced', () => {
    const m = machine();
    settle<void>(m, (done) => m.port.makeFolder('log', done));
    const file = settle<DiskFile>(m, (done) => m.port.open('log/a', 'create', done));
    settle<void>(m, (done) => file.sync(done));
    settle<void>(m, (done) => m.port.syncFolder('log', done));
    cut(m, 0);
    expect(m.disk.files()).toEqual([]);
  });

  it('tears only sectors written since the last sync', () => {
    const sectors = 16;
    let torn = 0;
    for (let seed = 0; seed < 40; seed++) {
      const m = machine(seed);
      const file = fileOf(m, 'a', Buffer.alloc(sectors * SECTOR_BYTES, 1), true, true);
      settle<void>(m, (done) => file.write([Buffer.alloc(8 * SECTOR_BYTES, 2)], 4 * SECTOR_BYTES, done));
      cut(m, 0.5);
      const found = m.disk.contents('a');
      expect(found.length).toBe(sectors * SECTOR_BYTES);
      const kinds = new Set<number>();
      for (let sector = 0; sector < sectors; sector++) {
        const bytes = found.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
        expect(new Set(bytes).size).toBe(1);
        if (sector < 4 || sector >= 12) expect(bytes[0]).toBe(1);
        else kinds.add(bytes[0] as number);
      }
      if (kinds.size === 2) torn++;
    }
    expect(torn).toBeGreaterThan(20);
  });

  it('does not let a sync cover what was written after it began', () => {
    const m = machine();
    const file = fileOf(m, 'a', Buffer.alloc(SECTOR_BYTES, 1), true, true);
    let synced = false;
    let rewritten = false;
    let again = (): void => {};
    m.disk.onCall = (call: DiskCall) => {
      if (call.kind === 'sync') again = () => file.write([Buffer.alloc(SECTOR_BYTES, 2)], 0, () => (rewritten = true));
      return undefined;
    };
    file.sync(() => (synced = true));
    again();
    m.world.runUntil(() => synced && rewritten, 1000);
    cut(m, 0);
    expect(m.disk.contents('a')[0]).toBe(1);
  });

  it('leaves a prefix of a write that was in flight when its process died', () => {
    const lengths = new Set<number>();
    for (let seed = 0; seed < 60; seed++) {
      const m = machine(seed);
      const file = fileOf(m, 'a', '', true, true);
      file.write([Buffer.from('abcd'), Buffer.from('efgh')], 0, () => {});
      m.owner.kill();
      const found = m.disk.contents('a').toString();
      expect('abcdefgh'.startsWith(found)).toBe(true);
      lengths.add(found.length);
    }
    expect(lengths.size).toBeGreaterThan(4);
  });

  it('shows the old or the new file after a rename and a power cut, never neither', () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const m = machine(seed);
      fileOf(m, 'a', 'old', true, true);
      fileOf(m, 'a.tmp', 'new', true, true);
      settle<void>(m, (done) => m.port.rename('a.tmp', 'a', done));
      cut(m, 0.5);
      seen.add(m.disk.contents('a').toString());
    }
    expect([...seen].sort()).toEqual(['new', 'old']);
  });

  it('keeps a rename once the folder is synced', () => {
    const m = machine();
    fileOf(m, 'a', 'old', true, true);
    fileOf(m, 'b', 'new', true, true);
    settle<void>(m, (done) => m.port.rename('b', 'a', done));
    settle<void>(m, (done) => m.port.syncFolder('', done));
    cut(m, 0);
    expect(m.disk.files()).toEqual(['a']);
    expect(m.disk.contents('a').toString()).toBe('new');
  });

  it('shows new bytes after a failed sync, loses them in a power cut, and a later sync does not save them', () => {
    let lost = 0;
    for (let seed = 0; seed < 20; seed++) {
      const m = machine(seed);
      const file = fileOf(m, 'a', Buffer.alloc(SECTOR_BYTES, 1), true, true);
      settle<void>(m, (done) => file.write([Buffer.alloc(SECTOR_BYTES, 2)], 0, done));
      m.disk.onCall = (call) => (call.kind === 'sync' ? 'EIO' : undefined);
      expect(() => settle<void>(m, (done) => file.sync(done))).toThrow('EIO');
      m.disk.onCall = undefined;
      settle<void>(m, (done) => file.sync(done));
      expect(m.disk.contents('a')[0]).toBe(2);
      cut(m, 1);
      if (m.disk.contents('a')[0] === 1) lost++;
    }
    expect(lost).toBeGreaterThan(5);
  });

  it('refuses growth when full, and writes inside a preallocated file', () => {
    const m = machine();
    const file = fileOf(m, 'a', Buffer.alloc(2 * SECTOR_BYTES), true, true);
    m.disk.full = true;
    settle<void>(m, (done) => file.write([Buffer.from('x')], 5, done));
    expect(() => settle<void>(m, (done) => file.write([Buffer.from('xy')], 2 * SECTOR_BYTES - 1, done))).toThrow('ENOSPC');
    expect(() => settle<DiskFile>(m, (done) => m.port.open('b', 'create', done))).toThrow('ENOSPC');
  });

  it('changes the boot id over a power cut only', () => {
    const m = machine();
    const before = m.port.bootId();
    m.owner.kill();
    expect(m.disk.mount(m.world.process('next')).bootId()).toBe(before);
    m.disk.powerCut();
    expect(m.disk.bootId).not.toBe(before);
  });

  it('drops everything that was ever reported synced when syncs lie', () => {
    const m = machine();
    m.disk.lyingSync = true;
    fileOf(m, 'a', 'hello', true, true);
    cut(m, 0);
    expect(m.disk.files()).toEqual([]);
  });

  it('does the same for the same seed', () => {
    const run = (): number => {
      const m = machine(7);
      const file = fileOf(m, 'a', 'hello', true, true);
      file.write([Buffer.alloc(5000, 3)], 0, () => {});
      m.owner.kill();
      m.disk.powerCut();
      m.world.mix(m.disk.contents('a').length);
      return m.world.traceHash;
    };
    expect(run()).toBe(run());
  });
});
