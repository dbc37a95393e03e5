/**
 * A producer: takes records, chooses their queues, batches and sends them, and tells each caller what became of its record, once. A
 * send is synchronous up to the batch; everything else happens at the end of turns (see {@link Sender}). Callbacks of one queue run in the
 * order of the sends, as long as no attempt had to be repeated.
 *
 *    a send, step by step                          what may end it (see {@link SEND_FAILURES})
 *    interceptors' onSend                          nothing: one that throws is passed over
 *    producer open? shape of the record            CLOSED, ILLEGAL_RECORD
 *    route of the topic known?                     waits: TOO_MANY_WAITING, NO_ROUTE, TOPIC_UNKNOWN, WITHDRAWN
 *    key serializer, then value serializer         SERIALIZATION
 *    key, headers, tag, body checked and sized     ILLEGAL_RECORD, RECORD_TOO_LARGE
 *    queue: named, partitioner, key, next          NO_QUEUE (one that is named is waited for), PARTITIONER_FAILED
 *    one request, all memory                       RECORD_TOO_LARGE
 *    into the batch                                no memory: waits for what is left of maxBlockMs, BUFFER_EXHAUSTED
 *
 * With the plain serializers, keys and values are checked before the wait for the route: who is refused hears it at once. What fails before
 * a wait calls back before `send` returns; all others later. Nothing of this costs a record anything that has no interceptors, no
 * serializers and no wait.
 */
import type { Timer } from '@tallystick/base';
import type { ClientContext } from '../context.ts';
import { type ClientError, type SendError, fail } from '../errors.ts';
import type { ProducerOptions } from '../options.ts';
import type { Connection } from '../peers.ts';
import type { RouteWatcher } from '../route/route-table.ts';
import { topicFault } from '../route/topic-name.ts';
import type { TopicRoute } from '../route/topic-route.ts';
import { BufferPool } from './buffer-pool.ts';
import { HeaderMap } from './header-map.ts';
import { type ProducerState, inspectProducer } from './inspect.ts';
import { FollowedSend, Interceptors } from './interceptors.ts';
import { type BrokerOutcome, LatencyTable } from './latency-table.ts';
import { type ProducerMetrics, WaitTimes, producerMetrics } from './metrics.ts';
import type { Partitioner } from './partitioning/partitioner.ts';
import { type ChoiceRules, type ChoiceSurroundings, QueueChoice } from './partitioning/queue-choice.ts';
import { type Lane, type SendDone, callDone } from './producer-batch.ts';
import { ProducerCounters } from './producer-counters.ts';
import { RecordAccumulator, usualBufferBytes } from './record-accumulator.ts';
import { RecordEncoder } from './record-encoder.ts';
import { type ProducerRecord, type SendMarks, shapeFault } from './record.ts';
import { SendRequest } from './send-request.ts';
import { Sender, type SenderOwner } from './sender.ts';
import { Serialization, entriesOf } from './serializers.ts';
import { TopicLanes } from './topic-lanes.ts';
import { UniqueIds } from './unique-ids.ts';
import { WaitingCount, WaitingLine, WaitingSend } from './waiting-sends.ts';

/** Beyond this many topics at once a producer refuses: names are kept for ever. */
const TOPICS_MAX = 100_000;
/** A queue gets so many bytes of records without a key at a time when there are no batches. */
const SWITCH_BYTES = 32 * 1024;
/** What a waiting send counts whose value is not text or bytes yet. */
const UNKNOWN_BYTES = 1024;

/** Where a record went: into a batch, nowhere yet, or not at all. */
type Placed = 'taken' | 'no-memory' | 'no-queue' | SendError;

export class ProducerCore implements SenderOwner, ChoiceSurroundings {
  readonly options: ProducerOptions;
  readonly ids: UniqueIds;
  readonly counters = new ProducerCounters();
  /** Rounds of the sender so far. */
  round = 0;
  readonly #context: ClientContext;
  readonly #interceptors: Interceptors | undefined;
  readonly #serialization: Serialization;
  readonly #isPlain: boolean;
  readonly #partitioner: Partitioner | undefined;
  /** How a key chooses its queue. */
  readonly #keys: 'murmur2' | 'java' | 'ignored';
  readonly #choiceRules: ChoiceRules;
  readonly #latencies: LatencyTable | undefined;
  readonly #encoder: RecordEncoder;
  readonly #pool: BufferPool;
  readonly #accumulator: RecordAccumulator;
  readonly #sender: Sender;
  readonly #topics = new Map<string, TopicLanes>();
  readonly #watchers = new Map<string, RouteWatcher>();
  readonly #waiting: WaitingCount;
  readonly #waitTimes = new WaitTimes();
  /** Sends that wait for memory. */
  readonly #line: WaitingLine;
  readonly #reportThrown: (thrown: unknown) => void;
  readonly #unwatch: () => void;
  /** Called once when it has closed, before `close` tells so. */
  onClosed: ((done: () => void) => void) | undefined;
  /** Who wants to know when nothing waits any more. */
  #readies: (() => void)[] = [];
  #flushes = 0;
  #closing = false;
  #closed = false;
  readonly #closers: (() => void)[] = [];
  /** Sends admitted so far: shows whether a user's partitioner has sent something itself. */
  #admitted = 0;
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
    this.#choiceRules = {
      mode: typeof partitioner === 'string' ? partitioner : 'sticky',
      adaptive: options.partitionerAdaptive,
      batchSizeBytes: options.batchSizeBytes === 0 ? SWITCH_BYTES : options.batchSizeBytes,
      availabilityTimeoutMs: options.partitionerAvailabilityTimeoutMs,
    };
    this.#latencies = options.latencyAvoidance ? new LatencyTable() : undefined;
    this.#encoder = new RecordEncoder(options, this.ids);
    this.#pool = new BufferPool(options.bufferMemoryBytes, usualBufferBytes(options.batchSizeBytes));
    const request = new SendRequest(options, context.options.header);
    this.#accumulator = new RecordAccumulator(this.#encoder, this.#pool, options, request);
    this.#sender = new Sender(context.ports, options, this.#accumulator, request, this);
    this.#waiting = new WaitingCount(options.maxPendingRecords, options.maxPendingBytes);
    this.#line = new WaitingLine('memory', this.#waiting);
    this.#reportThrown = (thrown) => context.report("a send's callback threw", thrown);
    this.#unwatch = context.session.watchConnections((connection) => {
      if (this.#accumulator.lanes.length === 0) return;
      if (connection.state === 'pausing') this.#leave(connection);
      this.#sender.schedule();
    });
  }

  /** Records without a verdict. */
  get pending(): number {
    return this.#accumulator.records + this.#waiting.records;
  }

  /** Sends that wait for memory or a route. */
  get waiting(): number {
    return this.#waiting.records;
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
    if (this.#waiting.records > 0 && !this.#closing) return false;
    this.sendMarked(record, undefined, done);
    return true;
  }

  /** `done` as soon as no send waits for memory or a route: at once, or at most maxBlockMs later. */
  whenReady(done: () => void): void {
    if (this.#waiting.records === 0) done();
    else this.#readies.push(done);
  }

  /** Takes back a send that still waits: it fails as WITHDRAWN. False: it does not wait any more. */
  withdraw(send: WaitingSend, why: unknown): boolean {
    if (send.line === undefined) return false;
    send.line.leave(send);
    callDone(send.done, fail('WITHDRAWN', `it waited for ${send.record.topic}`, why), this.#reportThrown);
    this.#tellReady();
    return true;
  }

  /** `done` once every record sent before this call has its verdict. */
  flush(done: () => void): void {
    let left = 1;
    this.#flushes++;
    const one = (): void => {
      if (--left > 0) return;
      this.#flushes--;
      done();
    };
    const follow = (send: WaitingSend): void => {
      const told = send.done;
      left++;
      send.done = (error, receipt) => {
        try {
          told(error, receipt);
        } finally {
          one();
        }
      };
    };
    for (const send of this.#line.all()) follow(send);
    for (const topic of this.#topics.values()) {
      for (const line of [topic.unrouted, topic.missing]) for (const send of line.all()) follow(send);
      for (const lane of topic.all()) {
        for (const batch of lane.batches) {
          left++;
          batch.closed = true;
          batch.ended = chain(batch.ended, one);
        }
      }
    }
    for (const batch of this.#sender.flying()) {
      left++;
      batch.ended = chain(batch.ended, one);
    }
    this.#sender.schedule();
    one();
  }

  /**
   * Takes no more records, waits up to `timeoutMs` for the verdicts of those it has, fails the rest (not sent, or unknown for those on
   * their way) and leaves its group. 0 fails them at once, also after another close that still waits. `done` when it has closed.
   */
  close(timeoutMs: number, done: () => void): void {
    if (!(timeoutMs >= 0)) throw new RangeError(`timeoutMs must be 0 or more, not ${timeoutMs}`);
    if (this.#closed) return done();
    this.#closers.push(done);
    const isFirst = !this.#closing;
    this.#closing = true;
    if (timeoutMs === 0) return this.#finish('the producer was closed without waiting');
    if (!isFirst) return;
    const late = `the producer was closed and ${timeoutMs} ms have passed`;
    this.#closeTimer = this.#context.ports.timers.after(timeoutMs, () => this.#finish(late));
    this.flush(() => this.#finish(late));
  }

  /** Numbers that a dashboard can poll. */
  metrics(): ProducerMetrics {
    const nowMs = this.#context.ports.clock.monotonic();
    const { totalBytes, lentBytes } = this.#pool;
    const memory = { totalBytes, availableBytes: totalBytes - lentBytes };
    return producerMetrics(this.counters, memory, this.#waitTimes, this.#topics.values(), nowMs, {
      pendingRecords: this.pending,
      waitingRecords: this.#waiting.records,
      waitingBytes: this.#waiting.bytes,
      flying: this.#sender.flying(),
    });
  }

  /** What waits where, and for how long: for a look at a producer that stands still. */
  inspect(): ProducerState {
    const nowMs = this.#context.ports.clock.monotonic();
    const connections = new Map<string, Connection>();
    for (const topic of this.#topics.values()) {
      for (const lane of topic.all()) {
        const connection = this.connectionOf(lane);
        if (connection !== undefined) connections.set(lane.brokerName, connection);
      }
    }
    const avoided = this.#latencies?.avoided(nowMs) ?? [];
    return inspectProducer(this.#line, this.#topics.values(), this.#sender.flying(), connections, avoided, nowMs);
  }

  connectionOf(lane: Lane): Connection | undefined {
    const address = this.#context.routes.addressOf(lane.brokerName);
    return address === undefined ? undefined : this.#context.peers.to(address);
  }

  elsewhere(lane: Lane): Lane {
    return this.#topics.get(lane.topic)?.elsewhere(lane) ?? lane;
  }

  suspect(connection: Connection): void {
    this.#context.session.suspect(connection);
  }

  staleRoute(topic: string): void {
    this.#context.routes.refresh(topic);
  }

  /** One request's end, for the latency table. */
  answered(brokerName: string, latencyMs: number, outcome: BrokerOutcome): void {
    this.#latencies?.answered(brokerName, latencyMs, outcome, this.#context.ports.clock.monotonic());
  }

  /** A broker that was slow or busy lately, or that cannot be reached. */
  isAvoided(brokerName: string): boolean {
    if (this.#latencies?.isAvoided(brokerName, this.#sender.nowMs) === true) return true;
    const address = this.#context.routes.addressOf(brokerName);
    return address !== undefined && this.#context.peers.to(address).state === 'pausing';
  }

  u32(): number {
    return this.#context.ports.random.u32();
  }

  hurried(): boolean {
    return this.#line.length > 0 || this.#flushes > 0 || this.#closing;
  }

  beforeRound(nowMs: number): void {
    this.round++;
    if (this.#waiting.records === 0) return;
    this.#expire(this.#line, nowMs);
    for (const topic of this.#topics.values()) {
      this.#expire(topic.unrouted, nowMs);
      this.#expire(topic.missing, nowMs);
      if (topic.missing.length > 0) this.#askForQueue(topic, nowMs);
    }
    for (let send = this.#line.first; send !== undefined; send = this.#line.first) if (!this.#resume(send, nowMs)) break;
    this.#tellReady();
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
    const fault = shapeFault(record, marks, isPlain);
    const error =
      fault !== undefined
        ? fail('ILLEGAL_RECORD', fault)
        : isPlain
          ? this.#encoder.prepare(record as ProducerRecord, marks)
          : undefined;
    if (error !== undefined) return this.#refuse(done, error);
    const topic = this.#topics.get(record.topic) ?? this.#addTopic(record.topic);
    if (typeof topic === 'string') return this.#refuse(done, fail('ILLEGAL_RECORD', topic));
    this.#sender.schedule();
    let ready = record as ProducerRecord;
    if (isPlain) {
      if (record.headers !== undefined && record.headers instanceof HeaderMap) record.headers.setReadOnly();
      if (!topic.routed) return this.#wait(topic.unrouted, ready, true, marks, done, followed);
    } else {
      if (!topic.routed) return this.#wait(topic.unrouted, record, false, marks, done, followed);
      const serialized = this.#serialize(record, marks);
      if (serialized instanceof Error) return this.#refuse(done, serialized);
      ready = serialized;
    }
    if (this.#line.length > 0) return this.#wait(this.#line, ready, true, marks, done, followed);
    const placed = this.#append(topic, ready, marks, done, followed);
    if (placed === 'taken') return undefined;
    if (placed === 'no-memory') return this.#wait(this.#line, ready, true, marks, done, followed);
    if (placed !== 'no-queue') return this.#refuse(done, placed);
    const send = this.#wait(topic.missing, ready, true, marks, done, followed);
    if (send !== undefined) this.#askForQueue(topic, this.#sender.nowMs);
    return send;
  }

  /** The record as it will travel, checked and prepared for the batch. */
  #serialize(record: ProducerRecord<unknown, unknown>, marks: SendMarks | undefined): ProducerRecord | SendError {
    const serialized = this.#serialization.serialize(record);
    if (serialized instanceof Error) return serialized;
    if (serialized.headers instanceof HeaderMap) serialized.headers.setReadOnly();
    return this.#encoder.prepare(serialized, marks) ?? serialized;
  }

  /** Chooses a queue for the record just prepared and appends it there. */
  #append(
    topic: TopicLanes,
    record: ProducerRecord,
    marks: SendMarks | undefined,
    done: SendDone,
    followed: FollowedSend | undefined,
  ): Placed {
    const encoder = this.#encoder;
    const { options } = this;
    const isNamed = record.queueId !== undefined;
    let lane: Lane | SendError | undefined;
    let isFree = false;
    if (isNamed) {
      lane = topic.ofQueue(record.queueId);
      if (lane === undefined) return 'no-queue';
    } else if (this.#partitioner !== undefined) {
      const admitted = this.#admitted;
      lane = topic.ofPartitioner(this.#partitioner, record);
      if (admitted !== this.#admitted) encoder.prepare(record, marks);
    } else if (encoder.hasKey && this.#keys !== 'ignored')
      lane = this.#keys === 'murmur2' ? topic.ofKey(encoder.keyHash) : topic.ofJavaHash(record.key!);
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
    if (!this.#pool.canEverLend(boundBytes)) {
      return fail('RECORD_TOO_LARGE', `${boundBytes} bytes; all memory is ${this.#pool.totalBytes} (bufferMemoryBytes)`);
    }
    const { nowMs, wallMs } = this.#sender;
    const isAppended = this.#accumulator.append(lane, record, marks, !isFree, done, nowMs, wallMs);
    if (isFree) topic.choice.joined(lane, isAppended ? boundBytes : 0);
    if (!isAppended) return 'no-memory';
    if (followed !== undefined) followed.isAppended = true;
    return 'taken';
  }

  #wait(
    line: WaitingLine,
    record: ProducerRecord<unknown, unknown>,
    isSerialized: boolean,
    marks: SendMarks | undefined,
    done: SendDone,
    followed: FollowedSend | undefined,
  ): WaitingSend | undefined {
    const bytes = isSerialized ? this.#encoder.boundBytes : unserializedBytes(record);
    const refusal = this.#waiting.refusal(bytes);
    if (refusal !== undefined) return this.#refuse(done, fail('TOO_MANY_WAITING', refusal));
    const { nowMs } = this.#sender;
    const untilMs = nowMs + this.options.maxBlockMs;
    const send = new WaitingSend(withOwnHeaders(record), isSerialized, marks, done, followed, bytes, nowMs, untilMs);
    line.join(send);
    this.#sender.wakeAt(untilMs);
    return send;
  }

  /** Tries to append the first who waits for memory. False: there is still none. */
  #resume(send: WaitingSend, nowMs: number): boolean {
    let prepared: ProducerRecord | SendError = send.record as ProducerRecord;
    if (send.isSerialized) prepared = this.#encoder.prepare(prepared, send.marks) ?? prepared;
    else prepared = this.#serialize(send.record, send.marks);
    // Serializers are the user's code: it may have withdrawn the send.
    if (send.line !== this.#line) return true;
    if (!(prepared instanceof Error)) {
      send.record = prepared;
      send.isSerialized = true;
    }
    const topic = this.#topics.get(send.record.topic)!;
    const placed = prepared instanceof Error ? prepared : this.#append(topic, prepared, send.marks, send.done, send.followed);
    if (placed === 'no-memory') return false;
    if (send.line !== this.#line) return true;
    this.#line.leave(send);
    this.#waitTimes.note(nowMs - send.sinceMs);
    if (placed === 'no-queue') {
      topic.missing.join(send);
      this.#askForQueue(topic, nowMs);
    } else if (placed !== 'taken') callDone(send.done, placed, this.#reportThrown);
    return true;
  }

  #refuse(done: SendDone, error: SendError): undefined {
    this.counters.errors++;
    callDone(done, error, this.#reportThrown);
  }

  /** A topic seen for the first time; a sentence when its name is impossible. */
  #addTopic(name: string): TopicLanes | string {
    const fault =
      topicFault(name) ?? (this.#topics.size >= TOPICS_MAX ? `this producer has ${TOPICS_MAX} topics already` : undefined);
    if (fault !== undefined) return fault;
    const { routes } = this.#context;
    const unrouted = new WaitingLine('route', this.#waiting);
    const missing = new WaitingLine('queue', this.#waiting);
    const topic = new TopicLanes(name, unrouted, missing, new QueueChoice(this.#choiceRules, this));
    const watcher: RouteWatcher = (error, route) => this.#routeCame(topic, error, route);
    this.#topics.set(name, topic);
    this.#watchers.set(name, watcher);
    routes.watch(name, this.options.defaultQueues, watcher);
    const known = routes.get(name);
    if (known !== undefined) topic.learn(known, this.#context.ports.clock.monotonic());
    return topic;
  }

  #routeCame(topic: TopicLanes, error: ClientError | undefined, route: TopicRoute | undefined): void {
    if (route !== undefined) {
      if (error === undefined) topic.learn(route, this.#context.ports.clock.monotonic());
      this.#line.takeOver(topic.unrouted);
      this.#line.takeOver(topic.missing, (send) => topic.ofQueue(send.record.queueId!) !== undefined);
      if (this.#line.length > 0) this.#sender.schedule();
    } else if (error?.outcome === 'unroutable') {
      const failure = fail('TOPIC_UNKNOWN', topic.topic, error);
      for (const send of topic.unrouted.all()) this.#fail(send, failure);
      this.#tellReady();
    }
  }

  /** Batches that have never left and may go anywhere do not wait for a broker that cannot be reached if another one can. */
  #leave(connection: Connection): void {
    for (const topic of this.#topics.values()) {
      for (const lane of topic.all()) {
        if (lane.batches.length === 0 || this.connectionOf(lane) !== connection) continue;
        for (const batch of lane.batches.filter(({ pinned, attempts }) => !pinned && attempts === 0)) {
          const to = topic.elsewhere(lane);
          if (to === lane || this.isAvoided(to.brokerName)) break;
          lane.batches.splice(lane.batches.indexOf(batch), 1);
          batch.closed = true;
          if (batch.frames !== undefined) this.#accumulator.reframe(batch, to);
          batch.lane = to;
          this.#accumulator.requeue(batch);
        }
      }
    }
  }

  /** Asks for a topic's route because a queue is missing, not more often than a failed lookup is repeated. */
  #askForQueue(topic: TopicLanes, nowMs: number): void {
    if (nowMs >= topic.askAgainMs) {
      topic.askAgainMs = nowMs + this.#context.options.routeRetryMs;
      this.#context.routes.refresh(topic.topic);
    }
    this.#sender.wakeAt(topic.askAgainMs);
  }

  #expire(line: WaitingLine, nowMs: number): void {
    for (const send of line.expired(nowMs)) {
      this.#waitTimes.note(nowMs - send.sinceMs);
      this.counters.errors++;
      callDone(send.done, this.#lateness(line, send), this.#reportThrown);
    }
    if (line.length > 0) this.#sender.wakeAt(line.earliestMs);
  }

  #lateness(line: WaitingLine, send: WaitingSend): SendError {
    const { maxBlockMs } = this.options;
    const { topic, queueId } = send.record;
    const waited = `${maxBlockMs} ms (maxBlockMs)`;
    switch (line.reason) {
      case 'route':
        return fail('NO_ROUTE', `${waited}, topic ${topic}`);
      case 'queue':
        return fail(
          'NO_QUEUE',
          `queue ${queueId} of ${topic}, which has ${this.#topics.get(topic)!.queueCount}, also after ${waited}`,
        );
      case 'memory':
        return fail(
          'BUFFER_EXHAUSTED',
          `${waited}, ${send.bytes} bytes of ${this.#pool.totalBytes} (bufferMemoryBytes), topic ${topic}`,
        );
    }
  }

  #fail(send: WaitingSend, error: SendError): void {
    send.line?.leave(send);
    this.counters.errors++;
    callDone(send.done, error, this.#reportThrown);
  }

  #tellReady(): void {
    if (this.#waiting.records > 0 || this.#readies.length === 0) return;
    for (const ready of this.#readies.splice(0)) ready();
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
      for (const closer of this.#closers) closer();
    };
    if (this.onClosed === undefined) told();
    else this.onClosed(told);
  }

  #abort(why: string): void {
    this.#unwatch();
    for (const [topic, watcher] of this.#watchers) this.#context.routes.unwatch(topic, watcher);
    const lines = [...this.#topics.values()].flatMap((topic) => [topic.unrouted, topic.missing]);
    for (const line of [this.#line, ...lines]) {
      for (let send = line.first; send !== undefined; send = line.first) this.#fail(send, fail('NOT_SENT', why));
    }
    this.#tellReady();
    this.#sender.abort(why);
  }
}

/** What a send counts while its value is not serialized. */
function unserializedBytes({ value }: ProducerRecord<unknown, unknown>): number {
  if (typeof value === 'string') return value.length;
  return value instanceof Uint8Array ? value.length : UNKNOWN_BYTES;
}

/** Headers are copied before a wait: the caller's map may change meanwhile. */
function withOwnHeaders(record: ProducerRecord<unknown, unknown>): ProducerRecord<unknown, unknown> {
  const { headers } = record;
  if (headers === undefined || headers instanceof HeaderMap) return record;
  return { ...record, headers: new Map(entriesOf(headers)) };
}

function chain(first: (() => void) | undefined, then: () => void): () => void {
  if (first === undefined) return then;
  return () => {
    first();
    then();
  };
}
