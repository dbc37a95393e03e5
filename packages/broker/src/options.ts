import { booleanOption, integerOption, integersOption, resolveOptions, textOption } from '@tallystick/base';
import type { GivenOptions, Options } from '@tallystick/base';
import { FLOW_OPTIONS } from './flow-control/options.ts';
import { checkStoreOptions, STORE_OPTIONS } from './store/options.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const KIB = 1024;
const MIB = 1024 * KIB;

/**
 * Every limit, wait and switch of the broker, once. Values are RocketMQ 5.3's where it has the same knob and the value survived
 * a look at its failures; the sentence says so where ours differs.
 */
export const BROKER_OPTIONS = {
  // identity
  brokerName: textOption(
    'broker-a',
    'Name of this broker in routes; kept in the store, another one is refused.',
    /^[%|a-zA-Z0-9_-]{1,127}$/,
  ),
  clusterName: textOption('DefaultCluster', 'Name of the cluster in routes; kept in the store.', /^[%|a-zA-Z0-9_-]{1,127}$/),
  advertise: textOption(
    '127.0.0.1:0',
    'Address that clients are told and that message ids carry, as ip:port.',
    /^(\d{1,3}\.){3}\d{1,3}:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$/,
  ),

  // name servers
  nameServers: textOption(
    '',
    "Name servers, host:port with commas between, ours or Apache RocketMQ's, that this broker registers at besides serving as one (RocketMQ: namesrvAddr).",
    /^$|^[^,;\s]+:\d{1,5}([,;][^,;\s]+:\d{1,5})*$/,
  ),
  registerPeriodMs: integerOption(30_000, 100, MINUTE_MS, 'How often it does (RocketMQ: registerNameServerPeriod).'),
  registerTimeoutMs: integerOption(
    6000,
    1,
    MINUTE_MS,
    'How long a name server may take to answer (RocketMQ: registerBrokerTimeoutMills).',
  ),
  brokerExpiryMs: integerOption(120_000, 1, HOUR_MS, 'A broker that registered here is dropped after so long without a word.'),
  registeredBrokersMax: integerOption(1000, 0, 100_000, 'More brokers are refused.'),

  // store
  ...STORE_OPTIONS,
  protectedGroups: textOption(
    '',
    'Consumer groups, with commas between, whose unread messages are never deleted by age or size; a group counts from its first offset.',
    /^$|^[%|a-zA-Z0-9_-]+(,[%|a-zA-Z0-9_-]+)*$/,
  ),

  // topics
  autoCreateTopics: booleanOption(true, "A send to an unknown topic makes it, by RocketMQ's rules."),
  autoCreateGroups: booleanOption(true, 'A consumer of an unknown group makes it.'),
  topicsMax: integerOption(10_000, 1, 1_000_000, 'More topics are refused.'),
  queuesPerTopicMax: integerOption(1024, 1, 65_536, 'A topic may not have more queues.'),
  groupsMax: integerOption(10_000, 1, 1_000_000, 'More producer or consumer groups are refused.'),

  // messages
  bodyBytesMax: integerOption(4 * MIB, 1, 4 * MIB, 'Larger bodies (and batches) are refused as illegal.'),
  propertiesBytesMax: integerOption(32_767, 1, 32_767, 'Longer property blocks are refused as illegal.'),

  // pull
  longPolling: booleanOption(true, 'An empty pull that allows it waits for a message.'),
  longPollMaxMs: integerOption(MINUTE_MS, 1, HOUR_MS, 'Longest wait of a pull, whatever the client asks for.'),
  heldPullsMax: integerOption(10_000, 0, 1_000_000, 'More waiting pulls are answered at once.'),
  pullCountMax: integerOption(1024, 1, 65_536, 'Most messages in one pull answer (RocketMQ: 32).'),
  pullBytesMax: integerOption(MIB, KIB, 16 * MIB, 'A pull answer stops growing here; one message always fits.'),
  readingLimitMs: integerOption(
    HOUR_MS,
    1000,
    1000 * HOUR_MS,
    'After a start that was not clean with `flush` async: for so long a queue that has new messages sends consumers back that have read what the log has lost.',
  ),
  newGroupFromStartBytes: integerOption(
    1024 * MIB,
    0,
    Number.MAX_SAFE_INTEGER,
    "A group without an offset starts at 0 when the queue's first message lies within this much of the log's end (RocketMQ: 40 % of memory).",
  ),

  // transactions
  checkAfterMs: integerOption(6000, 0, HOUR_MS, 'Age at which an unsettled half message is first asked about.'),
  checkIntervalMs: integerOption(30_000, 1, HOUR_MS, 'Time between two rounds of questions.'),
  checkMax: integerOption(15, 1, 250, 'Questions sent before a half message is parked.'),
  checksPerRoundMax: integerOption(10_000, 1, 1_000_000, 'Questions in one round; the rest waits for the next.'),
  halvesMax: integerOption(1_000_000, 1, 100_000_000, 'More open half messages are refused; confirmations never are.'),
  halvesPerGroupMax: integerOption(
    100_000,
    1,
    100_000_000,
    'More unsettled half messages of one producer group are refused; confirmations never are. Ten groups may have their fill.',
  ),
  waitingAlarmMs: integerOption(
    10 * MINUTE_MS,
    1,
    1000 * HOUR_MS,
    'Age at which a half message whose group has no producer raises an alarm.',
  ),

  endsInFlightMax: integerOption(
    65_536,
    1,
    1_000_000,
    'With more unfinished confirmations their connections are not read; none is ever dropped.',
  ),

  // producer sequences
  sequenceProducersMax: integerOption(
    10_000,
    1,
    1_000_000,
    'Producers whose numbered sends are remembered; the longest silent is forgotten.',
  ),
  sequenceWindowsMax: integerOption(100_000, 1, 10_000_000, 'The same for pairs of producer and queue, each some 300 bytes.'),
  sequenceKeepMs: integerOption(
    24 * HOUR_MS,
    MINUTE_MS,
    1000 * HOUR_MS,
    'A producer that sends nothing for so long is forgotten.',
  ),

  // delays and retries
  delayLevelsMs: integersOption(
    [1000, 5000, 10_000, 30_000, ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30].map((n) => n * MINUTE_MS), HOUR_MS, 2 * HOUR_MS],
    1,
    1000 * HOUR_MS,
    'Delay of each level, the first is level 1.',
  ),
  delayBatchMax: integerOption(64, 1, 4096, 'Due messages of one level that are fired together.'),
  retryMax: integerOption(16, 0, 1_000_000, 'Retries before a message goes to the dead letters, when the client does not say.'),

  // clients
  clientExpiryMs: integerOption(120_000, 1, HOUR_MS, 'A client without a heartbeat for so long has left.'),
  clientScanMs: integerOption(10_000, 1, HOUR_MS, 'How often expired clients are looked for.'),
  lockLeaseMs: integerOption(60_000, 1, HOUR_MS, 'How long a queue lock holds without renewal.'),
  idleMs: integerOption(120_000, 1, HOUR_MS, 'A connection without any byte for so long is closed.'),
  maxFrameBytes: integerOption(16 * MIB, 64 * KIB, 64 * MIB, 'A larger frame ends its connection.'),
  outputSoftBytes: integerOption(8 * MIB, 64 * KIB, 1024 * MIB, 'With more unsent answers a connection is not read.'),
  outputHardBytes: integerOption(32 * MIB, 64 * KIB, 1024 * MIB, 'With more unsent answers a connection is closed.'),
  outputStallMs: integerOption(
    10_000,
    1,
    HOUR_MS,
    'A connection that has taken no byte of waiting answers for so long is closed.',
  ),

  // flow control
  ...FLOW_OPTIONS,
} as const;

export type BrokerOptions = Options<typeof BROKER_OPTIONS>;
export type GivenBrokerOptions = GivenOptions<typeof BROKER_OPTIONS>;

/** Fills in defaults; throws with every fault named. */
export function brokerOptions(given: GivenBrokerOptions = {}): BrokerOptions {
  const options = resolveOptions('broker', BROKER_OPTIONS, given);
  checkStoreOptions('broker', options);
  return options;
}
