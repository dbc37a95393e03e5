/**
 * Everything that can go wrong for a caller of the client, one row each: what it means for the message (`outcome`), whether trying
 * again helps, a sentence. Answers of a broker become errors by the `stored` column of remoting's response table: a code that may
 * leave the message stored is never reported as a plain failure, but as {@link IndefiniteError}.
 *
 *    rejected     not stored, and the same message never will be
 *    unroutable   not stored: no broker has the topic
 *    unavailable  not stored: try later
 *    unknown      may or may not be stored; only an idempotent repeat is safe
 */
import type { Retry } from '@tallystick/base';
import type { SendReceipt } from './producer/receipt.ts';
import { ResponseCode, responseRow, storedAfter } from '@tallystick/remoting';

export type Outcome = 'rejected' | 'unroutable' | 'unavailable' | 'unknown';

interface Row {
  readonly outcome: Outcome;
  readonly retry: Retry;
  readonly sentence: string;
}

export const ERRORS = {
  ILLEGAL_RECORD: { outcome: 'rejected', retry: 'never', sentence: 'the record cannot be sent' },
  SERIALIZATION: { outcome: 'rejected', retry: 'never', sentence: 'the record could not be serialized' },
  PARTITIONER_FAILED: { outcome: 'rejected', retry: 'never', sentence: 'the partitioner chose no queue' },
  RECORD_TOO_LARGE: { outcome: 'rejected', retry: 'never', sentence: 'the record is too large' },
  TOO_MANY_WAITING: { outcome: 'unavailable', retry: 'later', sentence: 'too many sends wait already' },
  TOO_MANY_TOPICS: { outcome: 'unavailable', retry: 'later', sentence: 'too many topics are in use at once' },
  BUFFER_EXHAUSTED: { outcome: 'unavailable', retry: 'later', sentence: 'no buffer memory became free in time' },
  OUT_OF_MEMORY: { outcome: 'unavailable', retry: 'later', sentence: 'the process has no memory for the buffer of the record' },
  NO_ROUTE: { outcome: 'unavailable', retry: 'later', sentence: 'no name server told the route of the topic in time' },
  TOPIC_UNKNOWN: { outcome: 'unroutable', retry: 'later', sentence: 'no broker has the topic and none would create it' },
  NO_QUEUE: { outcome: 'unroutable', retry: 'later', sentence: 'the topic has no such writable queue' },
  WITHDRAWN: { outcome: 'unavailable', retry: 'later', sentence: 'its caller took the send back before it went into a batch' },
  NOT_SENT: { outcome: 'unavailable', retry: 'later', sentence: 'the message could not be sent in time' },
  CLOSED: { outcome: 'unavailable', retry: 'never', sentence: 'the producer is closed' },
  NO_CONNECTION: { outcome: 'unavailable', retry: 'later', sentence: 'there is no connection to the broker' },
  ROLLED_BACK: {
    outcome: 'unavailable',
    retry: 'later',
    sentence: 'the half message was not synced in time and has been rolled back',
  },
  TIMEOUT: { outcome: 'unknown', retry: 'later', sentence: 'the broker did not answer in time' },
  CONNECTION_LOST: { outcome: 'unknown', retry: 'later', sentence: 'the connection broke before the answer' },
  MALFORMED_ANSWER: { outcome: 'unknown', retry: 'never', sentence: "the broker's answer could not be read" },
} as const satisfies Readonly<Record<string, Row>>;

export type LocalCode = keyof typeof ERRORS;

/** Any failure of a client call. Programs look at `outcome` and `retry`, people at the message. */
export class ClientError extends Error {
  /** A row of this file, or the name of the broker's response code. */
  readonly code: string;
  readonly outcome: Outcome;
  readonly retry: Retry;
  /** The broker's response code, when a broker answered. */
  readonly responseCode: number | undefined;

  constructor(code: string, outcome: Outcome, retry: Retry, message: string, responseCode?: number, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.outcome = outcome;
    this.retry = retry;
    this.responseCode = responseCode;
  }
}

/** A send that failed. */
export class SendError extends ClientError {}

/**
 * A send whose outcome nobody here knows: the message may be stored. Without `idempotence` the client never repeats it; with it, it has
 * done so until `deliveryTimeoutMs` at brokers that store a repetition once.
 */
export class IndefiniteError extends SendError {
  /** Where the broker has put the message, when it said so (appended, but not confirmed by disk or replica in time). */
  receipt: SendReceipt | undefined;
}

/** A {@link SendError} from a row of this file; `seen` says with which numbers. */
export function fail(code: LocalCode, seen?: string, cause?: unknown): SendError {
  const row: Row = ERRORS[code];
  const Kind = row.outcome === 'unknown' ? IndefiniteError : SendError;
  return new Kind(code, row.outcome, row.retry, seen === undefined ? row.sentence : `${row.sentence}: ${seen}`, undefined, cause);
}

/** The error for a broker's answer `code` to a send. */
export function answerError(code: number, remark: string | undefined): SendError {
  const row = responseRow(code);
  const name = row?.name ?? 'UNKNOWN_CODE';
  const outcome = outcomeOf(code);
  const retry: Retry = outcome === 'rejected' ? 'never' : ELSEWHERE.has(code) ? 'elsewhere' : 'later';
  const Kind = outcome === 'unknown' ? IndefiniteError : SendError;
  return new Kind(name, outcome, retry, `${name} (${code}): ${remark ?? row?.sentence ?? 'no such code is known'}`, code);
}

/** The error for a call that never got an answer; `refused` means that nothing was sent. */
export function callError(kind: 'timeout' | 'closed' | 'refused', message: string): SendError {
  if (kind === 'refused') return fail('NO_CONNECTION', message);
  return fail(kind === 'timeout' ? 'TIMEOUT' : 'CONNECTION_LOST', message);
}

/** True when the message is known not to be stored and another attempt may succeed. */
export function isRetriable(error: SendError): boolean {
  if (error.responseCode === undefined) return error.code === 'NO_CONNECTION';
  return ELSEWHERE.has(error.responseCode);
}

/** Not stored and worth another attempt, on another broker if there is one. */
const ELSEWHERE: ReadonlySet<number> = new Set([
  ResponseCode.SYSTEM_BUSY,
  ResponseCode.SERVICE_NOT_AVAILABLE,
  ResponseCode.NO_PERMISSION,
  ResponseCode.TOPIC_NOT_EXIST,
  ResponseCode.FLOW_CONTROL,
  ResponseCode.GO_AWAY,
]);

/** True for an answer whose reason is the broker's state and not the message or its topic: such a broker is left out for a time. */
export function meansBusy(code: number): boolean {
  return BUSY.has(code);
}

const BUSY: ReadonlySet<number> = new Set([
  ResponseCode.SYSTEM_BUSY,
  ResponseCode.SERVICE_NOT_AVAILABLE,
  ResponseCode.FLOW_CONTROL,
  ResponseCode.GO_AWAY,
]);

function outcomeOf(code: number): Outcome {
  if (storedAfter(code) !== 'no') return 'unknown';
  if (code === ResponseCode.TOPIC_NOT_EXIST) return 'unroutable';
  return code === ResponseCode.NO_PERMISSION || !ELSEWHERE.has(code) ? 'rejected' : 'unavailable';
}
