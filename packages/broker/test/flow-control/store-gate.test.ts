import { describe, expect, it } from 'vitest';
import { Connection } from '../../src/connection.ts';
import { Admission } from '../../src/flow-control/admission.ts';
import { StoreGate } from '../../src/flow-control/store-gate.ts';

const peer = { remote: '10.0.0.1:5', pause: () => {}, resume: () => {} };
const MIB = 1024 * 1024;

/** A disk with one write under way, which took all there was when it began. It is offered more than the gate lets through. */
class Yard {
  readonly admission = new Admission(1e9, 1e12);
  readonly connection = new Connection(peer as never);
  readonly gate: StoreGate;
  /** What every write takes, and what it takes per ms beyond that. */
  fixedMs = 1;
  bytesPerMs = 300_000;
  messageBytes = 1000;
  isOffered = true;
  nowMs = 1000;
  doneBytes = 0;
  #written: { bytes: number; sinceMs: number } | undefined;
  #writtenMs = 0;
  #waiting = { bytes: 0, sinceMs: 0 };

  constructor(flush: 'sync' | 'async') {
    const oldestWaitMs = (): number => {
      if (this.#written !== undefined) return this.nowMs - this.#written.sinceMs;
      return this.#waiting.bytes > 0 ? this.nowMs - this.#waiting.sinceMs : 0;
    };
    const limits = { unsyncedBytesMax: 64 * MIB, storeBacklogMs: 50 };
    this.gate = new StoreGate({ unsyncedBytes: 0, oldestWaitMs }, this.admission, { flush, ...limits });
  }

  run(ms: number, turnMs = 0): this {
    for (let n = 0; n < ms; n++) {
      this.nowMs++;
      if (this.#written !== undefined && this.nowMs >= this.#writtenMs) {
        this.admission.leave(this.connection, this.#written.bytes);
        this.doneBytes += this.#written.bytes;
        this.#written = undefined;
      }
      this.#write();
      this.gate.look(this.nowMs, turnMs);
      const messages = Math.min(Math.ceil(this.gate.room / this.messageBytes), Math.ceil(150_000 / this.messageBytes));
      if (this.isOffered && messages > 0) this.#add(messages * this.messageBytes);
      this.#write();
    }
    return this;
  }

  /** Bytes per ms that it takes in the next so many ms. */
  speedIn(ms: number): number {
    const before = this.doneBytes;
    this.run(ms);
    return (this.doneBytes - before) / ms;
  }

  /** Bytes it may have in all, on average. */
  givenIn(ms: number): number {
    let sum = 0;
    for (let n = 0; n < ms; n++) sum += this.run(1).given;
    return sum / ms;
  }

  get given(): number {
    return Math.round(this.gate.room + this.admission.bytes);
  }

  #add(bytes: number): void {
    if (this.#waiting.bytes === 0) this.#waiting.sinceMs = this.nowMs;
    this.#waiting.bytes += bytes;
    this.admission.enter(this.connection, bytes);
  }

  #write(): void {
    const { bytes } = this.#waiting;
    if (this.#written !== undefined || bytes === 0) return;
    this.#written = this.#waiting;
    this.#writtenMs = this.nowMs + Math.max(1, Math.round(this.fixedMs + bytes / this.bytesPerMs));
    this.#waiting = { bytes: 0, sinceMs: 0 };
  }

  /** So quick that nothing is behind, and then as slow as that. */
  slow(fixedMs: number, bytesPerMs = this.bytesPerMs): this {
    this.run(1500);
    this.fixedMs = fixedMs;
    this.bytesPerMs = bytesPerMs;
    return this;
  }
}

describe('a store that is behind', () => {
  it.each([
    [6_000, 180_000],
    [20_000, 600_000],
    [60_000, 1_800_000],
  ])('is given 30 ms of work when it only writes, at %i bytes a ms: %i', (bytesPerMs, bytes) => {
    const given = new Yard('async').slow(1, bytesPerMs).run(6000).givenIn(4000);
    expect(given).toBeGreaterThan(0.8 * bytes);
    expect(given).toBeLessThan(1.2 * bytes);
  });

  it('is given 50 ms of work when it syncs, and twice as much once it waits less', () => {
    const given = new Yard('sync').slow(1, 20_000).run(6000).givenIn(4000);
    expect(given).toBeGreaterThan(1_000_000);
    expect(given).toBeLessThan(2_200_000);
  });

  it.each(['async', 'sync'] as const)('is given all there is half a second after it was (%s)', (flush) => {
    const yard = new Yard(flush).slow(1, 20_000).run(6000);
    expect(yard.given).toBeLessThan(4 * MIB);
    yard.isOffered = false;
    expect(yard.run(1500).given).toBe(64 * MIB);
  });

  it('is none whose answers only lay unread while the broker was at work', () => {
    const yard = new Yard('async').slow(90, 300_000);
    expect(yard.run(80, 45).given).toBe(64 * MIB);
    expect(yard.run(1, 25).given).toBeLessThan(MIB);
  });
});

describe('a disk that takes long for every write, whatever it carries, after a quick start', () => {
  const slow = [13, 26, 28, 40, 60, 100].flatMap((ms) => [['async', ms] as const, ['sync', ms] as const]);

  it.each(slow)('is given enough to show its speed (%s, %i ms)', (flush, fixedMs) => {
    expect(new Yard(flush).slow(fixedMs).run(8000).speedIn(8000)).toBeGreaterThan(50_000);
  });

  it('is known for it by messages each of which is more than is tried', () => {
    const yard = new Yard('async');
    yard.messageBytes = MIB;
    expect(yard.slow(40).run(8000).speedIn(8000)).toBeGreaterThan(40_000);
  });

  it('is given no more than others when it has become quick', () => {
    const yard = new Yard('async').slow(60).run(8000);
    yard.fixedMs = 1;
    yard.bytesPerMs = 20_000;
    const given = yard.run(6000).givenIn(4000);
    expect(given).toBeGreaterThan(0.8 * 600_000);
    expect(given).toBeLessThan(1.2 * 600_000);
  });
});
