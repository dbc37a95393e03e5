import { may, must, type Field, type FieldTable, type HeaderOf } from './fields.ts';

/**
 * The command table: every request this project sends or answers, with its code, who sends it, its fields and one sentence each.
 * Types (`Header<'PULL_MESSAGE'>`), codecs, locators, the check of incoming requests and the protocol page derive from it. Codes,
 * names and fields are RocketMQ's; rows without fields take or give only a body, or none.
 */

/** `client`: client to broker; `lookup`: client, tool or broker to name server; `broker`: broker to client; `admin`: tool to broker. */
export type Direction = 'client' | 'lookup' | 'broker' | 'admin';

export interface CommandRow<Q extends FieldTable = FieldTable, A extends FieldTable = FieldTable, C extends number = number> {
  readonly code: C;
  readonly direction: Direction;
  readonly sentence: string;
  readonly request: Q;
  readonly answer: A;
  /** What the request's and the answer's body hold, when they hold anything. */
  readonly requestBody: string | undefined;
  readonly answerBody: string | undefined;
}

const topic = must('text', 'Topic name, at most 127 characters.');
const queueId = must('i32', 'Queue number in the topic, from 0.');
const consumerGroup = must('text', 'Consumer group.');
const brokerName = may('text', 'Name of the broker the queue lives on; ignored on one node.');
const offsetAnswer = { offset: must('i64', 'Queue offset.') };

/** Routing fields that newer RocketMQ clients add to queue commands; echoed by nobody, ignored here. */
const routed = { bname: brokerName };

const sendAnswer = {
  msgId: must('text', 'Offset message id; for a batch the ids joined by commas.'),
  queueId: must('i32', 'Queue the message went to.'),
  queueOffset: must('i64', 'Its offset there; of the first message for a batch, in the half queue for a half message.'),
  transactionId: may('text', 'The unique key of the message.'),
  batchUniqId: may('text', 'Unique key of an inner batch; never sent here.'),
  recallHandle: may('text', 'Handle of a recallable timer message; never sent here.'),
  storeTimestamp: may('i64', 'Store time in ms (our own addition).'),
  MSG_REGION: may('text', 'Region of the broker.'),
  TRACE_ON: may('flag', 'Whether message traces are kept.'),
};

/** The send header once: long names are version 1, one-letter names version 2. */
function sendRequest(short: boolean) {
  const wire = (letter: string): string | undefined => (short ? letter : undefined);
  return {
    producerGroup: must('text', 'Producer group.', wire('a')),
    topic: must('text', 'Topic name.', wire('b')),
    defaultTopic: must('text', 'Topic whose settings a new topic takes (TBW102).', wire('c')),
    defaultTopicQueueNums: must('i32', 'Queues a new topic should have.', wire('d')),
    queueId: must('i32', 'Queue number; negative: the broker chooses.', wire('e')),
    sysFlag: must('i32', 'Bits: 1 compressed, 4/8/12 transaction type.', wire('f')),
    bornTimestamp: must('i64', 'When the client made the message, in ms.', wire('g')),
    flag: must('i32', 'A number of the user.', wire('h')),
    properties: may('text', 'Properties as name 0x01 value 0x02 pairs.', wire('i')),
    reconsumeTimes: may('i32', 'How often it was consumed in vain.', wire('j')),
    unitMode: may('flag', 'Multi-site unit mode; ignored.', wire('k')),
    maxReconsumeTimes: may('i32', 'Retries before the dead-letter queue.', wire('l')),
    batch: may('flag', 'The body is a batch.', wire('m')),
    brokerName: may('text', 'Name of the broker.', short ? 'n' : 'bname'),
  };
}

const pull = {
  consumerGroup,
  topic,
  queueId,
  queueOffset: must('i64', 'First offset wanted.'),
  maxMsgNums: must('i32', 'Most messages wanted.'),
  sysFlag: must('i32', 'Bits: 1 commitOffset counts, 2 wait for messages, 4 subscription inside, 16 lite.'),
  commitOffset: must('i64', 'Offset the group has consumed up to, if bit 1 is set.'),
  suspendTimeoutMillis: must('i64', 'How long to wait for messages, in ms.'),
  subVersion: must('i64', 'Version of the subscription the client goes by.'),
  subscription: may('text', 'Subscription expression, if bit 4 is set.'),
  expressionType: may('text', 'TAG (default) or SQL92.'),
  maxMsgBytes: may('i32', 'Most bytes wanted.'),
  requestSource: may('i32', 'Proxy bookkeeping; ignored.'),
  proxyFrowardClientId: may('text', 'Proxy bookkeeping; ignored.'),
  ...routed,
};

const pullAnswer = {
  suggestWhichBrokerId: must('i64', 'Broker id to pull from next; 0 is the master.'),
  nextBeginOffset: must('i64', 'Offset to pull next.'),
  minOffset: must('i64', 'First offset still in the queue.'),
  maxOffset: must('i64', 'First offset not yet visible.'),
  offsetDelta: may('i64', 'Offset shift of static topics; never sent here.'),
  topicSysFlag: may('i32', 'Topic flags.'),
  groupSysFlag: may('i32', 'Group flags.'),
  forbiddenType: may('i32', 'Why a pull was refused.'),
};

const createTopic = {
  topic,
  defaultTopic: must('text', 'Topic whose settings are taken.'),
  readQueueNums: must('i32', 'Queues that are read.'),
  writeQueueNums: must('i32', 'Queues that are written.'),
  perm: must('i32', 'Bits: 4 read, 2 write, 1 inherit.'),
  topicFilterType: may('text', 'SINGLE_TAG or MULTI_TAG.'),
  topicSysFlag: may('i32', 'Topic flags.'),
  order: may('flag', 'Ordered topic.'),
  attributes: may('text', 'Attribute changes, +k=v and -k joined by commas.'),
  force: may('flag', 'Overwrite conflicting settings.'),
};

const rows = {
  SEND_MESSAGE: command(
    10,
    'client',
    'Stores one message (long field names).',
    sendRequest(false),
    sendAnswer,
    'message body',
    undefined,
  ),
  PULL_MESSAGE: command(
    11,
    'client',
    'Reads messages of a queue, waiting for them if asked to.',
    pull,
    pullAnswer,
    undefined,
    'stored messages',
  ),
  QUERY_MESSAGE: command(
    12,
    'admin',
    'Finds messages by key or unique key.',
    {
      topic,
      key: must('text', 'Key or unique key.'),
      maxNum: must('i32', 'Most messages wanted.'),
      beginTimestamp: must('i64', 'Earliest store time, ms.'),
      endTimestamp: must('i64', 'Latest store time, ms.'),
      _UNIQUE_KEY_QUERY: may('flag', 'The key is a unique key.'),
    },
    {
      indexLastUpdateTimestamp: must('i64', 'When the index last grew, ms.'),
      indexLastUpdatePhyoffset: must('i64', 'Position up to which it reaches.'),
    },
    undefined,
    'stored messages',
  ),
  QUERY_CONSUMER_OFFSET: command(
    14,
    'client',
    'Asks for the committed offset of a group on a queue.',
    { consumerGroup, topic, queueId, setZeroIfNotFound: may('flag', 'False: never answer 0 for an unknown group.'), ...routed },
    offsetAnswer,
  ),
  UPDATE_CONSUMER_OFFSET: command(
    15,
    'client',
    'Commits the offset of a group on a queue.',
    { consumerGroup, topic, queueId, commitOffset: must('i64', 'Next offset to consume.'), ...routed },
    {},
  ),
  UPDATE_AND_CREATE_TOPIC: command(17, 'admin', 'Makes or changes a topic.', createTopic, {}),
  GET_ALL_TOPIC_CONFIG: command(21, 'admin', 'Lists topics with their settings.', {}, {}, undefined, 'JSON'),
  UPDATE_BROKER_CONFIG: command(25, 'admin', 'Changes settings of the broker; not supported here.', {}, {}, 'properties text'),
  GET_BROKER_CONFIG: command(
    26,
    'admin',
    'Reads settings of the broker.',
    {},
    { version: may('text', 'Data version.') },
    undefined,
    'properties text',
  ),
  GET_BROKER_RUNTIME_INFO: command(28, 'admin', 'Reads running figures of the broker.', {}, {}, undefined, 'JSON'),
  SEARCH_OFFSET_BY_TIMESTAMP: command(
    29,
    'client',
    'Finds the offset of a store time.',
    {
      topic,
      queueId,
      timestamp: must('i64', 'Store time in ms.'),
      boundaryType: may('text', 'LOWER (default): first at or after; UPPER: last at or before.'),
      ...routed,
    },
    offsetAnswer,
  ),
  GET_MAX_OFFSET: command(
    30,
    'client',
    'First offset not yet visible.',
    { topic, queueId, committed: may('flag', 'Only what is committed.'), ...routed },
    offsetAnswer,
  ),
  GET_MIN_OFFSET: command(31, 'client', 'First offset still stored.', { topic, queueId, ...routed }, offsetAnswer),
  GET_EARLIEST_MSG_STORETIME: command(
    32,
    'client',
    'Store time of the first message still stored.',
    { topic, queueId, ...routed },
    { timestamp: must('i64', 'ms.') },
  ),
  VIEW_MESSAGE_BY_ID: command(
    33,
    'client',
    'Reads one message by its position in the log.',
    { offset: must('i64', 'Position of the record.'), topic: may('text', 'Topic name.'), ...routed },
    {},
    undefined,
    'one stored message',
  ),
  HEART_BEAT: command(
    34,
    'client',
    'Registers the producers and consumers of a connection.',
    {},
    {
      IS_SUPPORT_HEART_BEAT_V2: may('flag', 'Fingerprint heartbeats are understood.'),
      IS_SUB_CHANGE: may('flag', 'The full subscription was taken in.'),
      TS_DEDUP: may('text', '1: producer sequences are honoured (our own addition).'),
    },
    'HeartbeatData as JSON',
  ),
  UNREGISTER_CLIENT: command(
    35,
    'client',
    'Takes a client out of its groups.',
    {
      clientID: must('text', 'Client id.'),
      producerGroup: may('text', 'Producer group.'),
      consumerGroup: may('text', 'Consumer group.'),
      ...routed,
    },
    {},
  ),
  CONSUMER_SEND_MSG_BACK: command(
    36,
    'client',
    'Gives a message back to be retried later, or to the dead letters.',
    {
      offset: must('i64', 'Position of the message in the log.'),
      group: must('text', 'Consumer group.'),
      delayLevel: must('i32', 'Delay level; 0: by the number of retries; negative: dead letter at once.'),
      originMsgId: may('text', 'Unique key of the message.'),
      originTopic: may('text', 'Its topic.'),
      unitMode: may('flag', 'Ignored.'),
      maxReconsumeTimes: may('i32', 'Retries before the dead-letter queue.'),
      ...routed,
    },
    {},
  ),
  END_TRANSACTION: command(
    37,
    'client',
    'Second confirmation: commits or rolls back a half message.',
    {
      producerGroup: must('text', 'Producer group of the half message.'),
      tranStateTableOffset: must('i64', 'Its offset in the half queue.'),
      commitLogOffset: must('i64', 'Its position in the log.'),
      commitOrRollback: must('i32', '0 unknown, 8 commit, 12 roll back.'),
      fromTransactionCheck: may('flag', 'This answers a check-back.'),
      msgId: may('text', 'Unique key of the message.'),
      transactionId: may('text', 'Transaction id: the unique key.'),
      topic: may('text', 'Topic name.'),
      ...routed,
    },
    {},
  ),
  GET_CONSUMER_LIST_BY_GROUP: command(
    38,
    'client',
    'Lists the client ids of a consumer group.',
    { consumerGroup, ...routed },
    {},
    undefined,
    '{"consumerIdList":[…]}',
  ),
  CHECK_TRANSACTION_STATE: command(
    39,
    'broker',
    'Check-back: asks a producer what became of a half message.',
    {
      tranStateTableOffset: must('i64', 'Offset in the half queue.'),
      commitLogOffset: must('i64', 'Position in the log.'),
      msgId: may('text', 'Unique key.'),
      transactionId: may('text', 'Transaction id.'),
      offsetMsgId: may('text', 'Offset message id of the half message.'),
      topic: may('text', 'Topic name.'),
      ...routed,
    },
    {},
    'one stored message',
  ),
  NOTIFY_CONSUMER_IDS_CHANGED: command(40, 'broker', 'The members of a consumer group have changed.', { consumerGroup }, {}),
  LOCK_BATCH_MQ: command(
    41,
    'client',
    'Locks queues for one consumer of a group.',
    {},
    {},
    'lock request as JSON',
    '{"lockOKMQSet":[…]}',
  ),
  UNLOCK_BATCH_MQ: command(42, 'client', 'Gives queue locks back.', {}, {}, 'lock request as JSON'),
  CHECK_CLIENT_CONFIG: command(46, 'client', 'Checks a subscription expression.', {}, {}, 'JSON'),
  GET_ROUTEINFO_BY_TOPIC: command(
    105,
    'lookup',
    'Where the queues of a topic are.',
    { topic, acceptStandardJsonOnly: may('flag', 'Quoted map keys are wanted.') },
    {},
    undefined,
    'TopicRouteData as JSON',
  ),
  GET_BROKER_CLUSTER_INFO: command(106, 'lookup', 'Brokers and clusters.', {}, {}, undefined, 'ClusterInfo as JSON'),
  REGISTER_BROKER: command(
    103,
    'lookup',
    'A broker makes itself known to a name server, every 30 s.',
    {
      brokerName: must('text', 'Its name.'),
      brokerAddr: must('text', 'Where clients find it, ip:port.'),
      clusterName: must('text', 'Its cluster.'),
      haServerAddr: may('text', 'Where its slaves find it.'),
      brokerId: must('i64', '0: master.'),
      heartbeatTimeoutMillis: may('i64', 'Silence after which it counts as gone.'),
      enableActingMaster: may('flag', 'Ignored.'),
      compressed: may('flag', 'The body is compressed; refused.'),
      bodyCrc32: may('i32', "The body's CRC-32 without its highest bit; 0: not given."),
    },
    { haServerAddr: may('text', "The master's address for slaves."), masterAddr: may('text', "The master's address.") },
    'topics and their version as JSON',
  ),
  UNREGISTER_BROKER: command(
    104,
    'lookup',
    'A broker says goodbye to a name server.',
    {
      brokerName: must('text', 'Its name.'),
      brokerAddr: must('text', 'Its address.'),
      clusterName: may('text', 'Its cluster.'),
      brokerId: must('i64', '0: master.'),
    },
    {},
  ),
  QUERY_DATA_VERSION: command(
    322,
    'lookup',
    'A broker asks whether a name server knows its newest topics.',
    {
      brokerName: must('text', 'Its name.'),
      brokerAddr: must('text', 'Its address.'),
      clusterName: may('text', 'Its cluster.'),
      brokerId: must('i64', '0: master.'),
    },
    { changed: must('flag', 'It does not: register.') },
    'version as JSON',
    'version as JSON',
  ),
  PUT_KV_CONFIG: command(
    100,
    'lookup',
    'Stores a name-server entry.',
    { namespace: must('text', 'Namespace.'), key: must('text', 'Key.'), value: must('text', 'Value.') },
    {},
  ),
  GET_KV_CONFIG: command(
    101,
    'lookup',
    'Reads a name-server entry.',
    { namespace: must('text', 'Namespace.'), key: must('text', 'Key.') },
    { value: may('text', 'Value.') },
  ),
  DELETE_KV_CONFIG: command(
    102,
    'lookup',
    'Removes a name-server entry.',
    { namespace: must('text', 'Namespace.'), key: must('text', 'Key.') },
    {},
  ),
  UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: command(200, 'admin', 'Makes or changes a consumer group.', {}, {}, 'JSON'),
  GET_ALL_SUBSCRIPTIONGROUP_CONFIG: command(
    201,
    'admin',
    'Lists consumer groups with their settings.',
    {},
    {},
    undefined,
    'JSON',
  ),
  GET_TOPIC_STATS_INFO: command(
    202,
    'admin',
    'Offsets of every queue of a topic.',
    { topic },
    {},
    undefined,
    'JSON, queues as keys',
  ),
  GET_CONSUMER_CONNECTION_LIST: command(
    203,
    'admin',
    'Connections of a consumer group.',
    { consumerGroup },
    {},
    undefined,
    'JSON',
  ),
  GET_PRODUCER_CONNECTION_LIST: command(
    204,
    'admin',
    'Connections of a producer group.',
    { producerGroup: must('text', 'Producer group.') },
    {},
    undefined,
    'JSON',
  ),
  WIPE_WRITE_PERM_OF_BROKER: command(
    205,
    'lookup',
    'Takes the write permission of a broker.',
    { brokerName: must('text', 'Broker.') },
    { wipeTopicCount: must('i32', 'Topics changed.') },
  ),
  GET_ALL_TOPIC_LIST_FROM_NAMESERVER: command(206, 'lookup', 'Lists all topics.', {}, {}, undefined, '{"topicList":[…]}'),
  DELETE_SUBSCRIPTIONGROUP: command(
    207,
    'admin',
    'Removes a consumer group.',
    { groupName: must('text', 'Group.'), cleanOffset: may('flag', 'Its offsets too.') },
    {},
  ),
  GET_CONSUME_STATS: command(
    208,
    'admin',
    'Committed offsets of a group against the ends of the queues.',
    { consumerGroup, topic: may('text', 'Only this topic.'), topicList: may('text', 'Only these topics.') },
    {},
    undefined,
    'JSON, queues as keys',
  ),
  DELETE_TOPIC_IN_BROKER: command(215, 'admin', 'Removes a topic.', { topic }, {}),
  DELETE_TOPIC_IN_NAMESRV: command(
    216,
    'lookup',
    'Removes a topic from the routes.',
    { topic, clusterName: may('text', 'Cluster.') },
    {},
  ),
  GET_KVLIST_BY_NAMESPACE: command(
    219,
    'lookup',
    'Reads a namespace of name-server entries.',
    { namespace: must('text', 'Namespace.') },
    {},
    undefined,
    '{"table":{…}}',
  ),
  RESET_CONSUMER_CLIENT_OFFSET: command(
    220,
    'broker',
    'Tells a consumer to go on at other offsets.',
    { topic, group: must('text', 'Consumer group.'), timestamp: must('i64', 'ms.'), isForce: may('flag', 'Back too.') },
    {},
    'JSON, queues as keys',
  ),
  GET_CONSUMER_STATUS_FROM_CLIENT: command(
    221,
    'broker',
    'Asks a consumer for its offsets.',
    { topic, group: must('text', 'Consumer group.'), clientAddr: may('text', 'Only this client.') },
    {},
    undefined,
    'JSON, queues as keys',
  ),
  INVOKE_BROKER_TO_RESET_OFFSET: command(
    222,
    'admin',
    'Moves the offsets of a group.',
    {
      topic,
      group: must('text', 'Consumer group.'),
      timestamp: must('i64', 'Store time to go to, ms; negative: the end.'),
      isForce: must('flag', 'Back too.'),
      queueId: may('i32', 'Only this queue; -1: all.'),
      offset: may('i64', 'Exactly this offset; -1: by time.'),
    },
    {},
    undefined,
    'JSON, queues as keys',
  ),
  INVOKE_BROKER_TO_GET_CONSUMER_STATUS: command(
    223,
    'admin',
    'Asks the consumers of a group for their offsets.',
    { topic, group: must('text', 'Consumer group.'), clientAddr: may('text', 'Only this client.') },
    {},
    undefined,
    'JSON, queues as keys',
  ),
  GET_TOPICS_BY_CLUSTER: command(
    224,
    'lookup',
    'Topics of a cluster.',
    { cluster: must('text', 'Cluster.') },
    {},
    undefined,
    '{"topicList":[…]}',
  ),
  QUERY_TOPIC_CONSUME_BY_WHO: command(
    300,
    'admin',
    'Groups that consume a topic.',
    { topic },
    {},
    undefined,
    '{"groupList":[…]}',
  ),
  QUERY_CONSUME_TIME_SPAN: command(
    303,
    'admin',
    'Store times and lag of a group.',
    { topic, group: must('text', 'Consumer group.') },
    {},
    undefined,
    'JSON',
  ),
  GET_SYSTEM_TOPIC_LIST_FROM_NS: command(
    304,
    'lookup',
    'System topics the name server knows.',
    {},
    {},
    undefined,
    '{"topicList":[…]}',
  ),
  GET_SYSTEM_TOPIC_LIST_FROM_BROKER: command(
    305,
    'admin',
    'System topics of the broker.',
    {},
    {},
    undefined,
    '{"topicList":[…]}',
  ),
  GET_CONSUMER_RUNNING_INFO: command(
    307,
    'admin',
    'Running figures of one consumer; relayed to it.',
    { consumerGroup, clientId: must('text', 'Client id.'), jstackEnable: may('flag', 'With stacks.') },
    {},
    undefined,
    'JSON, queues as keys',
  ),
  CONSUME_MESSAGE_DIRECTLY: command(
    309,
    'admin',
    'Has one consumer consume one message now; relayed to it.',
    {
      consumerGroup,
      clientId: may('text', 'Client id.'),
      msgId: may('text', 'Message id.'),
      brokerName: may('text', 'Broker.'),
      topic: may('text', 'Topic name.'),
      topicSysFlag: may('i32', 'Topic flags.'),
      groupSysFlag: may('i32', 'Group flags.'),
    },
    {},
    'one stored message',
    'JSON',
  ),
  SEND_MESSAGE_V2: command(
    310,
    'client',
    'Stores one message (one-letter field names).',
    sendRequest(true),
    sendAnswer,
    'message body',
    undefined,
  ),
  VIEW_BROKER_STATS_DATA: command(
    315,
    'admin',
    'One counter of the broker over the last minute, hour and day.',
    { statsName: must('text', 'Counter.'), statsKey: must('text', 'Key.') },
    {},
    undefined,
    'JSON',
  ),
  GET_BROKER_CONSUME_STATS: command(
    317,
    'admin',
    'Lag of every group.',
    { isOrder: must('flag', 'Only ordered ones.') },
    {},
    undefined,
    'JSON',
  ),
  SEND_BATCH_MESSAGE: command(
    320,
    'client',
    'Stores the messages of a batch, all or none.',
    sendRequest(true),
    sendAnswer,
    'batch',
    undefined,
  ),
  RESUME_CHECK_HALF_MESSAGE: command(
    323,
    'admin',
    'Checks a parked half message again.',
    { topic: may('text', 'Topic name.'), msgId: may('text', 'Message id.') },
    {},
  ),
  SEND_REPLY_MESSAGE: command(
    324,
    'client',
    'Stores a reply and passes it on (long field names).',
    sendRequest(false),
    sendAnswer,
    'message body',
    undefined,
  ),
  SEND_REPLY_MESSAGE_V2: command(
    325,
    'client',
    'Stores a reply and passes it on (one-letter field names).',
    sendRequest(true),
    sendAnswer,
    'message body',
    undefined,
  ),
  PUSH_REPLY_MESSAGE_TO_CLIENT: command(
    326,
    'broker',
    'Hands a reply to the client that asked.',
    {
      ...sendRequest(false),
      bornHost: must('text', 'ip:port of the replier.'),
      storeHost: must('text', 'ip:port of the broker.'),
      storeTimestamp: must('i64', 'ms.'),
    },
    {},
    'message body',
  ),
  GET_ALL_PRODUCER_INFO: command(328, 'admin', 'All producers.', {}, {}, undefined, 'JSON'),
  QUERY_TOPICS_BY_CONSUMER: command(
    343,
    'admin',
    'Topics a group consumes.',
    { group: must('text', 'Consumer group.') },
    {},
    undefined,
    '{"topicList":[…]}',
  ),
  QUERY_SUBSCRIPTION_BY_CONSUMER: command(
    345,
    'admin',
    'Subscription of a group to a topic.',
    { group: must('text', 'Consumer group.'), topic: may('text', 'Topic name.') },
    {},
    undefined,
    'JSON',
  ),
  GET_TOPIC_CONFIG: command(351, 'admin', 'Settings of a topic.', { topic }, {}, undefined, 'TopicConfig as JSON'),
  GET_SUBSCRIPTIONGROUP_CONFIG: command(
    352,
    'admin',
    'Settings of a consumer group.',
    { group: must('text', 'Consumer group.') },
    {},
    undefined,
    'JSON',
  ),
  LITE_PULL_MESSAGE: command(
    361,
    'client',
    'As PULL_MESSAGE, for pull consumers.',
    pull,
    pullAnswer,
    undefined,
    'stored messages',
  ),
  QUERY_ASSIGNMENT: command(400, 'client', 'Server-side rebalance; not supported here.', {}, {}, 'JSON', 'JSON'),
} as const;

export type CommandName = keyof typeof rows;

/** The request header of a command: `Header<'PULL_MESSAGE'>`. */
export type Header<N extends CommandName> = HeaderOf<(typeof rows)[N]['request']>;

/** The answer header of a command. */
export type AnswerHeader<N extends CommandName> = HeaderOf<(typeof rows)[N]['answer']>;

/** All rows by name. */
export const COMMANDS: Readonly<Record<CommandName, CommandRow>> = rows;

/** Numbers by name: `RequestCode.PULL_MESSAGE === 11`. */
export const RequestCode = Object.fromEntries(Object.entries(rows).map(([name, { code }]) => [name, code])) as {
  readonly [N in CommandName]: (typeof rows)[N]['code'];
};

/** The name of a request code; undefined for one that is not in the table and must be answered with 3. */
export function commandName(code: number): CommandName | undefined {
  return nameByCode.get(code);
}

const nameByCode = new Map<number, CommandName>(Object.entries(rows).map(([name, { code }]) => [code, name as CommandName]));

/** The name a field has on the wire. */
export function wireName(name: string, field: Field): string {
  return field.wire ?? name;
}

function command<const C extends number, Q extends FieldTable, A extends FieldTable>(
  code: C,
  direction: Direction,
  sentence: string,
  request: Q,
  answer: A,
  requestBody?: string,
  answerBody?: string,
): CommandRow<Q, A, C> {
  return { code, direction, sentence, request, answer, requestBody, answerBody };
}
