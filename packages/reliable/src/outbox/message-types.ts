/**
 * Message types: what a program says once about all messages of a name instead of at every call, and what the compiler then knows of
 * them: the payload, and which guarantee holds for it.
 *
 * ```ts
 * const outbox = createOutbox(db, {
 *   messages: {
 *     'order.created': msg<OrderCreated>({ topic: 'orders', key: (order) => order.id }),
 *     'price.shown': msg<Price>({ topic: 'prices', mode: 'volatile' }),
 *   },
 * });
 * const id = await outbox.in(tx).add({ type: 'order.created', body: { id: 'o-1', amountCents: 500 } });
 * //    ^ MessageId<'not lost, at once'>
 * ```
 *
 * A type's settings are defaults: what a call says wins. Only the mode a type names is no default but a promise, and a call that names
 * another is refused.
 */

/**
 * - `immediate`: stored with the transaction and pushed as soon as it is committed (must not be lost, wanted now);
 * - `deferred`: stored with the transaction and pushed by the next sweep (must not be lost, may wait);
 * - `volatile`: never stored; pushed after the commit and tried a few times from memory (wanted now, may be lost).
 */
export type DeliveryMode = 'immediate' | 'deferred' | 'volatile';

/** What each mode promises, in words that stand in the type of the id that `add` returns. */
export interface Guarantees {
  readonly volatile: 'may be lost';
  readonly deferred: 'not lost, may wait';
  readonly immediate: 'not lost, at once';
}

export type Guarantee = Guarantees[DeliveryMode];

/** The same, for programs. */
export const GUARANTEES: Guarantees = {
  volatile: 'may be lost',
  deferred: 'not lost, may wait',
  immediate: 'not lost, at once',
};

declare const GUARANTEE: unique symbol;

/** A message's serial number; a plain text whose type says what was promised: `function ship(order: MessageId<'not lost, at once'>)`. */
export type MessageId<G extends Guarantee = Guarantee> = string & { readonly [GUARANTEE]: G };

/**
 * What settles a message: the broker's confirmation, or the consumer's, which comes back as a message or a request (see `replyTo`).
 * One that has not come `withinMs` after the broker's is the reason to send the message again, under the same serial number.
 */
export type Confirm = 'broker' | { readonly by: 'consumer'; readonly withinMs: number };

/** What a type and a call may both say. */
export interface MessageSettings {
  /** Topic or queue. Default: the routing key. */
  readonly topic?: string | undefined;
  readonly tag?: string | undefined;
  /** Which part of the program it comes from, for people. */
  readonly module?: string | undefined;
  /** RabbitMQ: where it is published; the default exchange when absent. */
  readonly exchange?: string | undefined;
  readonly exchangeType?: string | undefined;
  readonly routingKey?: string | undefined;
  readonly headers?: ReadonlyMap<string, string> | Readonly<Record<string, string>> | undefined;
  /** Header `content-type`; `application/json` for a body that is an object. */
  readonly contentType?: string | undefined;
  readonly confirm?: Confirm | undefined;
  /** Where the consumer's confirmation goes: a topic that this program subscribes to, or an http(s) URL of its. */
  readonly replyTo?: string | undefined;
  /** How long `status()` knows the message after it is settled. Default: the outbox's `keepMs`. */
  readonly keepMs?: number | undefined;
}

declare const PAYLOAD: unique symbol;

/** A type of message as `messages` holds it; {@link msg} makes one that also knows its payload. */
export interface MessageType<Payload = unknown, Mode extends DeliveryMode = DeliveryMode> extends MessageSettings {
  readonly mode?: Mode | undefined;
  /** The key (order) of a message whose call names none. */
  key?(payload: Payload): string;
  /** The business key of a message whose call names none. */
  businessKey?(payload: Payload): string;
  /** For the compiler only. */
  readonly [PAYLOAD]?: Payload;
}

export type MessageTypes = Readonly<Record<string, MessageType>>;

type Given<Payload, Mode extends DeliveryMode> = Omit<MessageType<Payload, Mode>, 'mode' | typeof PAYLOAD>;
/** Who may be lost is neither confirmed by its consumer nor kept. */
type GivenVolatile<Payload> = Omit<Given<Payload, 'volatile'>, 'confirm' | 'replyTo' | 'keepMs'>;

/** A message type with its payload; `immediate` unless it says otherwise. */
export function msg<Payload>(settings: GivenVolatile<Payload> & { readonly mode: 'volatile' }): Moded<Payload, 'volatile'>;
export function msg<Payload>(settings: Given<Payload, 'deferred'> & { readonly mode: 'deferred' }): Moded<Payload, 'deferred'>;
export function msg<Payload>(
  settings?: Given<Payload, 'immediate'> & { readonly mode?: 'immediate' },
): Moded<Payload, 'immediate'>;
export function msg(settings: MessageType = {}): MessageType {
  return { ...settings, mode: settings.mode ?? 'immediate' };
}

type Moded<Payload, Mode extends DeliveryMode> = MessageType<Payload, Mode> & { readonly mode: Mode };

/** The payload of a type; anything that can be a body where the type does not say. */
export type PayloadOf<T> = T extends { readonly [PAYLOAD]?: infer Payload } ? (unknown extends Payload ? Body : Payload) : Body;

/** Bytes, a text (sent as UTF-8), or a value that JSON can hold. */
export type Body = Uint8Array | string | object;

/** What a call says. */
export interface MessageCall extends MessageSettings {
  /** Messages with one key leave in the order they were added. */
  readonly key?: string | undefined;
  /** What it is about in the business's own numbering, such as an order: what `status()` is asked by. Not unique. */
  readonly businessKey?: string | undefined;
  /** Do not push before this time, ms since 1970 by the database's clock. Takes its place in the key's order when it falls due. */
  readonly notBefore?: number | undefined;
  /** The same, counted from now by the database's clock. */
  readonly delayMs?: number | undefined;
  /** 32 upper-case hex digits; made when absent. */
  readonly id?: string | undefined;
}

/** A message of any type, as it is given. */
export interface NewMessage extends MessageCall {
  /** Name of its type. */
  readonly type?: string | undefined;
  readonly body: Body;
  /** Default: the type's mode, else the outbox's, which is `immediate`. */
  readonly mode?: DeliveryMode | undefined;
}

interface TypedMessage<Name, T extends MessageType> extends MessageCall {
  readonly type: Name;
  readonly body: PayloadOf<T>;
  readonly mode?: ModeOf<T> | undefined;
}

/** A message that belongs to no type. */
type UntypedMessage = Omit<NewMessage, 'type'> & { readonly type?: undefined };

/** What `add` takes, given the types that are declared; any message when none are. */
export type NewMessageOf<Types extends MessageTypes> = string extends keyof Types
  ? NewMessage
  : { [Name in keyof Types & string]: TypedMessage<Name, Types[Name]> }[keyof Types & string] | UntypedMessage;

type ModeOf<T> = T extends { readonly mode: infer Mode extends DeliveryMode } ? Mode : DeliveryMode;

/** The guarantee that a message gets: its type's, else what its own `mode` promises. */
export type GuaranteeOf<Types extends MessageTypes, Message> = Message extends { readonly type: infer Name extends keyof Types }
  ? Types[Name] extends { readonly mode: infer Mode extends DeliveryMode }
    ? Guarantees[Mode]
    : GuaranteeOfCall<Message>
  : GuaranteeOfCall<Message>;

type GuaranteeOfCall<Message> = Message extends { readonly mode: infer Mode extends DeliveryMode } ? Guarantees[Mode] : Guarantee;
