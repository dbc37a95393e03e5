import type { Wire } from '@tallystick/base';
import { ManualTime } from '@tallystick/base/testing';
import { Peer } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { Connection } from '../../src/connection.ts';
import { ReadBudget } from '../../src/flow-control/read-budget.ts';

const WHOLE = new Uint8Array(128 * 1024);
const SHORT = new Uint8Array(500);

/** Connections whose chunks take time to handle, and what became of their reading. */
class Yard {
  readonly time = new ManualTime();
  readonly handled: number[] = [];
  readonly log: string[] = [];
  readonly budget: ReadBudget;
  begun = 0;
  spent = 0;
  msPerChunk = 2;
  readonly peers: { isOpen: boolean; congested: boolean; state: Connection; pause(): void; resume(): void }[] = [];
  readonly wires: Wire[] = [];
  nowMs = 0;

  constructor(connections: number) {
    this.budget = new ReadBudget(
      { now: () => 0, monotonic: () => this.nowMs },
      () => this.begun++,
      () => this.spent++,
    );
    for (let n = 0; n < connections; n++) this.#add(n);
  }

  #add(n: number): void {
    const peer = { isOpen: true, congested: false, pause: () => {}, resume: () => {}, state: undefined as never as Connection };
    peer.state = new Connection(peer as unknown as Peer);
    const wire = {
      remote: `10.0.0.${n}:1`,
      pause: () => void this.log.push(`-${n}`),
      resume: () => void this.log.push(`+${n}`),
      onBytes: (): void => {
        this.handled.push(n);
        this.nowMs += this.msPerChunk;
      },
    } as unknown as Wire;
    this.peers.push(peer);
    this.wires.push(wire);
    this.budget.watch(peer as unknown as Peer, wire);
  }

  read(n: number, chunk: Uint8Array): void {
    this.wires[n]!.onBytes(chunk);
  }

  /** What was logged since the last time. */
  seen(): string {
    return this.log.splice(0).join(' ');
  }

  end(rests: (peer: Peer) => boolean = () => false): void {
    this.budget.end(rests);
  }
}

describe('one turn', () => {
  it('reads for 5 ms; then those that have more to say rest, and those it has not come to are the first of the next', () => {
    const yard = new Yard(4);
    // In the first turn nobody is known yet.
    for (const n of [0, 1, 2, 3]) yard.read(n, WHOLE);
    expect(yard.seen()).toBe('-0 -1 -2 -3');
    yard.end();
    expect(yard.seen()).toBe('+0 +1 +2 +3');
    for (const n of [2, 0, 3]) yard.read(n, WHOLE);
    expect(yard.seen()).toBe('-1 -2 -0 -3');
    yard.end();
    expect(yard.seen()).toBe('+1 +2 +0 +3');
    expect(yard.begun).toBe(2);
  });

  it('tells once when its time is up, also when all say little', () => {
    const yard = new Yard(9);
    for (const n of [0, 1]) yard.read(n, SHORT);
    expect(yard.spent).toBe(0);
    for (const n of [2, 3, 4, 5]) yard.read(n, SHORT);
    expect(yard.spent).toBe(1);
    yard.end();
    yard.read(6, SHORT);
    expect([yard.begun, yard.spent]).toEqual([2, 1]);
    expect(yard.seen()).toBe('');
  });

  it('handles every chunk that it has read, to its end', () => {
    const yard = new Yard(3);
    for (const n of [0, 1, 2, 0, 1, 2]) yard.read(n, WHOLE);
    expect(yard.handled).toEqual([0, 1, 2, 0, 1, 2]);
  });

  it('stops nobody when it is short, and never a connection that says little', () => {
    const yard = new Yard(3);
    yard.msPerChunk = 1;
    for (let k = 0; k < 4; k++) yard.read(k % 2, WHOLE);
    yard.end();
    expect(yard.seen()).toBe('');
    yard.msPerChunk = 10;
    yard.read(0, WHOLE);
    yard.read(2, SHORT);
    yard.read(2, SHORT);
    expect(yard.seen()).toBe('-1 -0');
    expect(yard.budget.resting).toBe(2);
    yard.end();
    expect(yard.seen()).toBe('+1 +0');
    expect(yard.budget.resting).toBe(0);
  });

  it('forgets a connection that has emptied its socket, and one that has ended', () => {
    const yard = new Yard(2);
    yard.msPerChunk = 10;
    yard.read(0, WHOLE);
    yard.end();
    yard.read(0, SHORT);
    yard.end();
    yard.seen();
    yard.read(1, WHOLE);
    expect(yard.seen()).toBe('-1');
    yard.peers[1]!.isOpen = false;
    yard.end();
    expect(yard.seen()).toBe('');
    expect(yard.budget.resting).toBe(0);
  });
});

describe('a connection that rests', () => {
  it('goes on resting while it is told to', () => {
    const yard = new Yard(1);
    yard.msPerChunk = 10;
    yard.read(0, WHOLE);
    yard.seen();
    for (let turn = 0; turn < 3; turn++) yard.end(() => true);
    expect(yard.seen()).toBe('');
    expect(yard.budget.resting).toBe(1);
    yard.end();
    expect(yard.seen()).toBe('+0');
  });

  it('is not read again while something else holds it', () => {
    const yard = new Yard(2);
    yard.msPerChunk = 10;
    yard.read(0, WHOLE);
    yard.read(1, WHOLE);
    yard.peers[0]!.state.hold(1);
    yard.peers[1]!.congested = true;
    yard.seen();
    yard.end();
    expect(yard.seen()).toBe('');
    expect(yard.budget.resting).toBe(0);
  });
});

describe('a connection that rests and whose peer was held and let go meanwhile', () => {
  /** A peer of its own, in the middle of a frame that is longer than all it is told here. */
  class Held {
    readonly time = new ManualTime();
    readonly budget = new ReadBudget(
      this.time,
      () => {},
      () => {},
    );
    readonly wire = {
      remote: '10.0.0.1:1',
      isPaused: false,
      onBytes: (() => {}) as (chunk: Uint8Array) => void,
      onDrain: (): void => {},
      onClose: (): void => {},
      write: () => true,
      close: (): void => {},
      pause(): void {
        this.isPaused = true;
      },
      resume(): void {
        this.isPaused = false;
      },
    };
    msPerChunk = 10;

    constructor() {
      const ports = { clock: this.time, timers: this.time, turn: this.time };
      const peer = new Peer(this.wire, ports, {}, { onRequest: () => {}, onClose: () => {} });
      const connection = new Connection(peer);
      peer.state = connection;
      const { onBytes } = this.wire;
      this.wire.onBytes = (chunk) => {
        onBytes(chunk);
        this.time.advance(this.msPerChunk);
      };
      this.budget.watch(peer, this.wire);
      const begun = new Uint8Array(WHOLE.length);
      begun.set([0, 0xf0, 0, 0, 0, 0, 0, 100]);
      this.wire.onBytes(begun);
      expect(this.wire.isPaused).toBe(true);
      connection.hold(1);
      connection.release(1);
      this.time.endTurn();
      this.budget.end(() => true);
      expect(this.wire.isPaused).toBe(false);
    }
  }

  it('rests again when time is up', () => {
    const { wire, budget } = new Held();
    wire.onBytes(WHOLE);
    expect(wire.isPaused).toBe(true);
    expect(budget.resting).toBe(1);
    budget.end(() => false);
    expect(wire.isPaused).toBe(false);
    expect(budget.resting).toBe(0);
  });

  it('rests again at the end of a short turn, if it is told to', () => {
    const held = new Held();
    held.msPerChunk = 0;
    held.wire.onBytes(SHORT);
    expect(held.wire.isPaused).toBe(false);
    held.budget.end(() => true);
    expect(held.wire.isPaused).toBe(true);
    held.budget.end(() => false);
    expect(held.wire.isPaused).toBe(false);
    expect(held.budget.resting).toBe(0);
  });
});
