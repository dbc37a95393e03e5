/**
 * A message in AMQP's terms, both ways:
 *
 * ```
 * id            message-id                     topic   the routing key, unless one is given: then in tallystick-topic
 * type          type                           body    the content
 * createdAt     timestamp (seconds, for others) and tallystick-sent-at (ms)
 * key, tag      tallystick-key, tallystick-tag headers  headers; odd ones in tallystick-headers
 * ```
 *
 * Delivery mode 2 (persistent) and mandatory, always.
 */
import type { RabbitMessage, RabbitPublishOptions } from './rabbit-driver.ts';
import type { RabbitHeaders } from './rabbit-headers.ts';
import type { Delivery, OutgoingMessage } from './transport.ts';
import { isWireName, readHeaders, WIRE, writeHeaders } from './wire-headers.ts';

/** AMQP's short strings: exchange, routing key, message id, type, names of headers. */
const SHORT_BYTES_MAX = 255;

export function routeOf(message: OutgoingMessage): { readonly exchange: string; readonly routingKey: string } {
  return { exchange: message.exchange ?? '', routingKey: message.routingKey ?? message.topic };
}

/** Why a message cannot travel as it is; undefined when it can. */
export function wireFault(message: OutgoingMessage, bodyBytesMax: number): string | undefined {
  const { exchange, routingKey } = routeOf(message);
  if (isLong(exchange)) return tooLong('exchange', exchange);
  if (isLong(routingKey)) return tooLong('routing key', routingKey);
  if (message.type !== undefined && isLong(message.type)) return tooLong('type', message.type);
  return message.body.length > bodyBytesMax
    ? `its body has ${message.body.length} bytes, at most ${bodyBytesMax} (bodyBytesMax) may be`
    : undefined;
}

/** A UTF-16 unit is at most three bytes, so that most texts need no counting. */
function isLong(text: string): boolean {
  return text.length * 3 > SHORT_BYTES_MAX && Buffer.byteLength(text) > SHORT_BYTES_MAX;
}

function tooLong(what: string, text: string): string {
  return `its ${what} has ${Buffer.byteLength(text)} bytes, RabbitMQ takes at most ${SHORT_BYTES_MAX}`;
}

/** `headers`: where they are written; it has no others than it will have. */
export function publishOptionsOf(message: OutgoingMessage, headers: RabbitHeaders = {}): RabbitPublishOptions {
  const { id, topic, key, tag, type, createdAt } = message;
  // No name that comes here is special to a plain object (see canTravel), and the driver is quicker with one.
  const put = (name: string, value: string): void => void (headers[name] = value);
  writeHeaders(message.headers, canTravel, put);
  if (key !== undefined) put(WIRE.key, key);
  if (tag !== undefined) put(WIRE.tag, tag);
  if (message.routingKey !== undefined && message.routingKey !== topic) put(WIRE.topic, topic);
  const options: RabbitPublishOptions = { mandatory: true, persistent: true, messageId: id, headers };
  if (type !== undefined) options.type = type;
  if (createdAt !== undefined) {
    put(WIRE.sentAt, String(createdAt));
    options.timestamp = Math.floor(createdAt / 1000);
  }
  return options;
}

/** `__proto__` would be lost in the driver's plain objects; BCC and CC are RabbitMQ's, with a meaning. */
function canTravel(name: string): boolean {
  return name !== '__proto__' && name !== 'CC' && name !== 'BCC' && Buffer.byteLength(name) <= SHORT_BYTES_MAX;
}

export function bodyOf({ body }: OutgoingMessage): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.length);
}

/** The delivery, its id '' when the sender gave none. Never throws, whatever a foreign sender wrote. */
export function rabbitDelivery({ content, fields, properties }: RabbitMessage): Delivery {
  const came = Object.entries(properties.headers ?? {}).map(([name, value]) => [name, textOf(value)] as const);
  const own = new Map(came.filter(([name]) => isWireName(name)));
  return {
    id: typeof properties.messageId === 'string' ? properties.messageId : '',
    topic: own.get(WIRE.topic) ?? fields.routingKey,
    key: own.get(WIRE.key),
    tag: own.get(WIRE.tag),
    type: typeof properties.type === 'string' ? properties.type : undefined,
    headers: readHeaders(came),
    body: content,
    redelivered: fields.redelivered === true,
    sentAt: timeOf(own.get(WIRE.sentAt), properties.timestamp),
  };
}

/** Foreign senders use all of AMQP's types. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value);
}

function timeOf(ms: string | undefined, seconds: unknown): number | undefined {
  if (ms !== undefined && /^\d{1,15}$/.test(ms)) return Number(ms);
  return typeof seconds === 'number' && Number.isSafeInteger(seconds) ? seconds * 1000 : undefined;
}
