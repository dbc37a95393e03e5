/**
 * A topic's route as the name server tells it: which brokers have how many queues, and where their masters listen. From it the
 * writable and readable queues, sorted alike in every client.
 */
import type { TopicRouteData } from '@tallystick/remoting';
import { type QueueKey, compareKeys } from './queue-key.ts';

const PERM_READ = 4;
const PERM_WRITE = 2;
/** A route that claims more queues than this is not believed: the list would be built in memory. */
const QUEUES_MAX = 65_536;

export interface TopicRoute {
  readonly topic: string;
  /** Queues that take messages: writable, on a broker whose master's address is known. */
  readonly writeQueues: readonly QueueKey[];
  readonly readQueues: readonly QueueKey[];
  /** The topic does not exist: these are the queues it would have. They can be written to, which makes them, but not read. */
  readonly isStandIn: boolean;
  /** Master address by broker name. */
  readonly addresses: ReadonlyMap<string, string>;
}

/** The key of a broker's master among its addresses. */
export const MASTER_ID = '0';

/** `newQueues`: the route is another topic's, whose queues this one will get at most so many of when it is created. */
export function topicRoute(topic: string, data: TopicRouteData, newQueues?: number): TopicRoute {
  const isStandIn = newQueues !== undefined;
  const queuesMax = newQueues ?? QUEUES_MAX;
  const addresses = new Map<string, string>();
  for (const { brokerName, brokerAddrs } of data.brokerDatas) {
    const master = brokerAddrs.get(MASTER_ID);
    if (master !== undefined) addresses.set(brokerName, master);
  }
  const writeQueues: QueueKey[] = [];
  const readQueues: QueueKey[] = [];
  for (const { brokerName, perm, readQueueNums, writeQueueNums } of data.queueDatas) {
    if ((perm & PERM_READ) !== 0) addQueues(readQueues, topic, brokerName, Math.min(readQueueNums, queuesMax));
    if ((perm & PERM_WRITE) !== 0 && addresses.has(brokerName)) {
      addQueues(writeQueues, topic, brokerName, Math.min(writeQueueNums, queuesMax));
    }
  }
  return { topic, isStandIn, writeQueues: writeQueues.sort(compareKeys), readQueues: readQueues.sort(compareKeys), addresses };
}

function addQueues(to: QueueKey[], topic: string, brokerName: string, count: number): void {
  for (let queueId = 0; queueId < Math.min(count, QUEUES_MAX); queueId++) to.push({ topic, brokerName, queueId });
}
