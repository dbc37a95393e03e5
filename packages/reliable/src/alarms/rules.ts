/**
 * What is watched: per kind the limit above which it is raised, in ms or in rows, and what is said to the person who is called. A rule of
 * `false` is not watched.
 */
export interface AlarmKindRow {
  /** Raised when the value is greater. */
  readonly limit: number;
  readonly unit: 'ms' | 'rows';
  readonly says: (value: number) => string;
  /** What to do now. */
  readonly next: string;
}

const rows = (value: number, what: string): string => `${value} ${value === 1 ? what : `${what}s`}`;
const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`;

export const ALARM_KINDS = {
  'oldest-unsent': {
    limit: 60_000,
    unit: 'ms',
    says: (value) => `a message has not been sent for ${seconds(value)}`,
    next: 'is a relay running, and does the broker answer?',
  },
  dead: {
    limit: 0,
    unit: 'rows',
    says: (value) => `${rows(value, 'message')} given up`,
    next: 'tallystick outbox list --state dead, then requeue or bury',
  },
  'blocked-keys': {
    limit: 0,
    unit: 'rows',
    says: (value) => `${rows(value, 'key')} held up by a message that was given up`,
    next: 'tallystick outbox list --blocked, then requeue or bury the first of each',
  },
  unroutable: {
    limit: 0,
    unit: 'rows',
    says: (value) => `${rows(value, 'message')} with nowhere to go`,
    next: 'bind a queue, or make the topic; they are tried on',
  },
  unconfirmed: {
    limit: 900_000,
    unit: 'ms',
    says: (value) => `a message is at the broker for ${seconds(value)} without the consumer's confirmation`,
    next: 'is the consumer running? tallystick outbox list --state sent',
  },
  'oldest-call': {
    limit: 60_000,
    unit: 'ms',
    says: (value) => `a call has not been made for ${seconds(value)}`,
    next: "is a relay running with table: 'tallystick_call', and does the other side answer?",
  },
  'calls-dead': {
    limit: 0,
    unit: 'rows',
    says: (value) => `${rows(value, 'call')} given up`,
    next: 'tallystick calls list --state dead, then requeue or bury',
  },
  'inbox-dead': {
    limit: 0,
    unit: 'rows',
    says: (value) => `${rows(value, 'received message')} given up by the handler`,
    next: 'tallystick inbox list --state dead, then requeue or bury',
  },
  'inbox-retrying': {
    limit: 100,
    unit: 'rows',
    says: (value) => `${rows(value, 'received message')} failing and tried again`,
    next: 'tallystick inbox list --state retrying shows the errors',
  },
  'inbox-oldest': {
    limit: 900_000,
    unit: 'ms',
    says: (value) => `a received message has not been handled for ${seconds(value)}`,
    next: 'tallystick inbox list --state retrying shows the errors; is its inbox started?',
  },
} as const satisfies Readonly<Record<string, AlarmKindRow>>;

export type WatchedKind = keyof typeof ALARM_KINDS;
export const WATCHED_KINDS = Object.keys(ALARM_KINDS) as readonly WatchedKind[];

/** Own limits; false: not watched. What is absent has the limit of {@link ALARM_KINDS}. */
export type AlarmRules = { readonly [K in WatchedKind]?: number | false | undefined };

/** The limit of a kind; undefined when it is not watched. */
export function limitOf(rules: AlarmRules, kind: WatchedKind): number | undefined {
  const given = rules[kind];
  return given === false ? undefined : (given ?? ALARM_KINDS[kind].limit);
}
