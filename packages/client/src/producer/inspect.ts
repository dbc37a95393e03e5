/** A look into a producer: what waits where, why and for how long. Made on demand; nothing is kept for it. */
import type { Connection } from '../peers.ts';
import type { ProducerBatch } from './producer-batch.ts';
import type { TopicLanes } from './topic-lanes.ts';
import type { WaitReason, WaitingLine } from './waiting-sends.ts';

export interface ProducerState {
  /** Topics it follows, with their writable queues; nothing was sent to them for `idleMs`. */
  readonly topics: readonly { readonly topic: string; readonly queues: number; readonly idleMs: number }[];
  /** Sends that are in no batch yet, by topic and reason. */
  readonly waiting: readonly {
    readonly topic: string;
    readonly reason: WaitReason;
    readonly sends: number;
    readonly bytes: number;
    readonly oldestMs: number;
  }[];
  /** Queues with something in front of them or on its way. */
  readonly queues: readonly {
    readonly topic: string;
    readonly brokerName: string;
    readonly queueId: number;
    /** Batches that wait for their turn; of these: back for another attempt. */
    readonly batches: number;
    readonly repeated: number;
    readonly records: number;
    readonly bytes: number;
    readonly oldestMs: number;
    readonly requestsInFlight: number;
    readonly recordsInFlight: number;
  }[];
  readonly brokers: readonly {
    readonly brokerName: string;
    readonly address: string;
    readonly connection: string;
    /** Of all producers of this client. */
    readonly messagesInFlight: number;
    readonly bytesInFlight: number;
  }[];
  /** Brokers left out by records that may go anywhere. */
  readonly avoided: readonly { readonly brokerName: string; readonly forMs: number }[];
}

export function inspectProducer(
  memoryLine: WaitingLine,
  topics: Iterable<TopicLanes>,
  flying: Iterable<ProducerBatch>,
  connections: ReadonlyMap<string, Connection>,
  avoided: ProducerState['avoided'],
  nowMs: number,
): ProducerState {
  const recordsByLane = new Map<unknown, number>();
  for (const batch of flying) recordsByLane.set(batch.lane, (recordsByLane.get(batch.lane) ?? 0) + batch.left);
  const waiting = waitingRows(memoryLine, nowMs);
  const known: ProducerState['topics'][number][] = [];
  const queues: ProducerState['queues'][number][] = [];
  for (const topic of topics) {
    known.push({ topic: topic.topic, queues: topic.queueCount, idleMs: nowMs - topic.usedMs });
    waiting.push(...waitingRows(topic.unrouted, nowMs), ...waitingRows(topic.missing, nowMs));
    for (const lane of topic.all()) {
      const { batches, inFlight } = lane;
      if (batches.length === 0 && inFlight === 0) continue;
      queues.push({
        topic: lane.topic,
        brokerName: lane.brokerName,
        queueId: lane.queueId,
        batches: batches.length,
        repeated: batches.filter(({ attempts }) => attempts > 0).length,
        records: sum(batches, ({ count }) => count),
        bytes: sum(batches, ({ end }) => end),
        oldestMs: batches.length === 0 ? 0 : nowMs - batches[0]!.createdMs,
        requestsInFlight: inFlight,
        recordsInFlight: recordsByLane.get(lane) ?? 0,
      });
    }
  }
  const brokers = [...connections].map(([brokerName, { address, state, inFlightMessages, inFlightBytes }]) => ({
    brokerName,
    address,
    connection: state,
    messagesInFlight: inFlightMessages,
    bytesInFlight: inFlightBytes,
  }));
  return {
    topics: known,
    waiting,
    queues,
    brokers,
    avoided,
  };
}

function waitingRows(line: WaitingLine, nowMs: number): ProducerState['waiting'][number][] {
  const byTopic = new Map<string, { sends: number; bytes: number; oldestMs: number }>();
  for (const { record, bytes, sinceMs } of line.all()) {
    const row = byTopic.get(record.topic) ?? { sends: 0, bytes: 0, oldestMs: 0 };
    row.sends++;
    row.bytes += bytes;
    row.oldestMs = Math.max(row.oldestMs, nowMs - sinceMs);
    byTopic.set(record.topic, row);
  }
  return [...byTopic].map(([topic, row]) => ({ topic, reason: line.reason, ...row }));
}

function sum<T>(list: readonly T[], of: (item: T) => number): number {
  return list.reduce((total, item) => total + of(item), 0);
}
