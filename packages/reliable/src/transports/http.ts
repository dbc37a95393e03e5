/**
 * Calls: messages that leave as HTTP requests, for handlers whose next step is somebody's web interface. Where to is in two headers,
 * written by the inbox's `call`; the request bears the message's id as `Idempotency-Key`, so that the other side can recognise repeats.
 *
 * Only origins on the list are called, whatever a row says, and redirects are not followed: a row is data, and data must not choose what
 * this server talks to. What the other side answered is kept in `reason`: status, length, digest and how it begins.
 *
 * ```
 * 2xx                          confirmed
 * 408, 5xx, cut connection     unknown       it may have been done
 * 425, 429, 503 + Retry-After  unavailable   it has not been done; no connection at all: the same
 * 3xx, other 4xx (409 too)     rejected
 * ```
 */
import { createHash } from 'node:crypto';
import { integerOption, resolveOptions, type GivenOptions } from '@tallystick/base';
import { CONFIRMED, publishInChains } from './key-chains.ts';
import type { OutgoingMessage, PublishOutcome, Transport } from './transport.ts';

/** The message's headers that say where a call goes; they are not sent. */
export const CALL_METHOD = 'tallystick-method';
export const CALL_URL = 'tallystick-url';

export const HTTP_TRANSPORT_OPTIONS = {
  timeoutMs: integerOption(10_000, 1, 3_600_000, "How long a call may take with its answer; below the relay's sweepAfterMs."),
  callsMax: integerOption(16, 1, 10_000, 'Most calls at once.'),
};

export interface HttpTransportSettings extends GivenOptions<typeof HTTP_TRANSPORT_OPTIONS> {
  /** Origins that may be called, `https://pay.example:8443`. */
  readonly allow: readonly string[];
  readonly fetch?: typeof fetch | undefined;
}

/** As much of an answer is read; the rest is not waited for. */
const ANSWER_BYTES_MAX = 16 * 1024;
const SHOWN_CHARACTERS = 160;

/** Throws a TypeError for an entry of `allow` that is no origin, an OptionsError for options that cannot work. */
export function httpTransport(settings: HttpTransportSettings): Transport {
  return new HttpTransport(settings);
}

class HttpTransport implements Transport {
  readonly keepsOrder = true;
  readonly #allowed: ReadonlySet<string>;
  readonly #fetch: typeof fetch;
  readonly #timeoutMs: number;
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor({ allow, fetch: sender, ...given }: HttpTransportSettings) {
    const { timeoutMs, callsMax } = resolveOptions('httpTransport', HTTP_TRANSPORT_OPTIONS, given);
    this.#allowed = new Set(allow.map(originOf));
    this.#fetch = sender ?? fetch;
    this.#timeoutMs = timeoutMs;
    this.#free = callsMax;
  }

  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]> {
    return publishInChains(batch, (message, done) => void this.#inTurn(message).then(done));
  }

  async #inTurn(message: OutgoingMessage): Promise<PublishOutcome> {
    const request = requestOf(message, this.#allowed);
    if (typeof request === 'string') return { outcome: 'rejected', reason: request };
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free--;
    try {
      return await this.#call(request);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }

  async #call({ url, init }: CallRequest): Promise<PublishOutcome> {
    try {
      const answer = await this.#fetch(url, { ...init, redirect: 'manual', signal: AbortSignal.timeout(this.#timeoutMs) });
      // The status has been said; an answer that breaks off behind it changes nothing.
      const body = await beginningOf(answer).catch(() => new Uint8Array());
      const reason = `HTTP ${answer.status}${digestOf(body)}`;
      const outcome = outcomeOfStatus(answer.status, answer.headers.has('retry-after'));
      return outcome === 'confirmed' && body.length === 0 ? CONFIRMED : { outcome, reason };
    } catch (error) {
      return outcomeOfFailure(error, this.#timeoutMs);
    }
  }
}

function originOf(entry: string): string {
  const url = URL.canParse(entry) ? new URL(entry) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:') || `${url.origin}/` !== url.href)
    throw new TypeError(`httpTransport: ${JSON.stringify(entry)} in allow is no origin like "https://pay.example"`);
  return url.origin;
}

interface CallRequest {
  readonly url: string;
  readonly init: RequestInit;
}

/** The request of a message, or why it must not be made. */
function requestOf({ id, headers, body }: OutgoingMessage, allowed: ReadonlySet<string>): CallRequest | string {
  const method = headers?.get(CALL_METHOD) ?? 'POST';
  const text = headers?.get(CALL_URL) ?? '';
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) return `its header ${CALL_URL} holds no URL`;
  // A blob: address has the origin of the page that made it.
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return `${url.protocol} cannot be called`;
  if (!allowed.has(url.origin)) return `${url.origin} is not allowed; add it to the option allow of httpTransport`;
  if (url.username !== '' || url.password !== '') return 'its URL holds a name or a password';
  if (!/^[A-Z]{1,20}$/.test(method) || FORBIDDEN_METHODS.includes(method)) return `its method ${method} cannot be called`;
  const bodiless = method === 'GET' || method === 'HEAD';
  if (bodiless && body.length > 0) return `a ${method} has no body`;
  const sent = new Headers();
  for (const [name, value] of headers ?? []) {
    if (OWN_HEADERS.test(name)) continue;
    try {
      sent.set(name, value);
    } catch {
      // What the error says shows the value, which may be a password.
      return `its header ${JSON.stringify(name)} cannot travel`;
    }
  }
  sent.set('idempotency-key', id);
  return { url: url.href, init: bodiless ? { method, headers: sent } : { method, headers: sent, body: Buffer.from(body) } };
}

const FORBIDDEN_METHODS = ['CONNECT', 'TRACE', 'TRACK'];
/** Where to, and what belongs to the connection. */
const OWN_HEADERS =
  /^(?:tallystick-(?:method|url)|host|content-length|transfer-encoding|connection|keep-alive|upgrade|expect|te|trailer)$/i;

async function beginningOf(answer: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const reader = answer.body?.getReader();
  while (reader !== undefined && bytes < ANSWER_BYTES_MAX) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(chunks);
    chunks.push(value as Uint8Array);
    bytes += (value as Uint8Array).length;
  }
  await reader?.cancel();
  return Buffer.concat(chunks).subarray(0, ANSWER_BYTES_MAX);
}

function digestOf(body: Uint8Array): string {
  if (body.length === 0) return '';
  const digest = createHash('sha256').update(body).digest('hex').slice(0, 16);
  // What a stranger answers must not move a terminal's cursor.
  const shown = Buffer.from(body)
    .toString('utf8')
    .slice(0, SHOWN_CHARACTERS)
    .replaceAll(/\p{Cc}/gu, ' ');
  return `, ${body.length}${body.length === ANSWER_BYTES_MAX ? ' or more' : ''} bytes, sha256 ${digest}: ${shown}`;
}

function outcomeOfStatus(status: number, retryAfter: boolean): PublishOutcome['outcome'] {
  if (status >= 200 && status < 300) return 'confirmed';
  if (status === 425 || status === 429 || (status === 503 && retryAfter)) return 'unavailable';
  if (status === 408 || status >= 500 || status < 200) return 'unknown';
  return 'rejected';
}

/** Failures before anything can have been sent. */
const NOT_SENT = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH', 'UND_ERR_CONNECT_TIMEOUT'];

function outcomeOfFailure(error: unknown, timeoutMs: number): PublishOutcome {
  const { name, message, cause } = error as { name?: string; message?: string; cause?: { code?: string; message?: string } };
  if (name === 'TimeoutError') return { outcome: 'unknown', reason: `no answer for ${timeoutMs} ms (timeoutMs)` };
  const reason = [message, cause?.code, cause?.message].filter((part) => part !== undefined).join(': ');
  return { outcome: NOT_SENT.includes(cause?.code ?? '') ? 'unavailable' : 'unknown', reason };
}
