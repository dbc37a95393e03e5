/**
 * A message as the user's code gets it, from a pull or from a check-back. It reads the stored record when asked: a handler that looks
 * at key and value pays for key and value. The retry topic's disguise is taken off (`topic` is the topic the message was sent to), compressed
 * bodies are inflated up to a limit, base64 keys and headers are bytes again.
 *
 * `value` throws when a compressed body is broken, too large inflated, or in a form we do not read; in a handler that is a failure of
 * this message like any other, so it ends in a dead letter and not in silence.
 */
import { inflateSync } from 'node:zlib';
import {
  type LazyMessage,
  PropertyName,
  SysFlag,
  compressionOf,
  isReservedProperty,
  offsetMessageId,
} from '@tallystick/remoting';
import { ClientError } from '../errors.ts';

export class ReceivedMessage {
  readonly #stored: LazyMessage;
  readonly #inflatedBytesMax: number;
  readonly #brokerName: string;
  #value: Buffer | undefined;
  #headers: ReadonlyMap<string, string> | undefined;
  #repeats = 0;

  constructor(stored: LazyMessage, brokerName: string, inflatedBytesMax: number) {
    this.#stored = stored;
    this.#brokerName = brokerName;
    this.#inflatedBytesMax = inflatedBytesMax;
  }

  /** The topic it was sent to. */
  get topic(): string {
    return this.#stored.property(PropertyName.RETRY_TOPIC) ?? this.#stored.topic;
  }

  /** The topic it lies in: differs from `topic` for a retried message. */
  get storedTopic(): string {
    return this.#stored.topic;
  }

  get brokerName(): string {
    return this.#brokerName;
  }

  get queueId(): number {
    return this.#stored.queueId;
  }

  /** Its place in its queue. */
  get offset(): number {
    return this.#stored.queueOffset;
  }

  /** The sender's id, stable over retries and repeats: what an inbox keys on. '' if the sender gave none. */
  get id(): string {
    return this.#stored.uniqueKey;
  }

  /** The broker's id: where the record lies. Changes with every retry. */
  get offsetMessageId(): string {
    return offsetMessageId(this.#stored.storeHostBytes, this.#stored.physicalOffset);
  }

  /** Byte address of the record in the broker's log. */
  get position(): number {
    return this.#stored.physicalOffset;
  }

  /** The key as text; of a key that is not UTF-8 the base64 (see `keyBytes`). */
  get key(): string | undefined {
    return this.#stored.property(PropertyName.SHARDING_KEY) ?? this.#stored.property(PropertyName.KEYS);
  }

  get keyBytes(): Buffer | undefined {
    const { key } = this;
    if (key === undefined) return undefined;
    return Buffer.from(key, this.#stored.property(PropertyName.KEY_FORM) === 'b64' ? 'base64' : 'utf8');
  }

  get tag(): string | undefined {
    return this.#stored.tag;
  }

  /** The sender's own properties. Those it sent as bytes are base64 here; `headerBytes` decodes them. */
  get headers(): ReadonlyMap<string, string> {
    if (this.#headers !== undefined) return this.#headers;
    const headers = new Map<string, string>();
    for (const [name, value] of this.#stored.properties) if (!isReservedProperty(name)) headers.set(name, value);
    this.#headers = headers;
    return headers;
  }

  headerBytes(name: string): Buffer | undefined {
    const value = this.headers.get(name);
    if (value === undefined) return undefined;
    const binary = (this.#stored.property(PropertyName.BASE64_HEADERS) ?? '').split(' ').includes(name);
    return Buffer.from(value, binary ? 'base64' : 'utf8');
  }

  /** All properties, RocketMQ's own included. */
  get properties(): ReadonlyMap<string, string> {
    return this.#stored.properties;
  }

  /** The body. Throws a ClientError for a compressed one that cannot be read. */
  get value(): Buffer {
    this.#value ??= this.#readValue();
    return this.#value;
  }

  /** Bytes of the record as stored. */
  get storedBytes(): number {
    return this.#stored.end - this.#stored.at;
  }

  /** The body as stored, compressed or not. */
  get storedBody(): Buffer {
    return this.#stored.body;
  }

  /** When it was sent, by the sender's clock, ms since 1970. */
  get timestamp(): number {
    return this.#stored.bornTimestamp;
  }

  /** When it was stored, by the broker's clock. */
  get storeTimestamp(): number {
    return this.#stored.storeTimestamp;
  }

  /** How often it has been handled in vain before. */
  get reconsumeTimes(): number {
    return this.#stored.reconsumeTimes + this.#repeats;
  }

  get sysFlag(): number {
    return this.#stored.sysFlag;
  }

  /** One more failure in place (orderly consumption); the new count. */
  repeat(): number {
    this.#repeats++;
    return this.reconsumeTimes;
  }

  toJSON(): Record<string, unknown> {
    const { topic, queueId, offset, id, key, tag, timestamp, storeTimestamp, reconsumeTimes, offsetMessageId: place } = this;
    return {
      topic,
      queueId,
      offset,
      id,
      key,
      tag,
      headers: Object.fromEntries(this.headers),
      value: this.value.toString('utf8'),
      timestamp,
      storeTimestamp,
      reconsumeTimes,
      offsetMessageId: place,
    };
  }

  #readValue(): Buffer {
    const { body, sysFlag } = this.#stored;
    if ((sysFlag & SysFlag.COMPRESSED) === 0) return body;
    const form = compressionOf(sysFlag);
    if (form !== 'zlib')
      throw new ClientError(
        'COMPRESSION_UNKNOWN',
        'rejected',
        'never',
        `message ${this.id} is compressed with ${form}; only zlib is read`,
      );
    try {
      return inflateSync(body, { maxOutputLength: this.#inflatedBytesMax });
    } catch (cause) {
      const text = `message ${this.id} does not inflate within ${this.#inflatedBytesMax} bytes (inflatedBytesMax)`;
      throw new ClientError('INFLATE_FAILED', 'rejected', 'never', text, undefined, cause);
    }
  }
}
