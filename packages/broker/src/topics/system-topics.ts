/**
 * Topics the broker owns. Clients see them in routes and lists, but none can be changed by a client, and into those that carry
 * somebody else's unfinished messages nobody can send and nobody can look.
 */
export const HALF_TOPIC = 'RMQ_SYS_TRANS_HALF_TOPIC';
export const OP_TOPIC = 'RMQ_SYS_TRANS_OP_HALF_TOPIC';
export const PARKED_TOPIC = 'TRANS_CHECK_MAX_TIME_TOPIC';
export const SCHEDULE_TOPIC = 'SCHEDULE_TOPIC_XXXX';
/** Answers for topics that do not exist yet while auto-create is on. */
export const DEFAULT_TOPIC = 'TBW102';
export const RETRY_PREFIX = '%RETRY%';
export const DLQ_PREFIX = '%DLQ%';

/** Permission bits of a topic (RocketMQ). */
export const PERM_INHERIT = 1;
export const PERM_WRITE = 2;
export const PERM_READ = 4;

const SEND_FORBIDDEN: ReadonlySet<string> = new Set([
  SCHEDULE_TOPIC,
  HALF_TOPIC,
  OP_TOPIC,
  PARKED_TOPIC,
  'SELF_TEST_TOPIC',
  'OFFSET_MOVED_EVENT',
]);

/** RocketMQ lets anyone read half messages before their verdict; here they stay out of sight. */
const PULL_FORBIDDEN: ReadonlySet<string> = new Set([SCHEDULE_TOPIC, HALF_TOPIC, OP_TOPIC, PARKED_TOPIC]);

export function isSendForbidden(topic: string): boolean {
  return SEND_FORBIDDEN.has(topic);
}

export function isPullForbidden(topic: string): boolean {
  return PULL_FORBIDDEN.has(topic);
}

export interface SystemTopic {
  readonly name: string;
  readonly queues: number;
  readonly perm: number;
}

/** What a fresh broker owns (RocketMQ's list without the topics of features we lack). */
export function systemTopics(
  brokerName: string,
  clusterName: string,
  delayLevels: number,
  autoCreate: boolean,
): readonly SystemTopic[] {
  const readWrite = PERM_READ | PERM_WRITE;
  return [
    { name: 'SELF_TEST_TOPIC', queues: 1, perm: readWrite },
    ...(autoCreate ? [{ name: DEFAULT_TOPIC, queues: 8, perm: readWrite | PERM_INHERIT }] : []),
    { name: 'BenchmarkTest', queues: 1024, perm: readWrite },
    { name: clusterName, queues: 16, perm: readWrite | PERM_INHERIT },
    { name: brokerName, queues: 1, perm: readWrite | PERM_INHERIT },
    { name: 'OFFSET_MOVED_EVENT', queues: 1, perm: readWrite },
    { name: SCHEDULE_TOPIC, queues: delayLevels, perm: readWrite },
    { name: `${clusterName}_REPLY_TOPIC`, queues: 1, perm: readWrite },
    { name: HALF_TOPIC, queues: 1, perm: readWrite },
    { name: OP_TOPIC, queues: 1, perm: readWrite },
    { name: PARKED_TOPIC, queues: 1, perm: readWrite },
  ];
}
