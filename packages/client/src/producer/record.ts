/** What a caller hands to a producer. */
import { SysFlag } from '@tallystick/remoting';
import type { HeaderMap } from './header-map.ts';

/**
 * One message to send. The caller must not change `value` before the send is done. With the plain serializers keys and values are
 * text or bytes; other serializers take what they say.
 */
export interface ProducerRecord<K = Uint8Array | string, V = Uint8Array | string> {
  readonly topic: string;
  /**
   * Same key, same queue, as long as the topic has as many; and in order, as long as no attempt has to be repeated. Over repetitions
   * too with `maxInFlightPerQueue: 1` or `idempotence: true`. Bytes that are not UTF-8 travel as base64.
   */
  readonly key?: K | undefined;
  /** The body: at least one byte; a string is sent as UTF-8. There is no null value. */
  readonly value: V;
  /**
   * Become message properties; bytes travel as base64. RocketMQ's reserved names and empty values are refused. A {@link HeaderMap} can
   * only be read once it is sent; others are copied.
   */
  readonly headers?: RecordHeaders | undefined;
  /** What consumers can filter by; one per message. */
  readonly tag?: string | undefined;
  /**
   * Fixes the queue, with `brokerName`. Without that it is the one queue of this number; where several brokers have one, the one that this
   * producer has used for the topic and number before, as long as the route has it and the topic is not forgotten (`metadataMaxIdleMs`,
   * `topicsMax`); and if it has used none, the record is refused.
   */
  readonly queueId?: number | undefined;
  /** Fixes the broker of the queue `queueId`, as RocketMQ's MessageQueue does: such a record never goes to another one. */
  readonly brokerName?: string | undefined;
  /** The sender's own id, 32 upper-case hex digits, stable over its retries; made here when absent. */
  readonly id?: string | undefined;
  /** RocketMQ's delay level, 1 to 18; 0 or absent delivers at once. */
  readonly delayLevel?: number | undefined;
  /** Create time: ms since 1970, kept as the born timestamp; the time of the send when absent. */
  readonly timestamp?: number | undefined;
}

export type HeaderValue = string | Uint8Array;
export type RecordHeaders = HeaderMap | ReadonlyMap<string, HeaderValue> | Readonly<Record<string, HeaderValue>>;

/** What a half message or a retry needs beyond a record; never from a user's hand. */
export interface SendMarks {
  /** RocketMQ's sysFlag bits to set (4: half message). */
  readonly sysFlag: number;
  /** Further properties, reserved names allowed. */
  readonly properties: readonly (readonly [name: string, value: string])[];
  /** The properties hold the message's id already: none is made. */
  readonly hasId: boolean;
  /** Deliveries before this one (a retried message); 0 else. */
  readonly reconsumeTimes: number;
  /** Deliveries after which the broker buries the message; undefined leaves it to the group. */
  readonly maxReconsumeTimes: number | undefined;
}

/** What is wrong with the shape of a record; undefined when nothing is. `isPlain`: key and value are as they will travel. */
export function shapeFault(
  record: ProducerRecord<unknown, unknown>,
  marks: SendMarks | undefined,
  isPlain: boolean,
): string | undefined {
  const { timestamp, queueId, brokerName, key, value } = record;
  if (isPlain) {
    if (!isTextOrBytes(value)) return 'value must be text or bytes; a valueSerializer would turn others into these';
    if (key !== undefined && !isTextOrBytes(key))
      return 'key must be text or bytes; a keySerializer would turn others into these';
  }
  if (timestamp !== undefined && !(Number.isSafeInteger(timestamp) && timestamp >= 0)) {
    return `timestamp must be whole ms since 1970, not ${shown(timestamp)}`;
  }
  if (queueId !== undefined && !(Number.isSafeInteger(queueId) && queueId >= 0)) {
    return `queueId must be a whole number, not ${shown(queueId)}`;
  }
  if (brokerName !== undefined && !(typeof brokerName === 'string' && queueId !== undefined)) {
    return 'brokerName must be text, and name a queue together with queueId';
  }
  if (
    marks !== undefined &&
    (marks.sysFlag & SysFlag.PREPARED) !== 0 &&
    record.delayLevel !== undefined &&
    record.delayLevel > 0
  ) {
    return 'a message of a transaction cannot be delayed';
  }
  return undefined;
}

function isTextOrBytes(data: unknown): boolean {
  return typeof data === 'string' || data instanceof Uint8Array;
}

function shown(given: unknown): string {
  return typeof given === 'number' ? String(given) : `a ${typeof given}`;
}
