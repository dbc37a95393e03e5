/**
 * The signature of a webhook: HMAC-SHA256 over `timestamp.body`, so that nobody else can raise an alarm and an old one cannot be
 * played again. The receiver's half is `verifyWebhook`; it needs the bytes of the body as they came, not a parsed and rewritten object.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { AlarmNotice } from './notice.ts';

export const TIMESTAMP_HEADER = 'tallystick-timestamp';
export const SIGNATURE_HEADER = 'tallystick-signature';

/** `v1=` and 64 hex digits. */
export function signWebhook(secret: string, timestampMs: number, body: string | Uint8Array): string {
  return `v1=${createHmac('sha256', secret).update(`${timestampMs}.`).update(body).digest('hex')}`;
}

export interface WebhookRequest {
  /** Names in lower case, as node:http has them, or a `Headers`. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>> | { get(name: string): string | null };
  readonly body: string | Uint8Array;
}

export interface VerifyOptions {
  /** One, or several while a secret is being changed. */
  readonly secret: string | readonly string[];
  /** How far the sender's clock may be from ours, and how old a request may be. Default five minutes. */
  readonly toleranceMs?: number | undefined;
  /** ms since 1970; the process's clock when absent. */
  readonly nowMs?: number | undefined;
}

export type Verified =
  | { readonly ok: true; readonly notice: AlarmNotice }
  | { readonly ok: false; readonly reason: 'no signature' | 'wrong signature' | 'too old' | 'not JSON' };

/** Whether a request is one of ours. Never throws. */
export function verifyWebhook({ headers, body }: WebhookRequest, options: VerifyOptions): Verified {
  const timestamp = headerOf(headers, TIMESTAMP_HEADER);
  const signature = headerOf(headers, SIGNATURE_HEADER);
  if (timestamp === undefined || signature === undefined || !/^\d{1,15}$/.test(timestamp))
    return { ok: false, reason: 'no signature' };
  const secrets = typeof options.secret === 'string' ? [options.secret] : options.secret;
  const sentAt = Number(timestamp);
  // The signature first: a stranger does not learn what our clock says.
  if (!secrets.some((secret) => equal(signWebhook(secret, sentAt, body), signature)))
    return { ok: false, reason: 'wrong signature' };
  const nowMs = options.nowMs ?? Date.now();
  if (Math.abs(nowMs - sentAt) > (options.toleranceMs ?? TOLERANCE_MS)) return { ok: false, reason: 'too old' };
  try {
    return { ok: true, notice: JSON.parse(Buffer.from(body as Uint8Array).toString('utf8')) as AlarmNotice };
  } catch {
    return { ok: false, reason: 'not JSON' };
  }
}

const TOLERANCE_MS = 5 * 60_000;

/** Takes as long for a wrong signature as for a right one. */
function equal(ours: string, theirs: string): boolean {
  const [a, b] = [Buffer.from(ours), Buffer.from(theirs)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function headerOf(headers: WebhookRequest['headers'], name: string): string | undefined {
  if (typeof headers.get === 'function') return (headers as { get(name: string): string | null }).get(name) ?? undefined;
  const value = (headers as Readonly<Record<string, string | readonly string[] | undefined>>)[name];
  return typeof value === 'string' ? value : value?.[0];
}
