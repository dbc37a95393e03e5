import { choiceOption, integerOption, textOption, type GivenOptions, type Options } from '@tallystick/base';

/** `trust` skips the check of the database's durability: for tests, and for settings that only an administrator can see. */
const durability = choiceOption(
  'require',
  ['require', 'trust'],
  'Whether a database that could lose committed work at a power cut is refused.',
);
const channel = textOption(
  '',
  'Which of several transports the messages leave through; the relay of the same channel takes them.',
  /^[\w.:-]{0,63}$/,
);

export const OUTBOX_OPTIONS = {
  channel,
  durability,
  mode: choiceOption('immediate', ['immediate', 'deferred', 'volatile'], 'How messages leave that do not say it themselves.'),
  bodyBytesMax: integerOption(
    4 * 1024 * 1024,
    1,
    1024 * 1024 * 1024,
    'Largest body in bytes; keep it at or below what the broker takes.',
  ),
};

export const RELAY_OPTIONS = {
  channel,
  table: choiceOption(
    'tallystick_outbox',
    ['tallystick_outbox', 'tallystick_inbox', 'tallystick_call'],
    'The message table that is relayed.',
  ),
  owner: textOption(
    '',
    'Name of this relay in the lease table; a random one when empty. Two relays must never share one.',
    /^[\w.:-]{0,63}$/,
  ),
  sweepIntervalMs: integerOption(500, 1, 3_600_000, 'How often due rows are looked for when nothing wakes the relay.'),
  sweepAfterMs: integerOption(
    10_000,
    1,
    3_600_000,
    'How long the sweep leaves a push alone that has not come back; then its outcome counts as unknown.',
  ),
  leaseMs: integerOption(
    15_000,
    100,
    3_600_000,
    'How long a range of shards stays with a relay that does not renew; a dead relay is replaced after that.',
  ),
  rangesMax: integerOption(16, 1, 16, 'How many of the 16 ranges of shards this relay takes at most.'),
  batchRows: integerOption(200, 1, 10_000, 'Most messages of one batch.'),
  batchBytes: integerOption(
    4 * 1024 * 1024,
    1,
    1024 * 1024 * 1024,
    'Most body bytes of one batch; a larger message travels alone.',
  ),
  batchesMax: integerOption(4, 1, 64, 'Most batches in flight at once; each has its own keys.'),
  pagesMax: integerOption(16, 1, 1000, 'Most pages of rows one claim walks past rows whose key is busy.'),
  attemptsMax: integerOption(16, 1, 1_000_000, 'Failures of the message itself after which it is dead.'),
  retryFirstMs: integerOption(1_000, 1, 86_400_000, 'Wait after the first failed push of a message.'),
  retryMaxMs: integerOption(300_000, 1, 86_400_000, 'Longest wait between pushes of a message.'),
  brakeFirstMs: integerOption(200, 1, 86_400_000, 'Wait after the broker was found unavailable for the first time.'),
  brakeMaxMs: integerOption(10_000, 1, 86_400_000, 'Longest wait while the broker stays unavailable.'),
  stuckAfterTries: integerOption(
    8,
    1,
    1_000_000,
    'Pushes without a definite outcome after which a message is reported as stuck.',
  ),
  deadKeys: choiceOption(
    'hold',
    ['hold', 'pass'],
    'Whether later messages of a key wait for its dead message (order) or pass it (progress).',
  ),
  stopAfterMs: integerOption(30_000, 0, 3_600_000, 'How long stop() waits for pushes in flight.'),
};

export type RelayOptions = Options<typeof RELAY_OPTIONS>;
export type GivenRelayOptions = GivenOptions<typeof RELAY_OPTIONS>;

export const INBOX_OPTIONS = {
  consumer: textOption(
    '',
    'Who consumes; one database may hold several consumers, each sees a message once.',
    /^[\w.:%|-]{0,63}$/,
  ),
  durability,
};

export const LOCAL_TRANSACTION_OPTIONS = {
  durability,
  absentMax: integerOption(
    3,
    1,
    1_000_000,
    'Check-backs that find nothing before the transaction is fenced and rollback is answered.',
  ),
};
