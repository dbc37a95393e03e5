/**
 * HTTP calls that must happen: recorded in the transaction of the business change, in a table of the layout of the outbox, and made
 * afterwards by a relay (`table: 'tallystick_call'`) through an HTTP transport, until the other side has answered. A call made in a loop
 * inside the request would be lost with its process, and one made inside the transaction would hold it open for as long as the other
 * side likes; this one is neither. Its id goes along as `Idempotency-Key`, the same over every repeat.
 *
 * On the wire between table and transport a call is a message: topic = the origin that is called, and two headers that the transport reads. It is
 * written as the outbox writes its messages, under the same conditions.
 */
import { resolveOptions, type Clock, type GivenOptions, type Random, type Timers } from '@tallystick/base';
import { systemClock, systemRandom, systemTimers } from '@tallystick/base/node';
import { fail } from '../errors.ts';
import { CALL_OPTIONS } from '../options.ts';
import { Fields } from '../outbox/fields.ts';
import { nameFault, type CheckedMessage } from '../outbox/message.ts';
import { ID_PATTERN, MessageIds } from '../outbox/message-id.ts';
import { Writing } from '../outbox/writing.ts';
import type { Answer, Database, Handle } from '../sql/handles.ts';
import { performInside, sessionOf } from '../sql/session.ts';
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
  readonly timers?: Timers | undefined;
}

/** The table of calls of a database. Throws NOT_DURABLE as `createOutbox` does. */
export function createCalls(db: Database, settings: CallSettings = {}): Calls {
  return new Calls(db, settings);
}

export class Calls {
  readonly #bodyBytesMax: number;
  readonly #ids: MessageIds;
  readonly #writing: Writing;

  constructor(db: Database, { clock = systemClock, random, timers, ...given }: CallSettings) {
    const options = resolveOptions('calls', CALL_OPTIONS, given);
    this.#bodyBytesMax = options.bodyBytesMax;
    this.#ids = new MessageIds(clock, random ?? systemRandom());
    const ports = { clock, timers: timers ?? systemTimers({ unref: true }) };
    this.#writing = new Writing(db, { ...options, table: 'tallystick_call' }, ports);
  }

  /** Asks the database now what the first call would ask: whether it keeps what it commits, and whether the tables are there. */
  async ready(): Promise<void> {
    await this.#writing.ready();
  }

  /**
   * Records a call in the transaction that is open on `tx`, the handle itself or another connection to the same database; answers its id. Throws
   * NOT_IN_TRANSACTION, BAD_CALL, DUPLICATE_ID, WRONG_DATABASE, NOT_MIGRATED, and what the database throws; then nothing was written.
   */
  add<T extends Handle>(tx: T, request: CallRequest): Answer<T, string> {
    const add = (): string | Promise<string> => {
      const session = this.#writing.admit(tx);
      const call = this.#checked(request);
      const { id } = call.message;
      const written = performInside(session, () => this.#writing.write(tx, session, [call]));
      return written instanceof Promise ? written.then(() => id) : id;
    };
    // On an asynchronous handle even a call that is refused is a rejected promise.
    return (sessionOf(tx).kind === 'sync' ? add() : (async () => add())()) as Answer<T, string>;
  }

  #checked(request: CallRequest): CheckedMessage {
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
    const message = { id, topic: origin!, key, headers, body };
    return { message, mode: 'immediate', module: '', businessKey, confirmWithinMs: 0, keepMs: 0, notBefore, delayMs: 0 };
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
