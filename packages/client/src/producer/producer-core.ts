/**
 * A producer: takes records, chooses their queues, batches and sends them, and tells each caller what became of its record, once. A
 * send is synchronous up to the batch; everything else happens at the end of turns (see {@link Sender}). Callbacks of one queue run in the
 * order of the sends, as long as no attempt had to be repeated.
 *
 * A record that is wrong, one too many waiting, or a closed producer calls back before `send` returns; all others later.
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
import { type Lane, type SendDone, callDone } from './producer-batch.ts';
import { RecordAccumulator } from './record-accumulator.ts';
import { RecordEncoder } from './record-encoder.ts';
import type { ProducerRecord, SendMarks } from './record.ts';
import { SendRequest } from './send-request.ts';
import { Sender, type SenderOwner } from './sender.ts';
import { TopicLanes } from './topic-lanes.ts';
import { UniqueIds } from './unique-ids.ts';
import { WaitingCount, WaitingLine, type WaitingSend } from './waiting-sends.ts';

/** Beyond this many topics at once a producer refuses: names are kept for ever. */
const TOPICS_MAX = 100_000;

export class ProducerCore implements SenderOwner {
  readonly options: ProducerOptions;
  readonly ids: UniqueIds;
  readonly #context: ClientContext;
  readonly #encoder: RecordEncoder;
  readonly #pool: BufferPool;
  readonly #accumulator: RecordAccumulator;
  readonly #sender: Sender;
  readonly #topics = new Map<string, TopicLanes>();
  readonly #watchers = new Map<string, RouteWatcher>();
  readonly #waiting: WaitingCount;
  /** Sends that wait for memory. */
  readonly #line: WaitingLine;
  readonly #reportThrown: (thrown: unknown) => void;
  readonly #unwatch: () => void;
  /** Called once when it has closed, before `close` tells so. */
  onClosed: ((done: () => void) => void) | undefined;
  #flushes = 0;
  #closing = false;
  #closed = false;

  constructor(context: ClientContext, options: ProducerOptions) {
    this.#context = context;
    this.options = options;
    this.ids = new UniqueIds(context.ports.clock, context.ports.random);
    this.#encoder = new RecordEncoder(options, this.ids);
    this.#pool = new BufferPool(options.bufferMemoryBytes, Math.max(options.batchSizeBytes, 1024));
    this.#accumulator = new RecordAccumulator(this.#encoder, this.#pool, options);
    this.#sender = new Sender(context.ports, options, this.#accumulator, new SendRequest(options), this);
    this.#waiting = new WaitingCount(options.maxPendingRecords);
    this.#line = new WaitingLine(this.#waiting);
    this.#reportThrown = (thrown) => context.report("a send's callback threw", thrown);
    this.#unwatch = context.session.watchConnections(() => {
      if (this.#accumulator.lanes.length > 0) this.#sender.schedule();
    });
  }

  /** Records without a verdict. */
  get pending(): number {
    return this.#accumulator.records + this.#waiting.now;
  }

  /** Sends that wait for memory or a route. */
  get waiting(): number {
    return this.#waiting.now;
  }

  /** Sends one record. `done` is called exactly once. */
  send(record: ProducerRecord, done: SendDone): void {
    this.sendMarked(record, undefined, done);
  }

  /** As `send`, with what half messages and retries need beyond a record. */
  sendMarked(record: ProducerRecord, marks: SendMarks | undefined, done: SendDone): void {
    const error = this.#closing ? fail('CLOSED') : this.#encoder.prepare(record, marks);
    if (error !== undefined) return this.#refuse(done, error);
    const topic = this.#topics.get(record.topic) ?? this.#addTopic(record.topic);
    if (typeof topic === 'string') return this.#refuse(done, fail('ILLEGAL_RECORD', topic));
    this.#sender.schedule();
    if (!topic.routed) this.#wait(topic.waiting, record, marks, done);
    else if (this.#line.length > 0 || !this.#append(topic, record, marks, done)) this.#wait(this.#line, record, marks, done);
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
        told(error, receipt);
        one();
      };
    };
    this.#line.each(follow);
    for (const topic of this.#topics.values()) {
      topic.waiting.each(follow);
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
   * their way) and leaves its group. Does nothing a second time but call `done`.
   */
  close(timeoutMs: number, done: () => void): void {
    if (this.#closing) return done();
    this.#closing = true;
    let timer: Timer | undefined;
    const finish = (): void => {
      if (this.#closed) return;
      this.#closed = true;
      if (timer !== undefined) this.#context.ports.timers.cancel(timer);
      this.#abort(`the producer was closed and ${timeoutMs} ms have passed`);
      if (this.onClosed === undefined) done();
      else this.onClosed(done);
    };
    if (timeoutMs > 0) timer = this.#context.ports.timers.after(timeoutMs, finish);
    this.flush(finish);
    if (timeoutMs <= 0) finish();
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

  hurried(): boolean {
    return this.#line.length > 0 || this.#flushes > 0 || this.#closing;
  }

  beforeRound(nowMs: number): void {
    if (this.#waiting.now === 0) return;
    this.#expire(this.#line, nowMs, 'BUFFER_EXHAUSTED');
    for (const topic of this.#topics.values()) {
      if (topic.waiting.length > 0) this.#expire(topic.waiting, nowMs, 'NO_ROUTE');
    }
    for (let send = this.#line.first; send !== undefined; send = this.#line.first) {
      const error = this.#encoder.prepare(send.record, send.marks);
      const topic = this.#topics.get(send.record.topic)!;
      if (error !== undefined) callDone(this.#line.leave()!.done, error, this.#reportThrown);
      else if (this.#append(topic, send.record, send.marks, send.done)) this.#line.leave();
      else return;
    }
  }

  report(sentence: string, cause: unknown): void {
    this.#context.report(sentence, cause);
  }

  /** False: no memory. A record whose queue does not exist is refused here and counts as taken. */
  #append(topic: TopicLanes, record: ProducerRecord, marks: SendMarks | undefined, done: SendDone): boolean {
    const encoder = this.#encoder;
    const pinned = record.queueId !== undefined || encoder.hasKey;
    let lane: Lane | undefined;
    if (record.queueId !== undefined) lane = topic.ofQueue(record.queueId);
    else if (encoder.hasKey) lane = topic.ofKey(encoder.keyHash);
    else lane = topic.next();
    if (lane === undefined) {
      const which = record.queueId === undefined ? topic.topic : `queue ${record.queueId} of ${topic.topic}`;
      this.#refuse(done, fail('NO_QUEUE', which));
      return true;
    }
    if (!this.#pool.canEverLend(encoder.boundBytes)) {
      this.#refuse(
        done,
        fail('RECORD_TOO_LARGE', `${encoder.boundBytes} bytes; all memory is ${this.#pool.totalBytes} (bufferMemoryBytes)`),
      );
      return true;
    }
    const appended = this.#accumulator.append(lane, record, marks, pinned, done, this.#sender.nowMs, this.#sender.wallMs);
    if (!pinned) topic.joined(lane);
    return appended;
  }

  #wait(line: WaitingLine, record: ProducerRecord, marks: SendMarks | undefined, done: SendDone): void {
    const untilMs = this.#sender.nowMs + this.options.maxBlockMs;
    if (!line.join({ record, marks, done, untilMs })) {
      return this.#refuse(done, fail('TOO_MANY_WAITING', `${this.#waiting.max} (maxPendingRecords)`));
    }
    this.#sender.wakeAt(untilMs);
  }

  #refuse(done: SendDone, error: SendError): void {
    callDone(done, error, this.#reportThrown);
  }

  /** A topic seen for the first time; a sentence when its name is impossible. */
  #addTopic(name: string): TopicLanes | string {
    const fault =
      topicFault(name) ?? (this.#topics.size >= TOPICS_MAX ? `this producer has ${TOPICS_MAX} topics already` : undefined);
    if (fault !== undefined) return fault;
    const { routes, ports } = this.#context;
    const topic = new TopicLanes(name, new WaitingLine(this.#waiting), ports.random.u32());
    const watcher: RouteWatcher = (error, route) => this.#routeCame(topic, error, route);
    this.#topics.set(name, topic);
    this.#watchers.set(name, watcher);
    routes.watch(name, this.options.defaultQueues, watcher);
    const known = routes.get(name);
    if (known !== undefined) topic.learn(known);
    return topic;
  }

  #routeCame(topic: TopicLanes, error: ClientError | undefined, route: TopicRoute | undefined): void {
    if (route !== undefined) {
      topic.learn(route);
      this.#line.takeOver(topic.waiting);
      this.#sender.schedule();
    } else if (error?.outcome === 'unroutable') {
      const failure = fail('TOPIC_UNKNOWN', topic.topic, error);
      for (let send = topic.waiting.leave(); send !== undefined; send = topic.waiting.leave())
        callDone(send.done, failure, this.#reportThrown);
    }
  }

  #expire(line: WaitingLine, nowMs: number, code: 'BUFFER_EXHAUSTED' | 'NO_ROUTE'): void {
    for (let send = line.first; send !== undefined; send = line.first) {
      if (send.untilMs > nowMs) return this.#sender.wakeAt(send.untilMs);
      callDone(
        line.leave()!.done,
        fail(code, `${this.options.maxBlockMs} ms (maxBlockMs), topic ${send.record.topic}`),
        this.#reportThrown,
      );
    }
  }

  #abort(why: string): void {
    this.#unwatch();
    for (const [topic, watcher] of this.#watchers) this.#context.routes.unwatch(topic, watcher);
    for (const line of [this.#line, ...[...this.#topics.values()].map((topic) => topic.waiting)]) {
      for (let send = line.leave(); send !== undefined; send = line.leave())
        callDone(send.done, fail('NOT_SENT', why), this.#reportThrown);
    }
    this.#sender.abort(why);
  }
}

function chain(first: (() => void) | undefined, then: () => void): () => void {
  if (first === undefined) return then;
  return () => {
    first();
    then();
  };
}
