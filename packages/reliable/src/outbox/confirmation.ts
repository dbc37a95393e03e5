/**
 * The wire of a consumer's confirmation: what the consumer of a message sends back to its sender when the effect is committed. A sender
 * that wants one puts {@link REPLY_TO} into the message's headers; the value is a topic (the confirmation is a message of type
 * {@link CONFIRMATION_TYPE} there) or an http(s) URL (the same JSON is posted to it). All pure: the inbox sends, the outbox receives.
 *
 * ```
 * {"serial":"0192…","consumer":"wallet","at":1700000000000}
 * ```
 */
import type { Delivery } from '../transports/transport.ts';
import { ID_PATTERN } from './message-id.ts';
import type { NewMessage } from './message-types.ts';

/** Header with the topic or URL that the confirmation goes to. */
export const REPLY_TO = 'tallystick-reply-to';

/** Type of the message that is a confirmation. */
export const CONFIRMATION_TYPE = 'tallystick.confirmation';

export interface Confirmation {
  /** Id of the message that is confirmed. */
  readonly serial: string;
  /** Who confirms, for people. */
  readonly consumer: string;
  /** When the effect was there, ms since 1970 by the consumer's database. */
  readonly at: number;
}

/** What a consumer owes the sender of a delivery: a message, a request, or nothing. */
export type ConfirmationOwed =
  | { readonly by: 'message'; readonly message: NewMessage }
  | { readonly by: 'request'; readonly request: { readonly method: 'POST'; readonly url: string } & RequestParts }
  | undefined;

interface RequestParts {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * The confirmation that a delivery asks for, to be added to the consumer's own outbox (or call table) in the transaction of the effect,
 * and again, in a transaction of its own, for every duplicate: what was lost may have been the confirmation.
 */
export function confirmationOf(delivery: Pick<Delivery, 'id' | 'headers'>, consumer: string, nowMs: number): ConfirmationOwed {
  const replyTo = delivery.headers.get(REPLY_TO);
  if (replyTo === undefined || replyTo === '' || !ID_PATTERN.test(delivery.id)) return undefined;
  const body = JSON.stringify({ serial: delivery.id, consumer, at: nowMs } satisfies Confirmation);
  const headers = { 'content-type': 'application/json' };
  if (/^https?:\/\//i.test(replyTo)) return { by: 'request', request: { method: 'POST', url: replyTo, headers, body } };
  return { by: 'message', message: { type: CONFIRMATION_TYPE, topic: replyTo, headers, body } };
}

/** Most bytes of a confirmation: three short fields. */
export const CONFIRMATION_BYTES_MAX = 4096;

/** What a confirmation says; undefined when it is none. */
export function confirmationFrom(body: Uint8Array): Confirmation | undefined {
  if (body.length > CONFIRMATION_BYTES_MAX) return undefined;
  let said: unknown;
  try {
    said = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8'));
  } catch {
    return undefined;
  }
  const { serial, consumer, at } = (said ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof serial !== 'string' || !ID_PATTERN.test(serial)) return undefined;
  return {
    serial,
    consumer: typeof consumer === 'string' ? consumer.slice(0, 255) : '',
    at: typeof at === 'number' && Number.isFinite(at) ? at : 0,
  };
}
