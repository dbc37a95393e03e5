import type { FLOW_OPTIONS } from './options.ts';

/**
 * The lanes: what stands in RocketMQ as a thread pool with its queue stands here as one row. Order is precedence: at the end of each
 * turn the first row is served first. Lanes are apart so that a flood in one cannot hold up another; END, offsets and heartbeats keep
 * going whatever is being sent.
 */
export const LANES: readonly LaneRow[] = [
  {
    name: 'heartbeat',
    codes: [34],
    capacity: 'heartbeatThreadPoolQueueCapacity',
    bytes: 'controlQueueBytesMax',
    share: 'controlShareBytes',
    sharesAtOnce: 4,
    cost: 1024,
    wait: 'waitTimeMillsInHeartbeatQueue',
  },
  {
    name: 'endTransaction',
    codes: [37],
    capacity: 'endTransactionPoolQueueCapacity',
    bytes: 'controlQueueBytesMax',
    share: 'controlShareBytes',
    sharesAtOnce: 4,
    cost: 1024,
    neverDrops: true,
  },
  {
    name: 'consumerManager',
    codes: [14, 15, 38],
    capacity: 'consumerManagerThreadPoolQueueCapacity',
    bytes: 'controlQueueBytesMax',
    share: 'controlShareBytes',
    sharesAtOnce: 4,
    cost: 1024,
    reads: 'otherReadsWaitingMax',
  },
  {
    name: 'clientManager',
    codes: [35, 46],
    capacity: 'clientManagerThreadPoolQueueCapacity',
    bytes: 'controlQueueBytesMax',
    share: 'controlShareBytes',
    sharesAtOnce: 4,
    cost: 1024,
  },
  {
    // Every code without a row of its own: routes, topics, locks, tools.
    name: 'adminBroker',
    codes: [],
    capacity: 'adminBrokerThreadPoolQueueCapacity',
    bytes: 'controlQueueBytesMax',
    share: 'controlShareBytes',
    sharesAtOnce: 4,
    cost: 1024,
    wait: 'waitTimeMillsInAdminBrokerQueue',
    reads: 'otherReadsWaitingMax',
  },
  {
    name: 'query',
    codes: [12, 33],
    capacity: 'queryThreadPoolQueueCapacity',
    bytes: 'pullQueueBytesMax',
    share: 'pullShareBytes',
    sharesAtOnce: 4,
    cost: 32_768,
    reads: 'pullReadsWaitingMax',
  },
  {
    name: 'pull',
    codes: [11, 361],
    capacity: 'pullThreadPoolQueueCapacity',
    bytes: 'pullQueueBytesMax',
    share: 'pullShareBytes',
    sharesAtOnce: 4,
    cost: 32_768,
    wait: 'waitTimeMillsInPullQueue',
    reads: 'pullReadsWaitingMax',
  },
  {
    name: 'send',
    codes: [10, 310, 320, 36],
    capacity: 'sendThreadPoolQueueCapacity',
    bytes: 'sendQueueBytesMax',
    share: 'sendShareBytes',
    // 8 MiB: more than is read in the time that `ReadBudget` gives a turn, so that what is read in it is served without a copy. What is read
    // after that time has no credit, and what was kept back from it has one share.
    sharesAtOnce: 16,
    cost: 256,
    wait: 'waitTimeMillsInSendQueue',
    reads: 'otherReadsWaitingMax',
  },
];

export type LaneName =
  'heartbeat' | 'endTransaction' | 'consumerManager' | 'clientManager' | 'adminBroker' | 'query' | 'pull' | 'send';

export interface LaneRow {
  readonly name: LaneName;
  /** Request codes; the lane without any takes all others. */
  readonly codes: readonly number[];
  // Names of options, each with its default and meaning in `options.ts`.
  readonly capacity: FlowOption;
  readonly bytes: FlowOption;
  readonly share: FlowOption;
  /** So many shares may be served of what is read in a turn, without waiting for its end: that comes up to four times before more is read. */
  readonly sharesAtOnce: number;
  /** What a request costs of the share besides its bytes. */
  readonly cost: number;
  /** Fast failure takes out what has waited longer; absent: nothing is taken out. */
  readonly wait?: FlowOption;
  readonly reads?: FlowOption;
  /** A full lane refuses nothing: it takes what was read and reads its connections no more until it has half emptied. */
  readonly neverDrops?: true;
}

type FlowOption = Exclude<keyof typeof FLOW_OPTIONS, 'brokerFastFailureEnable'>;
