/** Every wait, limit and switch of the client, one row each. Times are ms; the defaults are RocketMQ's clients' where they have one. */
import {
  type GivenOptions,
  type OptionRow,
  type Options,
  alias,
  booleanOption,
  choiceOption,
  integerOption,
  textOption,
} from '@tallystick/base';
import type { ProducerInterceptor } from './producer/interceptors.ts';
import { KEY_HASHES, PARTITIONERS, type Partitioner, type PartitionerName } from './producer/partitioning/partitioner.ts';
import { SERIALIZERS, type Serializer, type SerializerName } from './producer/serializers.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const GROUP = /^[%|a-zA-Z0-9_-]{1,120}$/;

const partitionerOption = choiceOrOwn<PartitionerName, Partitioner>(
  'sticky',
  Object.keys(PARTITIONERS) as PartitionerName[],
  'partition',
  `Who chooses the queue of a record that names none: ${Object.entries(PARTITIONERS)
    .map(([name, sentence]) => `${name}: ${sentence}`)
    .join('; ')}; or your own, an object with partition().`,
);

function serializerOption(what: string): OptionRow<SerializerName | Serializer> {
  const names = Object.keys(SERIALIZERS) as SerializerName[];
  return choiceOrOwn<SerializerName, Serializer>(
    'plain',
    names,
    'serialize',
    `${what}: ${names.join(', ')}, or your own, an object with serialize(topic, headers, data).`,
  );
}

/** One of a few words, or an object with a certain method. */
function choiceOrOwn<N extends string, O>(fallback: N, names: readonly N[], method: string, sentence: string): OptionRow<N | O> {
  const fault = (value: unknown): string | undefined =>
    (names as readonly unknown[]).includes(value) || (isObject(value) && typeof value[method] === 'function')
      ? undefined
      : `must be one of ${names.join(', ')}, or an object with ${method}()`;
  return { default: fallback, sentence, fault };
}

function listOption<V>(sentence: string, is: (value: unknown) => boolean): OptionRow<readonly V[]> {
  const fault = (value: unknown): string | undefined =>
    Array.isArray(value) && value.every(is) ? undefined : 'must be a list of objects';
  return { default: [], sentence, fault };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

export const CLIENT_OPTIONS = {
  clientId: alias(textOption('', 'Name of this client among its groups; made from random digits when empty.', /^[^\s]{0,255}$/), {
    rocketmq: 'clientId',
    kafka: 'client.id',
  }),
  header: choiceOption('binary', ['binary', 'json'], 'Header kind of our requests.'),
  connectTimeoutMs: alias(integerOption(3000, 1, DAY, 'How long a connection may take to open.'), {
    rocketmq: 'connectTimeoutMillis',
    kafka: 'socket.connection.setup.timeout.ms',
  }),
  requestTimeoutMs: alias(integerOption(3000, 1, DAY, 'How long a broker may take to answer.'), {
    rocketmq: 'mqClientApiTimeout',
    kafka: 'request.timeout.ms',
  }),
  reconnectFirstMs: alias(integerOption(100, 1, DAY, 'Pause before the first attempt to reconnect; doubles from there.'), {
    kafka: 'reconnect.backoff.ms',
  }),
  reconnectMaxMs: alias(integerOption(5000, 1, DAY, 'Longest pause between two attempts to reconnect.'), {
    kafka: 'reconnect.backoff.max.ms',
  }),
  connectionIdleMs: alias(integerOption(120_000, 1, DAY, 'A connection without traffic for so long is closed.'), {
    rocketmq: 'clientChannelMaxIdleTimeSeconds',
    kafka: 'connections.max.idle.ms',
  }),
  waitingCallsMax: integerOption(10_000, 1, 1_000_000, 'Calls that may wait for a connection to open.'),
  heartbeatIntervalMs: alias(integerOption(30_000, 1, DAY, 'How often brokers are told of our groups.'), {
    rocketmq: 'heartbeatBrokerInterval',
  }),
  routeIntervalMs: alias(integerOption(30_000, 1, DAY, 'How often routes are asked for again.'), {
    rocketmq: 'pollNameServerInterval',
    kafka: 'metadata.max.age.ms',
  }),
  routeRetryMs: alias(integerOption(500, 1, DAY, 'Pause before a failed route lookup is tried again.'), {
    kafka: 'retry.backoff.ms',
  }),
  routeRetryMaxMs: alias(
    integerOption(5000, 1, DAY, 'Longest such pause for a topic that does not exist (yet); it doubles up to there.'),
    { kafka: 'retry.backoff.max.ms' },
  ),
  startTimeoutMs: integerOption(30_000, 1, DAY, 'How long start() tries to reach a broker.'),
} as const;

export const PRODUCER_OPTIONS = {
  group: alias(textOption('TALLYSTICK_PRODUCER', 'Producer group.', GROUP), { rocketmq: 'producerGroup' }),
  lingerMs: alias(integerOption(0, 0, MINUTE, 'How long a batch waits for more records; 0: until the end of the turn.'), {
    rocketmq: 'batchMaxDelayMs',
    kafka: 'linger.ms',
  }),
  batchSizeBytes: alias(integerOption(32 * 1024, 0, 2 * 1024 * 1024, 'Bytes of a full batch; 0: every record travels alone.'), {
    rocketmq: 'batchMaxBytes',
    kafka: 'batch.size',
  }),
  bufferMemoryBytes: alias(
    integerOption(32 * 1024 * 1024, 1024, Number.MAX_SAFE_INTEGER, 'Memory for records that are not acknowledged.'),
    { rocketmq: 'totalBatchMaxBytes', kafka: 'buffer.memory' },
  ),
  maxBlockMs: alias(
    integerOption(60_000, 0, DAY, 'How long a send waits for a route and then, with what is left of it, for memory.'),
    { kafka: 'max.block.ms' },
  ),
  maxPendingRecords: alias(
    integerOption(10_000, 0, 10_000_000, 'Sends that may wait for memory or a route; further ones are refused at once.'),
    { rocketmq: 'backPressureForAsyncSendNum' },
  ),
  maxPendingBytes: alias(
    integerOption(32 * 1024 * 1024, 0, Number.MAX_SAFE_INTEGER, 'Their bytes; a send beyond them is refused at once.'),
    { rocketmq: 'backPressureForAsyncSendSize' },
  ),
  maxRequestSizeBytes: alias(
    integerOption(
      4 * 1024 * 1024 + 64 * 1024,
      1,
      16 * 1024 * 1024,
      'Largest request: one record with its key, headers and id, as it travels, or one batch.',
    ),
    { kafka: 'max.request.size' },
  ),
  maxMessageBytes: alias(integerOption(4 * 1024 * 1024, 1, 16 * 1024 * 1024, 'Longest body, as it travels.'), {
    rocketmq: 'maxMessageSize',
  }),
  compressOverBytes: alias(
    integerOption(4096, 0, Number.MAX_SAFE_INTEGER, 'Bodies of at least so many bytes are deflated; 0: never.'),
    { rocketmq: 'compressMsgBodyOverHowmuch', kafka: 'compression.type' },
  ),
  interceptors: alias(
    listOption<ProducerInterceptor>(
      'Objects with onSend, onAcknowledgement, onSendError, close; called in this order.',
      isObject,
    ),
    { rocketmq: 'registerSendMessageHook', kafka: 'interceptor.classes' },
  ),
  keySerializer: alias(serializerOption('Turns keys into text or bytes'), { kafka: 'key.serializer' }),
  valueSerializer: alias(serializerOption('Turns values into text or bytes'), { kafka: 'value.serializer' }),
  partitioner: alias(partitionerOption, { rocketmq: 'MessageQueueSelector', kafka: 'partitioner.class' }),
  keyHash: alias(
    choiceOption(
      'murmur2',
      KEY_HASHES,
      'Hash of a key: Kafka’s murmur2, or Java’s hashCode as RocketMQ’s selector by hash uses it.',
    ),
    { rocketmq: 'SelectMessageQueueByHash' },
  ),
  partitionerIgnoreKeys: alias(booleanOption(false, 'Keys do not choose the queue.'), { kafka: 'partitioner.ignore.keys' }),
  partitionerAdaptive: alias(
    booleanOption(true, 'A queue with fewer batches waiting is chosen more often for records without a key.'),
    { kafka: 'partitioner.adaptive.partitioning.enable' },
  ),
  partitionerAvailabilityTimeoutMs: alias(
    integerOption(
      0,
      0,
      DAY,
      'A queue whose oldest batch has waited so long to go out gets no more records without a key; 0: off.',
    ),
    { kafka: 'partitioner.availability.timeout.ms' },
  ),
  latencyAvoidance: alias(
    booleanOption(
      true,
      'Records without a key leave out brokers that were slow or busy, for a time; with all of them left out, none is.',
    ),
    { rocketmq: 'sendLatencyFaultEnable' },
  ),
  retries: alias(integerOption(2, 0, 1000, 'Further attempts after a broker said that it has not stored a batch.'), {
    rocketmq: 'retryTimesWhenSendFailed',
    kafka: 'retries',
  }),
  retryBackoffMs: alias(integerOption(50, 0, MINUTE, 'Pause before the second attempt; doubles from there.'), {
    kafka: 'retry.backoff.ms',
  }),
  retryBackoffMaxMs: alias(integerOption(1000, 0, MINUTE, 'Longest pause between two attempts.'), {
    kafka: 'retry.backoff.max.ms',
  }),
  requestTimeoutMs: alias(
    integerOption(3000, 1, DAY, 'How long a broker may take to answer a send; its outcome is unknown then.'),
    { rocketmq: 'sendMsgTimeout', kafka: 'request.timeout.ms' },
  ),
  deliveryTimeoutMs: alias(
    integerOption(
      30_000,
      1,
      DAY,
      'How long a record may take from its batch to its verdict; at least lingerMs and requestTimeoutMs together.',
    ),
    { kafka: 'delivery.timeout.ms' },
  ),
  maxInFlightMessages: integerOption(16_384, 1, 10_000_000, 'Messages without an answer on one connection.'),
  maxInFlightBytes: integerOption(8 * 1024 * 1024, 1, Number.MAX_SAFE_INTEGER, 'Their bytes.'),
  maxInFlightPerQueue: alias(
    integerOption(16_384, 1, 1_000_000, 'Requests without an answer per queue; 1 keeps the order over retries too.'),
    { kafka: 'max.in.flight.requests.per.connection' },
  ),
  idempotence: alias(
    booleanOption(
      false,
      'Requests bear a sequence number, so that a repeated one is stored once; at most 5 in flight per queue.',
    ),
    { kafka: 'enable.idempotence' },
  ),
  metadataMaxIdleMs: alias(
    integerOption(5 * MINUTE, 5000, DAY, 'A topic to which nothing was sent for so long is forgotten, when nothing of it waits.'),
    { kafka: 'metadata.max.idle.ms' },
  ),
  topicsMax: integerOption(
    100_000,
    1,
    10_000_000,
    'Topics at once; for a further one the idle one that was used least recently goes.',
  ),
  defaultQueues: alias(integerOption(4, 1, 65_536, 'Queues of a topic that a broker makes at our first send.'), {
    rocketmq: 'defaultTopicQueueNums',
  }),
} as const;

export const TRANSACTION_OPTIONS = {
  ...PRODUCER_OPTIONS,
  checksMax: alias(
    integerOption(256, 1, 1_000_000, 'Check-backs answered at once; further ones are dropped, the broker asks again.'),
    { rocketmq: 'checkRequestHoldMax' },
  ),
} as const;

export const CONSUMER_OPTIONS = {
  group: alias(textOption('', 'Consumer group.', GROUP), { rocketmq: 'consumerGroup', kafka: 'group.id' }),
  concurrency: alias(integerOption(20, 1, 1_000_000, 'Handlers at work at once.'), { rocketmq: 'consumeThreadMax' }),
  orderly: alias(booleanOption(false, 'One message of a queue at a time, in order, under a lock.'), {
    rocketmq: 'MessageListenerOrderly',
  }),
  maxReconsumeTimes: alias(
    integerOption(-1, -1, 1_000_000, 'Failures before a message goes to the dead letters; -1: 16, orderly: without end.'),
    { rocketmq: 'maxReconsumeTimes' },
  ),
  consumeTimeoutMs: alias(integerOption(15 * MINUTE, 1, DAY, 'A handler that takes longer loses its message to a retry.'), {
    rocketmq: 'consumeTimeout',
    kafka: 'max.poll.interval.ms',
  }),
  localRetryMs: integerOption(5000, 1, DAY, 'Pause before a message that could not be handed back is handled again here.'),
  suspendMs: alias(integerOption(1000, 1, DAY, 'Orderly: pause before a failed message is handled again.'), {
    rocketmq: 'suspendCurrentQueueTimeMillis',
  }),
  pullBatchMessages: alias(integerOption(1024, 1, 65_536, 'Most messages asked for at once.'), {
    rocketmq: 'pullBatchSize',
    kafka: 'max.poll.records',
  }),
  pullSuspendMs: alias(integerOption(15_000, 0, DAY, 'How long a broker holds a pull that finds nothing.'), {
    rocketmq: 'brokerSuspendMaxTimeMillis',
    kafka: 'fetch.max.wait.ms',
  }),
  pullTimeoutMs: alias(integerOption(30_000, 1, DAY, 'How long a pull may take; longer than pullSuspendMs.'), {
    rocketmq: 'consumerTimeoutMillisWhenSuspend',
  }),
  pullRetryMs: alias(integerOption(1000, 1, DAY, 'Pause after a failed pull.'), {
    rocketmq: 'pullTimeDelayMillsWhenException',
    kafka: 'retry.backoff.ms',
  }),
  pullIdleMs: integerOption(20, 1, DAY, 'Pause after an empty pull that was not held.'),
  cachedMessagesMax: alias(
    integerOption(4096, 1, 10_000_000, 'Messages of a queue pulled and unfinished; more are not pulled.'),
    { rocketmq: 'pullThresholdForQueue' },
  ),
  cachedBytesMax: alias(integerOption(100 * 1024 * 1024, 1, Number.MAX_SAFE_INTEGER, 'Their bytes.'), {
    rocketmq: 'pullThresholdSizeForQueue',
  }),
  inflatedBytesMax: integerOption(64 * 1024 * 1024, 1, 1024 * 1024 * 1024, 'Longest body after decompression.'),
  rebalanceIntervalMs: integerOption(20_000, 1, DAY, 'How often queues are shared out anew.'),
  rebalanceRetryMs: integerOption(1000, 1, DAY, 'Pause before a queue that could not be taken over is tried again.'),
  commitIntervalMs: alias(integerOption(5000, 1, DAY, 'How often offsets are committed.'), {
    rocketmq: 'persistConsumerOffsetInterval',
    kafka: 'auto.commit.interval.ms',
  }),
  lockIntervalMs: integerOption(20_000, 1, DAY, 'Orderly: how often queue locks are renewed.'),
  lockLostMs: integerOption(30_000, 1, DAY, 'Orderly: a lock not renewed for so long counts as lost.'),
  sweepIntervalMs: integerOption(1000, 1, DAY, 'How often handlers that take too long are looked for.'),
  closeTimeoutMs: alias(integerOption(30_000, 0, DAY, 'How long close() waits for handlers at work.'), {
    rocketmq: 'awaitTerminationMillisWhenShutdown',
  }),
} as const;

export type ClientOptions = Options<typeof CLIENT_OPTIONS>;
export type ProducerOptions = Options<typeof PRODUCER_OPTIONS>;
export type TransactionOptions = Options<typeof TRANSACTION_OPTIONS>;
export type ConsumerOptions = Options<typeof CONSUMER_OPTIONS>;
export type GivenClientOptions = GivenOptions<typeof CLIENT_OPTIONS>;
export type GivenProducerOptions = GivenOptions<typeof PRODUCER_OPTIONS>;
export type GivenTransactionOptions = GivenOptions<typeof TRANSACTION_OPTIONS>;
export type GivenConsumerOptions = GivenOptions<typeof CONSUMER_OPTIONS>;
