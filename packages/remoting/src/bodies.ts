import { flagOf, numberOf, objectOf, objectsOf, parseFastJson, textOf, textsOf, type FastObject } from './fast-json.ts';

/**
 * JSON bodies of commands, as plain typed objects. Decoders give the object or an error sentence and fill what is missing with
 * RocketMQ's defaults; encoders write standard JSON, but for maps keyed by a queue, whose keys Java reads only as inlined objects.
 */

/** One queue of one broker. */
export interface MessageQueue {
  readonly topic: string;
  readonly brokerName: string;
  readonly queueId: number;
}

export interface SubscriptionData {
  readonly topic: string;
  /** `*`, or tags joined by `||`. */
  readonly subString: string;
  /** TAG or SQL92. */
  readonly expressionType: string;
  readonly tagsSet: readonly string[];
  /** Tag hashes of `tagsSet`. */
  readonly codeSet: readonly number[];
  /** Grows with each change; may exceed 2^53 (Go clients send nanoseconds) and is rounded then. */
  readonly subVersion: number;
  readonly classFilterMode: boolean;
}

export interface ConsumerData {
  readonly groupName: string;
  /** CONSUME_PASSIVELY is a push consumer. */
  readonly consumeType: string;
  /** CLUSTERING or BROADCASTING. */
  readonly messageModel: string;
  readonly consumeFromWhere: string;
  readonly subscriptionDataSet: readonly SubscriptionData[];
  readonly unitMode: boolean;
}

/** Body of HEART_BEAT. */
export interface HeartbeatData {
  readonly clientID: string;
  readonly producerDataSet: readonly { readonly groupName: string }[];
  readonly consumerDataSet: readonly ConsumerData[];
  readonly heartbeatFingerprint: number;
  readonly withoutSub: boolean;
}

export function encodeHeartbeat(data: HeartbeatData): Buffer {
  return jsonBody(data);
}

export function decodeHeartbeat(body: Uint8Array): HeartbeatData | string {
  return decodeObject(body, (object) => ({
    clientID: textOf(object, 'clientID'),
    producerDataSet: objectsOf(object, 'producerDataSet').map((producer) => ({ groupName: textOf(producer, 'groupName') })),
    consumerDataSet: objectsOf(object, 'consumerDataSet').map(consumerData),
    heartbeatFingerprint: numberOf(object, 'heartbeatFingerprint', 0),
    withoutSub: flagOf(object, 'withoutSub', false),
  }));
}

function consumerData(object: FastObject): ConsumerData {
  return {
    groupName: textOf(object, 'groupName'),
    consumeType: textOf(object, 'consumeType') || 'CONSUME_PASSIVELY',
    messageModel: textOf(object, 'messageModel') || 'CLUSTERING',
    consumeFromWhere: textOf(object, 'consumeFromWhere') || 'CONSUME_FROM_LAST_OFFSET',
    subscriptionDataSet: objectsOf(object, 'subscriptionDataSet').map(subscriptionData),
    unitMode: flagOf(object, 'unitMode', false),
  };
}

/** A subscription inside another body (heartbeat, CHECK_CLIENT_CONFIG). */
export function subscriptionData(object: FastObject): SubscriptionData {
  const codes = object.get('codeSet');
  return {
    topic: textOf(object, 'topic'),
    subString: textOf(object, 'subString') || '*',
    expressionType: textOf(object, 'expressionType') || 'TAG',
    tagsSet: textsOf(object, 'tagsSet'),
    codeSet: Array.isArray(codes) ? codes.filter((code): code is number => typeof code === 'number') : [],
    subVersion: numberOf(object, 'subVersion', 0),
    classFilterMode: flagOf(object, 'classFilterMode', false),
  };
}

export interface BrokerData {
  readonly cluster: string;
  readonly brokerName: string;
  /** Address `host:port` by broker id; "0" is the master. */
  readonly brokerAddrs: ReadonlyMap<string, string>;
}

export interface QueueData {
  readonly brokerName: string;
  readonly readQueueNums: number;
  readonly writeQueueNums: number;
  /** Bits: 4 read, 2 write, 1 inherit. */
  readonly perm: number;
  readonly topicSysFlag: number;
}

/** Answer body of GET_ROUTEINFO_BY_TOPIC. */
export interface TopicRouteData {
  readonly brokerDatas: readonly BrokerData[];
  readonly queueDatas: readonly QueueData[];
  /** `broker-a:8;broker-b:8`, for ordered topics. */
  readonly orderTopicConf?: string | undefined;
}

export function encodeTopicRoute(route: TopicRouteData): Buffer {
  return jsonBody({
    brokerDatas: route.brokerDatas.map(brokerJson),
    filterServerTable: {},
    orderTopicConf: route.orderTopicConf,
    queueDatas: route.queueDatas,
  });
}

export function decodeTopicRoute(body: Uint8Array): TopicRouteData | string {
  return decodeObject(body, (object) => {
    const order = textOf(object, 'orderTopicConf');
    return {
      brokerDatas: objectsOf(object, 'brokerDatas').map(brokerData),
      queueDatas: objectsOf(object, 'queueDatas').map((queue) => ({
        brokerName: textOf(queue, 'brokerName'),
        readQueueNums: numberOf(queue, 'readQueueNums', 0),
        writeQueueNums: numberOf(queue, 'writeQueueNums', 0),
        perm: numberOf(queue, 'perm', 0),
        topicSysFlag: numberOf(queue, 'topicSysFlag', 0),
      })),
      orderTopicConf: order === '' ? undefined : order,
    };
  });
}

/** Answer body of GET_BROKER_CLUSTER_INFO. */
export interface ClusterInfo {
  readonly brokers: readonly BrokerData[];
}

export function encodeClusterInfo(info: ClusterInfo): Buffer {
  const clusters = new Map<string, string[]>();
  for (const { cluster, brokerName } of info.brokers) clusters.set(cluster, [...(clusters.get(cluster) ?? []), brokerName]);
  return jsonBody({
    brokerAddrTable: Object.fromEntries(info.brokers.map((broker) => [broker.brokerName, brokerJson(broker)])),
    clusterAddrTable: Object.fromEntries(clusters),
  });
}

export function decodeClusterInfo(body: Uint8Array): ClusterInfo | string {
  return decodeObject(body, (object) => ({
    brokers: [...objectOf(object, 'brokerAddrTable').values()]
      .filter((value): value is FastObject => value instanceof Map)
      .map(brokerData),
  }));
}

function brokerJson(broker: BrokerData): object {
  return {
    brokerAddrs: Object.fromEntries(broker.brokerAddrs),
    brokerName: broker.brokerName,
    cluster: broker.cluster,
    enableActingMaster: false,
  };
}

function brokerData(object: FastObject): BrokerData {
  const addresses = new Map<string, string>();
  for (const [id, address] of objectOf(object, 'brokerAddrs')) {
    if (typeof id === 'string' && typeof address === 'string') addresses.set(id, address);
  }
  return { cluster: textOf(object, 'cluster'), brokerName: textOf(object, 'brokerName'), brokerAddrs: addresses };
}

/** Body of LOCK_BATCH_MQ and UNLOCK_BATCH_MQ. */
export interface LockRequest {
  readonly consumerGroup: string;
  readonly clientId: string;
  readonly mqSet: readonly MessageQueue[];
}

export function encodeLockRequest(request: LockRequest): Buffer {
  return jsonBody({ ...request, onlyThisBroker: false });
}

export function decodeLockRequest(body: Uint8Array): LockRequest | string {
  return decodeObject(body, (object) => ({
    consumerGroup: textOf(object, 'consumerGroup'),
    clientId: textOf(object, 'clientId'),
    mqSet: objectsOf(object, 'mqSet').map(messageQueue),
  }));
}

/** Answer body of LOCK_BATCH_MQ: the queues that are locked now. */
export function encodeLockedQueues(queues: readonly MessageQueue[]): Buffer {
  return jsonBody({ lockOKMQSet: queues });
}

export function decodeLockedQueues(body: Uint8Array): readonly MessageQueue[] | string {
  return decodeObject(body, (object) => objectsOf(object, 'lockOKMQSet').map(messageQueue));
}

/** Answer body of GET_CONSUMER_LIST_BY_GROUP. */
export function encodeConsumerList(clientIds: readonly string[]): Buffer {
  return jsonBody({ consumerIdList: clientIds });
}

export function decodeConsumerList(body: Uint8Array): readonly string[] | string {
  return decodeObject(body, (object) => textsOf(object, 'consumerIdList'));
}

/** Answer body of the topic lists (206, 224, 304, 305, 343). */
export function encodeTopicList(topics: readonly string[]): Buffer {
  return jsonBody({ topicList: topics });
}

export function decodeTopicList(body: Uint8Array): readonly string[] | string {
  return decodeObject(body, (object) => textsOf(object, 'topicList'));
}

/** Settings of a topic as RocketMQ has them. */
export interface TopicConfig {
  readonly topicName: string;
  readonly readQueueNums: number;
  readonly writeQueueNums: number;
  readonly perm: number;
  /** SINGLE_TAG or MULTI_TAG. */
  readonly topicFilterType: string;
  readonly topicSysFlag: number;
  readonly order: boolean;
}

export function encodeTopicConfig(config: TopicConfig): Buffer {
  return jsonBody({ attributes: {}, ...config });
}

/** From a body's object; defaults are RocketMQ's (16 queues, read and write). */
export function topicConfig(object: FastObject): TopicConfig {
  return {
    topicName: textOf(object, 'topicName'),
    readQueueNums: numberOf(object, 'readQueueNums', 16),
    writeQueueNums: numberOf(object, 'writeQueueNums', 16),
    perm: numberOf(object, 'perm', 6),
    topicFilterType: textOf(object, 'topicFilterType') || 'SINGLE_TAG',
    topicSysFlag: numberOf(object, 'topicSysFlag', 0),
    order: flagOf(object, 'order', false),
  };
}

export function decodeTopicConfig(body: Uint8Array): TopicConfig | string {
  return decodeObject(body, topicConfig);
}

/** From an object (a queue, or the key of a map). */
export function messageQueue(object: FastObject): MessageQueue {
  return { topic: textOf(object, 'topic'), brokerName: textOf(object, 'brokerName'), queueId: numberOf(object, 'queueId', 0) };
}

/**
 * A body with one map whose keys are queues, in the only form Java reads: `{"offsetTable":{{"brokerName":…}:value,…}}`. `more` are
 * further members.
 */
export function encodeQueueTable(
  member: string,
  rows: Iterable<readonly [MessageQueue, unknown]>,
  more: Readonly<Record<string, unknown>> = {},
): Buffer {
  const entries: string[] = [];
  for (const [queue, value] of rows) {
    const key = { brokerName: queue.brokerName, queueId: queue.queueId, topic: queue.topic };
    entries.push(`${JSON.stringify(key)}:${JSON.stringify(value)}`);
  }
  const rest = Object.entries(more).map(([name, value]) => `,${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return Buffer.from(`{${JSON.stringify(member)}:{${entries.join(',')}}${rest.join('')}}`);
}

/** The rows of a map keyed by queues; keys may be inlined objects or JSON texts. */
export function decodeQueueTable(body: Uint8Array, member: string): readonly (readonly [MessageQueue, unknown])[] | string {
  return decodeObject(body, (object) => {
    const rows: (readonly [MessageQueue, unknown])[] = [];
    for (const [key, value] of objectOf(object, member)) {
      const queue = typeof key === 'string' ? parseFastJson(key) : { value: key };
      if ('value' in queue && queue.value instanceof Map) rows.push([messageQueue(queue.value), value]);
    }
    return rows;
  });
}

/** An object as a standard JSON body; undefined members are left out. */
export function jsonBody(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Reads a body that must be one JSON object. */
export function decodeObject<T>(body: Uint8Array, read: (object: FastObject) => T): T | string {
  const parsed = parseFastJson(body);
  if ('error' in parsed) return parsed.error;
  return parsed.value instanceof Map ? read(parsed.value) : 'JSON: an object expected';
}
