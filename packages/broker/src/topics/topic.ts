import type { QueueRef } from '../store/queue-ref.ts';
import { PERM_READ, PERM_WRITE } from './system-topics.ts';

/** What a topic is. Never changed in place: an update puts a new one into the table. */
export interface TopicConfig {
  readonly name: string;
  readonly readQueues: number;
  readonly writeQueues: number;
  readonly perm: number;
  readonly sysFlag: number;
  readonly order: boolean;
  readonly filterType: string;
  readonly attributes: ReadonlyMap<string, string>;
}

/** A topic as it is held for the hot paths: its config, its name as bytes, and room for the store's queue handles. */
export class Topic {
  readonly config: TopicConfig;
  readonly name: string;
  readonly nameBytes: Buffer;
  /** Belongs to the broker: not in the log, not changeable by clients. */
  readonly system: boolean;
  /** Highest legal queue id + 1. */
  readonly queueCount: number;
  /** Messages are born when the broker takes them in, whatever their sender says (Kafka's LogAppendTime). */
  readonly isAppendTime: boolean;
  /** The store's handles by queue id, filled as they are first used. */
  readonly queues: (QueueRef | undefined)[] = [];

  constructor(config: TopicConfig, system: boolean) {
    this.config = config;
    this.name = config.name;
    this.nameBytes = Buffer.from(config.name, 'utf8');
    this.system = system;
    this.queueCount = Math.max(config.readQueues, config.writeQueues);
    this.isAppendTime = config.attributes.get(TIMESTAMP_TYPE) === APPEND_TIME;
  }

  get readable(): boolean {
    return (this.config.perm & PERM_READ) !== 0;
  }
}

/** The attribute that says whose clock a topic's timestamps are by, and its values: Kafka's names. */
const TIMESTAMP_TYPE = 'message.timestamp.type';
const APPEND_TIME = 'LogAppendTime';
const TIMESTAMP_TYPES: readonly (string | undefined)[] = [undefined, 'CreateTime', APPEND_TIME];

/** What is wrong with a topic's attributes; those that the broker does not know are kept as they are. */
export function attributesFault(attributes: ReadonlyMap<string, string>): string | undefined {
  const type = attributes.get(TIMESTAMP_TYPE);
  return TIMESTAMP_TYPES.includes(type) ? undefined : `${TIMESTAMP_TYPE} is CreateTime or ${APPEND_TIME}, not ${type}`;
}

export function topicConfig(name: string, queues: number, perm = PERM_READ | PERM_WRITE, sysFlag = 0): TopicConfig {
  return {
    name,
    readQueues: queues,
    writeQueues: queues,
    perm,
    sysFlag,
    order: false,
    filterType: 'SINGLE_TAG',
    attributes: new Map(),
  };
}

/** RocketMQ's TopicConfig bean, for the wire, for topics.json and for the log. */
export function topicJson(config: TopicConfig): Record<string, unknown> {
  return {
    attributes: Object.fromEntries(config.attributes),
    order: config.order,
    perm: config.perm,
    readQueueNums: config.readQueues,
    topicFilterType: config.filterType,
    topicName: config.name,
    topicSysFlag: config.sysFlag,
    writeQueueNums: config.writeQueues,
  };
}

/** The reverse, tolerant of what is missing (RocketMQ's defaults); undefined when it is not a topic at all. */
export function topicFromJson(json: unknown): TopicConfig | undefined {
  if (typeof json !== 'object' || json === null) return undefined;
  const bean = json as { readonly [field: string]: unknown };
  const name = bean['topicName'];
  if (typeof name !== 'string' || name === '') return undefined;
  const attributes = bean['attributes'];
  return {
    name,
    readQueues: count(bean['readQueueNums'], 16),
    writeQueues: count(bean['writeQueueNums'], 16),
    perm: count(bean['perm'], PERM_READ | PERM_WRITE),
    sysFlag: count(bean['topicSysFlag'], 0),
    order: bean['order'] === true,
    filterType: bean['topicFilterType'] === 'MULTI_TAG' ? 'MULTI_TAG' : 'SINGLE_TAG',
    attributes: new Map(
      typeof attributes === 'object' && attributes !== null
        ? Object.entries(attributes).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
        : [],
    ),
  };
}

function count(value: unknown, fallback: number): number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : fallback;
}
