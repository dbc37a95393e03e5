/** What a caller hands to a producer, and what comes back. */

/** One message to send. The caller must not change `value` or `headers` before the send is done. */
export interface ProducerRecord {
  readonly topic: string;
  /** Same key, same queue, hence in order. Bytes that are not UTF-8 travel as base64. */
  readonly key?: string | Uint8Array | undefined;
  /** The body: at least one byte; a string is sent as UTF-8. There is no null value. */
  readonly value: Uint8Array | string;
  /** Become message properties; bytes travel as base64. RocketMQ's reserved names and empty values are refused. */
  readonly headers?: RecordHeaders | undefined;
  /** What consumers can filter by; one per message. */
  readonly tag?: string | undefined;
  /** Fixes the queue; such a record never moves to another one. */
  readonly queueId?: number | undefined;
  /** The sender's own id, 32 upper-case hex digits, stable over its retries; made here when absent. */
  readonly id?: string | undefined;
  /** RocketMQ's delay level, 1 to 18; 0 or absent delivers at once. */
  readonly delayLevel?: number | undefined;
  /** ms since 1970, kept as the born timestamp; the time of the send when absent. */
  readonly timestamp?: number | undefined;
}

export type HeaderValue = string | Uint8Array;
export type RecordHeaders = ReadonlyMap<string, HeaderValue> | Readonly<Record<string, HeaderValue>>;

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
