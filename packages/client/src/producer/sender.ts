/**
 * Moves batches from the accumulator to brokers and verdicts back. It works at the end of a turn, never inside an event: sends and
 * answers only note that there is work (`schedule`). Only what is full leaves earlier, so that the broker has something to do while
 * this turn goes on; nobody is called back then.
 *
 *    a batch in front of its lane                       what happens
 *    older than deliveryTimeoutMs                       fails: NOT_SENT, it never left
 *    open and younger than lingerMs                     waits, unless somebody waits for memory, a flush or the end
 *    in its back-off                                    waits, and the lane behind it: order
 *    connection not there                               waits; the connection is asked for
 *    in-flight bounds of queue or connection reached    waits for an answer; other lanes go on
 *    else                                               goes out: one request, or a run of them in one piece
 *
 *    the verdict                                        what happens
 *    0                                                  receipts
 *    "not stored", retries left                         back in front of its lane, or to another broker's when nobody fixed the queue
 *                                                       (after the first attempt without a pause)
 *    never written (refused)                            back in front of its lane
 *    may be stored, silence, connection lost            fails as unknown; with numbers that the broker honours: sent again until
 *                                                       deliveryTimeoutMs, then unknown; to brokers that honour them only
 *    an earlier number is missing                       back in front of its lane, in a new epoch if no earlier one is to come; but fails
 *                                                       as unknown if none is and it may be stored: who has forgotten tells no repetition
 *    silence, where order was asked for                 fails as unknown, and its lane sends nothing until the answer is there or its
 *                                                       connection is closed: after another requestTimeoutMs that is done here
 *    13 for several records, surely not stored          cut in two, each half goes on for itself
 *    any other                                          fails
 *
 * Of a run each frame has its own verdict at once; what is to be sent again waits until all have one and goes back together.
 */
import { type Clock, type Random, type Timer, type Timers, type Turn, backoffMs } from '@tallystick/base';
import { type Frame, type PeerError, ResponseCode } from '@tallystick/remoting';
import { IndefiniteError, type SendError, callError, fail, isRetriable, meansBusy } from '../errors.ts';
import type { ProducerOptions } from '../options.ts';
import type { Connection, TurnedAway } from '../peers.ts';
import { AnswerReader, storedSomewhere } from './answer-reader.ts';
import type { BatchFlight, Lane, ProducerBatch } from './producer-batch.ts';
import type { ProducerCounters } from './producer-counters.ts';
import type { AccumulatorOwner, RecordAccumulator } from './record-accumulator.ts';
import type { BrokerOutcome } from './latency-table.ts';
import type { BatchAnswer, SendReceipt } from './receipt.ts';
import { RequestNumbers } from './request-numbers.ts';
import type { SendRequest } from './send-request.ts';

export interface SenderOwner {
  readonly counters: ProducerCounters;
  /** The connection to a lane's broker; undefined when no route tells its address. */
  connectionOf(lane: Lane): Connection | undefined;
  /** A lane at another broker for a batch that may move; the same one when there is none. */
  elsewhere(lane: Lane): Lane;
  /** A request on this connection got no answer. */
  suspect(connection: Connection): void;
  /** A broker says that the route is stale. */
  staleRoute(topic: string): void;
  /** True when open batches must not linger: somebody waits for memory, for a flush or for the end. */
  hurried(): boolean;
  /** Called at the start of each round, before anything is sent: sends that waited may go on. */
  beforeRound(nowMs: number): void;
  /** A broker has answered a request, or has not, after so many ms; once per batch or run. */
  answered(brokerName: string, latencyMs: number, outcome: BrokerOutcome): void;
  report(sentence: string, cause: unknown): void;
}

/** Output staged on a connection by sends in the middle of a turn that is worth a write of its own. */
const EARLY_WRITE_BYTES = 32 * 1024;
const NO_LANES: readonly Lane[] = [];
/** The worst of a run's outcomes is the run's. */
const BADNESS: Readonly<Record<BrokerOutcome, number>> = { answered: 0, refused: 1, lost: 2 };

export class Sender implements BatchFlight, AccumulatorOwner, TurnedAway {
  /** Monotonic and wall-clock ms, read once per turn: valid after `schedule` until the round that it asked for. */
  nowMs = 0;
  wallMs = 0;
  readonly #counters: ProducerCounters;
  readonly #ports: { readonly clock: Clock; readonly timers: Timers; readonly turn: Turn; readonly random: Random };
  readonly #options: ProducerOptions;
  readonly #accumulator: RecordAccumulator;
  readonly #request: SendRequest;
  readonly #owner: SenderOwner;
  readonly #answers = new AnswerReader();
  readonly #reportThrown: (thrown: unknown) => void;
  readonly #inFlight: ProducerBatch[] = [];
  readonly #numbers: RequestNumbers | undefined;
  readonly #epochBegan = (): void => void this.#counters.epochs++;
  /** Order over failures was asked for, without numbers by which the broker would keep it. */
  readonly #isOrdered: boolean;
  /** No batch in flight is to be abandoned earlier (one that has landed may have been the earliest). */
  #abandonMs = Infinity;
  /** The lanes of the present round. */
  #serving: readonly Lane[] = NO_LANES;
  /** Batches whose callbacks are being called: one, unless a callback ends others. */
  readonly #completing: ProducerBatch[] = [];
  #toldUnprotected = false;
  #scheduled = false;
  #rounds = 0;
  /** Connections in whose line it stands. */
  #turnedAwayBy = new Set<Connection>();
  #timer: Timer | undefined;
  #timerMs = Infinity;

  constructor(
    ports: { readonly clock: Clock; readonly timers: Timers; readonly turn: Turn; readonly random: Random },
    options: ProducerOptions,
    accumulator: RecordAccumulator,
    request: SendRequest,
    owner: SenderOwner,
  ) {
    this.#ports = ports;
    this.#options = options;
    this.#accumulator = accumulator;
    this.#request = request;
    this.#owner = owner;
    this.#counters = owner.counters;
    this.#reportThrown = (thrown) => owner.report("a send's callback threw", thrown);
    this.#numbers = options.idempotence ? new RequestNumbers(ports.random) : undefined;
    this.#isOrdered = options.maxInFlightPerQueue === 1 && !options.idempotence;
    accumulator.owner = this;
  }

  /** There is something to do at the end of this turn. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.nowMs = this.#ports.clock.monotonic();
    this.wallMs = this.#ports.clock.now();
    this.#ports.turn.atEnd(this.#atEnd);
  }

  /** There is something to do at this monotonic time. */
  wakeAt(ms: number): void {
    if (ms >= this.#timerMs) return;
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    this.#timerMs = ms;
    this.#timer = this.#ports.timers.after(Math.max(0, ms - this.#ports.clock.monotonic()), () => {
      this.#timer = undefined;
      this.#timerMs = Infinity;
      this.schedule();
    });
  }

  /** Queues are forgotten, `living` are all others. */
  retire(gone: Iterable<Lane>, living: Iterable<Lane>): void {
    this.#numbers?.retire(gone, living);
  }

  /** Every batch in flight. */
  flying(): Iterable<ProducerBatch> {
    return this.#inFlight;
  }

  /** Every batch that has left its lane and has not called all its callbacks. */
  *unfinished(): Iterable<ProducerBatch> {
    yield* this.#completing;
    for (const batch of this.#inFlight) if (!batch.isAbandoned) yield batch;
  }

  /** Ends everything now: what is in flight is unknown, what is not was never sent. */
  abort(why: string): void {
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    this.#timer = undefined;
    for (const connection of this.#turnedAwayBy) this.#leaveLine(connection);
    for (const batch of [...this.#inFlight].sort((a, b) => a.sequence - b.sequence)) {
      this.#land(batch);
      if (!batch.isAbandoned) this.#end(batch, fail('CONNECTION_LOST', why));
    }
    // A callback in the middle of a round may be the reason: the round stops.
    const lanes = [...this.#serving, ...this.#accumulator.lanes];
    this.#serving = NO_LANES;
    this.#accumulator.lanes = [];
    for (const lane of lanes) {
      lane.listed = false;
      for (let batch = lane.batches.shift(); batch !== undefined; batch = lane.batches.shift()) {
        this.#end(batch, fail(batch.maybeStored ? 'CONNECTION_LOST' : 'NOT_SENT', why));
      }
    }
  }

  exhausted(): void {
    this.#counters.exhausted++;
  }

  full(lane: Lane | undefined): void {
    if (lane !== undefined) return this.#sendEarly(lane);
    for (const each of this.#accumulator.lanes) this.#sendEarly(each);
  }

  reads(bytes: Buffer, at: number, end: number): boolean {
    return this.#answers.readsAck(bytes, at, end);
  }

  acknowledged(batch: ProducerBatch, index: number): void {
    // A batch that was aborted hears of late answers too.
    if (batch.flightIndex < 0) return;
    this.schedule();
    if (batch.isAbandoned) return this.#land(batch);
    this.#settleOne(batch, index, undefined, this.#answers.acknowledged(batch, index));
  }

  replied(batch: ProducerBatch, index: number, error: PeerError | undefined, reply: Frame): void {
    if (batch.flightIndex < 0) return;
    this.schedule();
    if (error?.kind === 'timeout') {
      // Nothing may overtake it there, whether it has been abandoned yet or the program stood still meanwhile.
      if (this.#isOrdered) batch.connection!.drop();
      else this.#owner.suspect(batch.connection!);
      // What else was in flight there has been told: a callback may have closed the producer.
      if (batch.flightIndex < 0) return;
    }
    if (batch.isAbandoned) return this.#land(batch);
    if (batch.frames !== undefined) return this.#repliedOne(batch, index, error, reply);
    this.#land(batch);
    this.#tellLatency(batch, error !== undefined ? 'lost' : outcomeOf(reply.code));
    if (error !== undefined) return this.#settle(batch, callError(error.kind, error.message));
    if (reply.code !== ResponseCode.SUCCESS) return this.#refused(batch, reply);
    const said = this.#answers.read(batch, reply);
    if (said === undefined) return this.#settle(batch, this.#answers.malformed());
    this.#succeed(batch, said);
  }

  /** The broker has said no, or perhaps, to a batch of elements. */
  #refused(batch: ProducerBatch, reply: Frame): void {
    // A batch that may be stored keeps its number: its pieces would have new ones.
    const mayBeCut = batch.count > 1 && !batch.maybeStored && !this.#isLate(batch);
    if (reply.code === ResponseCode.MESSAGE_ILLEGAL && mayBeCut) return this.#split(batch);
    const reason = this.#numbers === undefined ? undefined : reply.fields().get('TS_REASON');
    if (reason === 'OUT_OF_ORDER') return this.#outOfOrder(batch, reply);
    if (reason === 'DUPLICATE_TOO_OLD') {
      this.#counters.duplicates++;
      return this.#succeed(batch, storedSomewhere(batch));
    }
    this.#settle(batch, this.#answers.refusal(batch, 0, reply));
  }

  #succeed(batch: ProducerBatch, answer: BatchAnswer): void {
    this.#counters.acknowledged += batch.count;
    this.#accumulator.release(batch);
    this.#completing.push(batch);
    batch.succeed(answer, this.#reportThrown);
    this.#completing.pop();
    batch.ended?.();
  }

  /** This attempt is known not to be stored: an earlier number has not arrived. Not counted as an attempt. */
  #outOfOrder(batch: ProducerBatch, reply: Frame): void {
    if (!this.#numbers!.missesEarlier(batch)) return this.#giveUp(batch, this.#answers.refusal(batch, 0, reply));
    batch.attempts = Math.max(1, batch.attempts - 1);
    this.#counters.retries += batch.count;
    this.#accumulator.requeue(batch);
  }

  /** Two batches take the place of one; who waits for its end waits for both. */
  #split(batch: ProducerBatch): void {
    this.#counters.splits++;
    this.#numbers?.forget(batch);
    const { ended } = batch;
    let left = 2;
    const one = ended && ((): void => void (--left === 0 && ended()));
    const halves = batch.halves(this.#numbers !== undefined);
    this.#accumulator.replace(batch, halves);
    for (const half of halves) half.ended = one;
  }

  #isLate(batch: ProducerBatch): boolean {
    return batch.createdMs + this.#options.deliveryTimeoutMs <= this.nowMs;
  }

  readonly #atEnd = (): void => {
    this.#scheduled = false;
    if (this.#abandonMs < Infinity) this.#abandonLate(this.#ports.clock.monotonic());
    if (this.#turnedAwayBy.size === 0) return this.#round();
    const before = this.#turnedAwayBy;
    this.#turnedAwayBy = new Set();
    this.#round();
    for (const connection of before) if (!this.#turnedAwayBy.has(connection)) connection.leaveLine(this);
  };

  /** Tells those who have waited for an answer for long enough. Their batches stay in flight: what comes behind must not overtake them. */
  #abandonLate(nowMs: number): void {
    if (nowMs < this.#abandonMs) return this.wakeAt(this.#abandonMs);
    const late = this.#inFlight.filter(({ abandonMs, isAbandoned }) => abandonMs <= nowMs && !isAbandoned);
    for (const batch of late) {
      // A callback may have closed the producer.
      if (batch.flightIndex < 0) continue;
      const connection = batch.connection!;
      batch.isAbandoned = true;
      connection.inFlightMessages -= batch.left;
      connection.firstInLine()?.schedule();
      this.#owner.suspect(connection);
      this.#tellLatency(batch, 'lost');
      this.#end(batch, fail('TIMEOUT', `${nowMs - batch.sentMs} ms, ${connection.address}`));
    }
    this.#abandonMs = Infinity;
    for (const { abandonMs, isAbandoned } of this.#inFlight)
      if (!isAbandoned && abandonMs < this.#abandonMs) this.#abandonMs = abandonMs;
    if (this.#abandonMs < Infinity) this.wakeAt(this.#abandonMs);
  }

  #round(): void {
    const nowMs = this.#ports.clock.monotonic();
    this.#owner.beforeRound(nowMs);
    this.#accumulator.roundBegins();
    const lanes = this.#accumulator.lanes;
    if (lanes.length === 0) return;
    this.#accumulator.lanes = [];
    this.#serving = lanes;
    const hurried = this.#options.lingerMs === 0 || this.#owner.hurried();
    // Each round begins with another lane: the first ones must not take all the room of a connection for ever.
    const first = this.#rounds++ % lanes.length;
    for (let n = 0; n < lanes.length && this.#serving === lanes; n++) {
      const lane = lanes[(first + n) % lanes.length]!;
      lane.listed = false;
      this.#serve(lane, nowMs, hurried);
      if (lane.batches.length > 0) this.#accumulator.list(lane);
    }
    this.#serving = NO_LANES;
  }

  #serve(lane: Lane, nowMs: number, hurried: boolean): void {
    const options = this.#options;
    for (let batch = lane.batches[0]; batch !== undefined; batch = lane.batches[0]) {
      const expiresMs = batch.createdMs + options.deliveryTimeoutMs;
      if (expiresMs <= nowMs) {
        lane.batches.shift();
        this.#counters.expired += batch.count;
        const passed = `${nowMs - batch.createdMs} ms have passed (deliveryTimeoutMs), ${batch.attempts} attempts`;
        if (!batch.maybeStored) this.#numbers?.forget(batch);
        this.#end(batch, fail(batch.maybeStored ? 'TIMEOUT' : 'NOT_SENT', passed));
        continue;
      }
      const readyMs =
        hurried || batch.closed || batch.frames !== undefined ? batch.notBeforeMs : batch.createdMs + options.lingerMs;
      if (readyMs > nowMs) return this.wakeAt(Math.min(readyMs, expiresMs));
      const connection = this.#roomFor(batch);
      if (connection !== undefined) {
        lane.batches.shift();
        this.#send(batch, connection, nowMs);
        continue;
      }
      if (!batch.maybeStored) return this.wakeAt(expiresMs);
      if (this.#owner.connectionOf(lane)?.deduplicates !== false)
        return this.wakeAt(Math.min(expiresMs, nowMs + options.retryBackoffMs));
      lane.batches.shift();
      this.#end(batch, fail('CONNECTION_LOST', 'it may be stored, and the broker that came back does not honour idempotence'));
    }
  }

  /** Sends what is full, and runs in any case, without calling anybody back. */
  #sendEarly(lane: Lane): void {
    const { nowMs } = this;
    for (let batch = lane.batches[0]; batch !== undefined; batch = lane.batches[0]) {
      if (!batch.closed && batch.frames === undefined) return;
      if (batch.notBeforeMs > nowMs || batch.createdMs + this.#options.deliveryTimeoutMs <= nowMs) return;
      const connection = this.#roomFor(batch);
      if (connection === undefined) return;
      lane.batches.shift();
      this.#send(batch, connection, nowMs);
      const { peer } = connection;
      if (peer !== undefined && peer.outputBytes >= EARLY_WRITE_BYTES) peer.flush();
    }
  }

  /** The connection over which a batch may go now. */
  #roomFor(batch: ProducerBatch): Connection | undefined {
    const { lane } = batch;
    const options = this.#options;
    if (lane.inFlight > 0 && lane.inFlight + batch.requests > options.maxInFlightPerQueue) return undefined;
    const connection = this.#owner.connectionOf(lane);
    if (connection === undefined) return undefined;
    if (connection.peer === undefined) {
      connection.want();
      return undefined;
    }
    if (batch.maybeStored && connection.deduplicates !== true) return undefined;
    if (this.#numbers !== undefined && !this.#numbers.mayGo(batch, this.#epochBegan)) return undefined;
    const fits =
      connection.inFlightMessages === 0 ||
      (connection.inFlightMessages + batch.count <= options.maxInFlightMessages &&
        connection.inFlightBytes + batch.end <= options.maxInFlightBytes);
    if (fits && (connection.turnedAway.size === 0 || connection.firstInLine() === this)) return connection;
    // Others' answers make room too: the connection wakes the first whom it has turned away.
    connection.turnedAway.add(this);
    this.#turnedAwayBy.add(connection);
    return undefined;
  }

  #send(batch: ProducerBatch, connection: Connection, nowMs: number): void {
    const { lane } = batch;
    batch.closed = true;
    if (batch.attempts === 0 && !batch.isPiece) this.#countFirst(batch, nowMs);
    else this.#counters.requests += batch.requests;
    if (this.#numbers !== undefined) {
      this.#numbers.number(batch);
      lane.flying.push(batch);
    }
    batch.attempts++;
    batch.sentMs = nowMs;
    lane.inFlight += batch.requests;
    lane.usualBytes = batch.end;
    connection.inFlightMessages += batch.count;
    connection.inFlightBytes += batch.end;
    if (connection.turnedAway.size > 0) this.#leaveLine(connection);
    batch.flight = this;
    batch.worst = 'answered';
    batch.connection = connection;
    batch.flightIndex = this.#inFlight.length;
    this.#inFlight.push(batch);
    const leftMs = batch.createdMs + this.#options.deliveryTimeoutMs - nowMs;
    let timeoutMs = Math.min(this.#options.requestTimeoutMs, leftMs);
    if (this.#isOrdered) {
      batch.abandonMs = nowMs + timeoutMs;
      if (batch.abandonMs < this.#abandonMs) this.#abandonMs = batch.abandonMs;
      this.wakeAt(batch.abandonMs);
      timeoutMs += this.#options.requestTimeoutMs;
    }
    if (this.#request.send(connection.peer!, batch, timeoutMs)) return;
    this.#land(batch);
    this.#settle(batch, callError('refused', 'the connection takes no more requests'));
  }

  #leaveLine(connection: Connection): void {
    this.#turnedAwayBy.delete(connection);
    connection.leaveLine(this);
  }

  #countFirst(batch: ProducerBatch, nowMs: number): void {
    const counters = this.#counters;
    const queueTimeMs = nowMs - batch.createdMs;
    counters.records += batch.count;
    counters.bytes += batch.end;
    counters.requests += batch.requests;
    counters.batches++;
    counters.queueTimeMsSum += queueTimeMs;
    if (batch.count > counters.batchRecordsMax) counters.batchRecordsMax = batch.count;
    if (batch.end > counters.batchBytesMax) counters.batchBytesMax = batch.end;
    if (queueTimeMs > counters.queueTimeMsMax) counters.queueTimeMsMax = queueTimeMs;
  }

  /** Takes a batch out of flight. */
  #land(batch: ProducerBatch): void {
    const connection = batch.connection!;
    const last = this.#inFlight.pop()!;
    if (last !== batch) {
      this.#inFlight[batch.flightIndex] = last;
      last.flightIndex = batch.flightIndex;
    }
    batch.flightIndex = -1;
    if (this.#numbers !== undefined) batch.lane.flying.splice(batch.lane.flying.indexOf(batch), 1);
    batch.lane.inFlight -= batch.requests;
    connection.inFlightMessages -= batch.left;
    connection.inFlightBytes -= batch.end;
    if (connection.turnedAway.size > 0) connection.firstInLine()!.schedule();
  }

  /** The verdict on one frame of a run, when it is not the usual one. */
  #repliedOne(batch: ProducerBatch, index: number, failure: PeerError | undefined, reply: Frame): void {
    let error: SendError;
    const outcome = failure !== undefined ? 'lost' : outcomeOf(reply.code);
    if (BADNESS[outcome] > BADNESS[batch.worst]) batch.worst = outcome;
    if (failure !== undefined) error = callError(failure.kind, failure.message);
    else if (reply.code !== ResponseCode.SUCCESS) error = this.#answers.refusal(batch, index, reply);
    else {
      const said = this.#answers.read(batch, reply);
      if (said !== undefined) return this.#settleOne(batch, index, undefined, this.#answers.receipt(batch, index, said));
      error = this.#answers.malformed();
    }
    if (!isRetriable(error) || batch.attempts > this.#options.retries) return this.#settleOne(batch, index, error, undefined);
    batch.refuse(index, error);
    if (batch.answered) this.#runAnswered(batch);
  }

  #settleOne(batch: ProducerBatch, index: number, error: SendError | undefined, receipt: SendReceipt | undefined): void {
    const done = batch.settle(index);
    batch.connection!.inFlightMessages--;
    this.#accumulator.settled();
    const answered = batch.answered;
    try {
      done(error, receipt!);
    } catch (thrown) {
      this.#reportThrown(thrown);
    }
    if (error === undefined) this.#counters.acknowledged++;
    else this.#countError(error, 1);
    // Its callback may have closed the producer.
    if (answered && batch.flightIndex >= 0) this.#runAnswered(batch);
  }

  /** Every frame of a run has an answer. */
  #runAnswered(batch: ProducerBatch): void {
    this.#land(batch);
    this.#tellLatency(batch, batch.worst);
    if (batch.left > 0) {
      batch.keepRefused();
      return this.#settle(batch, batch.refusal!);
    }
    this.#accumulator.release(batch);
    batch.ended?.();
  }

  /** A batch is back without a success. */
  #settle(batch: ProducerBatch, error: SendError): void {
    const neverWritten = error.code === 'NO_CONNECTION';
    if (neverWritten) batch.attempts--;
    if (this.#mayRepeat(batch, error)) batch.maybeStored = true;
    else if (!isRetriable(error) || batch.attempts > this.#options.retries) return this.#giveUp(batch, error);
    if (error.outcome === 'unroutable') this.#owner.staleRoute(batch.lane.topic);
    const backoff = { firstMs: this.#options.retryBackoffMs, maxMs: this.#options.retryBackoffMaxMs };
    batch.notBeforeMs = this.#ports.clock.monotonic() + backoffMs(backoff, Math.max(1, batch.attempts), this.#ports.random.u32());
    this.#counters.retries += batch.count;
    if (!batch.pinned && batch.number < 0 && !neverWritten) this.#move(batch, this.#owner.elsewhere(batch.lane));
    this.#accumulator.requeue(batch);
  }

  /** Whether a batch that may be stored can be sent again all the same, because its broker tells repetitions. */
  #mayRepeat(batch: ProducerBatch, error: SendError): boolean {
    if (this.#numbers === undefined || !(error instanceof IndefiniteError) || error.code === 'MALFORMED_ANSWER') return false;
    const { deduplicates } = batch.connection!;
    if (deduplicates === true) return true;
    // The broker has not said yet. Should it have no memory of an earlier number, it refuses this one; but a first one it would store again.
    if (deduplicates === undefined) return batch.number > 0;
    if (!this.#toldUnprotected) {
      this.#toldUnprotected = true;
      this.#owner.report('idempotence is on, but a broker does not honour it: sends that may be stored are not repeated', error);
    }
    return false;
  }

  /** A refusal does not make an earlier attempt undone. */
  #giveUp(batch: ProducerBatch, error: SendError): void {
    if (!batch.maybeStored && !(error instanceof IndefiniteError)) this.#numbers?.forget(batch);
    this.#end(
      batch,
      batch.maybeStored ? fail('TIMEOUT', `an earlier attempt may be stored; the last one: ${error.message}`) : error,
    );
  }

  #move(batch: ProducerBatch, to: Lane): void {
    if (to === batch.lane || !this.#accumulator.move(batch, to)) return;
    // Another broker has not refused anything yet: no pause, but only once, or two busy ones would get it in turns without any.
    if (batch.attempts === 1) batch.notBeforeMs = 0;
  }

  #end(batch: ProducerBatch, error: SendError): void {
    this.#countError(error, batch.left);
    this.#accumulator.release(batch);
    // Its memory may be what somebody waits for.
    this.schedule();
    this.#completing.push(batch);
    batch.fail(error, this.#reportThrown);
    this.#completing.pop();
    batch.ended?.();
  }

  #tellLatency(batch: ProducerBatch, outcome: BrokerOutcome): void {
    const counters = this.#counters;
    const latencyMs = this.nowMs - batch.sentMs;
    counters.answers++;
    counters.answerTimeMsSum += latencyMs;
    if (latencyMs > counters.answerTimeMsMax) counters.answerTimeMsMax = latencyMs;
    this.#owner.answered(batch.lane.brokerName, latencyMs, outcome);
  }

  #countError(error: SendError, records: number): void {
    this.#counters.errors += records;
    if (error instanceof IndefiniteError) this.#counters.unknown += records;
  }
}

function outcomeOf(code: number): BrokerOutcome {
  return meansBusy(code) ? 'refused' : 'answered';
}
