import type { InboxAlarm } from '../inbox/inbox-alarm.ts';
import type { OutboxAlarm } from '../outbox/outbox-alarm.ts';
import type { Alarm } from '../relay/alarm.ts';
import type { AlarmExample } from './notice.ts';

/** An alarm of a relay, an inbox or an outbox, known by its fields: `kind`, and of the others whatever it has. */
export interface FedAlarm {
  readonly kind: string;
  readonly row?:
    | { readonly id: string; readonly topic: string; readonly key?: string | null | undefined; readonly reason?: string }
    | undefined;
  readonly reason?: string | undefined;
  readonly error?: unknown;
  readonly warning?: string | undefined;
}

export interface Fed {
  /** Undefined: nothing to tell, a check will find it. */
  readonly kind: string | undefined;
  readonly over: boolean;
  /** It has an end that will be reported. */
  readonly lasts: boolean;
  readonly lookSoon: boolean;
  readonly sentence: string;
  readonly examples: readonly AlarmExample[];
}

/** Kinds that are counted in the tables: no need to believe one process. */
const COUNTED: readonly string[] = ['dead', 'poison', 'unroutable'] satisfies readonly Counted[];
type Counted = 'dead' | 'poison' | 'unroutable';

/** What else relays, inboxes and outboxes report; each is told as `reported-…`. */
const REPORTED = {
  stuck: true,
  outage: true,
  fenced: true,
  database: true,
  old: true,
  unconfirmed: true,
  hanging: true,
  lost: true,
} satisfies Readonly<Record<Exclude<(Alarm | InboxAlarm | OutboxAlarm)['kind'], Counted | `${string}-over`>, true>>;

export const REPORTED_KINDS: readonly string[] = Object.keys(REPORTED).map((kind) => `reported-${kind}`);
const LASTING: readonly string[] = ['outage', 'database'];

export function fedOf({ kind, row, reason, error, warning }: FedAlarm): Fed {
  const over = kind.endsWith('-over');
  const base = over ? kind.slice(0, -'-over'.length) : kind;
  if (COUNTED.includes(base)) return { kind: undefined, over, lasts: true, lookSoon: true, sentence: '', examples: [] };
  const why =
    row?.reason ?? reason ?? warning ?? (error instanceof Error ? error.message : typeof error === 'string' ? error : undefined);
  const sentence = over ? `over: ${base}` : why === undefined ? base : `${base}: ${why}`;
  const examples = row === undefined ? [] : [{ id: row.id, topic: row.topic, key: row.key ?? null, error: row.reason ?? null }];
  return { kind: `reported-${base}`, over, lasts: LASTING.includes(base), lookSoon: false, sentence, examples };
}
