/**
 * What a producer's outside stands on, without a broker: interceptors, checks, serializers and the choice of the queue are the real ones;
 * what would go out is kept, and gets its verdict when the test says so. Nothing waits here: a route is always there, memory too. A queue
 * that the topic does not have is refused at once.
 */
import { seededRandom } from '@tallystick/base/testing';
import { systemClock, systemRandom } from '@tallystick/base/node';
import { type LocalCode, type SendError, fail } from '../errors.ts';
import type { GivenProducerOptions, ProducerOptions } from '../options.ts';
import { producerOptions } from '../producer/config-rules.ts';
import { HeaderMap } from '../producer/header-map.ts';
import { type ProducerState, inspectProducer } from '../producer/inspect.ts';
import { FollowedSend, Interceptors } from '../producer/interceptors.ts';
import { type ProducerMetrics, WaitTimes, producerMetrics } from '../producer/metrics.ts';
import { QueueChoice } from '../producer/partitioning/queue-choice.ts';
import type { Lane, SendDone } from '../producer/producer-batch.ts';
import { ProducerCounters } from '../producer/producer-counters.ts';
import { SendReceipt } from '../producer/receipt.ts';
import { RecordEncoder } from '../producer/record-encoder.ts';
import { type ProducerRecord, type SendMarks, shapeFault } from '../producer/record.ts';
import { Serialization } from '../producer/serializers.ts';
import { TopicLanes } from '../producer/topic-lanes.ts';
import { UniqueIds } from '../producer/unique-ids.ts';
import { WaitingCount, WaitingLine } from '../producer/waiting-sends.ts';
import { topicFault } from '../route/topic-name.ts';
import type { ProducerCalls } from '../shell/producer-shell.ts';

/** One record that would have gone out. */
export interface MockSent {
  /** The record as the interceptors left it, with key and value as the serializers made them. */
  readonly record: ProducerRecord;
  readonly messageId: string;
  readonly queueId: number;
}

interface Waiting {
  readonly sent: MockSent;
  readonly done: SendDone;
}

export interface MockSettings {
  /** Sends succeed by themselves, after the call (default); false: each waits for `completeNext` or `errorNext`. */
  readonly autoComplete?: boolean | undefined;
  /** Queues of each topic. Default 4. */
  readonly queues?: number | undefined;
}

const BROKER = 'mock';
const ADDRESS = '127.0.0.1:0';
const HOST = '7F00000100000000';

export class MockCalls implements ProducerCalls {
  onClosed: ((done: () => void) => void) | undefined;
  closed = false;
  readonly options: ProducerOptions;
  readonly sent: MockSent[] = [];
  readonly #autoComplete: boolean;
  readonly #queues: number;
  readonly #interceptors: Interceptors;
  readonly #serialization: Serialization;
  readonly #encoder: RecordEncoder;
  readonly #ids = new UniqueIds(systemClock, systemRandom());
  readonly #random = seededRandom(1);
  readonly #topics = new Map<string, TopicLanes>();
  readonly #offsets = new Map<Lane, number>();
  readonly #waiting: Waiting[] = [];
  readonly #count = new WaitingCount(0, 0);
  readonly #memory = new WaitingLine('memory', this.#count);
  readonly #counters = new ProducerCounters();
  /** What users' code threw, in order: a real producer reports it and goes on. */
  readonly reports: { readonly sentence: string; readonly thrown: unknown }[] = [];
  readonly #report = (sentence: string, thrown: unknown): void => void this.reports.push({ sentence, thrown });
  #position = 0;

  constructor({ autoComplete = true, queues = 4 }: MockSettings, given: GivenProducerOptions) {
    this.options = producerOptions('mock producer', given);
    this.#autoComplete = autoComplete;
    this.#queues = queues;
    this.#interceptors = new Interceptors(this.options.interceptors, this.#report);
    this.#serialization = new Serialization(this.options.keySerializer, this.options.valueSerializer);
    this.#encoder = new RecordEncoder(this.options, this.#ids);
  }

  /** Sends without a verdict. */
  get pending(): number {
    return this.#waiting.length;
  }

  send(record: ProducerRecord<unknown, unknown>, done: SendDone): undefined {
    return this.sendMarked(record, undefined, done);
  }

  sendMarked(record: ProducerRecord<unknown, unknown>, marks: SendMarks | undefined, done: SendDone): undefined {
    if (typeof done !== 'function') throw new TypeError('a send needs a function to be told by');
    if (typeof record !== 'object' || record === null) throw new TypeError('a record must be an object');
    const changed = this.#interceptors.onSend(record);
    const followed = new FollowedSend(this.#interceptors, changed, done);
    const sent = this.closed ? fail('CLOSED') : this.#take(changed, marks, followed);
    if (sent instanceof Error) return this.#end(followed.done, sent, undefined);
    followed.isAppended = true;
    this.sent.push(sent);
    this.#counters.records++;
    this.#waiting.push({ sent, done: followed.done });
    // As with a broker, the good news comes after the call.
    if (this.#autoComplete) void Promise.resolve().then(() => this.completeNext());
  }

  trySend(record: ProducerRecord<unknown, unknown>, done: SendDone): boolean {
    this.send(record, done);
    return true;
  }

  whenReady(done: () => void): void {
    done();
  }

  withdraw(): boolean {
    return false;
  }

  /** The oldest send without a verdict succeeds; false when there is none. */
  completeNext(): boolean {
    const next = this.#waiting.shift();
    if (next !== undefined) this.#end(next.done, undefined, this.#receipt(next.sent));
    return next !== undefined;
  }

  /** The oldest send without a verdict fails; false when there is none. */
  errorNext(error: SendError | LocalCode): boolean {
    const next = this.#waiting.shift();
    if (next !== undefined) this.#end(next.done, typeof error === 'string' ? fail(error, 'as the test says') : error, undefined);
    return next !== undefined;
  }

  flush(done: () => void): void {
    this.#settleAll();
    done();
  }

  close(timeoutMs: number, done: () => void): void {
    if (!(timeoutMs >= 0)) throw new RangeError(`timeoutMs must be 0 or more, not ${timeoutMs}`);
    if (this.closed) return done();
    this.closed = true;
    if (timeoutMs === 0) this.#failAll('the producer was closed without waiting');
    this.#settleAll();
    this.#interceptors.close();
    this.#serialization.close(this.#report);
    const { partitioner } = this.options;
    try {
      if (typeof partitioner !== 'string') partitioner.close?.();
    } catch (thrown) {
      this.#report('closing the partitioner failed', thrown);
    }
    if (this.onClosed === undefined) done();
    else this.onClosed(done);
  }

  /** As if nothing had been sent yet; what has no verdict fails. */
  clear(): void {
    this.#failAll('the mock was cleared');
    this.sent.length = 0;
    this.reports.length = 0;
    this.#offsets.clear();
  }

  metrics(): ProducerMetrics {
    const present = { pendingRecords: this.pending, waitingRecords: 0, waitingBytes: 0, flying: [] };
    const memory = { totalBytes: this.options.bufferMemoryBytes, availableBytes: this.options.bufferMemoryBytes };
    return producerMetrics(this.#counters, memory, new WaitTimes(), this.#topics.values(), systemClock.monotonic(), present);
  }

  inspect(): ProducerState {
    return inspectProducer(this.#memory, this.#topics.values(), [], new Map(), [], systemClock.monotonic());
  }

  #settleAll(): void {
    for (let left = this.#waiting.length; left > 0; left--) this.completeNext();
  }

  #failAll(why: string): void {
    for (const { done } of this.#waiting.splice(0)) this.#end(done, fail('CONNECTION_LOST', why), undefined);
  }

  /** The record as it would travel, and where to. The steps of a producer, in its order. */
  #take(given: ProducerRecord<unknown, unknown>, marks: SendMarks | undefined, followed: FollowedSend): MockSent | SendError {
    const isPlain = this.#serialization.isPlain;
    let record = given as ProducerRecord;
    try {
      const fault = shapeFault(given, marks, isPlain) ?? topicFault(given.topic);
      if (fault !== undefined) return fail('ILLEGAL_RECORD', fault);
      const serialized = isPlain ? record : this.#serialization.serialize(given);
      if (serialized instanceof Error) return serialized;
      record = serialized;
      if (record.headers instanceof HeaderMap) record.headers.setReadOnly();
      const error = this.#encoder.prepare(record, marks);
      if (error !== undefined) return error;
    } catch (thrown) {
      return fail('ILLEGAL_RECORD', 'headers, tag, id or delayLevel is of the wrong kind', thrown);
    }
    const lane = this.#laneOf(record);
    if (lane instanceof Error) return lane;
    followed.queueId = lane.queueId;
    const { boundBytes } = this.#encoder;
    const { maxRequestSizeBytes } = this.options;
    if (boundBytes > maxRequestSizeBytes)
      return fail('RECORD_TOO_LARGE', `${boundBytes} bytes; the limit is ${maxRequestSizeBytes} (maxRequestSizeBytes)`);
    return { record, messageId: record.id ?? this.#ids.next(), queueId: lane.queueId };
  }

  #laneOf(record: ProducerRecord): Lane | SendError {
    const topic = this.#topicOf(record.topic);
    const { partitioner, partitionerIgnoreKeys, keyHash } = this.options;
    let lane: Lane | SendError | undefined;
    if (record.queueId !== undefined) lane = topic.ofQueue(record.queueId, record.brokerName);
    else if (typeof partitioner !== 'string') lane = topic.ofPartitioner(partitioner, record);
    else if (this.#encoder.hasKey && !partitionerIgnoreKeys)
      lane = keyHash === 'murmur2' ? topic.ofKey(this.#encoder.keyHash) : topic.ofJavaHash(record.key!);
    else {
      lane = topic.next(this.#encoder.boundBytes);
      if (lane !== undefined) topic.choice.joined(lane, this.#encoder.boundBytes);
    }
    return lane ?? fail('NO_QUEUE', `queue ${record.queueId} of ${record.topic}, which has ${topic.queueCount}`);
  }

  #topicOf(name: string): TopicLanes {
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      const { partitioner, batchSizeBytes } = this.options;
      const mode = typeof partitioner === 'string' ? partitioner : 'sticky';
      const rules = { mode, adaptive: false, batchSizeBytes: Math.max(1, batchSizeBytes), availabilityTimeoutMs: 0 };
      const around = { round: 0, nowMs: 0, isAvoided: () => false, u32: () => this.#random.u32() };
      topic = new TopicLanes(
        name,
        new WaitingLine('route', this.#count),
        new WaitingLine('queue', this.#count),
        new QueueChoice(rules, around),
      );
      const writeQueues = Array.from({ length: this.#queues }, (_, queueId) => ({ topic: name, brokerName: BROKER, queueId }));
      const addresses = new Map([[BROKER, ADDRESS]]);
      topic.learn({ topic: name, writeQueues, readQueues: writeQueues, isStandIn: false, addresses }, 0);
      this.#topics.set(name, topic);
    }
    return topic;
  }

  #receipt({ record, messageId, queueId }: MockSent): SendReceipt {
    const { topic } = record;
    const lane = this.#topicOf(topic).ofQueue(queueId, BROKER) as Lane;
    const offset = this.#offsets.get(lane) ?? 0;
    this.#offsets.set(lane, offset + 1);
    const storeTimestamp = systemClock.now();
    const answer = {
      topic,
      brokerName: BROKER,
      address: ADDRESS,
      queueId,
      storeTimestamp,
      baseOffset: 0,
      offsetIds: '',
      host: HOST,
    };
    return new SendReceipt(answer, offset, 0, this.#position++, messageId, -1);
  }

  #end(done: SendDone, error: SendError | undefined, receipt: SendReceipt | undefined): undefined {
    if (error === undefined) this.#counters.acknowledged++;
    else this.#counters.errors++;
    try {
      done(error, receipt!);
    } catch (thrown) {
      this.#report("a send's callback threw", thrown);
    }
  }
}
