/**
 * What a handler, and the inbox for it, may do beside the handler's own SQL, in the same transaction: send, call, and confirm to the sender
 * that asked for it. A confirmation names the message by its sender's own id, whatever the inbox knows it by; one that is asked for and
 * cannot be given is told and counted, because its sender waits.
 */
import type { Clock } from '@tallystick/base';
import type { Calls } from '../call/call.ts';
import { fail } from '../errors.ts';
import { confirmationOf, REPLY_TO } from '../outbox/confirmation.ts';
import type { Answer, Handle } from '../sql/handles.ts';
import type { Effects } from './attempt.ts';
import type { InboxAlarm } from './inbox-alarm.ts';
import type { KnownDelivery } from './kept.ts';
import type { InboxCounters } from './retries.ts';

/** What an inbox needs of an outbox. */
export interface EmittingOutbox {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- an outbox is typed by its own database and messages
  in(tx: any): { add(message: any): any };
}

interface EffectsPorts {
  readonly outbox: EmittingOutbox | undefined;
  readonly calls: Calls;
  readonly consumer: string;
  readonly clock: Clock;
  readonly counters: InboxCounters;
  readonly tell: (alarm: InboxAlarm) => void;
}

export function effectsOf<Tx>({ outbox, calls, consumer, clock, counters, tell }: EffectsPorts): Effects<Tx> {
  const emit: Effects<Tx>['emit'] = (tx, message) => {
    if (outbox === undefined) throw fail('NO_OUTBOX');
    return outbox.in(tx).add(message) as Answer<Tx, string>;
  };
  const call: Effects<Tx>['call'] = (tx, request) => calls.add(tx as Handle, request) as Answer<Tx, string>;
  const unconfirmed = (id: string, reason: string): void => {
    counters.unconfirmed++;
    tell({ kind: 'unconfirmed', id, reason: `its sender waits for a confirmation, and ${reason}` });
  };
  const confirm = (tx: Tx, delivery: KnownDelivery): unknown => {
    const replyTo = delivery.headers.get(REPLY_TO) ?? '';
    if (replyTo === '') return undefined;
    const serial = delivery.serial ?? delivery.id;
    const owed = confirmationOf({ id: serial, headers: delivery.headers }, consumer, clock.now());
    if (owed === undefined) return unconfirmed(delivery.id, `${JSON.stringify(serial)} is no id that one could name`);
    if (owed.by === 'request') return call(tx, owed.request);
    if (outbox !== undefined) return emit(tx, owed.message);
    return unconfirmed(delivery.id, `this inbox has no outbox to send it to ${JSON.stringify(replyTo)} with`);
  };
  return { emit, call, confirm };
}

/** Whether its sender waits for a confirmation. */
export function asksToConfirm({ headers }: Pick<KnownDelivery, 'headers'>): boolean {
  return (headers.get(REPLY_TO) ?? '') !== '';
}
