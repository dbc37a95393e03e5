import { ManualTime, seededRandom } from '@tallystick/base/testing';
import { describe, expect, test } from 'vitest';
import { createCalls, createRelay, httpTransport, migrate, transaction, type CallRequest, type Handle } from '../../src/index.ts';
import { backends, connect, databasePath, rowsOf, setTime } from '../support/backends.ts';

const both = backends.filter(({ name }) => name === 'a libsql handle' || name === 'an asynchronous handle');

async function world(backend: (typeof both)[number]) {
  const path = databasePath();
  const time = new ManualTime();
  const connection = connect(backend, path);
  connection.raw.exec('pragma journal_mode=wal');
  await migrate(connection.handle, { nowMs: time.now() });
  setTime(path, time);
  const calls = createCalls(connection.handle, { clock: time, random: seededRandom(1) });
  const add = async (request: CallRequest): Promise<string> =>
    transaction(connection.handle, (tx: Handle) => calls.add(tx, request) as unknown) as Promise<string>;
  return { ...connection, path, time, calls, add };
}

async function codeOf(call: () => unknown): Promise<unknown> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

describe.each(both)('a call recorded on $name', (backend) => {
  test('is made after the commit, by a relay, with its id as the idempotency key and nothing of ours in its headers', async () => {
    const here = await world(backend);
    const made: [string, string, Record<string, string>, string][] = [];
    const id = await here.add({
      method: 'put',
      url: 'https://bank.example/pay?x=1',
      headers: { 'X-Trace': 'abc' },
      body: { cents: 5 },
    });
    const relay = createRelay({
      db: connect(backend, here.path).handle,
      table: 'tallystick_call',
      clock: here.time,
      transport: httpTransport({
        allow: ['https://bank.example'],
        fetch: async (url, init) => {
          const headers = Object.fromEntries(new Headers(init?.headers));
          made.push([init!.method!, url as string, headers, Buffer.from(init!.body as Uint8Array).toString()]);
          return new Response('ok');
        },
      }),
    });
    expect(await relay.drain()).toBe(1);
    expect(made).toEqual([
      [
        'PUT',
        'https://bank.example/pay?x=1',
        { 'x-trace': 'abc', 'content-type': 'application/json', 'idempotency-key': id },
        '{"cents":5}',
      ],
    ]);
    expect(rowsOf(here.raw, 'select * from tallystick_call')).toEqual([]);
  });

  test('is not there when its transaction is rolled back, and needs one', async () => {
    const here = await world(backend);
    here.raw.exec('begin');
    await here.calls.add(here.handle, { url: 'https://bank.example/' });
    here.raw.exec('rollback');
    expect(rowsOf(here.raw, 'select * from tallystick_call')).toEqual([]);
    expect(await codeOf(() => here.calls.add(here.handle, { url: 'https://bank.example/' }))).toBe('NOT_IN_TRANSACTION');
  });

  test('can wait for its time, and has its id once', async () => {
    const here = await world(backend);
    const id = '018F0000000070008000000000000001';
    await here.add({ url: 'https://bank.example/', id, notBefore: here.time.now() + 1000, businessKey: 'order 7' });
    expect(rowsOf(here.raw, 'select id, state, due_at, business_key from tallystick_call')).toEqual([
      { id, state: 'delayed', due_at: here.time.now() + 1000, business_key: 'order 7' },
    ]);
    expect(await codeOf(() => here.add({ url: 'https://bank.example/', id }))).toBe('DUPLICATE_ID');
  });

  test('is refused where the tables are missing, by what has to be done', async () => {
    const { handle } = connect(backend, databasePath());
    const calls = createCalls(handle);
    const adding = (): unknown => transaction(handle, (tx: Handle) => calls.add(tx, { url: 'https://bank.example/' }) as unknown);
    expect(await codeOf(adding)).toBe('NOT_MIGRATED');
  });

  test.each<[string, Partial<CallRequest>]>([
    ['no address', { url: 'bank' }],
    ['another protocol', { url: 'file:///etc/passwd' }],
    ['a password in the address, which would lie in the table', { url: 'https://a:b@bank.example/' }],
    ['an address without end', { url: `https://bank.example/${'x'.repeat(9000)}` }],
    ['no method', { method: 'GET /' }],
    ['a header with a line break', { headers: { a: 'b\r\nc: d' } }],
    ['a name of a header with a blank', { headers: { 'a b': 'c' } }],
    ['a time that is none', { notBefore: -1 }],
    ['an empty key', { key: '' }],
    ['an id that is none', { id: 'x' }],
    ['a misspelt field', { header: { a: 'b' } } as never],
    ['a body that is too large', { body: 'x'.repeat(4 * 1024 * 1024 + 1) }],
  ])('is refused with %s, and leaves nothing', async (_, wrong) => {
    const here = await world(backend);
    expect(await codeOf(() => here.add({ url: 'https://bank.example/', ...wrong }))).toBe('BAD_CALL');
    expect(rowsOf(here.raw, 'select * from tallystick_call')).toEqual([]);
  });
});
