import { describe, expect, it } from 'vitest';
import { Machine } from './machine.ts';

const SEGMENT = 16 * 1024;
const body = (n: number): string => `${n}:`.padEnd(1000, 'x');

/** Appends without a pause but the disk's. */
function flood(machine: Machine, segments: number): number {
  const { store } = machine;
  const until = store.info().appendedEnd + segments * SEGMENT;
  let largest = 0;
  for (let n = 0; store.info().appendedEnd < until; n++) {
    machine.put('orders', n % 3, body(n));
    const { start, appendedEnd } = store.info();
    largest = Math.max(largest, appendedEnd - start);
  }
  return largest;
}

const logFiles = (machine: Machine): number => machine.disk.files().filter((path) => path.startsWith('log/0')).length;

describe('deleting old segments by size', () => {
  it('keeps up with any rate of writing, without waiting for the clock', () => {
    const machine = new Machine(1, { storeMaxBytes: 8 * SEGMENT, retentionIntervalMs: 3_600_000 });
    machine.open();
    const largest = flood(machine, 60);
    expect(largest).toBeLessThan(12 * SEGMENT);
    machine.run(100);
    const { start, appendedEnd } = machine.store.info();
    expect(appendedEnd - start).toBeLessThanOrEqual(9 * SEGMENT);
    // The log, the prepared one; nothing is left over of those that went.
    expect(logFiles(machine)).toBeLessThanOrEqual(11);
    const indexFiles = machine.disk.files().filter((path) => path.startsWith('index/')).length;
    expect(indexFiles).toBeLessThanOrEqual(10);
    machine.kill();
    machine.open();
    expect(machine.store.info().start).toBe(start);
    expect(machine.readAll('orders', 0).at(-1)!.body).toMatch(/^\d+:x/);
    expect(machine.failures).toEqual([]);
  });

  it('takes all that may go in one round, once what held them lets go', () => {
    let floor = 0;
    const machine = new Machine(2, { storeMaxBytes: 4 * SEGMENT, retentionIntervalMs: 1000 }, { floor: () => floor });
    machine.open();
    flood(machine, 20);
    machine.run(5000);
    expect(machine.store.info().start).toBe(0);
    floor = 3 * SEGMENT;
    machine.run(1100);
    // Never past what is still needed.
    expect(machine.store.info().start).toBe(3 * SEGMENT);
    floor = Number.POSITIVE_INFINITY;
    machine.run(1100);
    const { start, appendedEnd } = machine.store.info();
    expect(appendedEnd - start).toBeLessThanOrEqual(5 * SEGMENT);
    expect(machine.failures).toEqual([]);
  });

  it('waits until the word that lets go is durable: it may be lost, and then what it let go is needed again', () => {
    let floor = 0;
    const options = { storeMaxBytes: 4 * SEGMENT, retentionIntervalMs: 100, flush: 'async', syncIntervalMs: 10_000 } as const;
    const machine = new Machine(4, options, { floor: () => floor });
    machine.open();
    flood(machine, 20);
    machine.run(20_000);
    machine.put('verdicts', 0, 'nobody needs it any more');
    floor = Number.POSITIVE_INFINITY;
    const { durableEnd, appendedEnd } = machine.store.info();
    expect(durableEnd).toBeLessThan(appendedEnd);
    machine.run(5_000);
    expect(machine.store.info()).toMatchObject({ start: 0, durableEnd });
    machine.run(10_000);
    expect(machine.store.info().start).toBeGreaterThan(0);
    expect(machine.store.info().durableEnd).toBeGreaterThanOrEqual(appendedEnd);
  });

  it('waits for a snapshot of what lies behind: while none can be written nothing goes', () => {
    const machine = new Machine(3, { storeMaxBytes: 4 * SEGMENT, retentionIntervalMs: 100 });
    machine.open();
    machine.disk.onCall = (call) => (call.path === 'snapshot/writing' && call.kind === 'write' ? 'ENOSPC' : undefined);
    const until = 20 * SEGMENT;
    for (let n = 0; machine.store.info().appendedEnd < until; n++) {
      machine.append('orders', 0, body(n), { mayUseReserve: true });
      machine.run(20);
    }
    expect(machine.store.info()).toMatchObject({ start: 0 });
    machine.disk.onCall = undefined;
    machine.run(2000);
    flood(machine, 4);
    machine.run(200);
    const { start, appendedEnd } = machine.store.info();
    expect(appendedEnd - start).toBeLessThanOrEqual(6 * SEGMENT);
    machine.powerCut();
    machine.open();
    expect(machine.store.info().start).toBe(start);
  });
});
