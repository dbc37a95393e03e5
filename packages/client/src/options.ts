/** Every wait, limit and switch of the client, one row each. Times are ms; the defaults are RocketMQ's clients' where they have one. */
import { type GivenOptions, type Options, booleanOption, choiceOption, integerOption, textOption } from '@tallystick/base';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const GROUP = /^[%|a-zA-Z0-9_-]{1,120}$/;

export const CLIENT_OPTIONS = {
  clientId: textOption('', 'Name of this client among its groups; made from random digits when empty.', /^[^\s]{0,255}$/),
  header: choiceOption('binary', ['binary', 'json'], 'Header kind of our requests.'),
  connectTimeoutMs: integerOption(3000, 1, DAY, 'How long a connection may take to open.'),
  requestTimeoutMs: integerOption(3000, 1, DAY, 'How long a broker may take to answer.'),
  reconnectFirstMs: integerOption(100, 1, DAY, 'Pause before the first attempt to reconnect; doubles from there.'),
  reconnectMaxMs: integerOption(5000, 1, DAY, 'Longest pause between two attempts to reconnect.'),
  connectionIdleMs: integerOption(120_000, 1, DAY, 'A connection without traffic for so long is closed.'),
  waitingCallsMax: integerOption(10_000, 1, 1_000_000, 'Calls that may wait for a connection to open.'),
  heartbeatIntervalMs: integerOption(30_000, 1, DAY, 'How often brokers are told of our groups.'),
  routeIntervalMs: integerOption(30_000, 1, DAY, 'How often routes are asked for again.'),
  routeRetryMs: integerOption(500, 1, DAY, 'Pause before a failed route lookup is tried again.'),
  startTimeoutMs: integerOption(30_000, 1, DAY, 'How long start() tries to reach a broker.'),
} as const;

export const PRODUCER_OPTIONS = {
  group: textOption('TALLYSTICK_PRODUCER', 'Producer group.', GROUP),
  lingerMs: integerOption(0, 0, MINUTE, 'How long a batch waits for more records; 0: until the end of the turn.'),
  batchSizeBytes: integerOption(32 * 1024, 0, 2 * 1024 * 1024, 'Bytes of a full batch; 0: every record travels alone.'),
  bufferMemoryBytes: integerOption(
    32 * 1024 * 1024,
    1024,
    Number.MAX_SAFE_INTEGER,
    'Memory for records that are not acknowledged.',
  ),
  maxPendingRecords: integerOption(
    10_000,
    0,
    10_000_000,
    'Sends that may wait for memory or a route; further ones are refused at once.',
  ),
  maxBlockMs: integerOption(60_000, 0, DAY, 'How long a send waits for memory or a route.'),
  maxMessageBytes: integerOption(4 * 1024 * 1024, 1, 16 * 1024 * 1024, 'Longest body.'),
  compressOverBytes: integerOption(4096, 0, Number.MAX_SAFE_INTEGER, 'Bodies of at least so many bytes are deflated; 0: never.'),
  retries: integerOption(2, 0, 1000, 'Further attempts after a broker said that it has not stored a batch.'),
  retryBackoffMs: integerOption(50, 0, MINUTE, 'Pause before the second attempt; doubles from there.'),
  retryBackoffMaxMs: integerOption(1000, 0, MINUTE, 'Longest pause between two attempts.'),
  requestTimeoutMs: integerOption(3000, 1, DAY, 'How long a broker may take to answer a send; its outcome is unknown then.'),
  deliveryTimeoutMs: integerOption(30_000, 1, DAY, 'How long a record may take from its batch to its verdict.'),
  maxInFlightMessages: integerOption(16_384, 1, 10_000_000, 'Messages without an answer on one connection.'),
  maxInFlightBytes: integerOption(8 * 1024 * 1024, 1, Number.MAX_SAFE_INTEGER, 'Their bytes.'),
  maxInFlightPerQueue: integerOption(
    16_384,
    1,
    1_000_000,
    'Requests without an answer per queue; 1 keeps the order over retries too.',
  ),
  defaultQueues: integerOption(4, 1, 65_536, 'Queues of a topic that a broker makes at our first send.'),
} as const;

export const TRANSACTION_OPTIONS = {
  ...PRODUCER_OPTIONS,
  checksMax: integerOption(256, 1, 1_000_000, 'Check-backs answered at once; further ones are dropped, the broker asks again.'),
} as const;

export const CONSUMER_OPTIONS = {
  group: textOption('', 'Consumer group.', GROUP),
  concurrency: integerOption(20, 1, 1_000_000, 'Handlers at work at once.'),
  orderly: booleanOption(false, 'One message of a queue at a time, in order, under a lock.'),
  maxReconsumeTimes: integerOption(
    -1,
    -1,
    1_000_000,
    'Failures before a message goes to the dead letters; -1: 16, orderly: without end.',
  ),
  consumeTimeoutMs: integerOption(15 * MINUTE, 1, DAY, 'A handler that takes longer loses its message to a retry.'),
  localRetryMs: integerOption(5000, 1, DAY, 'Pause before a message that could not be handed back is handled again here.'),
  suspendMs: integerOption(1000, 1, DAY, 'Orderly: pause before a failed message is handled again.'),
  pullBatchMessages: integerOption(256, 1, 65_536, 'Most messages asked for at once.'),
  pullSuspendMs: integerOption(15_000, 0, DAY, 'How long a broker holds a pull that finds nothing.'),
  pullTimeoutMs: integerOption(30_000, 1, DAY, 'How long a pull may take; longer than pullSuspendMs.'),
  pullRetryMs: integerOption(1000, 1, DAY, 'Pause after a failed pull.'),
  pullIdleMs: integerOption(20, 1, DAY, 'Pause after an empty pull that was not held.'),
  cachedMessagesMax: integerOption(1000, 1, 10_000_000, 'Messages of a queue pulled and unfinished; more are not pulled.'),
  cachedBytesMax: integerOption(100 * 1024 * 1024, 1, Number.MAX_SAFE_INTEGER, 'Their bytes.'),
  inflatedBytesMax: integerOption(64 * 1024 * 1024, 1, 1024 * 1024 * 1024, 'Longest body after decompression.'),
  rebalanceIntervalMs: integerOption(20_000, 1, DAY, 'How often queues are shared out anew.'),
  rebalanceRetryMs: integerOption(1000, 1, DAY, 'Pause before a queue that could not be taken over is tried again.'),
  commitIntervalMs: integerOption(5000, 1, DAY, 'How often offsets are committed.'),
  lockIntervalMs: integerOption(20_000, 1, DAY, 'Orderly: how often queue locks are renewed.'),
  lockLostMs: integerOption(30_000, 1, DAY, 'Orderly: a lock not renewed for so long counts as lost.'),
  sweepIntervalMs: integerOption(1000, 1, DAY, 'How often handlers that take too long are looked for.'),
  closeTimeoutMs: integerOption(30_000, 0, DAY, 'How long close() waits for handlers at work.'),
} as const;

export type ClientOptions = Options<typeof CLIENT_OPTIONS>;
export type ProducerOptions = Options<typeof PRODUCER_OPTIONS>;
export type TransactionOptions = Options<typeof TRANSACTION_OPTIONS>;
export type ConsumerOptions = Options<typeof CONSUMER_OPTIONS>;
export type GivenClientOptions = GivenOptions<typeof CLIENT_OPTIONS>;
export type GivenProducerOptions = GivenOptions<typeof PRODUCER_OPTIONS>;
export type GivenTransactionOptions = GivenOptions<typeof TRANSACTION_OPTIONS>;
export type GivenConsumerOptions = GivenOptions<typeof CONSUMER_OPTIONS>;
