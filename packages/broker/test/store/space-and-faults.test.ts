import { describe, expect, it } from 'vitest';
import { Machine, type Outcome } from './machine.ts';

const body = (n: number): string => `${n}:`.padEnd(200, 'x');

function bodies(machine: Machine): number {
  return machine.readAll('orders', 0).length;
}

describe('a full disk', () => {
  it('refuses sends, lets what settles earlier promises in, and goes on by itself when there is space', () => {
    const machine = new Machine(1);
    machine.open();
    machine.run(100);
    machine.disk.full = true;
    let accepted = 0;
    let refused = 0;
    for (let n = 0; n < 100 && refused === 0; n++) {
      const { outcome } = machine.put('orders', 0, body(n));
      if (outcome === 'ok') accepted++;
      else {
        expect(outcome).toBe('full');
        refused++;
      }
    }
    expect(refused).toBe(1);
    expect(machine.fullSignals).toEqual([true]);
    expect(machine.store.info()).toMatchObject({ state: 'open', isFull: true });
    // More than the rest of the present segment holds: the reserve takes over.
    for (let n = 0; n < 40; n++) {
      const control = machine.control(1, `settled ${n}`.padEnd(300, '.'), 'synced');
      machine.until(() => control.outcome !== 'waiting');
      expect(control.outcome).toBe('ok');
      expect(machine.put('orders', 0, body(accepted), { mayUseReserve: true, level: 'synced' }).outcome).toBe('ok');
      accepted++;
      if (machine.disk.files().every((path) => path !== 'log/reserve')) break;
    }
    expect(machine.disk.files()).not.toContain('log/reserve');
    expect(machine.put('orders', 0, 'no').outcome).toBe('full');
    expect(bodies(machine)).toBe(accepted);
    machine.disk.full = false;
    machine.until(() => machine.fullSignals.length === 2);
    expect(machine.fullSignals).toEqual([true, false]);
    expect(machine.put('orders', 0, body(accepted)).outcome).toBe('ok');
    for (let n = 0; n < 100; n++) expect(machine.put('orders', 0, body(n)).outcome).toBe('ok');
    machine.powerCut(0);
    machine.open();
    expect(bodies(machine)).toBe(accepted + 101);
    expect(machine.failures).toEqual([]);
  });

  it('that is nearly full refuses sends, lets in what settles earlier promises, and takes sends again when enough is free', () => {
    const machine = new Machine(17, { diskFreeBytesMin: 3000, diskUsedMaxPercent: 80, diskSpaceIntervalMs: 100 });
    let freeBytes = 2500;
    const mount = machine.disk.mount.bind(machine.disk);
    machine.disk.mount = (owner) =>
      Object.assign(mount(owner), {
        space: (done: (error: undefined, free: number, total: number) => void) => done(undefined, freeBytes, 10_000),
      });
    machine.open();
    // Little is free, but not a small share of the whole.
    expect(machine.put('orders', 0, body(0)).outcome).toBe('ok');
    freeBytes = 1999;
    machine.run(101);
    expect(machine.fullSignals).toEqual([true]);
    expect(machine.append('orders', 0, body(1)).outcome).toBe('full');
    expect(machine.store.together(500, false, () => expect.unreachable())).toBe('full');
    for (let n = 1; n < 100; n++) {
      expect(machine.put('orders', 0, body(n), { mayUseReserve: true, level: 'synced' }).outcome).toBe('ok');
      machine.run(5);
    }
    // Through several segments, and the reserve still stands by.
    expect(machine.store.info().segments).toBeGreaterThan(1);
    expect(machine.disk.files()).toContain('log/reserve');
    expect(machine.store.info().diskUsedRatio).toBeCloseTo(0.8001);
    freeBytes = 2400;
    machine.run(101);
    expect(machine.fullSignals).toEqual([true]);
    freeBytes = 2600;
    machine.run(101);
    expect(machine.fullSignals).toEqual([true, false]);
    expect(machine.put('orders', 0, body(100)).outcome).toBe('ok');
  });

  it('even the reserve ends: then everything is refused, nothing is lost', () => {
    const machine = new Machine(2);
    machine.open();
    machine.run(100);
    machine.disk.full = true;
    let accepted = 0;
    let outcome = 'ok';
    while (outcome === 'ok') {
      outcome = machine.put('orders', 0, body(accepted), { mayUseReserve: true }).outcome;
      if (outcome === 'ok') accepted++;
    }
    expect(outcome).toBe('full');
    machine.kill();
    machine.open();
    expect(bodies(machine)).toBe(accepted);
    machine.disk.full = false;
    machine.until(() => !machine.store.info().isFull, 5000);
    machine.run(2000);
    expect(machine.put('orders', 0, 'more').outcome).toBe('ok');
  });

  it('during a snapshot it is a state that passes, too', () => {
    const machine = new Machine(3);
    machine.open();
    machine.run(100);
    machine.put('orders', 0, 'one');
    machine.disk.full = true;
    let told: string | undefined | null = null;
    machine.store.snapshotNow((error) => {
      told = error;
    });
    machine.until(() => told !== null);
    expect(told).toMatch('ENOSPC');
    expect(machine.store.info().isFull).toBe(true);
    machine.disk.full = false;
    machine.until(() => !machine.store.info().isFull);
    expect(machine.failures).toEqual([]);
  });
});

describe('a process with too many open files', () => {
  it.each(['EMFILE', 'ENFILE'])('is full until it may open files again, and loses nothing (%s)', (code) => {
    const machine = new Machine(6, { syncFlushTimeoutMs: 60_000 });
    machine.open();
    machine.run(100);
    machine.disk.onCall = (call) => (call.kind === 'open' || call.kind === 'create' ? code : undefined);
    let accepted = 0;
    let { outcome } = machine.put('orders', 0, body(accepted));
    while (outcome === 'ok') ({ outcome } = machine.put('orders', 0, body(++accepted)));
    expect(outcome).toBe('full');
    expect(machine.fullSignals).toEqual([true]);
    // Even what settles earlier promises has to wait for the reserve; it is not refused for ever.
    const settled = Array.from({ length: 60 }, (_, n) => machine.append('orders', 0, body(n), { mayUseReserve: true }));
    machine.run(3000);
    expect(machine.shortOfFiles.length).toBeGreaterThan(2);
    expect(machine.shortOfFiles.length).toBeLessThan(100);
    for (const sentence of machine.shortOfFiles)
      expect(sentence).toMatch(/has to wait: .*; the process may open too few files \(ulimit -n\): let it open more$/);
    machine.disk.onCall = undefined;
    machine.until(() => settled.every((one) => one.outcome !== 'waiting') && !machine.store.info().isFull);
    accepted += settled.filter((one) => one.outcome === 'ok').length;
    for (let n = 0; n < 100; n++) expect(machine.put('orders', 0, body(n)).outcome).toBe('ok');
    expect(machine.failures).toEqual([]);
    machine.powerCut(0);
    machine.open();
    expect(bodies(machine)).toBe(accepted + 100);
  });

  it('closes the file whose folder could not be synced, and makes it again', () => {
    const machine = new Machine(7);
    machine.open();
    machine.run(100);
    let opened = 0;
    machine.disk.onCall = (call) => {
      if (call.path === 'log/preparing' && call.kind === 'create') opened++;
      if (call.kind === 'close') opened--;
      return call.kind === 'sync-folder' ? 'EMFILE' : undefined;
    };
    for (let n = 0; n < 60; n++) machine.append('orders', 0, body(n));
    machine.run(5000);
    expect(machine.shortOfFiles.length).toBeGreaterThan(2);
    expect(opened).toBeLessThanOrEqual(1);
    machine.disk.onCall = undefined;
    machine.run(5000);
    for (let n = 0; n < 100; n++) expect(machine.put('orders', 0, body(n)).outcome).toBe('ok');
    expect(machine.failures).toEqual([]);
  });
});

describe('an index file', () => {
  it('that found no space is written later, so that its segment can go one day', () => {
    const machine = new Machine(5, { storeMaxBytes: 32 * 1024, retentionIntervalMs: 100, snapshotsKept: 2 });
    machine.open();
    machine.disk.onCall = (call) => (call.path === 'index/writing' && call.kind === 'write' ? 'ENOSPC' : undefined);
    for (let n = 0; n < 70; n++) machine.append('orders', 0, body(n), { mayUseReserve: true });
    machine.run(500);
    expect(machine.store.info().segments).toBeGreaterThan(1);
    machine.disk.onCall = undefined;
    machine.run(5000);
    let sent = 0;
    for (let n = 0; n < 600; n++) {
      if (machine.put('orders', 0, body(n)).outcome === 'ok') sent++;
      machine.run(50);
    }
    expect(sent).toBe(600);
    expect(machine.store.info().start).toBeGreaterThan(0);
    expect(machine.failures).toEqual([]);
  });
});

/** The start would refuse, so the sentence of a failure says what to do first. */
const AFTER = 'then remove the file FSYNC_FAILED from the data folder and start again';

describe('a failing disk', () => {
  it.each(['EIO', 'ENOSPC'])('a write into a prepared segment that fails with %s ends all appends for ever', (code) => {
    const machine = new Machine(4);
    machine.open();
    machine.put('orders', 0, body(0));
    machine.disk.onCall = (call) => (call.kind.startsWith('write') && call.path.startsWith('log/0') ? code : undefined);
    const waiting = [machine.append('orders', 0, body(1)), machine.append('orders', 0, body(2), { level: 'synced' })];
    machine.until(() => waiting.every(({ outcome }) => outcome !== 'waiting'));
    expect(waiting.map(({ outcome }) => outcome)).toEqual(['failed', 'failed']);
    const step = code === 'EIO' ? 'check the disk' : 'make room on the disk';
    expect(machine.failures).toEqual([
      expect.stringMatching(new RegExp(`^write of log/0+ failed: ${code}.*; ${step}; ${AFTER}$`)),
    ]);
    machine.disk.onCall = undefined;
    expect(machine.append('orders', 0, 'later').outcome).toBe('failed');
    expect(machine.store.together(100, true, () => {})).toBe('failed');
    // What was acknowledged can still be read.
    expect(bodies(machine)).toBe(1);
    machine.run(100);
    expect(machine.disk.contents('FSYNC_FAILED').toString()).toMatch(code);
  });

  it('a sync that fails once ends all appends for ever, also those whose write had returned', () => {
    const machine = new Machine(5, { flush: 'async' });
    machine.open();
    machine.put('orders', 0, body(0));
    machine.disk.onCall = (call) => (call.kind === 'sync' ? 'EIO' : undefined);
    const written = machine.append('orders', 0, body(1));
    const synced = machine.append('orders', 0, body(2), { level: 'synced' });
    machine.until(() => synced.outcome !== 'waiting');
    machine.disk.onCall = undefined;
    expect([written.outcome, synced.outcome]).toEqual(['ok', 'failed']);
    expect(machine.store.info().state).toBe('failed');
    machine.run(10_000);
    expect(machine.append('orders', 0, 'later').outcome).toBe('failed');
    let closed: unknown = null;
    machine.store.close((error) => {
      closed = error;
    });
    machine.until(() => closed !== null);
    expect(closed).toMatchObject({ kind: 'io' });
  });

  it('a sync that fails while the store closes is reported, and the store is not marked clean', () => {
    const machine = new Machine(6);
    machine.open();
    machine.append('orders', 0, body(0));
    machine.disk.onCall = ({ kind, path }) =>
      (kind === 'sync' || kind === 'write-through') && path.startsWith('log/') ? 'EIO' : undefined;
    let closed: unknown = null;
    machine.store.close((error) => {
      closed = error;
    });
    machine.until(() => closed !== null);
    expect(closed).toMatchObject({ kind: 'io' });
    machine.disk.onCall = undefined;
    machine.run(10);
    machine.kill();
    machine.disk.erase('FSYNC_FAILED');
    expect(machine.open().clean).toBe(false);
  });

  it('a store that the disk does not let finish is left as a crash would leave it', () => {
    const machine = new Machine(16);
    machine.open();
    machine.put('orders', 0, body(0));
    const last = machine.append('orders', 0, body(1));
    const { world } = machine;
    const after = world.after.bind(world);
    world.after = (ms, run, owner) => after(ms < 3 ? 1e6 : ms, run, owner);
    let closed: unknown = null;
    machine.store.close((error) => {
      closed = error;
    });
    machine.until(() => closed !== null);
    expect(closed).toMatchObject({
      kind: 'io',
      message: expect.stringMatching(/not closed cleanly: \d+ bytes could not be brought to the disk in 10000 ms/),
    });
    expect(last.outcome).toBe('timeout');
    expect(machine.store.info().state).toBe('closed');
    machine.kill();
    world.after = after;
    expect(machine.open().clean).toBe(false);
    expect(bodies(machine)).toBeGreaterThanOrEqual(1);
  });

  it('a stalled sync lets appends time out as perhaps stored; they are stored when it ends', () => {
    const machine = new Machine(7);
    machine.open();
    machine.put('orders', 0, body(0));
    machine.disk.syncStallMs = 6000;
    const hung = machine.append('orders', 0, body(1));
    machine.until(() => hung.outcome !== 'waiting');
    expect(hung.outcome).toBe('timeout');
    machine.disk.syncStallMs = 0;
    machine.run(20_000);
    expect(bodies(machine)).toBe(2);
    expect(machine.put('orders', 0, body(2)).queueOffset).toBe(2);
  });

  it('a read that fails is an error for that read only, and skips nothing', () => {
    const machine = new Machine(8);
    machine.open();
    for (let n = 0; n < 100; n++) machine.put('orders', 0, body(n));
    machine.disk.onCall = (call) => (call.kind === 'read' && call.path === 'log/00000000000000000000' ? 'EIO' : undefined);
    const { result } = machine.read('orders', 0, 0);
    expect(result).toMatchObject({ status: 'error', nextOffset: 0, count: 0 });
    expect(result.reason).toMatch(/log\/0+ cannot be read at byte \d+/);
    expect(machine.record(4144).error).toMatch('cannot be read');
    expect(machine.put('orders', 0, body(100)).outcome).toBe('ok');
    machine.disk.onCall = undefined;
    expect(bodies(machine)).toBe(101);
  });

  it('rot in a sealed segment is noticed when it is read', () => {
    const machine = new Machine(9);
    machine.open();
    for (let n = 0; n < 100; n++) machine.put('orders', 0, body(n));
    machine.close();
    machine.disk.flipBit('log/00000000000000000000', 4096 + 48 + 120, 2);
    machine.open();
    const { result } = machine.read('orders', 0, 0);
    expect(result).toMatchObject({ status: 'error', nextOffset: 0 });
    expect(result.reason).toMatch('the record at position 4144 (orders:0 offset 0, 297 bytes) is damaged: body checksum differs');
    expect(machine.read('orders', 0, 1).messages[0]!.offset).toBe(1);
  });
});

describe('limits', () => {
  it('appends are refused as busy when too much waits to be written', () => {
    const machine = new Machine(10, { pendingBytesMax: 4096 });
    machine.open();
    const outcomes = Array.from({ length: 20 }, (_, n) => machine.append('orders', 0, body(n)));
    const busy = outcomes.filter(({ outcome }) => outcome === 'busy');
    expect(busy.length).toBeGreaterThan(3);
    expect(busy.every(({ position }) => position === -1)).toBe(true);
    machine.until(() => outcomes.every(({ outcome }) => outcome !== 'waiting'));
    expect(bodies(machine)).toBe(20 - busy.length);
  });

  it('a record or a decision that fits no segment is refused as a whole', () => {
    const machine = new Machine(11);
    machine.open();
    expect(machine.append('orders', 0, 'x'.repeat(16 * 1024)).outcome).toBe('too-large');
    expect(machine.store.together(16 * 1024, false, () => expect.unreachable())).toBe('too-large');
    expect(machine.put('orders', 0, 'x'.repeat(8 * 1024)).outcome).toBe('ok');
    machine.run(100);
    expect(machine.put('orders', 0, 'x'.repeat(8 * 1024)).outcome).toBe('ok');
    expect(bodies(machine)).toBe(2);
  });

  it('writing waits while too much is unsynced', () => {
    const machine = new Machine(12, {
      segmentBytes: 64 * 1024,
      flush: 'async',
      unsyncedBytesMax: 4096,
      syncIntervalMs: 60_000,
      pendingBytesMax: 1024 * 1024,
    });
    machine.open();
    const outcomes: Outcome[] = [];
    for (let n = 0; n < 60; n++) {
      outcomes.push(machine.append('orders', 0, body(n)));
      if (n % 10 === 9) machine.run(0.1);
    }
    let most = 0;
    machine.until(() => {
      most = Math.max(most, machine.store.info().unsyncedBytes);
      return outcomes.every(({ outcome }) => outcome === 'ok');
    });
    expect(machine.store.info().syncs).toBeGreaterThan(1);
    expect(most).toBeLessThan(32 * 1024);
  });
});

describe('retention', () => {
  it('deletes the oldest segments beyond the size limit; offsets never start again', () => {
    const machine = new Machine(13, { storeMaxBytes: 48 * 1024, retentionIntervalMs: 100 });
    machine.open();
    for (let n = 0; n < 300; n++) machine.put('orders', 0, body(n));
    machine.put('rare', 0, 'only once');
    machine.run(3000);
    const { start, appendedEnd } = machine.store.info();
    expect(start).toBeGreaterThan(0);
    expect(appendedEnd - start).toBeLessThan(100 * 1024);
    const first = machine.store.queue('orders', 0).minOffset;
    expect(first).toBeGreaterThan(100);
    expect(machine.read('orders', 0, 0).result).toMatchObject({ status: 'too-small', nextOffset: first });
    expect(machine.disk.has('log/00000000000000000000')).toBe(false);
    expect(machine.disk.has('index/00000000000000000000')).toBe(false);
    for (const end of ['close', 'kill', 'cut'] as const) {
      if (end === 'close') machine.close();
      else if (end === 'kill') machine.kill();
      else machine.powerCut(0);
      machine.open();
      expect(machine.store.queue('orders', 0).minOffset).toBeGreaterThanOrEqual(first);
      expect(machine.readAll('orders', 0).map((message) => message.body.split(':')[0])).toEqual(
        Array.from({ length: 300 - machine.store.queue('orders', 0).minOffset }, (_, n) =>
          String(n + machine.store.queue('orders', 0).minOffset),
        ),
      );
      expect(machine.store.queue('orders', 0).nextOffset).toBe(300);
    }
    for (let n = 0; n < 300; n++) machine.put('payments', 0, body(n));
    machine.run(5000);
    // Nothing of the queue is left, and still the next offset is what it was.
    expect(machine.store.queue('rare', 0)).toMatchObject({ minOffset: 1, maxOffset: 1 });
    expect(machine.put('rare', 0, 'again').queueOffset).toBe(1);
  });

  it('deletes nothing that the owner protects, nor what is younger than the limit', () => {
    let floor = 0;
    const machine = new Machine(14, { storeMaxBytes: 16 * 1024, retentionIntervalMs: 100 }, { floor: () => floor });
    machine.open();
    for (let n = 0; n < 200; n++) machine.put('orders', 0, body(n));
    machine.run(3000);
    expect(machine.store.info().start).toBe(0);
    floor = machine.store.floorOf(machine.store.queue('orders', 0), 40);
    machine.run(3000);
    expect(machine.store.info().start).toBe(floor);
    expect(machine.store.queue('orders', 0).minOffset).toBeLessThanOrEqual(40);
  });

  it('goes by age, one segment at a time', () => {
    const machine = new Machine(15, { reservedHours: 1, retentionIntervalMs: 1000 });
    machine.open();
    for (let n = 0; n < 200; n++) machine.put('orders', 0, body(n));
    machine.run(10_000);
    expect(machine.store.info().start).toBe(0);
    const { segments } = machine.store.info();
    machine.world.jumpWallClock(2 * 3_600_000);
    machine.run(1001);
    expect(machine.store.info().segments).toBe(segments - 1);
  });
});
