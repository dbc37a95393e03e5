import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { CALL_METHOD, CALL_URL, httpTransport, type OutgoingMessage } from '../../src/index.ts';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

type Seen = { method: string | undefined; url: string | undefined; headers: IncomingMessage['headers']; body: string };

async function serve(answer: (seen: Seen, response: ServerResponse) => void): Promise<{ origin: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method, url, headers } = request;
      const one = { method, url, headers, body: Buffer.concat(chunks).toString() };
      seen.push(one);
      answer(one, response);
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

let ids = 0;
const call = (url: string, more: Partial<OutgoingMessage> = {}, headers: [string, string][] = []): OutgoingMessage => ({
  id: (++ids).toString(16).toUpperCase().padStart(32, '0'),
  topic: 'call',
  body: Buffer.from('{"amount":7}'),
  headers: new Map([[CALL_URL, url], ...headers]),
  ...more,
});

const answering = (status: number, headers: Record<string, string> = {}, body = '') =>
  serve((_, response) => response.writeHead(status, headers).end(body));

/** A fetch whose limit strikes only what comes behind the status, however late that is. */
const limitedBehindStatus: typeof fetch = async (url, init) => {
  const limit = init!.signal!;
  const abort = new AbortController();
  const answer = await fetch(url, { ...init, signal: abort.signal });
  if (limit.aborted) abort.abort(limit.reason);
  else limit.addEventListener('abort', () => abort.abort(limit.reason));
  return answer;
};

describe('calls over HTTP', () => {
  it('sends method, headers, body and the id as idempotency key', async () => {
    const { origin, seen } = await answering(204);
    const sent = call(`${origin}/pay?x=1`, {}, [
      [CALL_METHOD, 'PUT'],
      ['content-type', 'application/json'],
      ['traceparent', '00-a-b-01'],
      ['Host', 'elsewhere'],
    ]);
    expect(await httpTransport({ allow: [origin] }).publish([sent])).toEqual([{ outcome: 'confirmed' }]);
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ method: 'PUT', url: '/pay?x=1', body: '{"amount":7}' });
    expect(seen[0]!.headers).toMatchObject({
      'idempotency-key': sent.id,
      'content-type': 'application/json',
      traceparent: '00-a-b-01',
      host: new URL(origin).host,
    });
    expect(seen[0]!.headers).not.toHaveProperty(CALL_URL);
  });

  it.each([
    [200, {}, 'confirmed'],
    [302, { location: '/elsewhere' }, 'rejected'],
    [400, {}, 'rejected'],
    [409, {}, 'rejected'],
    [408, {}, 'unknown'],
    [425, {}, 'unavailable'],
    [429, {}, 'unavailable'],
    [500, {}, 'unknown'],
    [503, {}, 'unknown'],
    [503, { 'retry-after': '3' }, 'unavailable'],
  ])('%i %j is %s', async (status, headers, outcome) => {
    const { origin, seen } = await answering(status, headers, 'because');
    const [answer] = await httpTransport({ allow: [origin] }).publish([call(origin)]);
    expect(answer!.outcome).toBe(outcome);
    expect(answer!.reason).toMatch(new RegExp(`^HTTP ${status}, 7 bytes, sha256 [0-9a-f]{16}: because$`));
    expect(seen).toHaveLength(1);
  });

  it.each([
    ['another port', (origin: string) => origin.replace(/\d+$/, '1')],
    ['another scheme', (origin: string) => origin.replace('http:', 'https:')],
    ['a host that only begins so', (origin: string) => `${origin}.evil.example/`],
    ['a host behind a name', (origin: string) => `${origin}@127.0.0.2/`],
    ['a file', () => 'file:///etc/passwd'],
    ['no URL', () => 'pay me'],
  ])('calls nothing off the list: %s', async (_, urlOf) => {
    const { origin, seen } = await answering(200);
    const fetched: unknown[] = [];
    const transport = httpTransport({
      allow: [origin],
      fetch: (url) => (fetched.push(url), Promise.reject(new Error('called'))),
    });
    expect((await transport.publish([call(urlOf(origin))]))[0]!.outcome).toBe('rejected');
    expect([fetched, seen]).toEqual([[], []]);
  });

  it('neither calls nor shows what it must not: an address of another kind, the value of a header', async () => {
    const { origin, seen } = await answering(200);
    const transport = httpTransport({ allow: [origin] });
    const outcomes = await transport.publish([
      call(`blob:${origin}/0192`),
      call(`${origin}/x`, {}, [['authorization', 'Bearer s3cret\n']]),
      call(`${origin}/x`, {}, [['authorization', 'Bearer s3\ncret']]),
    ]);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['rejected', 'confirmed', 'rejected']);
    expect(outcomes[2]!.reason).toMatch(/authorization/);
    expect(JSON.stringify(outcomes)).not.toMatch(/s3|cret/);
    expect(seen).toHaveLength(1);
  });

  it('refuses an allow-list with anything but origins', () => {
    for (const entry of ['*', 'pay.example', 'https://pay.example/path', 'ftp://pay.example', 'https://me@pay.example'])
      expect(() => httpTransport({ allow: [entry] })).toThrow(/is no origin/);
  });

  it('is unavailable when nobody listens, unknown when the connection breaks or no answer comes', async () => {
    const { origin } = await serve((seen, response) => void (seen.url === '/cut' ? response.socket!.destroy() : undefined));
    const gone = await answering(200);
    const server = servers.pop()!;
    await new Promise((resolve) => server.close(resolve));
    const patient = httpTransport({ allow: [origin, gone.origin] });
    const hasty = httpTransport({ allow: [origin], timeoutMs: 50 });
    const outcomes = [
      ...(await patient.publish([call(gone.origin), call(`${origin}/cut`)])),
      ...(await hasty.publish([call(`${origin}/silent`)])),
    ];
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['unavailable', 'unknown', 'unknown']);
  });

  it('takes a status for what it says when the answer never ends, and shows no control characters', async () => {
    const { origin } = await serve((_, response) => void response.writeHead(400).write('\u001b[2Jno\u0000'));
    const [answer] = await httpTransport({ allow: [origin], timeoutMs: 50, fetch: limitedBehindStatus }).publish([call(origin)]);
    expect(answer!.outcome).toBe('rejected');
    const endless = await serve((_, response) => void response.writeHead(400).write('\u001b[2J'.repeat(10_000)));
    const [cut] = await httpTransport({ allow: [endless.origin] }).publish([call(endless.origin)]);
    expect(cut!.reason).toMatch(/^HTTP 400, 16384 or more bytes, sha256 [0-9a-f]{16}: {2}\[2J/);
  });

  it('keeps at most callsMax under way, and a key behind its failure back', async () => {
    let [now, most] = [0, 0];
    const { origin, seen } = await serve((one, response) => {
      most = Math.max(most, ++now);
      setTimeout(() => (now--, response.writeHead(one.url === '/no' ? 400 : 200).end()), 5);
    });
    const transport = httpTransport({ allow: [origin], callsMax: 2 });
    const many = Array.from({ length: 6 }, () => call(`${origin}/yes`));
    const keyed = [call(`${origin}/yes`, { key: 'k' }), call(`${origin}/no`, { key: 'k' }), call(`${origin}/yes`, { key: 'k' })];
    const outcomes = await transport.publish([...keyed, ...many]);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual([
      'confirmed',
      'rejected',
      'unavailable',
      ...many.map(() => 'confirmed'),
    ]);
    expect([most, seen.length]).toEqual([2, 8]);
  });
});
