/**
 * The writable queues of one topic, a {@link QueueLane} each, and the choice among them: a record that names its queue goes there (queues
 * bear the same numbers on each broker: without a broker's name it must be clear which is meant), a user's
 * own partitioner is asked for all others, a key chooses by its hash over all writable queues in route order, and for the rest there
 * is the {@link QueueChoice}.
 *
 * Lanes outlive a change of the route: a batch that waits for a queue is not thrown away because a route forgot the queue for a moment.
 */
import { type SendError, fail } from '../errors.ts';
import { type QueueKey, keyText } from '../route/queue-key.ts';
import type { TopicRoute } from '../route/topic-route.ts';
import { keyToQueue } from './murmur2.ts';
import { javaHash, javaHashToQueue } from './partitioning/java-hash.ts';
import type { Partitioner } from './partitioning/partitioner.ts';
import type { QueueChoice } from './partitioning/queue-choice.ts';
import type { Lane, ProducerBatch } from './producer-batch.ts';
import { QueueLane } from './queue-lane.ts';
import type { ProducerRecord } from './record.ts';
import type { WaitingLine } from './waiting-sends.ts';

export class TopicLanes {
  readonly topic: string;
  /** Sends that wait for the route, and those whose queue it does not have. */
  readonly unrouted: WaitingLine;
  readonly missing: WaitingLine;
  readonly choice: QueueChoice<Lane>;
  /** True once a route has been learned, even one without queues; and when (monotonic ms). */
  routed = false;
  routedMs = 0;
  /** Why the last lookup of the route failed, when none has succeeded. */
  routeError: Error | undefined;
  /** Sends that wait, for whatever; and monotonic ms of the last send to it. */
  waiting = 0;
  usedMs = 0;
  /** Monotonic ms at which the route may be asked for again because a queue is missing. */
  askAgainMs = 0;
  #queues: readonly QueueKey[] = [];
  #lanes: Lane[] = [];
  /** The queues of each number, one per broker that has it; and the one that records without a broker's name go to. */
  #byQueueId: Lane[][] = [];
  readonly #used = new Map<number, Lane>();
  readonly #byKey = new Map<string, Lane>();

  constructor(topic: string, unrouted: WaitingLine, missing: WaitingLine, choice: QueueChoice<Lane>) {
    this.topic = topic;
    this.unrouted = unrouted;
    this.missing = missing;
    this.choice = choice;
  }

  /** Nothing of it waits or is on its way. */
  get isIdle(): boolean {
    if (this.waiting > 0) return false;
    for (const { batches, inFlight } of this.#byKey.values()) if (batches.length > 0 || inFlight > 0) return false;
    return true;
  }

  /** Writable queues by the last route. */
  get queueCount(): number {
    return this.#lanes.length;
  }

  learn(route: TopicRoute, nowMs: number): void {
    this.routed = true;
    this.routedMs = nowMs;
    this.#queues = route.writeQueues;
    this.#lanes = route.writeQueues.map((key) => {
      const text = keyText(key);
      let lane = this.#byKey.get(text);
      if (lane === undefined) {
        lane = new QueueLane<ProducerBatch>(key.topic, key.brokerName, key.queueId);
        this.#byKey.set(text, lane);
      }
      return lane;
    });
    this.#byQueueId = [];
    for (const lane of this.#lanes) (this.#byQueueId[lane.queueId] ??= []).push(lane);
  }

  /** Kafka's choice for a key with this murmur2. */
  ofKey(hash: number): Lane | undefined {
    return this.#lanes[keyToQueue(hash, this.#lanes.length)];
  }

  ofJavaHash(key: string | Uint8Array): Lane | undefined {
    return this.#lanes[javaHashToQueue(javaHash(key), this.#lanes.length)];
  }

  /** The queue that a record names; undefined when the route has none, an error when it is not clear which one is meant. */
  ofQueue(queueId: number, brokerName: string | undefined): Lane | SendError | undefined {
    const lanes = this.#byQueueId[queueId];
    if (lanes === undefined) return undefined;
    if (brokerName !== undefined) {
      for (const lane of lanes) if (lane.brokerName === brokerName) return lane;
      return undefined;
    }
    const used = this.#used.get(queueId);
    if (used !== undefined && lanes.includes(used)) return used;
    if (lanes.length === 1) {
      this.#used.set(queueId, lanes[0]!);
      return lanes[0];
    }
    const names = lanes.map((lane) => lane.brokerName).join(', ');
    return fail('ILLEGAL_RECORD', `several brokers have a queue ${queueId} of ${this.topic}: ${names}; give brokerName too`);
  }

  /** Which queues there are, for people. */
  describe(): string {
    const counts = new Map<string, number>();
    for (const { brokerName } of this.#lanes) counts.set(brokerName, (counts.get(brokerName) ?? 0) + 1);
    return [...counts].map(([name, count]) => `${count} on ${name}`).join(', ') || 'none';
  }

  /** Whether the last route has the queue. */
  has(lane: Lane): boolean {
    return this.#lanes.includes(lane);
  }

  /** What a user's partitioner chooses; undefined when there are no queues. */
  ofPartitioner(partitioner: Partitioner, record: ProducerRecord): Lane | SendError | undefined {
    const count = this.#lanes.length;
    if (count === 0) return undefined;
    let at: unknown;
    try {
      at = partitioner.partition(record, this.#queues);
    } catch (thrown) {
      return fail('PARTITIONER_FAILED', `it threw ${String(thrown)} for a record of ${this.topic}`, thrown);
    }
    const lane = Number.isInteger(at) ? this.#lanes[at as number] : undefined;
    return (
      lane ??
      fail(
        'PARTITIONER_FAILED',
        `it gave ${String(at)} for a record of ${this.topic}, which has ${count} queues: 0 to ${count - 1}`,
      )
    );
  }

  /** The queue for a record without a preference that needs at most `bytes`; `choice.joined` or `notJoined` must follow. */
  next(bytes: number): Lane | undefined {
    return this.choice.next(this.#lanes, bytes);
  }

  /** A queue on another broker, for a batch that one has refused; the same lane when there is none. */
  elsewhere(lane: Lane): Lane {
    return this.choice.elsewhere(this.#lanes, lane) ?? lane;
  }

  /** Every lane that was ever made. */
  all(): Iterable<Lane> {
    return this.#byKey.values();
  }
}
