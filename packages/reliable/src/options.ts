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

const GIVEN_UP =
  'How long a statement may be without an answer before its connection is given up: its server may be gone without a word.';
const databaseAfterMs = integerOption(30_000, 100, 3_600_000, GIVEN_UP);

const DAY_MS = 86_400_000;

const keepBuriedMs = integerOption(
  90 * DAY_MS,
  1,
  3650 * DAY_MS,
  'How long a message that a person has buried is kept, for whoever changes their mind; dead ones stay until a person decides.',
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
  manyMax: integerOption(1_000, 1, 100_000, 'Most messages of one `addMany`.'),
  keepMs: integerOption(
    0,
    0,
    10 * 366 * 86_400_000,
    'How long `status()` knows a message after it is settled; 0: it is deleted at once, and then unknown.',
  ),
  replyTo: textOption('', 'Where consumers confirm: a topic or an http(s) URL; for messages with `confirm: { by: "consumer" }`.'),
  volatileTries: integerOption(5, 1, 1_000, 'Pushes of a volatile message, after which it is lost, logged whole and told.'),
  volatileFirstMs: integerOption(100, 1, 3_600_000, 'Wait after the first failed push of a volatile message.'),
  volatileMaxMs: integerOption(5_000, 1, 3_600_000, 'Longest wait between pushes of a volatile message.'),
  volatilePushMs: integerOption(
    10_000,
    1,
    3_600_000,
    'How long a push of volatile messages may take before it counts as failed.',
  ),
  volatileMessagesMax: integerOption(10_000, 1, 10_000_000, 'Most volatile messages in memory; one more is lost at once.'),
  volatileBytesMax: integerOption(
    64 * 1024 * 1024,
    1,
    8 * 1024 * 1024 * 1024,
    'Most body bytes of volatile messages in memory; beyond them a message is lost at once.',
  ),
  closeAfterMs: integerOption(30_000, 0, 3_600_000, 'How long close() waits for volatile messages in memory.'),
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
    'How the name of this relay in the lease table begins, for people; its end is random, so several may be called the same.',
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
  batchRows: integerOption(2_000, 1, 10_000, 'Most messages of one batch.'),
  batchBytes: integerOption(
    4 * 1024 * 1024,
    1,
    1024 * 1024 * 1024,
    'Most body bytes of one batch; a larger message travels alone.',
  ),
  batchesMax: integerOption(4, 1, 64, 'Most batches in flight at once; each has its own keys.'),
  connectionsMax: integerOption(
    3,
    1,
    64,
    'Most connections of a pool that the relay uses at once: for claims and settles side by side.',
  ),
  pagesMax: integerOption(16, 1, 1000, 'Most pages of rows one claim walks past rows whose key is busy.'),
  attemptsMax: integerOption(16, 1, 1_000_000, 'Failures of the message itself after which it is dead.'),
  confirmAttemptsMax: integerOption(
    100,
    0,
    1_000_000,
    'How often a message is sent while its consumer does not confirm it; then it is dead (`unconfirmed`), holds nobody up, and is settled all the same by a late confirmation. 0: without end.',
  ),
  retryFirstMs: integerOption(1_000, 1, 86_400_000, 'Wait after the first failed push of a message.'),
  retryMaxMs: integerOption(300_000, 1, 86_400_000, 'Longest wait between pushes of a message.'),
  brakeFirstMs: integerOption(200, 1, 86_400_000, 'Wait after the broker was found unavailable for the first time.'),
  brakeMaxMs: integerOption(10_000, 1, 86_400_000, 'Longest wait while the broker stays unavailable.'),
  confirmTargetMs: integerOption(1_000, 1, 3_600_000, 'A broker that takes longer to confirm a batch is given less.'),
  databaseTargetMs: integerOption(
    250,
    1,
    3_600_000,
    'A database that takes longer to claim or settle a batch is asked for less.',
  ),
  databaseAfterMs,
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
  keepBuriedMs,
  stopAfterMs: integerOption(30_000, 0, 3_600_000, 'How long stop() waits for pushes in flight.'),
};

export type RelayOptions = Options<typeof RELAY_OPTIONS>;
export type GivenRelayOptions = GivenOptions<typeof RELAY_OPTIONS>;

export const LOCK_OPTIONS = {
  lockWaitMs: integerOption(5_000, 0, 3_600_000, 'How long a lock that is held by another is waited for.'),
  lockHoldMs: integerOption(
    30_000,
    1,
    3_600_000,
    'How long a lock lasts; a holder that is slower may lose it to the next one, and is fenced.',
  ),
};

/** Of one handler; the inbox's own settings of the same names are the defaults of its handlers. */
export const HANDLER_OPTIONS = {
  ...LOCK_OPTIONS,
  attemptsMax: integerOption(16, 1, 1_000_000, 'Failures of a message after which it is dead and a person is told.'),
  retryFirstMs: integerOption(1_000, 1, DAY_MS, 'Wait after the first failure of a message.'),
  retryMaxMs: integerOption(300_000, 1, DAY_MS, 'Longest wait between attempts at a message.'),
  deathsMax: integerOption(
    3,
    1,
    1_000,
    'How often an attempt at a message may take its process with it before the message is quarantined.',
  ),
  handlerTimeoutMs: integerOption(
    60_000,
    1,
    3_600_000,
    'How long an asynchronous handler may take; then its signal is aborted, its transaction rolled back, and the attempt has failed.',
  ),
  conflictsMax: integerOption(
    5,
    0,
    1_000,
    'How often a handler that met a version conflict, a deadlock or a lock is run again at once, before that counts as a failure.',
  ),
  stuckAfterTries: integerOption(
    16,
    1,
    1_000_000,
    'Attempts that failed without being the message\u2019s fault (its lock was busy) after which it is reported as stuck.',
  ),
  order: choiceOption(
    'wait',
    ['wait', 'pass'],
    'Whether later messages of a key wait behind its failed one (order) or pass it (progress).',
  ),
};

export type HandlerOptions = Options<typeof HANDLER_OPTIONS>;

export const INBOX_OPTIONS = {
  consumer: textOption(
    '',
    'Who consumes; one database may hold several consumers, each sees a message once.',
    /^[\w.:%|-]{0,63}$/,
  ),
  durability,
  ...HANDLER_OPTIONS,
  deadKeys: choiceOption(
    'hold',
    ['hold', 'pass'],
    'Whether later messages of a key wait for its dead message (order) or pass it (progress).',
  ),
  keepKeysMs: integerOption(
    30 * DAY_MS,
    1,
    3650 * DAY_MS,
    'How long the key of a handled message is kept, and anew when it comes again in the second half of that time: a repeat that comes later would be handled again.',
  ),
  redeliveryMs: integerOption(
    14 * DAY_MS,
    0,
    3650 * DAY_MS,
    'How long after it was sent a message may still come again by itself: retention of the broker, retries of the sender. Never more than keepKeysMs.',
  ),
  oldMessages: choiceOption(
    'handle',
    ['handle', 'hold'],
    'What happens to a message that is older than keepKeysMs and whose key, if there was one, is forgotten: a warning (handle), or a person decides (hold).',
  ),
  keepBuriedMs: {
    ...keepBuriedMs,
    sentence: `${keepBuriedMs.sentence} Never less than keepKeysMs: the row is the key of its message.`,
  },
  forgetIntervalMs: integerOption(600_000, 1, DAY_MS, 'How often old keys are forgotten.'),
  forgetRows: integerOption(1_000, 1, 100_000, 'Most keys forgotten in one transaction.'),
  owner: textOption(
    '',
    'How the name of this inbox in the lease table begins, for people; its end is random, so several may be called the same.',
    /^[\w.:-]{0,63}$/,
  ),
  sweepIntervalMs: integerOption(1_000, 1, 3_600_000, 'How often due retries are looked for when nothing wakes the inbox.'),
  leaseMs: integerOption(
    15_000,
    100,
    3_600_000,
    'How long a range of shards stays with a process that does not renew; its retries go on elsewhere after that.',
  ),
  rangesMax: integerOption(16, 1, 16, 'How many of the 16 ranges of shards this process takes at most.'),
  databaseAfterMs: integerOption(
    30_000,
    100,
    3_600_000,
    `${GIVEN_UP} Of a transaction only pg’s own pool gives it up; another library keeps it until it notices, so let the driver have a limit of its own.`,
  ),
  retriesAtOnce: integerOption(4, 1, 1_000, 'Most messages retried at once.'),
  stopAfterMs: integerOption(30_000, 0, 3_600_000, 'How long stop() waits for handlers at work.'),
};

export type InboxOptions = Options<typeof INBOX_OPTIONS>;

export const CALL_OPTIONS = {
  channel,
  durability,
  bodyBytesMax: integerOption(4 * 1024 * 1024, 1, 1024 * 1024 * 1024, 'Largest body of a call in bytes.'),
};

export const LOCAL_TRANSACTION_OPTIONS = {
  durability,
  absentMax: integerOption(
    3,
    1,
    1_000_000,
    'Check-backs that find nothing before the transaction is fenced and rollback is answered.',
  ),
  keepMs: integerOption(
    0,
    0,
    3650 * DAY_MS,
    'How long the outcome of a transaction is kept; 0: until `forget()`. It must be longer than any half message may wait, also a parked one: its check-back would find nothing, and committed work be rolled back.',
  ),
};

export const ALARM_OPTIONS = {
  channel,
  everyMs: integerOption(15_000, 10, 3_600_000, 'How often the tables are looked at, by one of the processes that run it.'),
  silenceMs: integerOption(3_600_000, 0, 30 * 86_400_000, 'How long an alarm that was told is not told again while it lasts.'),
  databaseAfterMs,
  webhookTimeoutMs: integerOption(10_000, 1, 600_000, 'How long one attempt to tell the webhook may take.'),
  webhookAttemptsMax: integerOption(5, 1, 100, 'Attempts to tell the webhook before the next check tells again.'),
  webhookRetryFirstMs: integerOption(1_000, 1, 3_600_000, 'Wait after the first failed attempt.'),
  webhookRetryMaxMs: integerOption(60_000, 1, 3_600_000, 'Longest wait between attempts.'),
  noticesMax: integerOption(100, 1, 100_000, 'Most notices that wait for the webhook.'),
};
