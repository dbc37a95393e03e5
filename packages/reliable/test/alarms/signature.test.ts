import { describe, expect, it } from 'vitest';
import { signWebhook, verifyWebhook } from '../../src/index.ts';

const body = '{"kind":"dead","value":3}';
const nowMs = 1_700_000_000_000;
const signed = (secret: string, at = nowMs, signedBody = body) => ({
  headers: { 'tallystick-timestamp': String(at), 'tallystick-signature': signWebhook(secret, at, signedBody) },
  body,
});

describe('the signature of a webhook', () => {
  it('is as described: HMAC-SHA256 over timestamp, dot and body', () => {
    // printf '1700000000000.{"kind":"dead","value":3}' | openssl dgst -sha256 -hmac secret
    expect(signWebhook('secret', nowMs, body)).toBe('v1=43a6757fedad1c4291729521ee24398a411f1d38b4f7fdf2325f481d2c1fbc58');
  });

  it('is accepted with the right secret, also while two are valid', () => {
    expect(verifyWebhook(signed('new'), { secret: ['old', 'new'], nowMs })).toEqual({
      ok: true,
      notice: { kind: 'dead', value: 3 },
    });
    expect(verifyWebhook({ ...signed('s'), headers: new Headers(signed('s').headers) }, { secret: 's', nowMs }).ok).toBe(true);
  });

  it.each([
    ['another secret', signed('other'), 'wrong signature'],
    ['another body', signed('secret', nowMs, '{"kind":"dead","value":4}'), 'wrong signature'],
    ['an old request played again', signed('secret', nowMs - 300_001), 'too old'],
    ['a request from the future', signed('secret', nowMs + 300_001), 'too old'],
    ['no headers', { headers: {}, body }, 'no signature'],
    [
      'half a signature',
      { ...signed('secret'), headers: { ...signed('secret').headers, 'tallystick-signature': 'v1=00' } },
      'wrong signature',
    ],
    [
      'a timestamp that is none',
      { ...signed('secret'), headers: { ...signed('secret').headers, 'tallystick-timestamp': 'x' } },
      'no signature',
    ],
  ])('refuses %s', (_, request, reason) => {
    expect(verifyWebhook(request, { secret: 'secret', nowMs })).toEqual({ ok: false, reason });
  });
});
