import type { Disk, DiskFile } from '@tallystick/base';
import { describe, expect, it } from 'vitest';
import { emptyGroup, readGroup } from '../../src/store/group-header.ts';
import type { GivenStoreOptions } from '../../src/store/options.ts';
import { Machine, messageOf } from './machine.ts';

interface Event {
  readonly what: 'write' | 'wrote' | 'through' | 'carried' | 'sync' | 'synced' | 'ack';
  readonly path: string;
  readonly from: number;
  readonly end: number;
}

/** A machine whose log's writes and syncs are noted as they begin and end. Temporary and reserve files do not count. */
function watched(seed: number, options: GivenStoreOptions = {}, isThrough = false): { machine: Machine; events: Event[] } {
  const machine = new Machine(seed, { segmentBytes: 64 * 1024, reserveBytes: 64 * 1024, ...options });
  const events: Event[] = [];
  const mount = machine.disk.mount.bind(machine.disk);
  machine.disk.mount = (owner) => {
    const disk = mount(owner);
    const names = new Map<DiskFile, string>();
    const note = (what: Event['what'], file: DiskFile, from = 0, end = 0): void => {
      const path = names.get(file)!;
      if (/^log\/\d+$/.test(path)) events.push({ what, path, from, end });
    };
    const watchedFile = (file: DiskFile): DiskFile => ({
      path: file.path,
      write(chunks, position, done) {
        const end = position + chunks.reduce((sum, chunk) => sum + chunk.length, 0);
        note('write', file, position, end);
        file.write(chunks, position, (error) => {
          note('wrote', file, position, end);
          done(error);
        });
      },
      ...(isThrough && {
        writeThrough(chunks, position, done) {
          const end = position + chunks.reduce((sum, chunk) => sum + chunk.length, 0);
          note('through', file, position, end);
          file.writeThrough!(chunks, position, (error) => {
            note('carried', file, position, end);
            done(error);
          });
        },
      }),
      sync(done) {
        note('sync', file);
        file.sync((error) => {
          note('synced', file);
          done(error);
        });
      },
      read: (into, position, done) => file.read(into, position, done),
      size: (done) => file.size(done),
      truncate: (bytes, done) => file.truncate(bytes, done),
      close: (done) => file.close(done),
    });
    const wrapped: Disk = {
      ...bound(disk),
      open: (path, mode, done) =>
        disk.open(path, mode, (error, file) => {
          if (error !== undefined) return done(error, file);
          names.set(file, path);
          done(undefined, watchedFile(file));
        }),
      rename: (from, to, done) => {
        for (const [file, path] of names) if (path === from) names.set(file, to);
        disk.rename(from, to, done);
      },
    };
    return wrapped;
  };
  return { machine, events };
}

function bound(disk: Disk): Disk {
  return {
    open: disk.open.bind(disk),
    makeFolder: disk.makeFolder.bind(disk),
    list: disk.list.bind(disk),
    rename: disk.rename.bind(disk),
    remove: disk.remove.bind(disk),
    syncFolder: disk.syncFolder.bind(disk),
    bootId: disk.bootId.bind(disk),
  };
}

/** Keeps a few appends in flight until `count` are acknowledged. */
function load(machine: Machine, events: Event[], count: number): void {
  let acked = 0;
  let sent = 0;
  const { store } = machine;
  const send = (): void => {
    const m = messageOf(store, 'orders', sent % 3, `${sent++}:`.padEnd(300, 'x'));
    store.append(m, 'flush', { appended: (_token, outcome, position) => told(outcome, position, m.recordBytes) }, 0);
  };
  const told = (outcome: string, position: number, bytes: number): void => {
    expect(outcome).toBe('ok');
    events.push({ what: 'ack', path: '', from: position, end: position + bytes });
    acked++;
    if (sent < count) send();
  };
  for (let n = 0; n < 12; n++) send();
  machine.until(() => acked === count);
}

describe('the write path', () => {
  it.each(['sync', 'async'] as const)('has one write of the log in flight at most, and one sync beside it (%s)', (flush) => {
    const { machine, events } = watched(1, { flush, syncIntervalMs: 5 });
    machine.open();
    events.length = 0;
    load(machine, events, 600);
    let writes = 0;
    let syncs = 0;
    let both = 0;
    for (const { what } of events) {
      if (what === 'write') writes++;
      if (what === 'wrote') writes--;
      if (what === 'sync') syncs++;
      if (what === 'synced') syncs--;
      expect(writes).toBeLessThanOrEqual(1);
      expect(syncs).toBeLessThanOrEqual(1);
      if (writes + syncs === 2) both++;
    }
    expect(both).toBeGreaterThan(0);
  });

  it('acknowledges after a sync that began when the write had returned', () => {
    const { machine, events } = watched(2);
    machine.open();
    events.length = 0;
    load(machine, events, 400);
    const bases = new Map<string, number>();
    let acks = 0;
    events.forEach((event, at) => {
      if (event.what !== 'ack') return;
      acks++;
      const wrote = events.findIndex((other) => other.what === 'wrote' && covers(other, event, bases));
      const sync = events.findIndex((other, n) => n > wrote && other.what === 'sync' && other.path === events[wrote]!.path);
      const synced = events.findIndex((other, n) => n > sync && other.what === 'synced' && other.path === events[wrote]!.path);
      expect(wrote).toBeGreaterThanOrEqual(0);
      expect(sync).toBeGreaterThan(wrote);
      expect(synced).toBeGreaterThan(sync);
      expect(at).toBeGreaterThan(synced);
    });
    expect(acks).toBe(400);
  });

  it('in asynchronous mode acknowledges after the whole write has returned, and syncs by the clock', () => {
    const { machine, events } = watched(3, { flush: 'async', syncIntervalMs: 200 });
    machine.open();
    events.length = 0;
    load(machine, events, 60);
    expect(events.filter(({ what }) => what === 'sync')).toEqual([]);
    events.forEach((event, at) => {
      if (event.what !== 'ack') return;
      const wrote = events.findIndex((other) => other.what === 'wrote' && covers(other, event, new Map()));
      expect(at).toBeGreaterThan(wrote);
      expect(wrote).toBeGreaterThanOrEqual(0);
    });
    machine.run(210);
    expect(events.filter(({ what }) => what === 'synced')).toHaveLength(1);
    expect(machine.store.info().unsyncedBytes).toBe(0);
  });

  it('puts all of one turn into one write', () => {
    const { machine, events } = watched(4, { groupBytes: 1024 });
    machine.open();
    events.length = 0;
    const outcomes = Array.from({ length: 30 }, (_, n) => machine.append('orders', 0, `${n}:`.padEnd(200, 'x')));
    machine.until(() => outcomes.every(({ outcome }) => outcome === 'ok'));
    expect(events.map(({ what }) => what)).toEqual(['write', 'wrote', 'sync', 'synced']);
    expect(machine.store.info().groups).toBeGreaterThan(5);
  });

  it('notes the durable end soon after the last sync, once, then leaves the disk alone', () => {
    const { machine } = watched(5);
    machine.open();
    machine.put('orders', 0, 'one');
    const { durableEnd } = machine.store.info();
    machine.run(60);
    const bytes = machine.disk.contents('log/00000000000000000000');
    const marker = emptyGroup();
    expect(readGroup(bytes, durableEnd, bytes.length, durableEnd, marker)).toBeUndefined();
    expect(marker).toMatchObject({ records: 0, flags: 1, durableUpTo: durableEnd });
    machine.run(1000);
    const { calls } = machine.disk;
    machine.run(60_000);
    expect(machine.disk.calls).toBe(calls);
  });

  it('lets every group say how far the log was durable when it was closed', () => {
    const { machine } = watched(6);
    machine.open();
    for (let n = 0; n < 5; n++) machine.put('orders', 0, `${n}`);
    const bytes = machine.disk.contents('log/00000000000000000000');
    const group = emptyGroup();
    for (let at = 4096; at < machine.store.info().durableEnd; at += group.total) {
      expect(readGroup(bytes, at, bytes.length, at, group)).toBeUndefined();
      expect(group.durableUpTo).toBe(at);
    }
  });
});

describe('a write that carries its own sync', () => {
  it('is one call for an append that comes alone', () => {
    const { machine, events } = watched(7, { flush: 'sync' }, true);
    machine.open();
    events.length = 0;
    for (let n = 0; n < 3; n++) {
      machine.put('orders', 0, `${n}`);
      expect(events.splice(0).map(({ what }) => what)).toEqual(['through', 'carried']);
      const { writtenEnd, durableEnd } = machine.store.info();
      expect(durableEnd).toBe(writtenEnd);
    }
    machine.powerCut(0);
    machine.open();
    expect(machine.readAll('orders', 0).map(({ body }) => body)).toEqual(['0', '1', '2']);
  });

  it('has no other write or sync beside it, and is followed by the acknowledgements', () => {
    const { machine, events } = watched(8, { flush: 'sync' }, true);
    machine.open();
    events.length = 0;
    load(machine, events, 400);
    const bases = new Map<string, number>();
    let open = 0;
    let acks = 0;
    events.forEach((event, at) => {
      if (['write', 'sync', 'through'].includes(event.what)) open++;
      if (['wrote', 'synced', 'carried'].includes(event.what)) open--;
      if (event.what === 'through') expect(open).toBe(1);
      if (event.what !== 'ack') return;
      acks++;
      const carried = events.findIndex((other) => other.what === 'carried' && covers(other, event, bases));
      expect(carried).toBeGreaterThanOrEqual(0);
      expect(at).toBeGreaterThan(carried);
    });
    expect(acks).toBe(400);
    expect(new Set(events.map(({ path }) => path)).size).toBeGreaterThan(2);
  });

  it('is not for much, so that the next write needs not wait for the device', () => {
    const { machine, events } = watched(9, { flush: 'sync' }, true);
    machine.open();
    events.length = 0;
    const outcomes = Array.from({ length: 30 }, (_, n) => machine.append('orders', 0, `${n}:`.padEnd(1000, 'x')));
    machine.until(() => outcomes.every(({ outcome }) => outcome === 'ok'));
    expect(events.map(({ what }) => what)).toEqual(['write', 'wrote', 'sync', 'synced']);
  });

  it('is not for a log whose appends wait for no sync', () => {
    const { machine, events } = watched(10, { flush: 'async' }, true);
    machine.open();
    events.length = 0;
    const both = [machine.append('orders', 0, 'a'), machine.append('orders', 0, 'b', { level: 'synced' })];
    machine.until(() => both.every(({ outcome }) => outcome === 'ok'));
    expect(events.map(({ what }) => what)).toEqual(['write', 'wrote', 'sync', 'synced']);
  });
});

function covers(write: Event, ack: Event, bases: Map<string, number>): boolean {
  let base = bases.get(write.path);
  if (base === undefined) bases.set(write.path, (base = Number(write.path.slice(4))));
  return base + write.from <= ack.from && base + write.end >= ack.end;
}
