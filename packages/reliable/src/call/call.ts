/**
 * HTTP calls that must happen: recorded in the transaction of the business change, in a table of the layout of the outbox, and made
 * afterwards by a relay (`table: 'tallystick_call'`) through an HTTP transport, until the other side has answered. A call made in a loop
 * inside the request would be lost with its process, and one made inside the transaction would hold it open for as long as the other
 * side likes; this one is neither. Its id goes along as `Idempotency-Key`, the same over every repeat.
 *
 * On the wire between table and transport a call is a message: topic = the origin that is called, and two headers that the transport reads.
 */
import { resolveOptions, type Clock, type GivenOptions, type Random } from '@tallystick/base';
import { systemClock, systemRandom } from '@tallystick/base/node';
import { fail } from '../errors.ts';
import { CALL_OPTIONS } from '../options.ts';
import { Fields } from '../outbox/fields.ts';
import { headersText, nameFault } from '../outbox/message.ts';
import { ID_PATTERN, MessageIds, shardOf } from '../outbox/message-id.ts';
import { perDialect } from '../sql/dialect.ts';
import type { Answer, Handle } from '../sql/handles.ts';
import { performInside, sessionOf, undivided } from '../sql/session.ts';
import { hole, prepared, type SqlValue, type Steps } from '../sql/statement.ts';
import { bodyAs, headAs } from '../sql/tables.ts';
import { CALL_METHOD, CALL_URL } from '../transports/http.ts';

export interface CallRequest {
  /** Default `POST`. */
  readonly method?: string | undefined;
  /** http or https. */
  readonly url: string;
  readonly headers?: ReadonlyMap<string, string> | Readonly<Record<string, string>> | undefined;
  /** Bytes, a text (sent as UTF-8), or a value that JSON can hold (`content-type: application/json` unless the headers say otherwise). */
  readonly body?: Uint8Array | string | object | undefined;
  /** Calls with one key are made in the order they were recorded. */
  readonly key?: string | undefined;
  /** What it is about in the business's own numbering, for people. */
  readonly businessKey?: string | undefined;
  /** Not before this time, ms since 1970. */
  readonly notBefore?: number | undefined;
  /** 32 upper-case hex digits; made when absent. */
  readonly id?: string | undefined;
}

export interface CallSettings extends GivenOptions<typeof CALL_OPTIONS> {
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

export function createCalls(settings: CallSettings = {}): Calls {
  return new Calls(settings);
}

export class Calls {
  readonly #channel: string;
  readonly #bodyBytesMax: number;
  readonly #clock: Clock;
  readonly #ids: MessageIds;

  constructor({ clock, random, ...given }: CallSettings) {
    const { channel, bodyBytesMax } = resolveOptions('calls', CALL_OPTIONS, given);
    this.#channel = channel;
    this.#bodyBytesMax = bodyBytesMax;
    this.#clock = clock ?? systemClock;
    this.#ids = new MessageIds(this.#clock, random ?? systemRandom());
  }

  /** Records a call in the transaction that is open on `tx`; answers its id. Throws NOT_IN_TRANSACTION, BAD_CALL, DUPLICATE_ID. */
  add<T extends Handle>(tx: T, request: CallRequest): Answer<T, string> {
    const session = sessionOf(tx);
    const add = (): string | Promise<string> => {
      const row = this.#rowOf(request);
      return performInside(session, () => write(session.dialect, row));
    };
    // On an asynchronous handle even a call that is refused is a rejected promise.
    return (session.kind === 'sync' ? add() : (async () => add())()) as Answer<T, string>;
  }

  #rowOf(request: CallRequest): CallRow {
    const misspelt = FIELDS.fault('a call', request);
    if (misspelt !== undefined) throw fail('BAD_CALL', misspelt);
    const id = request.id ?? this.#ids.next();
    const { method = 'POST', key, businessKey, notBefore = 0 } = request;
    const { body, contentType } = bytesOf(request.body);
    const headers = headersOf(request.headers);
    if (contentType !== undefined && ![...headers.keys()].some((name) => name.toLowerCase() === 'content-type'))
      headers.set('content-type', contentType);
    const origin = originOf(request.url);
    const fault = faultOf(request, { id, method, origin, headers, bytes: body.length }, this.#bodyBytesMax);
    if (fault !== undefined) throw fail('BAD_CALL', fault);
    headers.set(CALL_METHOD, method.toUpperCase()).set(CALL_URL, request.url);
    const now = this.#clock.now();
    const delayed = notBefore > now;
    return {
      head: {
        id,
        channel: this.#channel,
        shard: shardOf(key, id),
        key: key ?? null,
        topic: origin!,
        state: delayed ? 'delayed' : 'waiting',
        due: delayed ? notBefore : 0,
        now,
        bytes: body.length,
        businessKey: businessKey ?? null,
      },
      body: { id, channel: this.#channel, headers: headersText(headers), body },
    };
  }
}

const FIELDS = new Fields({
  method: true,
  url: true,
  headers: true,
  body: true,
  key: true,
  businessKey: true,
  notBefore: true,
  id: true,
} satisfies Readonly<Record<keyof CallRequest, true>>);

interface Checked {
  readonly id: string;
  readonly method: string;
  readonly origin: string | undefined;
  readonly headers: ReadonlyMap<string, string>;
  readonly bytes: number;
}

function faultOf(request: CallRequest, { id, method, origin, headers, bytes }: Checked, bytesMax: number): string | undefined {
  if (!ID_PATTERN.test(id)) return `id ${JSON.stringify(id)} is not 32 upper-case hex digits`;
  if (origin === undefined) return `${JSON.stringify(request.url)} is no http or https address`;
  if (request.url.length > URL_MAX) return `the address has ${request.url.length} characters, at most ${URL_MAX} may be`;
  if (!/^[A-Za-z]{1,20}$/.test(method)) return `${JSON.stringify(method)} is no method`;
  if (bytes > bytesMax) return `body has ${bytes} bytes, at most ${bytesMax} (bodyBytesMax) may be`;
  const { notBefore } = request;
  if (notBefore !== undefined && !(Number.isSafeInteger(notBefore) && notBefore >= 0))
    return `notBefore ${notBefore} is not a time in ms`;
  for (const [name, value] of headers) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,255}$/.test(name)) return `${JSON.stringify(name)} is no name of a header`;
    if (typeof value !== 'string' || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) return `header ${name} cannot be sent`;
  }
  return (
    (request.key === undefined ? undefined : nameFault('key', request.key)) ??
    (request.businessKey === undefined ? undefined : nameFault('businessKey', request.businessKey))
  );
}

const URL_MAX = 8_192;

/** Whom the address belongs to; it must not carry a password, which would lie in the table. */
function originOf(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const { protocol, origin, username, password } = new URL(url);
  const plain = username === '' && password === '' && origin.length <= 255;
  return plain && (protocol === 'http:' || protocol === 'https:') ? origin : undefined;
}

function headersOf(headers: CallRequest['headers']): Map<string, string> {
  return headers instanceof Map ? new Map(headers as ReadonlyMap<string, string>) : new Map(Object.entries(headers ?? {}));
}

function bytesOf(body: CallRequest['body']): { readonly body: Uint8Array; readonly contentType?: string } {
  if (body === undefined) return { body: new Uint8Array(0) };
  if (body instanceof Uint8Array) return { body };
  if (typeof body === 'string') return { body: Buffer.from(body, 'utf8') };
  return { body: Buffer.from(JSON.stringify(body), 'utf8'), contentType: 'application/json' };
}

interface CallRow {
  readonly head: Readonly<
    Record<'id' | 'channel' | 'shard' | 'key' | 'topic' | 'state' | 'due' | 'now' | 'bytes' | 'businessKey', SqlValue>
  >;
  readonly body: Readonly<Record<'id' | 'channel' | 'headers' | 'body', SqlValue>>;
}

type DialectOf = Parameters<typeof undivided>[0];

function* write(dialect: DialectOf, row: CallRow): Steps<string> {
  const id = row.head.id as string;
  try {
    yield* undivided(dialect, writeBoth(dialect, row));
  } catch (error) {
    throw dialect.isTaken(error) ? fail('DUPLICATE_ID', id, error) : error;
  }
  return id;
}

function* writeBoth(dialect: DialectOf, row: CallRow): Steps<void> {
  const { head, body } = statementsOf(dialect);
  yield head(row.head);
  yield body(row.body);
}

const statementsOf = perDialect(({ build }) => ({
  head: prepared<keyof CallRow['head']>(
    build.insertInto(headAs('tallystick_call')).values({
      id: hole('id'),
      channel: hole('channel'),
      shard: hole('shard'),
      message_key: hole('key'),
      topic: hole('topic'),
      tag: null,
      mode: 'immediate',
      state: hole('state'),
      attempts: 0,
      tries: 0,
      due_at: hole('due'),
      created_at: hole('now'),
      changed_at: hole('now'),
      body_bytes: hole('bytes'),
      business_key: hole('businessKey'),
    }),
  ),
  body: prepared<keyof CallRow['body']>(
    build
      .insertInto(bodyAs('tallystick_call'))
      .values({ id: hole('id'), channel: hole('channel'), headers: hole('headers'), body: hole('body') }),
  ),
}));
