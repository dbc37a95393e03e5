/**
 * What RabbitMQ means when it ends a channel over a message. Its reason names no message, and everybody else's confirmations go with the
 * channel: only what is certain is said of one, and the others are `unknown`.
 *
 * ```
 * 404 NOT_FOUND            alone on its way         unroutable   no such exchange
 * 403 ACCESS_REFUSED       alone on its way         rejected     exchange or routing key not permitted
 * 406 PRECONDITION_FAILED  longer than the limit    rejected     max_message_size, which the reason names
 *                          alone on its way         rejected
 * anything else                                     unknown
 * ```
 */
import type { RabbitFailure } from './rabbit-driver.ts';
import type { PublishOutcome } from './transport.ts';

const ACCESS_REFUSED = 403;
const NOT_FOUND = 404;
const PRECONDITION_FAILED = 406;

/** RabbitMQ 3 and 4; the hard limit of old versions lacks the word. */
const TOO_LARGE = /message size \d+ is larger than (?:configured )?max(?:imum)? size (\d+)/;

/** The broker's max_message_size in bytes, when that is what it ended the channel over. */
export function sizeLimitIn({ code, message }: RabbitFailure): number | undefined {
  const limit = code === PRECONDITION_FAILED ? TOO_LARGE.exec(message)?.[1] : undefined;
  return limit === undefined ? undefined : Number(limit);
}

/** Whether one of the messages on their way is the cause. */
export function isOverAMessage({ code }: RabbitFailure): boolean {
  return code === ACCESS_REFUSED || code === NOT_FOUND || code === PRECONDITION_FAILED;
}

/** `alone`: no other message was on its way, so the broker means this one, and has not stored it. */
export function verdict(failure: RabbitFailure, bodyBytes: number, alone: boolean): PublishOutcome {
  const limit = sizeLimitIn(failure);
  if (limit !== undefined && bodyBytes > limit) return tooLarge(bodyBytes, limit);
  const { code, message: reason } = failure;
  if (alone && code === NOT_FOUND) return { outcome: 'unroutable', reason };
  if (alone && isOverAMessage(failure)) return { outcome: 'rejected', reason };
  return { outcome: 'unknown', reason };
}

export function tooLarge(bodyBytes: number, limit: number): PublishOutcome {
  return {
    outcome: 'rejected',
    reason: `its body has ${bodyBytes} bytes, RabbitMQ takes at most ${limit} (its max_message_size)`,
  };
}
