/**
 * Where consumers' confirmations arrive: as messages of a reply topic, or as requests over HTTP. Both end in the outbox's `confirm`, which
 * is idempotent, so both may repeat themselves as they like; what is no confirmation is counted, told and never seen again.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Delivery, Receipt } from '../transports/transport.ts';
import { CONFIRMATION_BYTES_MAX, CONFIRMATION_TYPE, confirmationFrom } from './confirmation.ts';
import type { ConfirmOutcome } from './confirm.ts';

/** Since the outbox was made. */
export interface ConfirmationCounters {
  /** Messages that a consumer's confirmation settled. */
  confirmed: number;
  /** Confirmations of what is confirmed and still known. */
  repeated: number;
  /** Of a message a person has buried. */
  buried: number;
  /** Of a message of another channel: its `replyTo` leads to the wrong outbox. Told once. */
  elsewhere: number;
  /** Of no message known here: settled and forgotten, or never sent from here. */
  unknown: number;
  /** What arrived and was no confirmation. */
  malformed: number;
  /** What could not be written down and was left to come again. */
  failed: number;
}

export interface ConfirmationPorts {
  readonly counters: ConfirmationCounters;
  confirm(serial: string): Promise<ConfirmOutcome>;
  /** The database refused; told once for each different refusal in a row. */
  refused(error: unknown): void;
}

/** Confirmations in a row of messages that nobody knows here, before that is told. */
const STRANGERS_MAX = 100;

/** Notices when confirmations that arrive are meant for somebody else: each is acknowledged, so nobody else would. */
export class Strangers {
  #inARow = 0;
  #elsewhereTold = false;

  /** The sentence to tell, if this is the moment. */
  heard(outcome: ConfirmOutcome, serial: string): string | undefined {
    if (outcome === 'elsewhere') {
      if (this.#elsewhereTold) return undefined;
      this.#elsewhereTold = true;
      return `the confirmation of ${serial} has arrived at an outbox of another channel than its message's, which will be sent again: look at its replyTo`;
    }
    this.#inARow = outcome === 'unknown' ? this.#inARow + 1 : 0;
    return this.#inARow === STRANGERS_MAX
      ? `${STRANGERS_MAX} confirmations in a row are of no message known here, the last of ${serial}: repeats of what is settled and not kept (keepMs), or the replyTo of another program leads here`
      : undefined;
  }
}

/** The receiving end for a Subscriber: `subscriber.subscribe('replies', outbox.confirmations())`. */
export function receiveConfirmations(ports: ConfirmationPorts): (delivery: Delivery) => Promise<Receipt> {
  return async (delivery) => {
    const ours = delivery.type === undefined || delivery.type === CONFIRMATION_TYPE;
    const confirmation = ours ? confirmationFrom(delivery.body) : undefined;
    if (confirmation === undefined) {
      ports.counters.malformed++;
      return 'done';
    }
    try {
      await ports.confirm(confirmation.serial);
      return 'done';
    } catch (error) {
      ports.counters.failed++;
      ports.refused(error);
      // The broker keeps the confirmation meanwhile.
      return 'again';
    }
  };
}

/** How a request proves that it may confirm; with both, it needs both. One of the three must be chosen. */
export interface ConfirmationHandlerOptions {
  /** Expected as `authorization: Bearer <token>`. */
  readonly token?: string | undefined;
  /** Expected: `tallystick-signature: sha256=<hex>`, the HMAC-SHA256 of the body under this secret. */
  readonly secret?: string | Uint8Array | undefined;
  /** No proof: whoever can reach the address and knows a serial number may confirm. */
  readonly open?: boolean | undefined;
}

/** Header of a signed confirmation. */
export const SIGNATURE_HEADER = 'tallystick-signature';

/** The value of {@link SIGNATURE_HEADER} for a body. */
export function signatureOf(body: Uint8Array | string, secret: string | Uint8Array): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
}

/**
 * A handler for node:http. Answers 200 with the outcome, also for a repeat and for a message that is forgotten (there is nothing left for
 * the consumer to do); 400 for what is no confirmation, 500 when
 * somebody has read the body before, 401 without proof, 405 for other methods than POST, 413 for more than 4 KiB, 503 when
 * the database is away (the consumer tries again).
 */
export function handleConfirmations(
  ports: ConfirmationPorts,
  options: ConfirmationHandlerOptions = {},
): (request: IncomingMessage, response: ServerResponse) => void {
  assertChosen(options);
  return (request, response) => {
    answerTo(request, ports, options).then(
      (answer) => send(response, answer),
      // The request broke off: there is nobody to answer.
      () => response.destroy(),
    );
  };
}

/** What came out of an environment that lacks it would be a proof that everybody has, or none. */
function assertChosen(options: ConfirmationHandlerOptions): void {
  const proofs = (['token', 'secret'] as const).filter((name) => name in options);
  for (const name of proofs)
    if ((options[name]?.length ?? 0) === 0)
      throw new TypeError(`confirmationHandler: ${name} is ${options[name] === undefined ? 'undefined' : 'empty'}`);
  if (proofs.length > 0 === (options.open === true))
    throw new TypeError(
      'confirmationHandler: say how a request proves that it may confirm: token, secret, or open: true when whoever reaches the address may',
    );
}

interface Answer {
  readonly status: number;
  readonly said: Readonly<Record<string, string>>;
}

async function answerTo(
  request: IncomingMessage,
  ports: ConfirmationPorts,
  { token, secret }: ConfirmationHandlerOptions,
): Promise<Answer> {
  if (request.method !== 'POST') return refused(405, 'POST a confirmation');
  if (token !== undefined && !same(headerOf(request, 'authorization'), `Bearer ${token}`)) return refused(401, 'wrong token');
  if (request.readableEnded || request.readableDidRead)
    return refused(500, 'the body was read before this handler: mount it before any body parser');
  const body = await bodyOf(request);
  if (body === undefined) return refused(413, `more than ${CONFIRMATION_BYTES_MAX} bytes`);
  if (secret !== undefined && !same(headerOf(request, SIGNATURE_HEADER), signatureOf(body, secret)))
    return refused(401, 'wrong signature');
  const confirmation = confirmationFrom(body);
  if (confirmation === undefined) {
    ports.counters.malformed++;
    return refused(400, 'not {"serial","consumer","at"}');
  }
  try {
    return { status: 200, said: { serial: confirmation.serial, outcome: await ports.confirm(confirmation.serial) } };
  } catch (error) {
    ports.counters.failed++;
    ports.refused(error);
    return refused(503, 'try again later');
  }
}

function refused(status: number, error: string): Answer {
  return { status, said: { error } };
}

function headerOf(request: IncomingMessage, name: string): string {
  const value = request.headers[name];
  return typeof value === 'string' ? value : '';
}

/** Takes as long for a near miss as for a far one: both sides are made digests of one length first. */
function same(given: string, wanted: string): boolean {
  const digest = (text: string): Buffer => createHmac('sha256', 'same').update(text).digest();
  return timingSafeEqual(digest(given), digest(wanted));
}

/** The body; undefined when it is too long. Rejects when the request breaks off. */
function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= CONFIRMATION_BYTES_MAX) chunks.push(chunk);
      else resolve(undefined);
    });
    request.on('end', () => resolve(Buffer.concat(chunks)));
    request.on('error', reject);
    request.on('close', () => reject(new Error('the request broke off')));
  });
}

function send(response: ServerResponse, { status, said }: Answer): void {
  const text = JSON.stringify(said);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...(status === 405 ? { allow: 'POST' } : {}),
    ...(status === 503 ? { 'retry-after': '1' } : {}),
    // What is left of a body that was too long is not read.
    ...(status === 413 ? { connection: 'close' } : {}),
  });
  response.end(text);
}
