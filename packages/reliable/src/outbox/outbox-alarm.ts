import type { PublishOutcome } from '../transports/transport.ts';
import type { Lost } from './volatile.ts';

/** What an outbox reports: `lost`: a volatile message was given up. It is in the log whole. */
export interface OutboxAlarm {
  readonly kind: 'lost';
  readonly row: {
    readonly id: string;
    readonly topic: string;
    readonly key: string | undefined;
    readonly tries: number;
    /** Of the last try. */
    readonly outcome: PublishOutcome['outcome'];
    readonly reason: string;
  };
}

export function lostAlarm({ message: { id, topic, key }, outcome: { outcome, reason }, tries }: Lost): OutboxAlarm {
  return { kind: 'lost', row: { id, topic, key, tries, outcome, reason: reason ?? outcome } };
}
