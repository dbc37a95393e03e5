import type { Wire } from '@tallystick/base';
import { ManualTime } from '@tallystick/base/testing';
import { Output, Peer, writeFrame, type Frame } from '@tallystick/remoting';
import { describe, expect, it } from 'vitest';
import { Connection } from '../../src/connection.ts';
import { Counters } from '../../src/counters.ts';
import { Admission } from '../../src/flow-control/admission.ts';
import { FlowControl, type WatchedStore } from '../../src/flow-control/flow-control.ts';
import { brokerOptions } from '../../src/options.ts';

const SEND = 310;
const HEARTBEAT = 34;
const END = 37;
const SHARE_BYTES = 512 * 1024;
/** What a send costs of a share besides its bytes. */
const SEND_COST = 256;
/** What is read in a turn before its time is up. */
const READ_MS = 5;

const STORE: WatchedStore = {
  unsyncedBytes: 0,
  readsWaiting: 0,
  oldestWaitMs: () => 0,
  oldestWriteStartedMs: () => undefined,
  availableBuffers: () => Infinity,
};

/** Real connections before flow control, and a server that takes the same time for each request. */
class Yard {
  readonly time = new ManualTime();
  readonly counters = new Counters();
  readonly flow: FlowControl;
  readonly wires: Wire[] = [];
  /** Opaques in the order in which they were served. */
  readonly served: number[] = [];
  /** How often a connection was stopped. */
  stops = 0;
  msPerRequest = 0.0025;
  nowMs = 0;

  constructor(connections: number) {
    const clock = { now: () => 0, monotonic: () => this.nowMs };
    const ports = { clock, timers: this.time, turn: this.time };
    const handle = (_peer: Peer, frame: Frame): void => {
      this.nowMs += this.msPerRequest;
      this.served.push(frame.opaque);
    };
    this.flow = new FlowControl(ports, brokerOptions({}), STORE, new Admission(1e9, 1e12), this.counters, { handle });
    for (let n = 0; n < connections; n++) {
      const wire = quietWire(n, () => this.stops++);
      const onRequest = (peer: Peer, frame: Frame): void => this.flow.take(peer, frame);
      const peer = new Peer(wire, ports, { idleMs: 0 }, { onRequest, onClose: () => {} });
      peer.state = new Connection(peer);
      this.flow.watch(peer, wire);
      this.wires.push(wire);
    }
  }

  /** How many requests are served while `work` runs. */
  during(work: () => void): number {
    const before = this.served.length;
    work();
    return this.served.length - before;
  }
}

function quietWire(n: number, pause: () => void): Wire {
  const nothing = (): void => {};
  return {
    remote: `10.0.0.1:${n + 1}`,
    write: () => true,
    isWritten: () => true,
    close: nothing,
    pause,
    resume: nothing,
    onBytes: nothing,
    onDrain: nothing,
    onClose: nothing,
  };
}

function request(code: number, opaque: number, bodyBytes = 200): Buffer {
  const out = new Output();
  const head = { kind: 1, code, flag: 0, opaque, language: 0, version: 1, remark: undefined } as const;
  writeFrame(out, head, undefined, Buffer.alloc(bodyBytes));
  return Buffer.from(out.bytes.subarray(0, out.at));
}

describe('a thousand connections that each say less than 64 KiB in one turn', () => {
  const CONNECTIONS = 1000;
  const EACH = 60;
  const frames = (n: number): Buffer => Buffer.concat(Array.from({ length: EACH }, (_, k) => request(SEND, n * EACH + k)));
  const shareCount = Math.ceil(SHARE_BYTES / (request(SEND, 0).length + SEND_COST));

  it('are served for the time of reading, then by one share from the lane and one from what they keep back, each in its order', () => {
    const yard = new Yard(CONNECTIONS);
    const atOnce = yard.during(() => yard.wires.forEach((wire, n) => wire.onBytes(frames(n))));
    expect(atOnce).toBeGreaterThan(0);
    expect(atOnce).toBeLessThanOrEqual(READ_MS / yard.msPerRequest + EACH);
    let turns = 0;
    while (yard.served.length < CONNECTIONS * EACH) {
      const served = yard.during(() => yard.time.endTurn());
      expect(served).toBeGreaterThan(0);
      expect(served).toBeLessThanOrEqual(2 * shareCount);
      turns++;
    }
    // None of those turns was nearly idle either.
    expect(turns).toBeLessThan((CONNECTIONS * EACH) / (shareCount / 2));
    const next = new Int32Array(CONNECTIONS);
    for (const opaque of yard.served) expect(opaque % EACH).toBe(next[Math.floor(opaque / EACH)]!++);
    expect(yard.counters.busy).toBe(0);
    // They are let go a share at a time, not all of them each time to say one request.
    expect(yard.stops).toBeLessThan(3 * CONNECTIONS);
    yard.time.settle();
    expect(yard.flow.lanes().every(({ waiting, heldConnections }) => waiting + heldConnections === 0)).toBe(true);
  });

  it('make no heartbeat or confirmation wait that is read after them', () => {
    const yard = new Yard(CONNECTIONS + 2);
    for (let n = 0; n < CONNECTIONS; n++) yard.wires[n]!.onBytes(frames(n));
    expect(yard.during(() => yard.wires[CONNECTIONS]!.onBytes(request(HEARTBEAT, -1)))).toBe(1);
    expect(yard.during(() => yard.wires[CONNECTIONS + 1]!.onBytes(request(END, -2)))).toBe(1);
    expect(yard.served.slice(-2)).toEqual([-1, -2]);
  });
});

it('what is read in time is served as it lies, turn after turn, however much it is', () => {
  const yard = new Yard(4);
  yard.msPerRequest = 0.0001;
  const chunk = Buffer.concat(Array.from({ length: 120 }, (_, k) => request(SEND, k, 1000)));
  for (let turn = 0; turn < 3; turn++) {
    for (let k = 0; k < 40; k++) expect(yard.during(() => yard.wires[k % 4]!.onBytes(chunk))).toBe(120);
    yard.time.settle();
  }
  expect(40 * chunk.length).toBeGreaterThan(8 * SHARE_BYTES);
  expect(yard.counters.queued).toBe(0);
});
