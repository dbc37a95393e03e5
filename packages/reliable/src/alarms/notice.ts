import type { AlarmEvent } from './decide-alarm.ts';

/** A row as an example of what an alarm is about. Bodies are never in an alarm. */
export interface AlarmExample {
  readonly id: string;
  readonly topic: string;
  readonly key: string | null;
  readonly error: string | null;
}

/** What a person or a receiver is told; also the JSON body of the webhook. */
export interface AlarmNotice {
  /** The same for every notice of one alarm: `channel/kind`. */
  readonly alarm: string;
  /** A watched kind; `reported-…` for what a relay, an inbox or an outbox has reported; `database` when it cannot be asked. */
  readonly kind: string;
  /** `happened`: reported by a relay, an inbox or an outbox, with nothing that could end it. */
  readonly event: AlarmEvent | 'happened';
  readonly channel: string;
  /** ms since 1970. */
  readonly at: number;
  readonly since: number;
  readonly value: number;
  readonly limit: number;
  readonly sentence: string;
  /** What to do now. */
  readonly next: string;
  readonly examples: readonly AlarmExample[];
}
