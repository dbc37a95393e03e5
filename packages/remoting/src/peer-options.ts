import { booleanOption, choiceOption, integerOption, type GivenOptions, type Options } from '@tallystick/base';

/** Limits and habits of one connection. */
export const PEER_OPTIONS = {
  kind: choiceOption(
    'last-seen',
    ['last-seen', 'json', 'binary'],
    'Header kind of our own requests; last-seen: as the other side, JSON at first. Answers always mirror the request.',
  ),
  maxFrameBytes: integerOption(
    16 * 1024 * 1024,
    64,
    64 * 1024 * 1024,
    'Largest frame accepted; a larger one closes the connection.',
  ),
  maxHeaderBytes: integerOption(
    256 * 1024,
    64,
    0xffffff,
    'Largest header accepted; 32767 bytes of properties fit even if every byte is escaped.',
  ),
  outputSoftBytes: integerOption(
    1024 * 1024,
    1,
    1024 * 1024 * 1024,
    'Waiting output above which the connection counts as congested.',
  ),
  outputHardBytes: integerOption(
    64 * 1024 * 1024,
    1,
    4 * 1024 * 1024 * 1024,
    'Waiting output above which the connection is closed.',
  ),
  outputStallMs: integerOption(
    0,
    0,
    3_600_000,
    'Close when the other side has taken no byte of waiting output for so long; 0: never. Where the wire cannot tell, 1 ms more for each 64 bytes on their way.',
  ),
  stopReadingWhenFull: booleanOption(
    false,
    'Read no requests while congested. For the serving side only: if both sides did, both could wait for ever.',
  ),
  pendingMax: integerOption(65536, 1, 1024 * 1024, 'Requests that may wait for an answer at once.'),
  requestTimeoutMs: integerOption(3000, 1, 3_600_000, 'Wait for an answer when the request names none.'),
  idleMs: integerOption(120_000, 0, 86_400_000, 'Close after so long without a byte in either direction; 0: never.'),
  closeGraceMs: integerOption(3000, 1, 600_000, 'How long a graceful close may take to send what is left.'),
} as const;

export type PeerOptions = GivenOptions<typeof PEER_OPTIONS>;
export type ResolvedPeerOptions = Options<typeof PEER_OPTIONS>;
