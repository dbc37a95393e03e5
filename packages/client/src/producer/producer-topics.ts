/**
 * The topics of a producer: their routes, which it follows, their queues, and which brokers records that may go anywhere leave out. A
 * topic to which nothing is sent any more is forgotten ({@link IdleTopics}); one that is sent to again begins anew, with a lookup.
 */
import type { ClientContext } from '../context.ts';
import { type ClientError, type SendError, fail } from '../errors.ts';
import type { ProducerOptions } from '../options.ts';
import type { Connection } from '../peers.ts';
import type { RouteWatcher } from '../route/route-table.ts';
import { topicFault } from '../route/topic-name.ts';
import type { TopicRoute } from '../route/topic-route.ts';
import { IdleTopics } from './idle-topics.ts';
import { LatencyTable } from './latency-table.ts';
import { type ChoiceRules, type ChoiceSurroundings, QueueChoice } from './partitioning/queue-choice.ts';
import type { Lane, ProducerBatch } from './producer-batch.ts';
import { TopicLanes } from './topic-lanes.ts';
import { type WaitingCount, WaitingLine } from './waiting-sends.ts';

/** A queue gets so many bytes of records without a key at a time when there are no batches. */
const SWITCH_BYTES = 32 * 1024;

export interface TopicsOwner {
  /** Monotonic ms, read once per turn. */
  readonly nowMs: number;
  /** A topic's route has come, or come again. */
  routed(topic: TopicLanes): void;
  /** The name server says that there is no such topic. */
  unroutable(topic: TopicLanes, error: ClientError): void;
  /** Topics are gone, and their queues with them; `lanes` has them no more. */
  forgotten(topics: readonly TopicLanes[]): void;
}

export class ProducerTopics implements ChoiceSurroundings {
  /** Rounds of the sender so far. */
  round = 0;
  readonly latencies: LatencyTable | undefined;
  readonly #context: ClientContext;
  readonly #newQueues: number;
  readonly #choiceRules: ChoiceRules;
  readonly #count: WaitingCount;
  readonly #owner: TopicsOwner;
  readonly #topicsMax: number;
  readonly #idle: IdleTopics;
  readonly #byName = new Map<string, TopicLanes>();
  readonly #watchers = new Map<string, RouteWatcher>();

  constructor(context: ClientContext, options: ProducerOptions, count: WaitingCount, owner: TopicsOwner) {
    this.#context = context;
    this.#newQueues = options.defaultQueues;
    this.#choiceRules = {
      mode: typeof options.partitioner === 'string' ? options.partitioner : 'sticky',
      adaptive: options.partitionerAdaptive,
      batchSizeBytes: options.batchSizeBytes === 0 ? SWITCH_BYTES : options.batchSizeBytes,
      availabilityTimeoutMs: options.partitionerAvailabilityTimeoutMs,
    };
    this.latencies = options.latencyAvoidance ? new LatencyTable() : undefined;
    this.#count = count;
    this.#owner = owner;
    this.#topicsMax = options.topicsMax;
    this.#idle = new IdleTopics(context.ports, options.metadataMaxIdleMs, this.#byName, (gone) => this.#forget(gone));
  }

  get nowMs(): number {
    return this.#owner.nowMs;
  }

  get(name: string): TopicLanes | undefined {
    return this.#byName.get(name);
  }

  all(): Iterable<TopicLanes> {
    return this.#byName.values();
  }

  /** Every queue of every topic. */
  *lanes(): Iterable<Lane> {
    for (const topic of this.#byName.values()) yield* topic.all();
  }

  /** The lines of sends that wait for a route or a queue. */
  *lines(): Iterable<WaitingLine> {
    for (const topic of this.#byName.values()) {
      yield topic.unrouted;
      yield topic.missing;
    }
  }

  /** A topic that is new, or new again; an error when its name is impossible or no other one can make room for it. */
  add(name: string): TopicLanes | SendError {
    const fault = topicFault(name);
    if (fault !== undefined) return fail('ILLEGAL_RECORD', fault);
    if (this.#byName.size >= this.#topicsMax) {
      const oldest = this.#idle.oldest(this.#owner.nowMs);
      if (oldest === undefined)
        return fail(
          'TOO_MANY_TOPICS',
          `${this.#byName.size} (topicsMax), and something of each waits, is on its way or was just sent`,
        );
      this.#forget([oldest]);
    }
    const { routes, ports } = this.#context;
    const unrouted = new WaitingLine('route', this.#count);
    const missing = new WaitingLine('queue', this.#count);
    const topic = new TopicLanes(name, unrouted, missing, new QueueChoice(this.#choiceRules, this));
    const watcher: RouteWatcher = (error, route) => this.#routeCame(topic, error, route);
    this.#byName.set(name, topic);
    this.#watchers.set(name, watcher);
    topic.usedMs = this.#owner.nowMs;
    this.#idle.arrived();
    routes.watch(name, this.#newQueues, watcher, () => topic.unrouted.length > 0);
    const known = routes.get(name);
    if (known !== undefined) topic.learn(known, ports.clock.monotonic());
    return topic;
  }

  /** Asks for a topic's route because a queue is missing, not more often than a failed lookup is repeated; when that may be again. */
  askForQueue(topic: TopicLanes, nowMs: number): number {
    if (nowMs >= topic.askAgainMs) {
      topic.askAgainMs = nowMs + this.#context.options.routeRetryMs;
      this.#context.routes.refresh(topic.topic);
    }
    return topic.askAgainMs;
  }

  connectionOf(lane: Lane): Connection | undefined {
    const address = this.#context.routes.addressOf(lane.brokerName);
    return address === undefined ? undefined : this.#context.peers.to(address);
  }

  /** The connections to all brokers that have queues, by broker name. */
  connections(): ReadonlyMap<string, Connection> {
    const connections = new Map<string, Connection>();
    for (const lane of this.lanes()) {
      const connection = this.connectionOf(lane);
      if (connection !== undefined) connections.set(lane.brokerName, connection);
    }
    return connections;
  }

  elsewhere(lane: Lane): Lane {
    return this.#byName.get(lane.topic)?.elsewhere(lane) ?? lane;
  }

  /** A broker that was slow or busy lately, or that cannot be reached. */
  isAvoided(brokerName: string): boolean {
    if (this.latencies?.isAvoided(brokerName, this.#owner.nowMs) === true) return true;
    const address = this.#context.routes.addressOf(brokerName);
    return address !== undefined && this.#context.peers.to(address).state === 'pausing';
  }

  /**
   * Batches in front of a broker that cannot be reached which have never left and may go anywhere, with the queue of another broker for
   * each, as long as there is one. They are taken out of their lanes.
   */
  stranded(connection: Connection): { readonly batch: ProducerBatch; readonly to: Lane }[] {
    const moves: { batch: ProducerBatch; to: Lane }[] = [];
    for (const lane of this.lanes()) {
      if (lane.batches.length === 0 || this.connectionOf(lane) !== connection) continue;
      for (const batch of lane.batches.filter(({ pinned, attempts, number }) => !pinned && attempts === 0 && number < 0)) {
        const to = this.elsewhere(lane);
        if (to === lane || this.isAvoided(to.brokerName)) break;
        lane.batches.splice(lane.batches.indexOf(batch), 1);
        moves.push({ batch, to });
      }
    }
    return moves;
  }

  u32(): number {
    return this.#context.ports.random.u32();
  }

  /** Follows no route any more. */
  close(): void {
    this.#idle.close();
    for (const [topic, watcher] of this.#watchers) this.#context.routes.unwatch(topic, watcher);
  }

  #forget(topics: readonly TopicLanes[]): void {
    for (const { topic } of topics) {
      this.#context.routes.unwatch(topic, this.#watchers.get(topic)!);
      this.#watchers.delete(topic);
      this.#byName.delete(topic);
    }
    this.#owner.forgotten(topics);
  }

  #routeCame(topic: TopicLanes, error: ClientError | undefined, route: TopicRoute | undefined): void {
    if (route !== undefined) {
      if (error === undefined) topic.learn(route, this.#context.ports.clock.monotonic());
      this.#owner.routed(topic);
    } else {
      topic.routeError = error;
      if (error?.outcome === 'unroutable') this.#owner.unroutable(topic, error);
    }
  }
}
