/**
 * A message as the application gives it, and what is wrong with it. Everything is checked before the first statement, so that a
 * message that cannot be stored or sent fails where it was made, inside the transaction that made it.
 */
import { fail } from '../errors.ts';
import type { OutgoingMessage } from '../transports/transport.ts';
import { ID_PATTERN } from './message-id.ts';

/**
 * - `immediate`: stored with the transaction and pushed as soon as it is committed (must not be lost, wanted now);
 * - `deferred`: stored with the transaction and pushed by the next sweep (must not be lost, may wait);
 * - `volatile`: never stored, pushed once after the commit (wanted now, may be lost).
 */
export type DeliveryMode = 'immediate' | 'deferred' | 'volatile';

export interface NewMessage {
  readonly topic: string;
  /** Messages with one key leave in the order they were added. */
  readonly key?: string | undefined;
  readonly tag?: string | undefined;
  readonly headers?: ReadonlyMap<string, string> | Readonly<Record<string, string>> | undefined;
  /** A text is stored as UTF-8. */
  readonly body: Uint8Array | string;
  /** Default: the outbox's `mode`, which is `immediate`. */
  readonly mode?: DeliveryMode | undefined;
  /** Do not push before this time, ms since 1970. Takes its place in the key's order when it falls due. */
  readonly notBefore?: number | undefined;
  /** 32 upper-case hex digits; made when absent. */
  readonly id?: string | undefined;
}

/** The message as it will travel. Throws BAD_MESSAGE naming what is wrong. */
export function outgoing(message: NewMessage, id: string, bodyBytesMax: number): OutgoingMessage {
  const body = typeof message.body === 'string' ? Buffer.from(message.body, 'utf8') : message.body;
  const headers = headersOf(message.headers);
  const fault = faultOf(message, id, body, headers, bodyBytesMax);
  if (fault !== undefined) throw fail('BAD_MESSAGE', fault);
  return { id, topic: message.topic, key: message.key, tag: message.tag, headers, body };
}

function faultOf(
  message: NewMessage,
  id: string,
  body: unknown,
  headers: ReadonlyMap<string, string>,
  bodyBytesMax: number,
): string | undefined {
  if (!ID_PATTERN.test(id)) return `id ${JSON.stringify(id)} is not 32 upper-case hex digits`;
  if (!(body instanceof Uint8Array)) return 'body is neither bytes nor a text';
  if (body.length > bodyBytesMax) return `body has ${body.length} bytes, at most ${bodyBytesMax} (bodyBytesMax) may be`;
  if (message.notBefore !== undefined && !(Number.isSafeInteger(message.notBefore) && message.notBefore >= 0)) {
    return `notBefore ${message.notBefore} is not a time in ms`;
  }
  return (
    nameFault('topic', message.topic) ??
    optionalNameFault('key', message.key) ??
    optionalNameFault('tag', message.tag) ??
    headersFault(headers)
  );
}

/** Longest topic, key and tag, in UTF-16 units: what every dialect can index. */
const NAME_MAX = 255;

function optionalNameFault(what: string, value: unknown): string | undefined {
  return value === undefined ? undefined : nameFault(what, value);
}

export function nameFault(what: string, value: unknown, max = NAME_MAX): string | undefined {
  if (typeof value !== 'string' || value.length === 0) return `${what} is not a text, or an empty one`;
  if (value.length > max) return `${what} has ${value.length} characters, at most ${max} may be`;
  return textFault(what, value);
}

/** Databases differ in what they do with NUL and half surrogate pairs, so neither gets that far. */
function textFault(what: string, value: string): string | undefined {
  if (value.includes('\0')) return `${what} contains a NUL character`;
  return /\p{Surrogate}/u.test(value) ? `${what} contains half a surrogate pair` : undefined;
}

function headersFault(headers: ReadonlyMap<string, string>): string | undefined {
  for (const [name, value] of headers) {
    if (typeof value !== 'string') return `header ${name} is not a text`;
    const fault = nameFault('the name of a header', name) ?? textFault(`header ${name}`, value);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function headersOf(headers: NewMessage['headers']): ReadonlyMap<string, string> {
  if (headers === undefined) return new Map();
  return headers instanceof Map ? headers : new Map(Object.entries(headers));
}

/** Headers as the body table holds them; null for none. */
export function headersText(headers: ReadonlyMap<string, string> | undefined): string | null {
  return headers === undefined || headers.size === 0 ? null : JSON.stringify([...headers]);
}

/** And back. What is not a list of pairs (a row edited by hand) gives no headers rather than no message. */
export function headersFromText(text: string | null): ReadonlyMap<string, string> {
  if (text === null) return new Map();
  try {
    return new Map(JSON.parse(text) as [string, string][]);
  } catch {
    return new Map();
  }
}
