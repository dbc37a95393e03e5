/**
 * A producer: takes records, chooses their queues, batches and sends them, and tells each caller what became of its record, once. A
 * send is synchronous up to the batch; everything else happens at the end of turns (see {@link Sender}). Callbacks of one queue run in the
 * order of the sends, as long as no attempt had to be repeated.
 *
 *    a send, step by step                          what may end it (see {@link SEND_FAILURES})
 *    interceptors' onSend                          nothing: one that throws is passed over
 *    producer open? shape of the record            CLOSED, ILLEGAL_RECORD
 *    key serializer, then value serializer         SERIALIZATION
 *    key, headers, tag, body checked and sized     ILLEGAL_RECORD, RECORD_TOO_LARGE
 *    route of the topic known?                     TOO_MANY_TOPICS; waits: TOO_MANY_WAITING, NO_ROUTE, TOPIC_UNKNOWN, WITHDRAWN
 *    queue: named, partitioner, key, next          NO_QUEUE (one that is named is waited for), PARTITIONER_FAILED
 *    one request, all memory                       RECORD_TOO_LARGE
 *    into the batch                                no memory: waits for what is left of maxBlockMs, BUFFER_EXHAUSTED; OUT_OF_MEMORY
 *
 * Keys and values are serialized and checked before the wait for the route: what waits counts with its bytes, and who is refused hears it at
 * once. What fails before
 * a wait calls back before `send` returns, unless that send was made in just such a callback: then at the end of the turn, so that who sends
 * again and again from its callback fills no stack; all others later. Nothing of this costs a record anything that has no interceptors, no
 * serializers and no wait.
 */
import type { Timer } from '@tallystick/base';
import type { ClientContext } from '../context.ts';
import { type ClientError, SendError, fail } from '../errors.ts';
import type { ProducerOptions } from '../options.ts';
import type { Connection } from '../peers.ts';
import { BufferPool } from './buffer-pool.ts';
import { flush } from './flush.ts';
import { HeaderMap } from './header-map.ts';
import { type ProducerState, inspectProducer } from './inspect.ts';
import { FollowedSend, Interceptors } from './interceptors.ts';
import type { BrokerOutcome } from './latency-table.ts';
import { type ProducerMetrics, producerMetrics } from './metrics.ts';
import type { Partitioner } from './partitioning/partitioner.ts';
import { type Lane, type SendDone, callDone } from './producer-batch.ts';
import { ProducerCounters } from './producer-counters.ts';
import { ProducerTopics, type TopicsOwner } from './producer-topics.ts';
import { RecordAccumulator, usualBufferBytes } from './record-accumulator.ts';
import { RecordEncoder } from './record-encoder.ts';
import { SEQUENCE_BYTES } from './record-properties.ts';
import { type HeaderValue, type ProducerRecord, type SendMarks, shapeFault } from './record.ts';
import { SendRequest } from './send-request.ts';
import { Sender, type SenderOwner } from './sender.ts';
import { Serialization, entriesOf } from './serializers.ts';
import type { TopicLanes } from './topic-lanes.ts';
import { UniqueIds } from './unique-ids.ts';
import { type RoomOwner, WaitingRoom } from './waiting-room.ts';
import { type WaitingLine, WaitingSend } from './waiting-sends.ts';

/** Where a record went: into a batch, nowhere yet, or not at all (`gone`: it has failed meanwhile and its caller knows). */
type Placed = 'taken' | 'no-memory' | 'no-queue' | 'gone' | SendError;

export class ProducerCore implements SenderOwner, TopicsOwner, RoomOwner {
  readonly options: ProducerOptions;
  readonly ids: UniqueIds;
  readonly counters = new ProducerCounters();
  readonly #context: ClientContext;
  readonly #interceptors: Interceptors | undefined;
  readonly #serialization: Serialization;
  readonly #isPlain: boolean;
  readonly #partitioner: Partitioner | undefined;
  /** How a key chooses its queue. */
  readonly #keys: 'murmur2' | 'java' | 'ignored';
  readonly #encoder: RecordEncoder;
  readonly #pool: BufferPool;
  readonly #accumulator: RecordAccumulator;
  readonly #sender: Sender;
  readonly #topics: ProducerTopics;
  readonly #room: WaitingRoom;
  readonly #reportThrown: (thrown: unknown) => void;
  readonly #unwatch: () => void;
  /** Called once when it has closed, before `close` tells so. */
  onClosed: ((done: () => void) => void) | undefined;
  #flushes = 0;
  #closing = false;
  #closed = false;
  /** Those who closed know that it has closed. */
  #toldClosed = false;
  readonly #closers: (() => void)[] = [];
  /** A send is being refused at once; what else is to be said at the end of this turn. */
  #refusing = false;
  readonly #due: (() => void)[] = [];
  readonly #tellDue = (): void => this.#sayDue();
  /** Sends admitted so far: shows whether a user's partitioner has sent something itself. */
  #admitted = 0;
  /** The queue that it chose for the record for which there was no memory last. */
  #chosen: Lane | undefined;
  #closeTimer: Timer | undefined;

  constructor(context: ClientContext, options: ProducerOptions) {
    const report = (sentence: string, thrown: unknown): void => context.report(sentence, thrown);
    this.#context = context;
    this.options = options;
    this.ids = new UniqueIds(context.ports.clock, context.ports.random);
    this.#interceptors = options.interceptors.length === 0 ? undefined : new Interceptors(options.interceptors, report);
    this.#serialization = new Serialization(options.keySerializer, options.valueSerializer);
    this.#isPlain = this.#serialization.isPlain;
    const { partitioner } = options;
    this.#keys = options.partitionerIgnoreKeys ? 'ignored' : options.keyHash;
    this.#partitioner = typeof partitioner === 'string' ? undefined : partitioner;
    this.#encoder = new RecordEncoder(options, this.ids);
    this.#pool = new BufferPool(options.bufferMemoryBytes, usualBufferBytes(options.batchSizeBytes));
    const request = new SendRequest(options, context.options.header);
    this.#accumulator = new RecordAccumulator(this.#encoder, this.#pool, options, request);
    this.#sender = new Sender(context.ports, options, this.#accumulator, request, this);
    this.#room = new WaitingRoom(options, this);
    this.#topics = new ProducerTopics(context, options, this.#room.count, this);
    this.#reportThrown = (thrown) => context.report("a send's callback threw", thrown);
    this.#unwatch = context.session.watchConnections((connection) => {
      if (this.#accumulator.lanes.length === 0) return;
      if (connection.state === 'pausing') this.#leave(connection);
      this.#sender.schedule();
    });
  }

  /** Records without a verdict. */
  get pending(): number {
    return this.#accumulator.records + this.#room.count.records;
  }

  /** Sends that wait for memory or a route. */
  get waiting(): number {
    return this.#room.count.records;
  }

  /** Monotonic ms, read once per turn. */
  get nowMs(): number {
    return this.#sender.nowMs;
  }

  /** Sends one record. `done` is called exactly once. The result is there only while the send waits, to be withdrawn. */
  send(record: ProducerRecord<unknown, unknown>, done: SendDone): WaitingSend | undefined {
    return this.sendMarked(record, undefined, done);
  }

  /** As `send`, with what half messages and retries need beyond a record. */
  sendMarked(record: ProducerRecord<unknown, unknown>, marks: SendMarks | undefined, done: SendDone): WaitingSend | undefined {
    if (typeof done !== 'function') throw new TypeError('a send needs a function to be told by');
    if (typeof record !== 'object' || record === null) throw new TypeError('a record must be an object');
    if (this.#interceptors === undefined) return this.#admit(record, marks, done, undefined);
    const changed = this.#interceptors.onSend(record);
    const followed = new FollowedSend(this.#interceptors, changed, done);
    return this.#admit(changed, marks, followed.done, followed);
  }

  /** Sends unless others wait already: false then, and nothing has happened. See `whenReady`. */
  trySend(record: ProducerRecord<unknown, unknown>, done: SendDone): boolean {
    if (this.#room.count.records > 0 && !this.#closing) return false;
    this.sendMarked(record, undefined, done);
    return true;
  }

  /** `done` as soon as no send waits for memory or a route: at once, or at most maxBlockMs later. */
  whenReady(done: () => void): void {
    this.#room.whenEmpty(done);
  }

  /** Takes back a send that still waits: it fails as WITHDRAWN. False: it does not wait any more. */
  withdraw(send: WaitingSend, why: unknown): boolean {
    const isTaken = this.#room.fail(send, fail('WITHDRAWN', `it waited for ${send.record.topic}`, why));
    this.#room.tellIfEmpty();
    // Those behind it may need less memory.
    if (isTaken && this.#room.memory.length > 0) this.#sender.schedule();
    return isTaken;
  }

  /** `done` once every record sent before this call has its verdict. */
  flush(done: () => void): void {
    this.#flushes++;
    const lines = [this.#room.memory, ...this.#topics.lines()];
    let left = 1;
    const one = (): void => {
      if (--left > 0) return;
      this.#flushes--;
      done();
    };
    if (this.#due.length > 0) {
      left++;
      this.#due.push(one);
    }
    flush(lines, this.#topics.lanes(), this.#sender.unfinished(), one);
    this.#sender.schedule();
  }

  /**
   * Takes no more records, waits up to `timeoutMs` for the verdicts of those it has, fails the rest (not sent, or unknown for those on
   * their way) and leaves its group. Infinity waits for all of them. 0 fails them at once, also after another close that still waits. `done` when it has closed.
   */
  close(timeoutMs: number, done: () => void): void {
    if (!(timeoutMs >= 0)) throw new RangeError(`timeoutMs must be 0 or more, not ${timeoutMs}`);
    if (this.#toldClosed) return done();
    this.#closers.push(done);
    const isFirst = !this.#closing;
    this.#closing = true;
    if (timeoutMs === 0) return this.#finish('the producer was closed without waiting');
    if (!isFirst) return;
    const late = `the producer was closed and ${timeoutMs} ms have passed`;
    if (timeoutMs !== Infinity) this.#closeTimer = this.#context.ports.timers.after(timeoutMs, () => this.#finish(late));
    this.flush(() => this.#finish(late));
  }

  /** Numbers that a dashboard can poll. */
  metrics(): ProducerMetrics {
    const nowMs = this.#context.ports.clock.monotonic();
    const { totalBytes, lentBytes } = this.#pool;
    const memory = { totalBytes, availableBytes: totalBytes - lentBytes };
    return producerMetrics(this.counters, memory, this.#room.times, this.#topics.all(), nowMs, {
      pendingRecords: this.pending,
      waitingRecords: this.#room.count.records,
      waitingBytes: this.#room.count.bytes,
      flying: this.#sender.flying(),
    });
  }

  /** What waits where, and for how long: for a look at a producer that stands still. */
  inspect(): ProducerState {
    const nowMs = this.#context.ports.clock.monotonic();
    const topics = this.#topics;
    const avoided = topics.latencies?.avoided(nowMs) ?? [];
    return inspectProducer(this.#room.memory, topics.all(), this.#sender.flying(), topics.connections(), avoided, nowMs);
  }

  connectionOf(lane: Lane): Connection | undefined {
    return this.#topics.connectionOf(lane);
  }

  elsewhere(lane: Lane): Lane {
    return this.#topics.elsewhere(lane);
  }

  suspect(connection: Connection): void {
    this.#context.session.suspect(connection);
  }

  staleRoute(topic: string): void {
    this.#context.routes.refresh(topic);
  }

  /** One request's end, for the latency table. */
  answered(brokerName: string, latencyMs: number, outcome: BrokerOutcome): void {
    this.#topics.latencies?.answered(brokerName, latencyMs, outcome, this.#context.ports.clock.monotonic());
  }

  hurried(): boolean {
    return this.#room.memory.length > 0 || this.#flushes > 0 || this.#closing;
  }

  beforeRound(nowMs: number): void {
    this.#topics.round++;
    const room = this.#room;
    if (room.count.records === 0) return;
    room.expire(room.memory, nowMs);
    for (const topic of this.#topics.all()) {
      room.expire(topic.unrouted, nowMs);
      room.expire(topic.missing, nowMs);
      if (topic.missing.length > 0) this.#askForQueue(topic, nowMs);
    }
    for (let send = room.memory.first; send !== undefined; send = room.memory.first) if (!this.#resume(send, nowMs)) break;
    room.tellIfEmpty();
  }

  wakeAt(ms: number): void {
    this.#sender.wakeAt(ms);
  }

  failed(done: SendDone, error: SendError): void {
    this.counters.errors++;
    callDone(done, error, this.#reportThrown);
  }

  lateness({ record: { topic, queueId, brokerName }, needBytes }: WaitingSend, { reason }: WaitingLine): SendError {
    const waited = `${this.options.maxBlockMs} ms (maxBlockMs)`;
    switch (reason) {
      case 'route': {
        const cause = this.#topics.get(topic)?.routeError;
        return fail('NO_ROUTE', `${waited}, topic ${topic}${cause === undefined ? '' : `; ${cause.message}`}`, cause);
      }
      case 'queue': {
        const on = brokerName === undefined ? '' : ` on ${brokerName}`;
        const has = this.#topics.get(topic)?.describe() ?? 'none';
        return fail('NO_QUEUE', `queue ${queueId}${on} of ${topic}, which has ${has}, also after ${waited}`);
      }
      case 'memory':
        return fail(
          'BUFFER_EXHAUSTED',
          `${waited}, ${needBytes} bytes of ${this.#pool.totalBytes} (bufferMemoryBytes), topic ${topic}`,
        );
    }
  }

  routed(topic: TopicLanes): void {
    const { memory } = this.#room;
    memory.takeOver(topic.unrouted);
    memory.takeOver(topic.missing, ({ record }) => topic.ofQueue(record.queueId!, record.brokerName) !== undefined);
    if (memory.length > 0) this.#sender.schedule();
  }

  forgotten(topics: readonly TopicLanes[]): void {
    this.#sender.retire(
      topics.flatMap((topic) => [...topic.all()]),
      this.#topics.lanes(),
    );
  }

  unroutable(topic: TopicLanes, error: ClientError): void {
    this.#room.failAll(topic.unrouted, fail('TOPIC_UNKNOWN', topic.topic, error));
    this.#room.tellIfEmpty();
  }

  report(sentence: string, cause: unknown): void {
    this.#context.report(sentence, cause);
  }

  /** Everything after the interceptors. */
  #admit(
    record: ProducerRecord<unknown, unknown>,
    marks: SendMarks | undefined,
    done: SendDone,
    followed: FollowedSend | undefined,
  ): WaitingSend | undefined {
    const isPlain = this.#isPlain;
    this.#admitted++;
    if (this.#closing) return this.#refuse(done, fail('CLOSED'));
    const error = this.#fault(record, marks, isPlain, followed);
    if (error !== undefined) return this.#refuse(done, error);
    let ready = record as ProducerRecord;
    if (!isPlain) {
      const serialized = this.#serialize(record, marks, followed);
      if (serialized instanceof Error) return this.#refuse(done, serialized);
      // Serializers are the user's code.
      if (this.#closing) return this.#refuse(done, fail('CLOSED'));
      ready = serialized;
    }
    this.#sender.schedule();
    const topic = this.#topics.get(ready.topic) ?? this.#topics.add(ready.topic);
    if (topic instanceof Error) return this.#refuse(done, topic);
    topic.usedMs = this.#sender.nowMs;
    if (ready.headers !== undefined && ready.headers instanceof HeaderMap) ready.headers.setReadOnly();
    if (!topic.routed) return this.#wait(topic, topic.unrouted, ready, marks, done, followed);
    if (this.#room.memory.length > 0) return this.#wait(topic, this.#room.memory, ready, marks, done, followed);
    const placed = this.#append(topic, ready, marks, done, followed, undefined);
    if (placed === 'taken') return undefined;
    if (placed === 'no-memory') {
      const waiting = this.#wait(topic, this.#room.memory, ready, marks, done, followed);
      if (waiting !== undefined) waiting.chosen = this.#chosen;
      return waiting;
    }
    if (placed === 'gone') return undefined;
    if (placed !== 'no-queue') return this.#refuse(done, placed);
    const send = this.#wait(topic, topic.missing, ready, marks, done, followed);
    if (send !== undefined) this.#askForQueue(topic, this.#sender.nowMs);
    return send;
  }

  /** What is wrong with a record; one that is right is prepared for the batch if it can be. Programs without types hand in anything. */
  #fault(
    record: ProducerRecord<unknown, unknown>,
    marks: SendMarks | undefined,
    isPlain: boolean,
    followed: FollowedSend | undefined,
  ): SendError | undefined {
    try {
      const fault = shapeFault(record, marks, isPlain);
      if (fault !== undefined) return fail('ILLEGAL_RECORD', fault);
      if (!isPlain) return undefined;
      const error = this.#encoder.prepare(record as ProducerRecord, marks);
      if (error?.code === 'RECORD_TOO_LARGE') this.#tellQueue(record as ProducerRecord, followed);
      return error;
    } catch (thrown) {
      return fail('ILLEGAL_RECORD', 'headers, tag, id or delayLevel is of the wrong kind', thrown);
    }
  }

  /**
   * Interceptors hear where the key of a record too large would have brought it, as in Kafka, which chooses first. The partitioner of a
   * user is not asked.
   */
  #tellQueue(record: ProducerRecord, followed: FollowedSend | undefined): void {
    const topic = this.#topics.get(record.topic);
    if (followed === undefined || followed.queueId >= 0 || this.#partitioner !== undefined || topic?.routed !== true) return;
    followed.queueId = this.#ofKey(topic, record)?.queueId ?? -1;
  }

  /** The queue that the key of the record just prepared chooses. */
  #ofKey(topic: TopicLanes, record: ProducerRecord): Lane | undefined {
    const encoder = this.#encoder;
    if (!encoder.hasKey || this.#keys === 'ignored') return undefined;
    return this.#keys === 'murmur2' ? topic.ofKey(encoder.keyHash) : topic.ofJavaHash(record.key!);
  }

  /** The record as it will travel, checked and prepared for the batch. */
  #serialize(
    record: ProducerRecord<unknown, unknown>,
    marks: SendMarks | undefined,
    followed: FollowedSend | undefined,
  ): ProducerRecord | SendError {
    let serialized: ProducerRecord | SendError;
    try {
      serialized = this.#serialization.serialize(record);
    } catch (thrown) {
      return fail('ILLEGAL_RECORD', 'headers are of the wrong kind', thrown);
    }
    return serialized instanceof Error ? serialized : (this.#fault(serialized, marks, true, followed) ?? serialized);
  }

  /** Chooses a queue for the record just prepared and appends it there; `send`: the record has waited for memory. */
  #append(
    topic: TopicLanes,
    record: ProducerRecord,
    marks: SendMarks | undefined,
    done: SendDone,
    followed: FollowedSend | undefined,
    send: WaitingSend | undefined,
  ): Placed {
    const encoder = this.#encoder;
    const { options } = this;
    const isNamed = record.queueId !== undefined;
    let lane: Lane | SendError | undefined;
    let isFree = false;
    if (isNamed) {
      lane = topic.ofQueue(record.queueId, record.brokerName);
      if (lane === undefined) return 'no-queue';
    } else if (this.#partitioner !== undefined) {
      const admitted = this.#admitted;
      const chosen = send?.chosen;
      lane = chosen !== undefined && topic.has(chosen) ? chosen : topic.ofPartitioner(this.#partitioner, record);
      // The partitioner is the user's code: it may have closed the producer, withdrawn this very send, or sent others.
      if (send === undefined ? this.#closing : send.line !== this.#room.memory)
        return send === undefined ? fail('CLOSED') : 'gone';
      if (admitted !== this.#admitted) {
        const error = this.#fault(record, marks, true, undefined);
        if (error !== undefined) return error;
      }
    } else if (encoder.hasKey && this.#keys !== 'ignored') lane = this.#ofKey(topic, record);
    else {
      lane = topic.next(encoder.boundBytes);
      isFree = true;
    }
    if (lane === undefined) return fail('NO_QUEUE', `${topic.topic} has no writable queue`);
    if (lane instanceof Error) return lane;
    if (followed !== undefined) followed.queueId = lane.queueId;
    const { boundBytes } = encoder;
    if (boundBytes > options.maxRequestSizeBytes) {
      return fail('RECORD_TOO_LARGE', `${boundBytes} bytes; the limit is ${options.maxRequestSizeBytes} (maxRequestSizeBytes)`);
    }
    const aloneBytes = boundBytes + (options.idempotence ? SEQUENCE_BYTES : 0);
    if (!this.#pool.canEverLend(aloneBytes)) {
      return fail('RECORD_TOO_LARGE', `${aloneBytes} bytes; all memory is ${this.#pool.totalBytes} (bufferMemoryBytes)`);
    }
    const { nowMs, wallMs } = this.#sender;
    const told = send === undefined ? done : send.done;
    let appended: boolean | SendError;
    try {
      appended = this.#accumulator.append(lane, record, marks, !isFree, told, nowMs, wallMs);
    } catch (thrown) {
      if (!(thrown instanceof SendError)) throw thrown;
      appended = thrown;
    }
    if (appended !== true) {
      if (isFree) topic.choice.notJoined();
      this.#chosen = lane;
      return appended === false ? 'no-memory' : appended;
    }
    if (isFree) topic.choice.joined(lane, boundBytes);
    if (followed !== undefined) followed.isAppended = true;
    return 'taken';
  }

  #wait(
    topic: TopicLanes,
    line: WaitingLine,
    record: ProducerRecord,
    marks: SendMarks | undefined,
    done: SendDone,
    followed: FollowedSend | undefined,
  ): WaitingSend | undefined {
    const { boundBytes, value } = this.#encoder;
    const { nowMs } = this.#sender;
    const untilMs = this.#room.untilMs(nowMs);
    let own: ProducerRecord;
    try {
      own = ownRecord(record);
    } catch (thrown) {
      return this.#refuse(done, fail('ILLEGAL_RECORD', 'it cannot be copied', thrown));
    }
    // Bytes that were deflated are the encoder's own.
    const kept = value === record.value ? own.value : value;
    const send = new WaitingSend(topic, own, kept, marks, done, followed, boundBytes, nowMs, untilMs);
    const refusal = this.#room.join(line, send);
    if (line === topic.unrouted) this.#context.routes.need(topic.topic);
    return refusal === undefined ? send : this.#refuse(done, refusal);
  }

  /** Tries to append the first who waits for memory. False: there is still none. */
  #resume(send: WaitingSend, nowMs: number): boolean {
    const topic = send.topic as TopicLanes;
    const placed = this.#faultAgain(send) ?? this.#append(topic, send.record, send.marks, send.done, send.followed, send);
    if (placed === 'no-memory') {
      send.chosen = this.#chosen;
      return false;
    }
    if (placed === 'gone' || send.line !== this.#room.memory) return true;
    this.#room.leave(send, nowMs);
    if (placed === 'no-queue') {
      topic.missing.join(send);
      this.#askForQueue(topic, nowMs);
    } else if (placed !== 'taken') this.failed(send.done, placed);
    return true;
  }

  /** Prepares a record that has been prepared before its wait. */
  #faultAgain(send: WaitingSend): SendError | undefined {
    try {
      return this.#encoder.prepareAgain(send.record, send.marks, send.value);
    } catch (thrown) {
      return fail('ILLEGAL_RECORD', 'headers, tag, id or delayLevel is of the wrong kind', thrown);
    }
  }

  /** Refuses a send at once; one that was made while another was refused, at the end of the turn. */
  #refuse(done: SendDone, error: SendError): undefined {
    if (this.#refusing) {
      if (this.#due.push(() => this.failed(done, error)) === 1) this.#context.ports.turn.atEnd(this.#tellDue);
      return;
    }
    this.#refusing = true;
    this.failed(done, error);
    this.#refusing = false;
  }

  #sayDue(): void {
    const wasRefusing = this.#refusing;
    this.#refusing = true;
    for (let left = this.#due.length; left > 0; left--) this.#due.shift()?.();
    this.#refusing = wasRefusing;
    if (this.#due.length > 0) this.#context.ports.turn.atEnd(this.#tellDue);
  }

  /** Batches that have never left and may go anywhere do not wait for a broker that cannot be reached if another one can. */
  #leave(connection: Connection): void {
    for (const { batch, to } of this.#topics.stranded(connection)) {
      batch.closed = true;
      this.#accumulator.move(batch, to);
      this.#accumulator.requeue(batch);
    }
  }

  #askForQueue(topic: TopicLanes, nowMs: number): void {
    this.#sender.wakeAt(this.#topics.askForQueue(topic, nowMs));
  }

  #finish(why: string): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#closeTimer !== undefined) this.#context.ports.timers.cancel(this.#closeTimer);
    this.#abort(why);
    this.#interceptors?.close();
    this.#serialization.close((sentence, thrown) => this.#context.report(sentence, thrown));
    try {
      this.#partitioner?.close?.();
    } catch (thrown) {
      this.#context.report('closing the partitioner failed', thrown);
    }
    const told = (): void => {
      this.#toldClosed = true;
      for (const closer of this.#closers) closer();
    };
    if (this.onClosed === undefined) told();
    else this.onClosed(told);
  }

  #abort(why: string): void {
    this.#unwatch();
    this.#topics.close();
    for (const line of [this.#room.memory, ...this.#topics.lines()]) this.#room.failAll(line, fail('NOT_SENT', why));
    this.#room.tellIfEmpty();
    this.#sender.abort(why);
    this.#sayDue();
  }
}

/**
 * A record is copied before a wait, bytes too: the caller may change it, or use it again, meanwhile, and a serializer may use one buffer for
 * all. Its fields may be accessors of a class.
 */
function ownRecord(record: ProducerRecord): ProducerRecord {
  const { topic, tag, queueId, brokerName, id, delayLevel, timestamp } = record;
  const given = record.headers;
  const key = record.key === undefined ? undefined : ownData(record.key);
  const value = ownData(record.value);
  const headers = given === undefined ? undefined : new Map<string, HeaderValue>();
  for (const [name, header] of entriesOf(given)) headers!.set(name, ownData(header));
  // A property first: a literal that begins with a spread would make a hidden class for each record.
  return { id, ...record, topic, key, value, headers, tag, queueId, brokerName, delayLevel, timestamp };
}

function ownData(data: Uint8Array | string): Uint8Array | string {
  return typeof data === 'string' ? data : Buffer.from(data);
}
