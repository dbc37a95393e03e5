import { describe, expect, it } from 'vitest';
import type { GivenStoreOptions } from '../../src/store/options.ts';
import { Machine, type Outcome } from './machine.ts';

const POOLED: GivenStoreOptions = {
  flush: 'async',
  transientStorePoolEnable: true,
  segmentBytes: 1024 * 1024,
  tailBytes: 1024 * 1024,
};
const body = (n: number): string => `${n}:`.padEnd(200, 'x');

/** A machine that is up, and the number of its writes into the log since then. */
function pooled(seed: number, options: GivenStoreOptions = {}): { machine: Machine; writes: () => number } {
  const machine = new Machine(seed, { ...POOLED, ...options });
  machine.open();
  machine.run(500);
  let writes = 0;
  machine.disk.onCall = (call) => {
    if (call.kind === 'write' && /^log\/\d+$/.test(call.path)) writes++;
    return undefined;
  };
  return { machine, writes: () => writes };
}

/** Longer than a turn of the simulated loop, shorter than any call of the disk. */
const A_TURN_MS = 0.04;

/** Every write of the log into its segments takes an hour from now on; gives the function that ends it. */
function stall(machine: Machine): () => void {
  const { world, disk } = machine;
  const after = world.after.bind(world);
  let isStalled = false;
  disk.onCall = (call) => {
    isStalled = call.kind === 'write' && /^log\/\d+$/.test(call.path);
    return undefined;
  };
  world.after = (ms, run, owner) => {
    const isWrite = isStalled && ms < 5;
    isStalled = false;
    return after(isWrite ? 3_600_000 : ms, run, owner);
  };
  return () => {
    disk.onCall = undefined;
    world.after = after;
  };
}

const waiting = (outcomes: readonly Outcome[]): number => outcomes.filter(({ outcome }) => outcome === 'waiting').length;

describe('a transient store pool', () => {
  it('acknowledges at the end of the turn, before anything is written', () => {
    const { machine, writes } = pooled(1);
    const { outcome } = machine.put('orders', 0, body(0));
    expect(outcome).toBe('ok');
    expect(writes()).toBe(0);
    expect(machine.store.info()).toMatchObject({ writes: 0, waiting: 0 });
    expect(machine.store.info().pendingBytes).toBeGreaterThan(200);
  });

  it('commits what it has gathered after 200 ms', () => {
    const { machine, writes } = pooled(2);
    for (let n = 0; n < 5; n++) machine.put('orders', 0, body(n));
    machine.run(190);
    expect(writes()).toBe(0);
    machine.run(20);
    expect(writes()).toBe(1);
    expect(machine.store.info().pendingBytes).toBe(0);
  });

  it('commits as soon as four pages are full', () => {
    const { machine, writes } = pooled(3);
    const { appendedEnd } = machine.store.info();
    let before = 0;
    for (let n = 0; writes() === 0; n++) {
      before = machine.store.info().appendedEnd - appendedEnd;
      machine.put('orders', 0, body(n));
    }
    expect(before).toBeLessThan(16 * 1024);
    expect(machine.store.info().appendedEnd - appendedEnd).toBeGreaterThanOrEqual(16 * 1024);
  });

  it('shows readers what is committed and nothing more', () => {
    const { machine } = pooled(4);
    for (let n = 0; n < 5; n++) machine.put('orders', 0, body(n));
    const { position } = machine.put('orders', 0, body(5));
    expect(machine.store.queue('orders', 0)).toMatchObject({ nextOffset: 6, maxOffset: 0 });
    expect(machine.read('orders', 0, 0).result.status).toBe('empty');
    expect(machine.record(position).error).toMatch('there is no message');
    expect(machine.arrived).toEqual([]);
    machine.run(250);
    expect(machine.readAll('orders', 0)).toHaveLength(6);
    expect(machine.record(position).message?.body).toBe(body(5));
    expect(machine.arrived.at(-1)).toEqual({ topic: 'orders', queueId: 0, maxOffset: 6 });
  });

  it('writes and syncs at once for an append that has to last, and for all before it', () => {
    const { machine } = pooled(5);
    for (let n = 0; n < 5; n++) machine.put('orders', 0, body(n));
    const half = machine.append('halves', 0, 'half', { level: 'synced' });
    const control = machine.control(1, 'offset', 'synced');
    machine.run(20);
    expect([half.outcome, control.outcome]).toEqual(['ok', 'ok']);
    expect(machine.store.info()).toMatchObject({ writes: 1, syncs: 1, pendingBytes: 0, unsyncedBytes: 0 });
    machine.powerCut(0);
    machine.open();
    expect(machine.readAll('orders', 0)).toHaveLength(5);
    expect(machine.readAll('halves', 0)).toHaveLength(1);
  });

  it('loses what it acknowledged and had not committed when the process is killed; without a pool nothing is lost', () => {
    for (const isPooled of [true, false]) {
      const { machine } = pooled(6, { transientStorePoolEnable: isPooled });
      for (let n = 0; n < 5; n++) machine.put('orders', 0, body(n));
      machine.run(250);
      for (let n = 5; n < 9; n++) expect(machine.put('orders', 0, body(n)).outcome).toBe('ok');
      machine.kill();
      machine.open();
      expect(machine.readAll('orders', 0)).toHaveLength(isPooled ? 5 : 9);
    }
  });

  it('closes without a loss', () => {
    const { machine } = pooled(7);
    for (let n = 0; n < 5; n++) machine.put('orders', 0, body(n));
    machine.close();
    expect(machine.open().clean).toBe(true);
    expect(machine.readAll('orders', 0)).toHaveLength(5);
  });

  it('counts down its buffers while the disk takes nothing, then lets appends wait for their write, in order', () => {
    const { machine } = pooled(8, {
      transientStorePoolBufferBytes: 4096,
      transientStorePoolSize: 3,
      commitCommitLogLeastPages: 1,
    });
    expect(machine.store.availableBuffers()).toBe(3);
    const release = stall(machine);
    const outcomes: Outcome[] = [];
    const seen = new Set<number>();
    while (waiting(outcomes) === 0 && outcomes.length < 200) {
      outcomes.push(machine.append('orders', 0, body(outcomes.length)));
      machine.run(1);
      seen.add(machine.store.availableBuffers());
    }
    expect([...seen]).toEqual([2, 1, 0]);
    expect(machine.store.oldestWriteStartedMs()).toBeLessThan(machine.world.clock.monotonic());
    // Some forty fit into three buffers; the first beyond them waits.
    expect(outcomes.length).toBeGreaterThan(30);
    expect(outcomes.length).toBeLessThan(50);
    release();
    machine.kill();
    machine.open();
    // Of the write that hung some may have landed; what lay in buffers behind it is gone.
    expect(machine.readAll('orders', 0).length).toBeLessThan(20);
  });

  it('goes on as before when the disk does', () => {
    const { machine } = pooled(9, {
      transientStorePoolBufferBytes: 4096,
      transientStorePoolSize: 2,
      commitCommitLogLeastPages: 1,
    });
    const release = stall(machine);
    machine.append('orders', 0, body(0));
    const outcomes = Array.from({ length: 100 }, (_, n) => machine.append('orders', 0, body(n)));
    machine.run(300);
    expect(machine.store.availableBuffers()).toBe(0);
    expect(waiting(outcomes)).toBeGreaterThan(50);
    release();
    machine.run(3_700_000);
    expect(waiting(outcomes)).toBe(0);
    expect(machine.store.availableBuffers()).toBe(1);
    expect(machine.store.oldestWriteStartedMs()).toBeUndefined();
    const { writes } = machine.store.info();
    expect(machine.put('orders', 0, 'more').outcome).toBe('ok');
    expect(machine.store.info().writes).toBe(writes);
  });

  it('refuses what finds no buffer when it is told to fail fast, but not what settles earlier promises', () => {
    const { machine } = pooled(10, {
      transientStorePoolBufferBytes: 4096,
      transientStorePoolSize: 2,
      commitCommitLogLeastPages: 1,
      fastFailIfNoBufferInStorePool: true,
    });
    const outcomes = Array.from({ length: 40 }, (_, n) => machine.append('orders', 0, body(n)));
    const busy = outcomes.filter(({ outcome }) => outcome === 'busy').length;
    expect(busy).toBeGreaterThan(5);
    expect(machine.append('orders', 0, body(40), { mayUseReserve: true, level: 'synced' }).outcome).toBe('waiting');
    machine.run(300);
    expect(machine.readAll('orders', 0)).toHaveLength(41 - busy);
    expect(machine.put('orders', 0, body(41)).outcome).toBe('ok');
  });

  it('waits for the write in a segment that has no file yet: the disk may have no room for it', () => {
    const { machine } = pooled(11, { segmentBytes: 16 * 1024, transientStorePoolSize: 100, reserveBytes: 8192 });
    machine.disk.full = true;
    const outcomes: Outcome[] = [];
    while (waiting(outcomes) === 0 && outcomes.length < 200) {
      outcomes.push(machine.append('orders', 0, body(outcomes.length), { mayUseReserve: true }));
      machine.run(A_TURN_MS);
      if (waiting(outcomes) === 0) machine.run(5);
    }
    expect(machine.store.info()).toMatchObject({ isFull: true });
    expect(machine.store.availableBuffers()).toBeGreaterThan(50);
    machine.run(100);
    expect(waiting(outcomes)).toBe(0);
    expect(machine.readAll('orders', 0)).toHaveLength(outcomes.length);
  });

  it('is refused beside flush sync, with the reason', () => {
    expect(() => new Machine(12, { ...POOLED, flush: 'sync' }).open()).toThrow(
      'store: transientStorePoolEnable needs flush async: it acknowledges what lies in RAM',
    );
  });

  it('has infinitely many buffers when there is none', () => {
    const machine = new Machine(13, { flush: 'async' });
    machine.open();
    expect(machine.store.availableBuffers()).toBe(Number.POSITIVE_INFINITY);
  });
});
