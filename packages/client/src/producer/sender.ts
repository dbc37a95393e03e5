/**
 * Moves batches from the accumulator to brokers and verdicts back. It works at the end of a turn, never inside an event: sends and
 * answers only note that there is work (`schedule`).
 *
 *    a batch in front of its lane                       what happens
 *    older than deliveryTimeoutMs                       fails: NOT_SENT, it never left
 *    open and younger than lingerMs                     waits, unless somebody waits for memory, a flush or the end
 *    in its back-off                                    waits, and the lane behind it: order
 *    connection not there                               waits; the connection is asked for
 *    in-flight bounds of queue or connection reached    waits for an answer
 *    else                                               goes out: one request
 *
 *    the verdict                                        what happens
 *    0                                                  receipts
 *    "not stored", retries left                         back in front of its lane, or to another broker's when nobody fixed the queue
 *    never written (refused)                            back in front of its lane
 *    may be stored, silence, connection lost            fails as unknown; never sent again by us
 *    any other                                          fails
 */
import { type Clock, type Random, type Timer, type Timers, type Turn, backoffMs } from '@tallystick/base';
import { type Frame, type PeerError, type ReplySink, ResponseCode, SendAnswerLocator } from '@tallystick/remoting';
import { IndefiniteError, type SendError, answerError, callError, fail, isRetriable } from '../errors.ts';
import type { ProducerOptions } from '../options.ts';
import type { Connection } from '../peers.ts';
import type { Lane, ProducerBatch } from './producer-batch.ts';
import type { RecordAccumulator } from './record-accumulator.ts';
import { type BatchAnswer, SendReceipt } from './receipt.ts';
import type { SendRequest } from './send-request.ts';

export interface SenderOwner {
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
  report(sentence: string, cause: unknown): void;
}

export class Sender implements ReplySink {
  /** Monotonic and wall-clock ms, read once per turn: valid after `schedule` until the round that it asked for. */
  nowMs = 0;
  wallMs = 0;
  readonly #ports: { readonly clock: Clock; readonly timers: Timers; readonly turn: Turn; readonly random: Random };
  readonly #options: ProducerOptions;
  readonly #accumulator: RecordAccumulator;
  readonly #request: SendRequest;
  readonly #owner: SenderOwner;
  readonly #answer = new SendAnswerLocator();
  readonly #reportThrown: (thrown: unknown) => void;
  /** Batches in flight by token, and tokens that are free again. */
  readonly #inFlight: (ProducerBatch | undefined)[] = [];
  readonly #connections: (Connection | undefined)[] = [];
  readonly #freeTokens: number[] = [];
  #scheduled = false;
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
    this.#reportThrown = (thrown) => owner.report("a send's callback threw", thrown);
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

  /** Every batch in flight. */
  *flying(): Iterable<ProducerBatch> {
    for (const batch of this.#inFlight) if (batch !== undefined) yield batch;
  }

  /** Ends everything now: what is in flight is unknown, what is not was never sent. */
  abort(why: string): void {
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    this.#timer = undefined;
    for (let token = 0; token < this.#inFlight.length; token++) {
      const batch = this.#inFlight[token];
      if (batch !== undefined) this.#end(this.#land(token), fail('CONNECTION_LOST', why));
    }
    const lanes = this.#accumulator.lanes;
    this.#accumulator.lanes = [];
    for (const lane of lanes) {
      lane.listed = false;
      for (const batch of lane.batches.splice(0)) this.#end(batch, fail('NOT_SENT', why));
    }
  }

  /** The answer to the request with this token, or why there is none. */
  onReply(token: number, error: PeerError | undefined, reply: Frame): void {
    const connection = this.#connections[token];
    if (this.#inFlight[token] === undefined) return;
    const batch = this.#land(token);
    this.schedule();
    if (error !== undefined) {
      if (error.kind === 'timeout') this.#owner.suspect(connection!);
      return this.#settle(batch, callError(error.kind, error.message));
    }
    if (reply.code !== ResponseCode.SUCCESS) return this.#settle(batch, this.#refusal(batch, connection!, reply));
    const said = this.#read(batch, connection!, reply);
    if (said === undefined) return this.#settle(batch, fail('MALFORMED_ANSWER', this.#answer.fault()));
    this.#accumulator.release(batch);
    batch.succeed(said, this.#reportThrown);
    batch.ended?.();
  }

  readonly #atEnd = (): void => {
    this.#scheduled = false;
    const nowMs = this.#ports.clock.monotonic();
    this.#owner.beforeRound(nowMs);
    const lanes = this.#accumulator.lanes;
    if (lanes.length === 0) return;
    this.#accumulator.lanes = [];
    for (const lane of lanes) {
      lane.listed = false;
      this.#serve(lane, nowMs);
      if (lane.batches.length > 0) this.#accumulator.list(lane);
    }
  };

  #serve(lane: Lane, nowMs: number): void {
    const options = this.#options;
    const hurried = options.lingerMs === 0 || this.#owner.hurried();
    for (let batch = lane.batches[0]; batch !== undefined; batch = lane.batches[0]) {
      const expiresMs = batch.createdMs + options.deliveryTimeoutMs;
      if (expiresMs <= nowMs) {
        lane.batches.shift();
        this.#end(
          batch,
          fail('NOT_SENT', `${nowMs - batch.createdMs} ms have passed (deliveryTimeoutMs), ${batch.attempts} attempts`),
        );
        continue;
      }
      const readyMs = hurried || batch.closed ? batch.notBeforeMs : batch.createdMs + options.lingerMs;
      if (readyMs > nowMs) return this.wakeAt(Math.min(readyMs, expiresMs));
      const connection = lane.inFlight < options.maxInFlightPerQueue ? this.#owner.connectionOf(lane) : undefined;
      if (connection === undefined || !this.#hasRoom(connection, batch)) return this.wakeAt(expiresMs);
      lane.batches.shift();
      this.#send(batch, connection, nowMs);
    }
  }

  #hasRoom(connection: Connection, batch: ProducerBatch): boolean {
    if (connection.peer === undefined) {
      connection.want();
      return false;
    }
    if (connection.inFlightMessages === 0) return true;
    return (
      connection.inFlightMessages + batch.count <= this.#options.maxInFlightMessages &&
      connection.inFlightBytes + batch.end <= this.#options.maxInFlightBytes
    );
  }

  #send(batch: ProducerBatch, connection: Connection, nowMs: number): void {
    batch.closed = true;
    batch.attempts++;
    batch.lane.inFlight++;
    connection.inFlightMessages += batch.count;
    connection.inFlightBytes += batch.end;
    const token = this.#freeTokens.pop() ?? this.#inFlight.length;
    this.#inFlight[token] = batch;
    this.#connections[token] = connection;
    const leftMs = batch.createdMs + this.#options.deliveryTimeoutMs - nowMs;
    this.#request.send(connection.peer!, batch, Math.min(this.#options.requestTimeoutMs, leftMs), this, token);
  }

  /** Takes a batch out of flight. */
  #land(token: number): ProducerBatch {
    const batch = this.#inFlight[token]!;
    const connection = this.#connections[token]!;
    this.#inFlight[token] = undefined;
    this.#connections[token] = undefined;
    this.#freeTokens.push(token);
    batch.lane.inFlight--;
    connection.inFlightMessages -= batch.count;
    connection.inFlightBytes -= batch.end;
    return batch;
  }

  /** The header of an answer to a send; undefined when it has none. */
  #read(batch: ProducerBatch, connection: Connection, reply: Frame): BatchAnswer | undefined {
    const answer = this.#answer;
    if (!answer.locate(reply)) return undefined;
    const { topic, brokerName } = batch.lane;
    const { address } = connection;
    return { topic, brokerName, address, queueId: answer.queueId(), baseOffset: answer.queueOffset(), offsetIds: answer.msgId() };
  }

  /** The error for an answer that is no success. Codes 10 to 12 say where the message is all the same. */
  #refusal(batch: ProducerBatch, connection: Connection, reply: Frame): SendError {
    const error = answerError(reply.code, reply.remark());
    if (!(error instanceof IndefiniteError) || batch.count !== 1) return error;
    const said = this.#read(batch, connection, reply);
    if (said !== undefined) error.receipt = new SendReceipt(said, 0, batch.idPrefixes[0]!, batch.idLows[0]!);
    return error;
  }

  #settle(batch: ProducerBatch, error: SendError): void {
    const neverWritten = error.code === 'NO_CONNECTION';
    if (neverWritten) batch.attempts--;
    if (!isRetriable(error) || batch.attempts > this.#options.retries) return this.#end(batch, error);
    if (error.outcome === 'unroutable') this.#owner.staleRoute(batch.lane.topic);
    const backoff = { firstMs: this.#options.retryBackoffMs, maxMs: this.#options.retryBackoffMaxMs };
    batch.notBeforeMs = this.#ports.clock.monotonic() + backoffMs(backoff, Math.max(1, batch.attempts), this.#ports.random.u32());
    if (!batch.pinned && !neverWritten) this.#move(batch, this.#owner.elsewhere(batch.lane));
    this.#accumulator.requeue(batch);
  }

  #move(batch: ProducerBatch, to: Lane): void {
    if (to === batch.lane) return;
    batch.lane = to;
    // Another broker has not refused anything yet: no pause.
    batch.notBeforeMs = 0;
  }

  #end(batch: ProducerBatch, error: SendError): void {
    this.#accumulator.release(batch);
    batch.fail(error, this.#reportThrown);
    batch.ended?.();
  }
}
