/**
 * The writable queues of one topic, a {@link QueueLane} each, and the choice among them. A key always goes to the same queue (Kafka's
 * hash over all writable queues in route order); a record that names its queue goes there; all others go to one queue until its batch
 * is on its way and then to the next (Kafka's sticky choice), which makes full batches under load and round robin without.
 *
 * Lanes outlive a change of the route: a batch that waits for a queue is not thrown away because a route forgot the queue for a moment.
 */
import { keyText } from '../route/queue-key.ts';
import type { TopicRoute } from '../route/topic-route.ts';
import { keyToQueue } from './murmur2.ts';
import type { Lane, ProducerBatch } from './producer-batch.ts';
import { QueueLane } from './queue-lane.ts';
import type { WaitingLine } from './waiting-sends.ts';

export class TopicLanes {
  readonly topic: string;
  /** Sends that wait for the route. */
  readonly waiting: WaitingLine;
  /** True once a route has been learned, even one without queues. */
  routed = false;
  #lanes: Lane[] = [];
  #byQueueId: Lane[] = [];
  readonly #byKey = new Map<string, Lane>();
  #sticky: number;
  /** The batch that records without a preference are joining. */
  #batch: ProducerBatch | undefined;

  constructor(topic: string, waiting: WaitingLine, random: number) {
    this.topic = topic;
    this.waiting = waiting;
    this.#sticky = random;
  }

  learn(route: TopicRoute): void {
    this.routed = true;
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
    for (const lane of this.#lanes) this.#byQueueId[lane.queueId] ??= lane;
  }

  ofKey(hash: number): Lane | undefined {
    return this.#lanes[keyToQueue(hash, this.#lanes.length)];
  }

  ofQueue(queueId: number): Lane | undefined {
    return this.#byQueueId[queueId];
  }

  /** The queue for a record without a preference. */
  next(): Lane | undefined {
    const lanes = this.#lanes;
    const present = lanes[this.#sticky % lanes.length];
    if (present === undefined || (this.#batch !== undefined && present.open === this.#batch)) return present;
    this.#sticky = (this.#sticky + 1) % lanes.length;
    return lanes[this.#sticky];
  }

  /** A record without a preference has been appended to the queue that `next` gave. */
  joined(lane: Lane): void {
    this.#batch = lane.open;
  }

  /** A queue on another broker, for a batch that one has refused; the same lane when there is none. */
  elsewhere(lane: Lane): Lane {
    const others = this.#lanes.filter((other) => other.brokerName !== lane.brokerName);
    if (others.length === 0) return lane;
    this.#sticky = (this.#sticky + 1) % this.#lanes.length;
    return others[this.#sticky % others.length]!;
  }

  /** Every lane that was ever made. */
  all(): Iterable<Lane> {
    return this.#byKey.values();
  }
}
