import { ManualTime } from '@tallystick/base/testing';
import {
  Frame,
  Output,
  parseFrame,
  writeFrame,
  type FrameEncoder,
  type HeaderKind,
  type Peer,
  type ReplyRef,
} from '@tallystick/remoting';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Connection } from '../../src/connection.ts';
import { Counters } from '../../src/counters.ts';
import { Admission } from '../../src/flow-control/admission.ts';
import { FlowControl, type WatchedStore } from '../../src/flow-control/flow-control.ts';
import { brokerOptions, type GivenBrokerOptions } from '../../src/options.ts';

const SEND = 310;
const PULL = 11;
const QUERY = 33;
const HEARTBEAT = 34;
const END = 37;
const OFFSET = 15;
const ROUTE = 105;
const LANE_OF: Readonly<Record<number, string>> = {
  [SEND]: 'send',
  [PULL]: 'pull',
  [QUERY]: 'query',
  [HEARTBEAT]: 'heartbeat',
  [END]: 'endTransaction',
  [OFFSET]: 'consumerManager',
  [ROUTE]: 'adminBroker',
};

/** A connection that only remembers. */
class FakePeer {
  readonly remote = '10.0.0.1:5';
  readonly state: Connection;
  isPaused = false;
  isOpen = true;
  readonly heldBytes = 0;
  readonly #yard: Yard;

  constructor(yard: Yard) {
    this.#yard = yard;
    this.state = new Connection(this as unknown as Peer);
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  answer(ref: ReplyRef, code: number, remark: string): void {
    expect(code).toBe(2);
    this.#yard.refused.push({ id: ref.opaque, remark, oneway: ref.oneway });
  }

  answerWith(encoder: FrameEncoder<undefined>, _value: undefined, kind: HeaderKind, opaque: number): void {
    const out = new Output();
    encoder.encode(out, kind, opaque, undefined);
    const frame = new Frame();
    expect(parseFrame(frame, out.bytes, 0, out.at)).toBeUndefined();
    expect([frame.headerKind, frame.opaque]).toEqual([kind, opaque]);
    this.answer(frame.ref(), frame.code, frame.remark()!);
  }
}

/** Flow control between made-up connections, a made-up store and a server that notes what it is handed. */
class Yard {
  readonly time = new ManualTime();
  readonly counters = new Counters();
  readonly store = { unsynced: 0, startedMs: undefined as number | undefined, buffers: Infinity, reads: 0 };
  readonly served: { readonly id: number; readonly code: number }[] = [];
  readonly refused: { readonly id: number; readonly remark: string; readonly oneway: boolean }[] = [];
  readonly peers: FakePeer[];
  readonly flow: FlowControl;
  readonly #frame = new Frame();
  sent = 0;
  /** Reads of the disk that each pull begins and that do not end. */
  readsPerPull = 0;

  constructor(given: GivenBrokerOptions, connections = 3) {
    const { store } = this;
    const watched: WatchedStore = {
      get unsyncedBytes() {
        return store.unsynced;
      },
      get readsWaiting() {
        return store.reads;
      },
      oldestWaitMs: () => 0,
      oldestWriteStartedMs: () => store.startedMs,
      availableBuffers: () => store.buffers,
    };
    const server = { handle: (_peer: Peer, frame: Frame): void => this.#serve(frame) };
    this.flow = new FlowControl(
      { clock: this.time, timers: this.time, turn: this.time },
      brokerOptions(given),
      watched,
      new Admission(1e9, 1e12),
      this.counters,
      server,
    );
    this.peers = Array.from({ length: connections }, () => new FakePeer(this));
  }

  /** One request arrives in a chunk that is used again at once. Its number, or -1 when the connection is not read. */
  arrive(code: number, bodyBytes = 0, connection = 0, oneway = false): number {
    const peer = this.peers[connection]!;
    if (peer.isPaused) return -1;
    const id = this.sent++;
    const out = new Output();
    const kind = id % 2 === 0 ? 0 : 1;
    const head = { kind, code, flag: oneway ? 2 : 0, opaque: id, language: 0, version: 1, remark: undefined } as const;
    writeFrame(out, head, { mark: `mark-${id}` }, Buffer.alloc(bodyBytes, id & 0xff));
    let chunk = Buffer.alloc(0);
    out.take((bytes) => {
      chunk = Buffer.concat([chunk, bytes]);
    });
    expect(parseFrame(this.#frame, chunk, 0, chunk.length)).toBeUndefined();
    const { busy, busyPageCache, busyNoBuffer } = this.counters;
    this.flow.take(peer as unknown as Peer, this.#frame);
    // Nobody is told of a one-way request that was refused.
    if (oneway && this.counters.busy > busy) {
      const isRejected = this.counters.busyPageCache + this.counters.busyNoBuffer > busyPageCache + busyNoBuffer;
      this.refused.push({ id, remark: isRejected ? '[REJECTREQUEST]' : '[OVERLOAD]', oneway });
    }
    chunk.fill(0xee);
    return id;
  }

  lane(name: string) {
    return this.flow.lanes().find((lane) => lane.name === name)!;
  }

  get servedIds(): number[] {
    return this.served.map(({ id }) => id);
  }

  #serve(frame: Frame): void {
    const id = frame.opaque;
    expect(frame.fields().get('mark')).toBe(`mark-${id}`);
    expect(frame.body().every((byte) => byte === (id & 0xff))).toBe(true);
    this.served.push({ id, code: frame.code });
    if (frame.code === PULL) this.store.reads += this.readsPerPull;
  }
}

/** One request of a share, so that order can be seen; of sends 19 at once. */
const NARROW: GivenBrokerOptions = { sendShareBytes: 1024, pullShareBytes: 1024, controlShareBytes: 1024 };

describe('a lane', () => {
  it('that is empty serves at once, on the frame as it came', () => {
    const yard = new Yard({});
    for (let n = 0; n < 1000; n++) yard.arrive(SEND, 200);
    expect(yard.served).toHaveLength(1000);
    expect(yard.counters.queued).toBe(0);
  });

  it('has credit again in the next turn; until then each connection that wants more is not read', () => {
    const yard = new Yard(NARROW, 60);
    const ids = Array.from({ length: 60 }, (_, n) => yard.arrive(SEND, 500, n));
    const atOnce = yard.served.length;
    expect(atOnce).toBeLessThan(24);
    expect(yard.peers.map(({ isPaused }) => isPaused)).toEqual(ids.map((_, n) => n >= atOnce));
    expect(yard.arrive(SEND, 500, 59)).toBe(-1);
    yard.time.settle();
    expect(yard.servedIds).toEqual(ids);
    expect(yard.peers.some(({ isPaused }) => isPaused)).toBe(false);
    yard.arrive(SEND, 500);
    expect(yard.served).toHaveLength(61);
    expect(yard.counters.busy).toBe(0);
  });

  it('serves in the order control, pull, send, each by its share and none left out', () => {
    const yard = new Yard({ ...NARROW, pullShareBytes: 64 * 1024 }, 160);
    [SEND, PULL, HEARTBEAT, END].forEach((code, kind) => {
      for (let n = 0; n < 40; n++) yard.arrive(code, code === SEND ? 500 : 0, kind * 40 + n);
    });
    const served = yard.served.length;
    for (let turn = 0; turn < 3; turn++) {
      yard.served.length = 0;
      yard.time.endTurn();
      const codes = yard.served.map(({ code }) => code);
      expect(codes).toEqual([HEARTBEAT, END, PULL, PULL, SEND, SEND]);
    }
    yard.time.settle();
    expect(served + 3 * 6 + yard.served.length - 6).toBe(160);
  });

  it('serves of a connection that has ended only what counts without it', () => {
    const yard = new Yard(NARROW, 200);
    const codes = [HEARTBEAT, END, OFFSET, ROUTE, SEND];
    codes.forEach((code, kind) => {
      for (let n = 0; n < 40; n++) yard.arrive(code, code === SEND ? 500 : 0, kind * 40 + n);
    });
    const waiting = yard.flow.lanes().filter((lane) => lane.waiting > 0);
    expect(waiting).toHaveLength(5);
    yard.served.length = 0;
    for (const peer of yard.peers) {
      peer.isOpen = false;
      yard.flow.leave(peer as unknown as Peer);
    }
    yard.time.settle();
    expect(new Set(yard.served.map(({ code }) => code))).toEqual(new Set([END, OFFSET, SEND]));
    const left = waiting.filter(({ name }) => ['endTransaction', 'consumerManager', 'send'].includes(name));
    expect(yard.served).toHaveLength(left.reduce((sum, lane) => sum + lane.waiting, 0));
    expect(yard.flow.lanes().every((lane) => lane.waiting === 0)).toBe(true);
  });

  it('waits for nobody else: a shut store stops sends and nothing more', () => {
    const yard = new Yard({});
    yard.store.unsynced = 1e12;
    yard.time.settle();
    yard.arrive(HEARTBEAT);
    yard.time.settle();
    const send = yard.arrive(SEND, 10);
    const others = [HEARTBEAT, END, OFFSET, ROUTE, PULL, QUERY].map((code) => yard.arrive(code));
    yard.time.settle();
    expect(yard.servedIds.slice(1)).toEqual(others);
    yard.store.unsynced = 0;
    yard.flow.progress();
    yard.time.settle();
    expect(yard.servedIds.at(-1)).toBe(send);
  });

  it('waits while many requests wait for a read of the disk, confirmations excepted', () => {
    const yard = new Yard({ pullReadsWaitingMax: 8, otherReadsWaitingMax: 16 });
    yard.store.reads = 8;
    yard.arrive(HEARTBEAT);
    yard.time.settle();
    const [pull, query] = [yard.arrive(PULL), yard.arrive(QUERY)];
    const offset = yard.arrive(OFFSET);
    yard.time.settle();
    expect(yard.servedIds.slice(1)).toEqual([offset]);
    yard.store.reads = 16;
    yard.time.advance(10);
    const [late, end] = [yard.arrive(OFFSET), yard.arrive(END)];
    yard.time.settle();
    expect(yard.servedIds.slice(2)).toEqual([end]);
    yard.store.reads = 0;
    yard.flow.progress();
    yard.time.settle();
    expect(new Set(yard.servedIds.slice(3))).toEqual(new Set([pull, query, late]));
  });

  it('begins no more reads in one turn than may wait for the disk', () => {
    const yard = new Yard({ pullReadsWaitingMax: 8 });
    yard.arrive(HEARTBEAT);
    yard.time.settle();
    yard.readsPerPull = 1;
    const pulls = Array.from({ length: 50 }, () => yard.arrive(PULL));
    expect(yard.servedIds.slice(1)).toEqual(pulls.slice(0, 8));
    yard.time.settle();
    expect(yard.store.reads).toBe(8);
    yard.store.reads = 6;
    yard.flow.progress();
    yard.time.settle();
    expect(yard.servedIds.slice(1)).toEqual(pulls.slice(0, 10));
    yard.readsPerPull = 0;
    yard.store.reads = 0;
    yard.flow.progress();
    yard.time.settle();
    expect(yard.servedIds.slice(1)).toEqual(pulls);
  });

  it('that is full while the disk is short refuses at once, and goes on reading', () => {
    const yard = new Yard({ sendThreadPoolQueueCapacity: 10 });
    yard.store.unsynced = 1e12;
    yard.arrive(HEARTBEAT);
    yard.time.settle();
    for (let n = 0; n < 100; n++) expect(yard.arrive(SEND, 300, n % 3)).toBeGreaterThanOrEqual(0);
    expect(yard.counters).toMatchObject({ queued: 10, busyQueueCount: 90 });
    expect(yard.peers.some(({ isPaused }) => isPaused)).toBe(false);
  });

  it('has a connection wait only while it serves: when the store shuts, the next request hears of it at once', () => {
    const yard = new Yard({ ...NARROW, sendThreadPoolQueueCapacity: 10 }, 40);
    for (let n = 0; n < 30; n++) yard.arrive(SEND, 500, n);
    const waiting = yard.peers.findIndex(({ isPaused }) => isPaused);
    expect(yard.lane('send').waiting).toBe(10);
    yard.store.unsynced = 1e12;
    yard.time.endTurn();
    expect(yard.peers[waiting]!.isPaused).toBe(false);
    expect(yard.lane('send').waiting).toBeGreaterThan(5);
    while (yard.lane('send').waiting < 10) yard.arrive(SEND, 500, 39);
    const refused = yard.arrive(SEND, 500, waiting);
    expect(yard.refused.at(-1)).toMatchObject({ id: refused });
    expect(yard.peers.some(({ isPaused }) => isPaused)).toBe(false);
  });

  it('of heartbeats, pulls and tools is cleaned by its own time', () => {
    const yard = new Yard({ ...NARROW, pullReadsWaitingMax: 1, otherReadsWaitingMax: 1 });
    yard.store.reads = 1;
    yard.arrive(HEARTBEAT);
    yard.time.settle();
    const [pull, route] = [yard.arrive(PULL), yard.arrive(ROUTE)];
    yard.time.advance(4900);
    expect(yard.refused).toEqual([]);
    yard.time.advance(120);
    expect(new Set(yard.refused.map(({ id }) => id))).toEqual(new Set([pull, route]));
    for (const { remark } of yard.refused) {
      expect(remark).toMatch(
        /^\[TIMEOUT_CLEAN_QUEUE\]broker busy, start flow control for a while, period in queue: 50\d\dms, size of queue: 0$/,
      );
    }
  });
});

describe('the watch over the disk', () => {
  it('does not count a pause of the process as the time of a write', () => {
    const yard = new Yard({});
    yard.store.startedMs = yard.time.monotonic();
    yard.arrive(SEND);
    yard.time.settle();
    yard.time.advance(500);
    // The loop stands still: no timer fires, no callback runs, then all at once.
    stall(yard.time, 20_000);
    yard.time.advance(10);
    expect(yard.flow.isPageCacheBusy).toBe(false);
    yard.time.advance(600);
    expect(yard.flow.isPageCacheBusy).toBe(true);
    yard.store.startedMs = undefined;
    yard.time.advance(20);
    expect(yard.flow.isPageCacheBusy).toBe(false);
  });

  it('rests when nothing is under way', () => {
    const yard = new Yard({});
    yard.arrive(SEND);
    yard.time.advance(1000);
    expect(yard.time.timersWaiting).toBe(0);
  });

  it('begins again with each write', () => {
    const yard = new Yard({});
    for (let n = 0; n < 30; n++) {
      yard.store.startedMs = yard.time.monotonic();
      yard.arrive(SEND);
      yard.time.advance(100);
      expect(yard.flow.isPageCacheBusy).toBe(false);
    }
  });
});

type Step =
  | { readonly do: 'arrive'; readonly code: number; readonly bytes: number; readonly from: number; readonly oneway: boolean }
  | { readonly do: 'end-turn' }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'gate'; readonly shut: boolean }
  | { readonly do: 'write'; readonly stuck: boolean }
  | { readonly do: 'buffers'; readonly left: number }
  | { readonly do: 'reads'; readonly waiting: number };

const codes = fc.constantFrom(SEND, SEND, SEND, PULL, QUERY, HEARTBEAT, END, END, OFFSET, ROUTE);
const arrival = fc.record({
  do: fc.constant('arrive' as const),
  code: codes,
  bytes: fc.constantFrom(0, 10, 700, 5000, 70_000),
  from: fc.nat(2),
  oneway: fc.boolean(),
});
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: arrival },
    { weight: 3, arbitrary: fc.constant({ do: 'end-turn' as const }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.constantFrom(1, 9, 60, 250, 1200) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('gate' as const), shut: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('write' as const), stuck: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('buffers' as const), left: fc.constantFrom(0, 3) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('reads' as const), waiting: fc.constantFrom(0, 5, 50) }) },
  ),
  { minLength: 20, maxLength: 200 },
);

describe('any mix of requests and troubles', () => {
  it.each([
    ['with fast failure', true],
    ['without it', false],
  ])('%s: each is served once or refused once, in order, and no confirmation is refused', (_name, brokerFastFailureEnable) => {
    fc.assert(
      fc.property(steps, (list) => {
        const yard = new Yard({
          ...NARROW,
          brokerFastFailureEnable,
          sendThreadPoolQueueCapacity: 6,
          sendQueueBytesMax: 96 * 1024,
          pullThreadPoolQueueCapacity: 4,
          queryThreadPoolQueueCapacity: 4,
          heartbeatThreadPoolQueueCapacity: 4,
          adminBrokerThreadPoolQueueCapacity: 4,
          consumerManagerThreadPoolQueueCapacity: 4,
          endTransactionPoolQueueCapacity: 1,
          pullReadsWaitingMax: 4,
          otherReadsWaitingMax: 40,
        });
        play(yard, list);
      }),
      { numRuns: 300 },
    );
  });
});

function play(yard: Yard, list: readonly Step[]): void {
  const arrived = new Map<number, { code: number; atMs: number; oneway: boolean }>();
  for (const step of list) {
    if (step.do === 'arrive') {
      const refusedBefore = yard.refused.length;
      const servedBefore = yard.served.length;
      const id = yard.arrive(step.code, step.bytes, step.from, step.oneway);
      if (id >= 0) arrived.set(id, { code: step.code, atMs: yard.time.monotonic(), oneway: step.oneway });
      expect(yard.served.length - servedBefore + yard.refused.length - refusedBefore).toBeLessThanOrEqual(1);
    } else if (step.do === 'end-turn') yard.time.endTurn();
    else if (step.do === 'advance') yard.time.advance(step.ms);
    else if (step.do === 'gate') yard.store.unsynced = step.shut ? 1e12 : 0;
    else if (step.do === 'write') yard.store.startedMs = step.stuck ? (yard.store.startedMs ?? yard.time.monotonic()) : undefined;
    else if (step.do === 'buffers') yard.store.buffers = step.left;
    else yard.store.reads = step.waiting;
    if (step.do === 'gate' || step.do === 'write' || step.do === 'reads') yard.flow.progress();
    for (const lane of yard.flow.lanes()) {
      const room = lane.name === 'endTransaction' ? lane.capacity + yard.peers.length : lane.capacity;
      expect(lane.waiting, lane.name).toBeLessThanOrEqual(room);
    }
    expect(yard.lane('send').waiting <= 1 || yard.lane('send').waitingBytes <= 96 * 1024).toBe(true);
  }
  // Everything gets better: what waits is served.
  Object.assign(yard.store, { unsynced: 0, startedMs: undefined, buffers: Infinity, reads: 0 });
  yard.flow.progress();
  yard.time.settle();
  yard.time.advance(50);

  const { served, refused, counters } = yard;
  expect(new Set(yard.servedIds).size).toBe(served.length);
  expect(new Set(refused.map(({ id }) => id)).size).toBe(refused.length);
  expect([...yard.servedIds, ...refused.map(({ id }) => id)].sort((a, b) => a - b)).toEqual([...arrived.keys()]);
  for (const [code, lane] of Object.entries(LANE_OF)) {
    const ids = served.filter((each) => each.code === Number(code)).map(({ id }) => id);
    expect(ids, lane).toEqual([...ids].sort((a, b) => a - b));
  }
  for (const { id, remark, oneway } of refused) {
    const { code, oneway: wasOneway } = arrived.get(id)!;
    expect(oneway).toBe(wasOneway);
    expect(code).not.toBe(END);
    if (/REJECTREQUEST|PCBUSY/.test(remark)) expect(code).toBe(SEND);
  }
  const count = (word: string): number => refused.filter(({ remark }) => remark.startsWith(word)).length;
  expect(counters.busy).toBe(refused.length);
  expect(counters.busyPageCache + counters.busyNoBuffer).toBe(count('[REJECTREQUEST]'));
  expect(counters.busyQueueCount + counters.busyQueueBytes).toBe(count('[OVERLOAD]'));
  expect(counters.busyCleanedPageCache).toBe(count('[PCBUSY_CLEAN_QUEUE]'));
  expect(counters.busyCleanedTimeout).toBe(count('[TIMEOUT_CLEAN_QUEUE]'));
  expect(
    yard.flow.lanes().every(({ waiting, waitingBytes, heldConnections }) => waiting + waitingBytes + heldConnections === 0),
  ).toBe(true);
  expect(yard.peers.some(({ isPaused }) => isPaused)).toBe(false);
}

/** Moves the clock and lets nothing run. */
function stall(time: ManualTime, ms: number): void {
  const real = time.monotonic.bind(time);
  time.monotonic = () => real() + ms;
}
