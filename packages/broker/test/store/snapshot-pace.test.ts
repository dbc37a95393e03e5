import { describe, expect, it } from 'vitest';
import type { Derived } from '../../src/store/store-types.ts';
import { Machine } from './machine.ts';

const SEGMENT = 16 * 1024;
const LARGE = 100 * 1024;

/** A state of a given size that counts how often it was asked for. */
class Bulk implements Derived {
  readonly name = 'bulk';
  readonly records = 'control';
  taken = 0;
  bytes: number;

  constructor(bytes: number) {
    this.bytes = bytes;
  }

  apply(): void {}

  snapshot(): Uint8Array {
    this.taken++;
    return Buffer.alloc(this.bytes, this.taken);
  }

  restore(bytes: Uint8Array): void {
    expect(bytes).toHaveLength(this.bytes);
  }
}

function flood(machine: Machine, bytes: number): void {
  const until = machine.store.info().appendedEnd + bytes;
  for (let n = 0; machine.store.info().appendedEnd < until; n++)
    expect(machine.put('orders', 0, `${n}:`.padEnd(1000, 'x')).outcome).toBe('ok');
  machine.run(100);
}

describe('snapshots while segments are filled', () => {
  it('are taken at each one when they are small, and are rarer the larger they are', () => {
    const bulk = new Bulk(100);
    const machine = new Machine(1, {}, {}, () => [bulk]);
    machine.open();
    flood(machine, 30 * SEGMENT);
    expect(bulk.taken).toBeGreaterThanOrEqual(29);
    bulk.bytes = LARGE;
    flood(machine, SEGMENT);
    bulk.taken = 0;
    flood(machine, 3 * 4 * LARGE);
    expect(bulk.taken).toBe(2);
    bulk.bytes = 100;
    flood(machine, 4 * LARGE);
    bulk.taken = 0;
    flood(machine, 30 * SEGMENT);
    expect(bulk.taken).toBeGreaterThanOrEqual(29);
    expect(machine.failures).toEqual([]);
  });

  it('are never so rare that a start after a crash reads more than four times their size and two segments', () => {
    const machine = new Machine(2, {}, {}, () => [new Bulk(LARGE)]);
    machine.open();
    let largest = 0;
    for (let crash = 0; crash < 8; crash++) {
      flood(machine, (3 + 5 * crash) * SEGMENT);
      if (crash % 2 === 0) machine.kill();
      else machine.powerCut();
      largest = Math.max(largest, machine.open().scannedBytes);
    }
    expect(largest).toBeLessThanOrEqual(4 * (LARGE + 4096) + 2 * SEGMENT);
    expect(largest).toBeGreaterThan(10 * SEGMENT);
  });

  it('are as frequent as a small store needs, so that its old segments may go', () => {
    const machine = new Machine(3, { storeMaxBytes: 12 * SEGMENT, snapshotsKept: 2 }, {}, () => [new Bulk(LARGE)]);
    machine.open();
    flood(machine, 60 * SEGMENT);
    const { start, appendedEnd } = machine.store.info();
    expect(appendedEnd - start).toBeLessThanOrEqual(13 * SEGMENT);
  });

  it('of which one found no space are taken again at the next segment', () => {
    const bulk = new Bulk(LARGE);
    const machine = new Machine(4, {}, {}, () => [bulk]);
    machine.open();
    machine.disk.onCall = (call) => (call.path === 'snapshot/writing' && call.kind === 'write' ? 'ENOSPC' : undefined);
    while (bulk.taken === 0) {
      machine.append('orders', 0, 'x'.repeat(1000), { mayUseReserve: true });
      machine.run(20);
    }
    machine.run(200);
    expect(machine.fullSignals).toContain(true);
    machine.disk.onCall = undefined;
    machine.until(() => !machine.store.info().isFull);
    flood(machine, 2 * SEGMENT);
    expect(bulk.taken).toBe(2);
    expect(machine.disk.files().filter((path) => path.startsWith('snapshot/0'))).toHaveLength(1);
    expect(machine.failures).toEqual([]);
  });
});
