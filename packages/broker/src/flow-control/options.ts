import { booleanOption, integerOption } from '@tallystick/base';

const HOUR_MS = 3_600_000;
const KIB = 1024;
const MIB = 1024 * KIB;

const capacity = (fallback: number, whose: string) =>
  integerOption(fallback, 1, 10_000_000, `${whose} that may wait in their lane; more are answered [OVERLOAD].`);
const waitMs = (fallback: number, whose: string) =>
  integerOption(fallback, 1, HOUR_MS, `${whose} that have waited so long in their lane are answered [TIMEOUT_CLEAN_QUEUE].`);
const queueBytes = (fallback: number, whose: string) =>
  integerOption(fallback, 64 * KIB, 4096 * MIB, `Bytes of ${whose} that may wait in a lane; more are answered [OVERLOAD].`);
const share = (fallback: number, whose: string) =>
  integerOption(
    fallback,
    KIB,
    1024 * MIB,
    `How much of ${whose} each turn's end serves from a lane before the next one's turn comes.`,
  );
const reads = (fallback: number, whose: string) =>
  integerOption(fallback, 1, 1_000_000, `${whose} wait in their lane while so many requests wait for a read of the disk.`);

/**
 * Limits of flow control. A name in RocketMQ's spelling is RocketMQ's option with its default; the others it does not have. The
 * seed of most mishaps is to raise one of the first group when the broker says that it is busy: that makes the wait longer and
 * the disk no faster.
 */
export const FLOW_OPTIONS = {
  brokerFastFailureEnable: booleanOption(
    true,
    'Waiting requests are answered busy when the page cache is busy or their time in the lane is up; otherwise they wait.',
  ),
  osPageCacheBusyTimeOutMills: integerOption(
    1000,
    1,
    HOUR_MS,
    'The page cache is busy while a write of the log (not a sync, nor one that carries its sync) takes longer; time in which the process itself stood still does not count.',
  ),
  sendThreadPoolQueueCapacity: capacity(10_000, 'Sends (10, 310, 320) and messages given back (36)'),
  pullThreadPoolQueueCapacity: capacity(100_000, 'Pulls (11, 361)'),
  queryThreadPoolQueueCapacity: capacity(20_000, 'Queries of messages (12, 33)'),
  heartbeatThreadPoolQueueCapacity: capacity(50_000, 'Heartbeats (34)'),
  clientManagerThreadPoolQueueCapacity: capacity(1_000_000, 'Requests about clients (35, 46)'),
  consumerManagerThreadPoolQueueCapacity: capacity(1_000_000, 'Requests about members and offsets of groups (14, 15, 38)'),
  adminBrokerThreadPoolQueueCapacity: capacity(10_000, 'All other requests'),
  endTransactionPoolQueueCapacity: integerOption(
    100_000,
    1,
    10_000_000,
    'Confirmations (37) that may wait in their lane; with more their connections are not read. None is ever dropped.',
  ),
  waitTimeMillsInSendQueue: waitMs(200, 'Sends'),
  waitTimeMillsInPullQueue: waitMs(5000, 'Pulls'),
  waitTimeMillsInHeartbeatQueue: waitMs(31_000, 'Heartbeats'),
  waitTimeMillsInAdminBrokerQueue: waitMs(5000, 'Requests of the lane for all others'),
  waitTimeMillsInTransactionQueue: integerOption(
    3000,
    1,
    HOUR_MS,
    'Shown and nothing else: RocketMQ drops confirmations that have waited so long, and the half message stays open until it is asked about.',
  ),

  sendQueueBytesMax: queueBytes(64 * MIB, 'sends'),
  pullQueueBytesMax: queueBytes(16 * MIB, 'pulls or queries'),
  controlQueueBytesMax: queueBytes(16 * MIB, 'control requests'),
  sendShareBytes: share(512 * KIB, 'sends, each at its bytes and 256 more,'),
  pullShareBytes: share(4 * MIB, 'pulls and queries, each at 32 KiB,'),
  controlShareBytes: share(8 * MIB, 'control requests, each at its bytes and 1 KiB more,'),
  pullReadsWaitingMax: reads(64, 'Pulls and queries'),
  otherReadsWaitingMax: reads(512, 'All requests but confirmations'),
  storeBacklogMs: integerOption(
    50,
    1,
    HOUR_MS,
    'When an append waits longer the store is behind: sends wait in their lane while it has more than it answers in this time at its present speed (in 0.6 of it with flush async, which is what a confirmation then waits).',
  ),

  connectionSendsMax: integerOption(
    16_384,
    1,
    10_000_000,
    "Unanswered sends beyond which a connection is not read; no fewer than our client's own limit, so that its confirmations never wait behind a pause.",
  ),
  connectionSendBytesMax: integerOption(
    16 * MIB,
    KIB,
    4096 * MIB,
    "Bytes of unanswered sends beyond which a connection is not read; twice our client's own limit.",
  ),
  clientBytesMax: integerOption(
    256 * MIB,
    64 * KIB,
    64 * 1024 * MIB,
    'Bytes held for all connections together: unfinished and waiting requests, unanswered sends, answers not taken. From 70 % on sends are refused, from 85 % on a pull is answered with 64 KiB at most, from 95 % on the connections that hold most are closed.',
  ),
  connectionsMax: integerOption(10_000, 1, 1_000_000, 'More connections are closed at once.'),
  connectionsPerAddressMax: integerOption(
    1000,
    1,
    1_000_000,
    'More connections from one address are closed at once; loopback and embedded ones are not counted.',
  ),
  firstFrameMs: integerOption(5000, 1, HOUR_MS, 'A connection that has not sent one whole request in so long is closed.'),
  firstFrameBytesMax: integerOption(
    4300 * KIB,
    KIB,
    1024 * MIB,
    'A connection whose first request is longer, and unfinished, is closed.',
  ),
  firstFramesBytesMax: integerOption(
    64 * MIB,
    KIB,
    4096 * MIB,
    'Bytes of unfinished first requests of all connections; with more the newest connections are closed.',
  ),
} as const;
