/**
 * Which failure of a send goes where, step by step: a table for readers and tests. In short: only a call that cannot be one throws;
 * everything else reaches the callback (and future, and promise) exactly once, after the interceptors have heard of it, and nothing is told twice.
 * "At once" holds for a send that no such callback has made: a send from a callback that is told at once is told at the end of the turn.
 */
import type { LocalCode } from '../errors.ts';

export interface SendFailure {
  /** The step of the send, as in the producer's own list. */
  readonly step: string;
  readonly failure: string;
  /** A row of ERRORS, an answer of a broker, or what is thrown. */
  readonly code: LocalCode | 'TypeError' | 'answer' | 'none';
  /** `callback`: and future and promise. `report`: a line for the log only. */
  readonly reaches: 'thrown' | 'callback' | 'report';
  /** Before `send` returns, or later. */
  readonly when: 'at once' | 'later';
  /** What interceptors hear. */
  readonly interceptors: 'nothing' | 'onSendError' | 'onAcknowledgement';
}

export const SEND_FAILURES: readonly SendFailure[] = [
  row('call', 'the record is no object or the callback no function', 'TypeError', 'thrown', 'at once', 'nothing'),
  row('interceptors', 'an interceptor throws, or gives no record', 'none', 'report', 'at once', 'nothing'),
  row('open?', 'the producer is closed', 'CLOSED', 'callback', 'at once', 'onSendError'),
  row('shape', 'topic, timestamp, queue or delay is impossible', 'ILLEGAL_RECORD', 'callback', 'at once', 'onSendError'),
  row('serializers', 'a serializer throws or gives something else', 'SERIALIZATION', 'callback', 'at once', 'onSendError'),
  row('check', 'key, tag, headers or body cannot be a message', 'ILLEGAL_RECORD', 'callback', 'at once', 'onSendError'),
  row(
    'check',
    'the body is longer than maxMessageBytes; no partitioner is asked',
    'RECORD_TOO_LARGE',
    'callback',
    'at once',
    'onSendError',
  ),
  row('route', 'topicsMax topics are in use, none of them idle', 'TOO_MANY_TOPICS', 'callback', 'at once', 'onSendError'),
  row('route', 'too many sends or bytes wait already', 'TOO_MANY_WAITING', 'callback', 'at once', 'onSendError'),
  row('route', 'no name server answered within maxBlockMs', 'NO_ROUTE', 'callback', 'later', 'onSendError'),
  row(
    'route',
    'the name server knows neither the topic nor a way to make it',
    'TOPIC_UNKNOWN',
    'callback',
    'later',
    'onSendError',
  ),
  row('wait', 'the signal was aborted while the send waited', 'WITHDRAWN', 'callback', 'later', 'onSendError'),
  row('wait', 'the producer was closed while the send waited', 'NOT_SENT', 'callback', 'later', 'onSendError'),
  row('queue', 'the partitioner throws or gives no index', 'PARTITIONER_FAILED', 'callback', 'at once', 'onSendError'),
  row('queue', 'the topic has no writable queue', 'NO_QUEUE', 'callback', 'at once', 'onSendError'),
  row('queue', 'the queue it names did not appear within maxBlockMs', 'NO_QUEUE', 'callback', 'later', 'onSendError'),
  row(
    'size',
    'larger than maxRequestSizeBytes or than bufferMemoryBytes',
    'RECORD_TOO_LARGE',
    'callback',
    'at once',
    'onSendError',
  ),
  row('memory', 'none became free in what was left of maxBlockMs', 'BUFFER_EXHAUSTED', 'callback', 'later', 'onSendError'),
  row(
    'memory',
    'bufferMemoryBytes allow a buffer for which the process has no memory',
    'OUT_OF_MEMORY',
    'callback',
    'at once',
    'onSendError',
  ),
  row(
    'batch',
    'no attempt could be made within deliveryTimeoutMs, or the producer was closed',
    'NOT_SENT',
    'callback',
    'later',
    'onAcknowledgement',
  ),
  row('request', 'the broker says "not stored" more often than retries', 'answer', 'callback', 'later', 'onAcknowledgement'),
  row('request', 'the broker does not answer within requestTimeoutMs', 'TIMEOUT', 'callback', 'later', 'onAcknowledgement'),
  row(
    'request',
    'the connection breaks before the answer, or the producer is closed',
    'CONNECTION_LOST',
    'callback',
    'later',
    'onAcknowledgement',
  ),
  row('request', 'the answer cannot be read', 'MALFORMED_ANSWER', 'callback', 'later', 'onAcknowledgement'),
  row('end', "an interceptor's onAcknowledgement or onSendError, or the callback, throws", 'none', 'report', 'later', 'nothing'),
];

function row(
  step: string,
  failure: string,
  code: SendFailure['code'],
  reaches: SendFailure['reaches'],
  when: SendFailure['when'],
  interceptors: SendFailure['interceptors'],
): SendFailure {
  return { step, failure, code, reaches, when, interceptors };
}
