/**
 * A message as the application gives it, made what the tables and the transport hold, and what is wrong with it. Everything is checked
 * before the first statement, so that a message that cannot be stored or sent fails where it was made, inside the transaction that
 * made it.
 */
import { fail } from '../errors.ts';
import type { OutgoingMessage } from '../transports/transport.ts';
import { CONFIRMATION_TYPE, REPLY_TO } from './confirmation.ts';
import { Fields } from './fields.ts';
import { ID_PATTERN } from './message-id.ts';
import type { DeliveryMode, MessageSettings, MessageType, MessageTypes, NewMessage } from './message-types.ts';

/** What the outbox says for messages that do not say it themselves. */
export interface MessageDefaults {
  readonly mode: DeliveryMode;
  readonly bodyBytesMax: number;
  readonly keepMs: number;
  /** '' for none. */
  readonly replyTo: string;
}

/** A message that has passed the checks. */
export interface CheckedMessage {
  readonly message: OutgoingMessage;
  readonly mode: DeliveryMode;
  readonly module: string;
  readonly businessKey: string | undefined;
  /** 0: the broker's confirmation settles it. */
  readonly confirmWithinMs: number;
  readonly keepMs: number;
  /** 0: at once. At most one of the two is set. */
  readonly notBefore: number;
  readonly delayMs: number;
}

/** The declared type of a message. Throws UNKNOWN_TYPE when types are declared and this is none of them. */
export function typeOf(name: string | undefined, types: MessageTypes | undefined): MessageType | undefined {
  if (name === undefined || types === undefined || name === CONFIRMATION_TYPE) return undefined;
  if (Object.hasOwn(types, name)) return types[name];
  const known = Object.keys(types);
  throw fail('UNKNOWN_TYPE', `${JSON.stringify(name)}; declared are ${known.length === 0 ? 'none' : known.join(', ')}`);
}

const FIELDS = new Fields({
  type: true,
  topic: true,
  key: true,
  businessKey: true,
  tag: true,
  module: true,
  exchange: true,
  exchangeType: true,
  routingKey: true,
  headers: true,
  contentType: true,
  body: true,
  mode: true,
  confirm: true,
  replyTo: true,
  keepMs: true,
  notBefore: true,
  delayMs: true,
  id: true,
} satisfies Readonly<Record<keyof NewMessage, true>>);

/** The message as it will be stored and travel. Throws BAD_MESSAGE naming what is wrong. */
export function checked(given: NewMessage, type: MessageType | undefined, id: string, defaults: MessageDefaults): CheckedMessage {
  const misspelt = FIELDS.fault('a message', given);
  if (misspelt !== undefined) throw fail('BAD_MESSAGE', misspelt);
  const mode = given.mode ?? type?.mode ?? defaults.mode;
  const said = <Name extends keyof MessageSettings>(name: Name): MessageSettings[Name] => given[name] ?? type?.[name];
  const routingKey = said('routingKey');
  const body = bodyOf(given.body);
  const confirm = said('confirm') ?? 'broker';
  const replyTo = said('replyTo') ?? (defaults.replyTo === '' ? undefined : defaults.replyTo);
  const made: CheckedMessage = {
    mode,
    module: said('module') ?? '',
    businessKey: given.businessKey ?? type?.businessKey?.(given.body),
    confirmWithinMs: confirm === 'broker' ? 0 : confirm.withinMs,
    keepMs: mode === 'volatile' ? 0 : (said('keepMs') ?? defaults.keepMs),
    notBefore: given.notBefore ?? 0,
    delayMs: given.delayMs ?? 0,
    message: {
      id,
      topic: said('topic') ?? routingKey!,
      key: given.key ?? type?.key?.(given.body),
      tag: said('tag'),
      headers: headersFor(given, type, body.contentType, confirm === 'broker' ? undefined : replyTo),
      body: body.bytes,
      type: given.type,
      exchange: said('exchange'),
      exchangeType: said('exchangeType'),
      routingKey,
    },
  };
  const fault = faultOf(made, defaults.bodyBytesMax) ?? modeFault(given, type, mode) ?? confirmFault(confirm, replyTo);
  if (fault !== undefined) throw fail('BAD_MESSAGE', fault);
  return made;
}

function bodyOf(body: unknown): { readonly bytes: Uint8Array; readonly contentType: string | undefined } {
  if (typeof body === 'string') return { bytes: Buffer.from(body, 'utf8'), contentType: undefined };
  if (body instanceof Uint8Array) return { bytes: body, contentType: undefined };
  if (typeof body !== 'object' || body === null || LOST_IN_JSON.some((kind) => body instanceof kind) || ArrayBuffer.isView(body))
    throw fail('BAD_MESSAGE', 'body is neither bytes nor a text nor a value for JSON');
  let text: string | undefined;
  try {
    text = JSON.stringify(body);
  } catch (error) {
    throw fail('BAD_MESSAGE', `body cannot be made JSON (${(error as Error).message})`, error);
  }
  if (text === undefined) throw fail('BAD_MESSAGE', 'body cannot be made JSON');
  return { bytes: Buffer.from(text, 'utf8'), contentType: 'application/json' };
}

/** What JSON.stringify makes `{}` of without a word. */
const LOST_IN_JSON = [Map, Set, WeakMap, WeakSet, Promise, ArrayBuffer, Error, RegExp] as const;

/** The type's headers, the call's over them, and those that follow from other settings unless they are given. */
function headersFor(
  given: NewMessage,
  type: MessageType | undefined,
  bodyType: string | undefined,
  replyTo: string | undefined,
): ReadonlyMap<string, string> {
  const headers = new Map([...pairsOf(type?.headers), ...pairsOf(given.headers)]);
  const contentType = given.contentType ?? type?.contentType ?? bodyType;
  if (contentType !== undefined && !headers.has(CONTENT_TYPE)) headers.set(CONTENT_TYPE, contentType);
  if (replyTo !== undefined) headers.set(REPLY_TO, replyTo);
  return headers;
}

/** Header that says how the body is to be read. */
export const CONTENT_TYPE = 'content-type';

function pairsOf(headers: NewMessage['headers']): Iterable<readonly [string, string]> {
  if (headers === undefined) return [];
  return headers instanceof Map ? (headers as ReadonlyMap<string, string>) : Object.entries(headers);
}

function faultOf({ message, ...row }: CheckedMessage, bodyBytesMax: number): string | undefined {
  const { id, body } = message;
  if (!ID_PATTERN.test(id)) return `id ${JSON.stringify(id)} is not 32 upper-case hex digits`;
  if (body.length > bodyBytesMax) return `body has ${body.length} bytes, at most ${bodyBytesMax} (bodyBytesMax) may be`;
  return (
    timesFault(row) ??
    nameFault('topic', message.topic) ??
    optionalNameFault('key', message.key) ??
    optionalNameFault('tag', message.tag) ??
    optionalNameFault('type', message.type, WORD_MAX) ??
    optionalNameFault('businessKey', row.businessKey) ??
    optionalNameFault('exchange', message.exchange) ??
    optionalNameFault('exchangeType', message.exchangeType, WORD_MAX) ??
    optionalNameFault('routingKey', message.routingKey) ??
    (row.module === '' ? undefined : nameFault('module', row.module, WORD_MAX)) ??
    headersFault(message.headers!)
  );
}

function timesFault(row: Omit<CheckedMessage, 'message'>): string | undefined {
  const { notBefore, delayMs, keepMs, confirmWithinMs, mode } = row;
  for (const [name, value] of Object.entries({ notBefore, delayMs, keepMs, confirmWithinMs })) {
    if (!(Number.isSafeInteger(value) && value >= 0)) return `${name} ${value} is not a time in ms`;
  }
  if (delayMs > SPAN_MAX_MS || keepMs > SPAN_MAX_MS || confirmWithinMs > SPAN_MAX_MS) return 'a wait is longer than 100 years';
  if (notBefore > 0 && delayMs > 0) return 'notBefore and delayMs are both given';
  if (mode !== 'volatile') return undefined;
  if (notBefore > 0 || delayMs > 0) return 'a volatile message is in memory only and cannot wait for a time';
  return confirmWithinMs > 0 ? 'a volatile message is not stored, so a consumer cannot confirm it' : undefined;
}

const SPAN_MAX_MS = 100 * 366 * 86_400_000;

/** The mode of a type is its promise. */
function modeFault(given: NewMessage, type: MessageType | undefined, mode: DeliveryMode): string | undefined {
  if (mode !== 'volatile' && mode !== 'deferred' && mode !== 'immediate') return `mode ${JSON.stringify(mode)} is none`;
  if (type?.mode === undefined || type.mode === mode) return undefined;
  return `type ${given.type} is ${type.mode}; a call cannot make it ${mode}`;
}

function confirmFault(confirm: MessageSettings['confirm'], replyTo: string | undefined): string | undefined {
  if (confirm === 'broker') return undefined;
  const { by, withinMs } = (confirm ?? {}) as { by?: unknown; withinMs?: unknown };
  if (by !== 'consumer') return "confirm is neither 'broker' nor { by: 'consumer', withinMs }";
  if (!(typeof withinMs === 'number' && withinMs >= 1)) return 'confirm.withinMs is less than 1';
  if (replyTo === undefined) return "confirm by the consumer needs 'replyTo': the topic or URL that the confirmation goes to";
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(replyTo)) {
    return /^https?:/i.test(replyTo) && URL.canParse(replyTo) ? undefined : `replyTo ${replyTo} is no http or https URL`;
  }
  return nameFault('replyTo', replyTo);
}

/** Longest topic, key and tag, in UTF-16 units: what every dialect can index. */
const NAME_MAX = 255;
/** The same of type, module and the kind of an exchange. */
const WORD_MAX = 64;

function optionalNameFault(what: string, value: unknown, max = NAME_MAX): string | undefined {
  return value === undefined ? undefined : nameFault(what, value, max);
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
