import { describe, expect, it } from 'vitest';
import { Connection } from '../../src/connection.ts';
import { Admission } from '../../src/flow-control/admission.ts';
import { StoreGate } from '../../src/flow-control/store-gate.ts';

const peer = { remote: '10.0.0.1:5', pause: () => {}, resume: () => {} };
const MIB = 1024 * 1024;

/** A store that answers 10,000 bytes a ms, one ms at a time, of what it was given `backlogMs` ago. */
class Yard {
  readonly admission = new Admission(1e9, 1e12);
  readonly connection = new Connection(peer as never);
  readonly gate: StoreGate;
  waitMs = 0;
  nowMs = 1000;

  constructor(flush: 'sync' | 'async') {
    const store = { unsyncedBytes: 0, oldestWaitMs: () => this.waitMs };
    this.gate = new StoreGate(store, this.admission, { flush, unsyncedBytesMax: 1024 * MIB, storeBacklogMs: 50 });
    this.admission.enter(this.connection, 8 * MIB);
  }

  run(ms: number, waitMs: number, turnMs = 0): this {
    this.waitMs = waitMs;
    for (let n = 0; n < ms; n++) {
      this.nowMs++;
      this.admission.leave(this.connection, 10_000);
      this.admission.enter(this.connection, 10_000);
      this.gate.look(this.nowMs, turnMs);
    }
    return this;
  }

  /** Bytes it may have in all. */
  get given(): number {
    return Math.round(this.gate.room + this.admission.bytes);
  }
}

describe('a store that is behind', () => {
  it('is given 30 ms of work when it only writes, for as long as it waits half as long as it may', () => {
    const yard = new Yard('async').run(600, 20);
    expect(yard.given).toBe(1024 * MIB);
    expect(yard.run(1, 50).given).toBe(300_000);
    expect(yard.run(5000, 25).given).toBe(300_000);
    expect(yard.run(490, 24).given).toBe(300_000);
    expect(yard.run(20, 24).given).toBe(1024 * MIB);
  });

  it('is given 50 ms of work when it syncs, and twice as much once it waits less', () => {
    const yard = new Yard('sync').run(600, 20);
    expect(yard.run(1, 50).given).toBe(500_000);
    expect(yard.run(490, 40).given).toBe(1_000_000);
    expect(yard.run(20, 40).given).toBe(1024 * MIB);
  });

  it('is none whose answers only lay unread while the broker was at work', () => {
    const yard = new Yard('async').run(600, 20);
    expect(yard.run(100, 90, 45).given).toBe(1024 * MIB);
    expect(yard.run(1, 90, 40).given).toBe(300_000);
  });
});
