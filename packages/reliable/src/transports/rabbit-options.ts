import { choiceOption, integerOption, type GivenOptions, type Options } from '@tallystick/base';

const LINK = {
  connectTimeoutMs: integerOption(10_000, 1, 600_000, 'How long connecting may take.'),
  reconnectFirstMs: integerOption(100, 1, 3_600_000, 'Wait after the first failure to connect.'),
  reconnectMaxMs: integerOption(10_000, 1, 3_600_000, 'Longest wait between attempts to connect.'),
};

export const RABBIT_TRANSPORT_OPTIONS = {
  ...LINK,
  windowMessages: integerOption(2_000, 1, 1_000_000, 'Most messages on their way without a confirmation.'),
  windowBytes: integerOption(16 * 1024 * 1024, 1, 1024 * 1024 * 1024, 'Most bytes of their bodies; a larger message goes alone.'),
  waitingMax: integerOption(20_000, 1, 10_000_000, 'Most messages waiting for a place among those; more are unavailable.'),
  confirmTimeoutMs: integerOption(
    30_000,
    1,
    3_600_000,
    'How long a confirmation may take; then the outcome is unknown and the channel is replaced, or the connection if it was silent all that time.',
  ),
  bodyBytesMax: integerOption(
    16 * 1024 * 1024,
    1,
    512 * 1024 * 1024,
    "Largest body in bytes; a larger one is rejected unsent. The broker's own max_message_size is learned from the first that it refuses.",
  ),
  closeTimeoutMs: integerOption(10_000, 0, 3_600_000, 'How long close() waits for confirmations.'),
};

export const RABBIT_SUBSCRIBER_OPTIONS = {
  ...LINK,
  prefetch: integerOption(100, 1, 65_535, 'Most messages in hand at once, of one subscription.'),
  withoutId: choiceOption(
    'receive',
    ['receive', 'refuse'],
    "A message that has no id and gets none from identify: received with the id '' (an inbox keeps it for a person), or refused for good.",
  ),
  againFirstMs: integerOption(100, 1, 3_600_000, 'Wait before a message that came back as again is received once more.'),
  againMaxMs: integerOption(10_000, 1, 3_600_000, 'Longest such wait.'),
  holdMs: integerOption(
    300_000,
    0,
    24 * 3_600_000,
    "How long such a message stays in hand before the broker gets it back; below the broker's consumer_timeout (30 minutes).",
  ),
  stopAfterMs: integerOption(
    30_000,
    0,
    3_600_000,
    'How long stop() waits for messages that are being received; then the broker has them again.',
  ),
};

export type RabbitTransportOptions = Options<typeof RABBIT_TRANSPORT_OPTIONS>;
export type GivenRabbitTransportOptions = GivenOptions<typeof RABBIT_TRANSPORT_OPTIONS>;
export type RabbitSubscriberOptions = Options<typeof RABBIT_SUBSCRIBER_OPTIONS>;
export type GivenRabbitSubscriberOptions = GivenOptions<typeof RABBIT_SUBSCRIBER_OPTIONS>;
