import type { Clock, Timer, Timers, Turn, Wire } from '@tallystick/base';
import { RequestCode, ResponseCode, type Frame, type Peer, type ReplyRef } from '@tallystick/remoting';
import { connectionOf } from '../connection.ts';
import type { Counters } from '../counters.ts';
import type { BrokerOptions } from '../options.ts';
import type { Admission } from './admission.ts';
import { BusyAnswer } from './busy-answer.ts';
import { cleanedText, OVERLOAD_TEXT, REJECT_TEXT } from './busy-texts.ts';
import { ClientBytes } from './client-bytes.ts';
import { DiskWatch } from './disk-watch.ts';
import { Lane, type ShownLane } from './lane.ts';
import { LANES } from './lane-table.ts';
import { ReadBudget } from './read-budget.ts';
import { StoreGate, type GatedStore } from './store-gate.ts';

/** What flow control asks the store. */
export interface WatchedStore extends GatedStore {
  /** Monotonic ms at which the oldest write of the log in flight was begun. */
  oldestWriteStartedMs(): number | undefined;
  /** Buffers the transient store pool has left; Infinity without a pool. */
  availableBuffers(): number;
  /** Requests that wait for a read of the disk. */
  readonly readsWaiting: number;
}

/** Who serves a request: the registry of handlers. */
export interface Server {
  handle(peer: Peer, frame: Frame): void;
  /** So many confirmations are unfinished that the next ones wait in their lane. */
  readonly isFullOfEnds?: boolean;
}

/**
 * The door of the broker: every request passes here on its way to its handler. While its lane is empty, has credit left in this turn
 * and nothing forbids it, a request is served at once, on the frame as it lies in the socket's chunk: one array read and one
 * comparison. Otherwise it is copied into its lane, and the end of the turn serves lanes by precedence and share. A connection whose
 * request waits only for the next turn's credit is not read until then.
 *
 * Sends have the credit of a whole turn while their connections are read, which `ReadBudget` ends after a few ms: what is read in the rest
 * of the turn is only copied. What connections have kept back is handed out between turns, one share at a time.
 *
 * Promises: in a lane, first come is first served; a request is served once, or answered busy with the cause named and counted
 * (a one-way request is only counted), never both; confirmations (37) are always served; waiting takes no more memory than the
 * lanes' limits and one chunk per connection. Knows nothing of messages.
 *
 * At the end of a turn, in this order: is the page cache busy, does the gate of the store stand open; fast failure (every 10 ms
 * at most); serve the lanes; give credit for the next turn. While something waits or a write of the log is under way a timer
 * sees to it that a turn ends every 10 ms.
 */
export class FlowControl {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #turn: Turn;
  readonly #store: WatchedStore;
  readonly #server: Server;
  readonly #counters: Counters;
  readonly #admission: Admission;
  readonly #watch: DiskWatch;
  readonly #gate: StoreGate;
  readonly #isFailing: boolean;
  readonly #lanes: readonly Lane[];
  readonly #byCode: Lane[];
  readonly #rest: Lane;
  readonly #sends: Lane;
  readonly #reading: ReadBudget;
  readonly #memory: ClientBytes;
  readonly #endTurnAtEnd = (): void => this.#endTurn();
  /** Processor time is short for sends: what is read would only wait here. */
  readonly #rests = (): boolean => this.#sends.isHalfFull && this.#mayServe(this.#sends);
  readonly #serve = (peer: Peer, frame: Frame): void => {
    if (peer.isOpen || OUTLIVES.has(frame.code)) this.#server.handle(peer, frame);
  };
  #isArmed = false;
  /** When the present turn began, as far as it is known here. */
  #turnMs = 0;
  /** Something waits, or a lane is shut: the store's progress matters. */
  #isWaiting = false;
  #isStopped = false;
  /** The turn that is ending was begun by the timer. */
  #isLook = false;
  #scannedMs = -Infinity;
  #tick: Timer | undefined;

  constructor(
    ports: { readonly clock: Clock; readonly timers: Timers; readonly turn: Turn },
    options: BrokerOptions,
    store: WatchedStore,
    admission: Admission,
    counters: Counters,
    server: Server,
  ) {
    this.#clock = ports.clock;
    this.#timers = ports.timers;
    this.#turn = ports.turn;
    this.#store = store;
    this.#server = server;
    this.#counters = counters;
    this.#admission = admission;
    this.#watch = new DiskWatch(options.osPageCacheBusyTimeOutMills);
    this.#gate = new StoreGate(store, admission, options);
    this.#reading = new ReadBudget(
      ports.clock,
      () => this.#readingBegins(),
      () => this.#readingIsOver(),
    );
    this.#memory = new ClientBytes(
      ports,
      options.clientBytesMax,
      () => this.#waitingBytes(),
      () => this.#reading.readBytes,
      counters,
      () => this.#memoryChanged(),
    );
    this.#isFailing = options.brokerFastFailureEnable;
    this.#lanes = LANES.map((row) => new Lane(row, options));
    this.#rest = this.#lanes.find(({ row }) => row.codes.length === 0)!;
    this.#sends = this.#lanes.find(({ row }) => row.name === 'send')!;
    this.#byCode = new Array<Lane>(512).fill(this.#rest);
    for (const lane of this.#lanes) for (const code of lane.row.codes) this.#byCode[code] = lane;
  }

  /** Bounds what a turn reads of a connection, and what is held for it; to be called once its peer has the wire. */
  watch(peer: Peer, wire: Wire): void {
    this.#memory.entered(peer);
    this.#reading.watch(peer, wire);
  }

  /** How much the answer to a pull may carry that asks for `wanted`. */
  pullBytes(wanted: number): number {
    return this.#memory.ofPull(wanted);
  }

  /** Takes a request that has just been read. */
  take(peer: Peer, frame: Frame): void {
    const lane = this.#byCode[frame.code] ?? this.#rest;
    connectionOf(peer).requests++;
    if (!this.#isArmed) this.#arm();
    if (this.#store.readsWaiting >= lane.readsMax) lane.credit = 0;
    if (lane.credit > 0) {
      lane.credit -= frame.bodyEnd - frame.start + lane.cost;
      this.#server.handle(peer, frame);
    } else this.#later(lane, peer, frame);
  }

  /** The store has written, synced or read something. */
  progress(): void {
    if (this.#isWaiting && !this.#isArmed) this.#arm();
  }

  /** A connection has ended. Of what it asked for only that is served which means something without it. */
  leave(peer: Peer): void {
    this.#memory.left(peer);
    for (const lane of this.#lanes) lane.held.delete(peer);
  }

  /** Serves the confirmations and other control requests that wait; `refuse` answers the rest, which nobody has begun with. */
  stop(refuse: (peer: Peer, ref: ReplyRef) => void): void {
    this.#isStopped = true;
    this.#memory.stop();
    if (this.#tick !== undefined) this.#timers.cancel(this.#tick);
    this.#tick = undefined;
    for (const lane of this.#lanes) {
      const isBegun = lane.row.share === 'controlShareBytes';
      while (lane.line.size > 0) {
        if (isBegun) lane.line.serveFirst(this.#serve);
        else lane.line.dropFirst(0, refuse);
      }
    }
  }

  /** How the lanes stand now, in order of precedence. */
  lanes(): ShownLane[] {
    const nowMs = this.#clock.monotonic();
    return this.#lanes.map((lane) => lane.shown(nowMs));
  }

  get isPageCacheBusy(): boolean {
    return this.#watch.isBusy;
  }

  /** How long the write of the log that is under way has taken; 0 without one. */
  get writeAgeMs(): number {
    return this.#watch.writeAgeMs;
  }

  #waitingBytes(): number {
    let bytes = this.#admission.bytes;
    for (const { line } of this.#lanes) bytes += line.bytes;
    return bytes;
  }

  /** What could not be served at once. */
  #later(lane: Lane, peer: Peer, frame: Frame): void {
    const { line } = lane;
    const bytes = frame.bodyEnd - frame.start;
    if (lane === this.#sends && this.#isRejecting()) {
      if (this.#watch.isBusy) this.#counters.busyPageCache++;
      else this.#counters.busyNoBuffer++;
      return this.#turnAway(peer, frame, REJECT);
    }
    if (lane === this.#sends && this.#memory.isSparing) {
      this.#counters.busyMemory++;
      return this.#turnAway(peer, frame, OVERLOAD);
    }
    const isManyBytes = line.size > 0 && line.bytes + bytes > lane.bytesMax;
    const isFull = line.size >= lane.capacity || isManyBytes;
    // When the disk is short, clients hear of it at once. When processor time is, their connections are not read for a while.
    if (this.#mayServe(lane) || (isFull && lane.row.neverDrops === true)) lane.hold(peer);
    if (isFull && lane.row.neverDrops !== true) {
      if (isManyBytes) this.#counters.busyQueueBytes++;
      else this.#counters.busyQueueCount++;
      return this.#turnAway(peer, frame, OVERLOAD);
    }
    this.#counters.queued++;
    line.push(peer, frame, this.#clock.monotonic());
  }

  /** Whether sends are refused at the door, RocketMQ's rejectRequest(). */
  #isRejecting(): boolean {
    return this.#watch.isBusy || this.#store.availableBuffers() === 0;
  }

  /** What is read from now on sees it, and the end of the turn gives credit again or not. */
  #memoryChanged(): void {
    this.#sends.credit = 0;
    if (!this.#isArmed) this.#arm();
  }

  #readingBegins(): void {
    if (!this.#isArmed) this.#arm();
    const lane = this.#sends;
    if (lane.credit > 0) lane.credit = Math.min(lane.creditMax, this.#gate.room);
  }

  #readingIsOver(): void {
    this.#sends.credit = Math.min(this.#sends.credit, 0);
  }

  #arm(): void {
    this.#isArmed = true;
    this.#turnMs = this.#clock.monotonic();
    this.#turn.atEnd(this.#endTurnAtEnd);
  }

  #endTurn(): void {
    this.#isArmed = false;
    if (this.#isStopped) return;
    const nowMs = this.#clock.monotonic();
    const startedMs = this.#store.oldestWriteStartedMs();
    // With a pool a put ends in a buffer and touches the page cache not at all: only an empty pool is busy then.
    this.#watch.look(nowMs, this.#store.availableBuffers() === Infinity ? startedMs : undefined);
    this.#admission.isPageCacheBusy = this.#watch.isBusy;
    this.#gate.look(nowMs, nowMs - this.#turnMs);
    let waiting = 0;
    let isShut = false;
    if (this.#isFailing && nowMs - this.#scannedMs >= SCAN_MS) this.#fail(nowMs);
    for (const lane of this.#lanes) {
      if (lane.line.size > 0) this.#serveLane(lane);
      const mayServe = this.#mayServe(lane);
      lane.relax(!mayServe);
      waiting += lane.line.size;
      if (mayServe && !this.#isArmed && (lane.line.size > 0 || lane.held.size > 0)) this.#arm();
      if (lane.line.size > 0) lane.credit = 0;
      else if (!mayServe || (lane === this.#sends && (this.#isRejecting() || this.#memory.isSparing))) {
        lane.credit = 0;
        isShut = true;
      } else lane.credit = lane === this.#sends ? Math.min(lane.share, this.#gate.room) : lane.creditMax;
    }
    this.#isWaiting = waiting > 0 || isShut;
    this.#memory.turnEnded(nowMs);
    this.#reading.end(this.#rests);
    // Whatever this turn's requests have begun is looked after at least once.
    if (!this.#isLook || this.#isWaiting || startedMs !== undefined || this.#admission.count > 0 || this.#reading.resting > 0)
      this.#tick ??= this.#timers.after(SCAN_MS, () => this.#look());
    this.#isLook = false;
  }

  #look(): void {
    this.#tick = undefined;
    if (this.#isArmed) return;
    this.#isLook = true;
    this.#arm();
  }

  /** RocketMQ's fast failure: all waiting sends while the page cache is busy; heads of lanes whose time is up. */
  #fail(nowMs: number): void {
    this.#scannedMs = nowMs;
    if (this.#watch.isBusy) while (this.#sends.line.size > 0) this.#clean(this.#sends, 'PCBUSY', nowMs);
    for (const lane of this.#lanes) while (nowMs - lane.line.headMs >= lane.waitMs) this.#clean(lane, 'TIMEOUT', nowMs);
  }

  #clean(lane: Lane, cause: 'PCBUSY' | 'TIMEOUT', nowMs: number): void {
    const { line } = lane;
    if (cause === 'PCBUSY') this.#counters.busyCleanedPageCache++;
    else this.#counters.busyCleanedTimeout++;
    line.dropFirst(nowMs, (peer, ref, waitedMs) => this.#refuse(peer, ref, cleanedText(cause, waitedMs, line.size)));
  }

  #serveLane(lane: Lane): void {
    const { line } = lane;
    let left = lane.share;
    while (left > 0 && line.size > 0 && this.#mayServe(lane)) {
      const before = line.bytes;
      line.serveFirst(this.#serve);
      left -= before - line.bytes + lane.cost;
    }
  }

  /** Whether a lane's requests may be handed on now. */
  #mayServe(lane: Lane): boolean {
    if (this.#store.readsWaiting >= lane.readsMax) return false;
    if (lane.row.neverDrops === true) return this.#server.isFullOfEnds !== true;
    if (lane !== this.#sends) return true;
    // While the page cache is busy, fast failure answers those that wait; without it each learns at its put.
    return this.#watch.isBusy ? !this.#isFailing : this.#gate.room > 0;
  }

  /** A refusal in words that are always the same. */
  #turnAway(peer: Peer, frame: Frame, answer: BusyAnswer): void {
    this.#counters.busy++;
    if (!frame.isOneway) peer.answerWith(answer, undefined, frame.headerKind, frame.opaque);
  }

  #refuse(peer: Peer, ref: ReplyRef, text: string): void {
    this.#counters.busy++;
    peer.answer(ref, ResponseCode.SYSTEM_BUSY, text);
  }
}

/**
 * Sends, confirmations and offsets count although their connection has ended. A heartbeat, a lock or a registration would bring
 * back a member that has just been taken out.
 */
const OUTLIVES: ReadonlySet<number> = new Set([
  RequestCode.SEND_MESSAGE,
  RequestCode.SEND_MESSAGE_V2,
  RequestCode.SEND_BATCH_MESSAGE,
  RequestCode.CONSUMER_SEND_MSG_BACK,
  RequestCode.END_TRANSACTION,
  RequestCode.UPDATE_CONSUMER_OFFSET,
]);

/** RocketMQ's period. */
const SCAN_MS = 10;

const REJECT = new BusyAnswer(REJECT_TEXT);
const OVERLOAD = new BusyAnswer(OVERLOAD_TEXT);
