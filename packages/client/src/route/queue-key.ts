/** A queue's full name, as RocketMQ's MessageQueue: a topic, the broker that hosts it, a number on that broker. */
export interface QueueKey {
  readonly topic: string;
  readonly brokerName: string;
  readonly queueId: number;
}

/** One string per queue, for Maps. Neither topics nor broker names may hold a space. */
export function keyText(key: QueueKey): string {
  return `${key.topic} ${key.brokerName} ${key.queueId}`;
}

/** RocketMQ's order of queues: topic, broker, number. All members of a group must sort alike. */
export function compareKeys(a: QueueKey, b: QueueKey): number {
  if (a.topic !== b.topic) return a.topic < b.topic ? -1 : 1;
  if (a.brokerName !== b.brokerName) return a.brokerName < b.brokerName ? -1 : 1;
  return a.queueId - b.queueId;
}
