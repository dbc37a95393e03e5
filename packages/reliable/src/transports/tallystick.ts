/**
 * The way to and from our broker, and any Apache RocketMQ that the client speaks to: over a producer and a client of
 * `@tallystick/client`, known by structure.
 *
 * ```
 * id          unique key (UNIQ_KEY)        type       tallystick-type, a property
 * key         sharding key                 headers    properties; odd ones (see `canTravel`) in tallystick-headers
 * tag, topic  the same                     createdAt  born timestamp
 * body        the body; an empty one as one byte and tallystick-empty: RocketMQ has none
 * ```
 */
import { systemClock } from '@tallystick/base/node';
import { CONFIRMED, publishInChains } from './key-chains.ts';
import type {
  Delivery,
  OutgoingMessage,
  PublishOutcome,
  PublishResult,
  Receipt,
  SubscribeOptions,
  Subscriber,
  Subscription,
  Transport,
} from './transport.ts';
import { isWireName, readHeaders, WIRE, writeHeaders } from './wire-headers.ts';

/** What of a producer is used: its callbacks, because a promise per message costs more than the rest of a send. */
export interface TallystickProducer {
  sendWith(record: TallystickRecord, done: (error: TallystickSendError | undefined) => void): void;
}

export interface TallystickRecord {
  readonly topic: string;
  readonly key: string | undefined;
  readonly value: Uint8Array;
  readonly headers: ReadonlyMap<string, string> | undefined;
  readonly tag: string | undefined;
  readonly id: string;
  readonly timestamp: number | undefined;
}

export interface TallystickSendError {
  readonly outcome: Exclude<PublishResult, 'confirmed'>;
  readonly message: string;
}

/** Throws a TypeError for what is no producer. */
export function tallystickTransport(producer: TallystickProducer): Transport {
  if (typeof producer?.sendWith !== 'function') throw new TypeError('tallystickTransport needs a producer: client.producer()');
  return {
    keepsOrder: true,
    publish: (batch) =>
      publishInChains(batch, (message, done) =>
        producer.sendWith(recordOf(message), (error) => done(error === undefined ? CONFIRMED : outcomeOf(error))),
      ),
  };
}

function outcomeOf({ outcome, message }: TallystickSendError): PublishOutcome {
  return { outcome, reason: message };
}

const ONE_BYTE = new Uint8Array(1);

function recordOf(message: OutgoingMessage): TallystickRecord {
  const { id, topic, key, tag, type, body, createdAt } = message;
  let { headers } = message;
  if (type !== undefined || body.length === 0 || !allCanTravel(headers)) {
    const own = new Map<string, string>();
    writeHeaders(headers, canTravel, (name, value) => own.set(name, value));
    if (type !== undefined) own.set(WIRE.type, type);
    if (body.length === 0) own.set(WIRE.empty, '1');
    headers = own;
  }
  return { topic, key, value: body.length === 0 ? ONE_BYTE : body, headers, tag, id, timestamp: createdAt };
}

function allCanTravel(headers: ReadonlyMap<string, string> | undefined): boolean {
  if (headers === undefined || headers.size === 0) return true;
  for (const [name, value] of headers) if (!canTravel(name, value) || isWireName(name)) return false;
  return true;
}

/** RocketMQ's own properties are in capitals; it has no empty ones, and separates them by control characters. */
function canTravel(name: string, value: string): boolean {
  return value !== '' && /[a-z]/.test(name) && !/\p{Cc}/u.test(name) && !/\p{Cc}/u.test(value);
}

/** What of a client is used. */
export interface TallystickClient {
  consumer(settings: TallystickConsumerSettings): { start(): Promise<void>; close(): Promise<void> };
}

export interface TallystickConsumerSettings {
  readonly group: string;
  readonly topics: ReadonlyMap<string, string>;
  readonly from: 'first' | 'last';
  readonly orderly: boolean;
  readonly concurrency: number;
  readonly handler: (message: TallystickMessage) => Promise<void>;
}

export interface TallystickMessage {
  readonly id: string;
  readonly offsetMessageId: string;
  readonly topic: string;
  readonly key: string | undefined;
  readonly tag: string | undefined;
  readonly headers: ReadonlyMap<string, string>;
  readonly properties: ReadonlyMap<string, string>;
  readonly value: Uint8Array;
  readonly timestamp: number;
  /** When the broker stored it, by the broker's clock. */
  readonly storeTimestamp?: number | undefined;
  readonly reconsumeTimes: number;
}

export interface TallystickSubscriberSettings {
  /**
   * Who consumes: subscribers of one name share the messages. Each queue has a consumer group of its own, `<group>-<queue>`, because
   * RocketMQ shares out every queue among all members of a group, also those that have not subscribed to it: they would starve it.
   */
  readonly group: string;
  /** Where a new group begins. Default `first`: what was sent before it existed is not lost on it. */
  readonly from?: 'first' | 'last' | undefined;
  /**
   * One message of a queue at a time, in order: what comes back as `again` holds its queue until it is done (default). Otherwise
   * messages run side by side without order, and one that comes back goes through the group's retry topic, and to the dead letters after 16 times.
   */
  readonly orderly?: boolean | undefined;
  /** Further options of the client's consumer. */
  readonly consumer?: Readonly<Record<string, unknown>> | undefined;
}

const PREFETCH = 20;

/** Throws a TypeError for what is no client. */
export function tallystickSubscriber(client: TallystickClient, settings: TallystickSubscriberSettings): Subscriber {
  if (typeof client?.consumer !== 'function') throw new TypeError('tallystickSubscriber needs a client: new Client({ address })');
  const { group, from = 'first', orderly = true, consumer: further } = settings;
  return {
    async subscribe(
      queue: string,
      receive: (delivery: Delivery) => Promise<Receipt>,
      options?: SubscribeOptions,
    ): Promise<Subscription> {
      const subscribedAt = systemClock.now();
      const handler = async (message: TallystickMessage): Promise<void> => {
        if ((await receive(deliveryOf(message, subscribedAt))) !== 'done') throw new Error('the receiver asks for it again');
      };
      const concurrency = options?.prefetch ?? PREFETCH;
      const consumer = client.consumer({
        ...further,
        group: `${group}-${queue}`,
        topics: new Map([[queue, '*']]),
        from,
        orderly,
        concurrency,
        handler,
      });
      await consumer.start();
      return { stop: () => consumer.close() };
    },
  };
}

/**
 * The broker counts only deliveries that were handed back: what died with its consumer comes again as if for the first time. A message that was
 * stored before this subscription began may have been somebody's death, so its repetition cannot be ruled out.
 *
 * A foreign sender's message without a unique key gets the broker's id of its first copy: so its redeliveries are known, though not its
 * sender's repeats.
 */
function deliveryOf(message: TallystickMessage, subscribedAt: number): Delivery {
  const { headers } = message;
  return {
    id: message.id !== '' ? message.id : (message.properties.get('ORIGIN_MESSAGE_ID') ?? message.offsetMessageId),
    topic: message.topic,
    key: message.key,
    tag: message.tag,
    type: headers.get(WIRE.type),
    headers: readHeaders(headers),
    body: headers.get(WIRE.empty) === '1' ? message.value.subarray(0, 0) : message.value,
    redelivered: message.reconsumeTimes > 0 || (message.storeTimestamp ?? Number.POSITIVE_INFINITY) <= subscribedAt,
    sentAt: message.timestamp,
  };
}
