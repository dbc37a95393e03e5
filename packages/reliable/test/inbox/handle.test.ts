import { describe, expect, expectTypeOf, test } from 'vitest';
import { transaction, updateVersion, type Delivery, type Handle } from '../../src/index.ts';
import { backends } from '../support/backends.ts';
import { inboxWorld, pass, rowsOf } from './inbox-world.ts';

const both = backends.filter(({ name }) => name === 'a libsql handle' || name === 'an asynchronous handle');
const asynchronous = backends.find(({ kind }) => kind === 'async')!;
const count = (raw: Parameters<typeof rowsOf>[0], table: string): number =>
  Number(rowsOf(raw, `select count(*) as n from ${table}`)[0]!['n']);

describe.each(both)('a handler on $name', (backend) => {
  test('has its effect and the message’s key in one transaction, and a repeat does nothing', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    expect(await here.receive({})).toBe('done');
    expect(await here.receive({})).toBe('done');
    expect(await here.receive({ redelivered: true })).toBe('done');
    expect([here.effects(), here.rows(), here.inbox.counters]).toEqual([
      ['M1'],
      ['done 0/0/0 -'],
      { handled: 1, duplicates: 2, failed: 0, dead: 0, forgotten: 0, unconfirmed: 0 },
    ]);
  });

  test('is found by type, else by *, and a message of no type goes to *', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', () => here.effect('debit')).handle('*', ({ type }) => here.effect(`any ${type}`));
    await here.receive({ id: '1' });
    await here.receive({ id: '2', type: 'credit' });
    await here.receive({ id: '3', type: undefined });
    expect(here.effects()).toEqual(['debit', 'any credit', 'any undefined']);
    expect(() => here.inbox.handle('debit', () => undefined)).toThrow(/HANDLER_TAKEN|handler already/);
  });

  test('gets the payload with its type where the body is JSON; one that is none is a failure of the message, if it is asked for', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle<{ readonly cents: number }>('debit', (received) => {
      expectTypeOf<typeof received.payload.cents>().toEqualTypeOf<number>();
      here.effect(`${received.payload.cents}`);
    });
    here.inbox.handle('raw', (received) => {
      expectTypeOf<typeof received.payload>().toEqualTypeOf<unknown>();
      here.effect(`${Object.keys({ ...received }).includes('payload')} ${Buffer.from(received.body).toString()}`);
    });
    const typed = (delivery: Delivery): void => here.effect(delivery.id);
    here.inbox.handle('by hand', typed);
    await here.receive({ body: Buffer.from('  {"cents":5}').subarray(2) });
    await here.receive({ id: 'M2', body: Buffer.from('cents=5') });
    await here.receive({ id: 'M3', type: 'raw', body: Buffer.from('cents=5') });
    await here.receive({ id: 'M4', type: 'by hand' });
    expect(here.effects()).toEqual(['5', 'false cents=5', 'M4']);
    expect(here.rows()).toEqual(['done 0/0/0 -', 'retrying 1/1/1 failed', 'done 0/0/0 -', 'done 0/0/0 -']);
    expect(String(rowsOf(here.raw, "select last_error from tallystick_inbox where id = 'M2'")[0]!['last_error'])).toContain(
      'JSON',
    );
  });

  test('that throws leaves nothing but the message itself, kept for a retry; the broker is acknowledged', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', (_, { emit, call }) => {
      here.effect('half');
      const sent = [emit({ topic: 't', body: 'b' }), call({ url: 'https://bank.example/x' })] as unknown[];
      const fail = (): never => {
        throw new Error('insufficient funds');
      };
      return backend.kind === 'sync' ? fail() : Promise.all(sent).then(fail);
    });
    expect(await here.receive({})).toBe('done');
    expect(here.effects()).toEqual([]);
    expect(here.rows()).toEqual(['retrying 1/1/1 failed']);
    expect([count(here.raw, 'tallystick_outbox'), count(here.raw, 'tallystick_call')]).toEqual([0, 0]);
    expect(rowsOf(here.raw, 'select last_error from tallystick_inbox')).toEqual([{ last_error: 'insufficient funds' }]);
  });

  test('emits and calls in its own transaction', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', (_, { emit, call }) => {
      const ids = [
        emit({ type: 'debited', topic: 'wallet', body: 'b' }),
        call({ url: 'https://bank.example/pay?x=1', body: { cents: 5 }, key: 'k' }),
      ] as unknown[];
      return backend.kind === 'sync' ? undefined : Promise.all(ids);
    });
    await here.receive({});
    expect(rowsOf(here.raw, 'select topic, message_type, state from tallystick_outbox')).toEqual([
      { topic: 'wallet', message_type: 'debited', state: 'waiting' },
    ]);
    const [row] = rowsOf(
      here.raw,
      'select c.topic, c.message_key, b.headers, b.body from tallystick_call c join tallystick_call_body b on b.id = c.id',
    );
    expect({ ...row, body: Buffer.from(row!['body'] as ArrayBuffer).toString() }).toMatchObject({
      topic: 'https://bank.example',
      message_key: 'k',
      body: '{"cents":5}',
      headers: JSON.stringify([
        ['content-type', 'application/json'],
        ['tallystick-method', 'POST'],
        ['tallystick-url', 'https://bank.example/pay?x=1'],
      ]),
    });
  });

  test('is not run when the business says that it is done already; the message counts as handled', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', ({ id }) => here.effect(id), {
      alreadyDone: (_tx, { body }) => Buffer.from(body).toString() === 'done by hand',
    });
    await here.receive({ body: Buffer.from('done by hand') });
    await here.receive({ id: 'M2' });
    expect([here.effects(), here.rows(), here.inbox.counters.handled]).toEqual([['M2'], ['done 0/0/0 -', 'done 0/0/0 -'], 2]);
  });

  test('confirms to a sender that asks, with the effect, and again for a duplicate without repeating the effect', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    const id = '018F0000000070008000000000000001';
    const headers = new Map([['tallystick-reply-to', 'orders.confirmations']]);
    here.time.advance(0x018f00000000 - here.time.now());
    await here.receive({ id, headers });
    await here.receive({ id, headers });
    await here.receive({ id, headers, redelivered: true });
    expect(here.effects()).toEqual([id]);
    const confirmations = rowsOf(
      here.raw,
      'select o.topic, o.message_type, b.body from tallystick_outbox o join tallystick_outbox_body b on b.id = o.id',
    ).map((row) => [row['topic'], row['message_type'], JSON.parse(Buffer.from(row['body'] as ArrayBuffer).toString()).serial]);
    expect(confirmations).toEqual(Array.from({ length: 3 }, () => ['orders.confirmations', 'tallystick.confirmation', id]));
  });

  test('confirms by the id that the sender gave, whatever idOf knows the message by: at once, after a retry, and for a repeat', async () => {
    const here = await inboxWorld(backend, { retryFirstMs: 1000 });
    let failures = 1;
    const handler = ({ id }: Delivery): void => {
      if (failures-- > 0) throw new Error('not yet');
      here.effect(id);
    };
    here.inbox.handle('debit', handler, { idOf: ({ body }) => `order-${JSON.parse(Buffer.from(body).toString()).order}` });
    const [first, repeat] = ['018F0000000070008000000000000001', '018F0000000070008000000000000002'];
    here.time.advance(0x018f00000000 - here.time.now());
    const order = { headers: new Map([['tallystick-reply-to', 'orders.confirmations']]), body: Buffer.from('{"order":7}') };
    await here.receive({ ...order, id: first });
    expect(here.rows()).toEqual(['retrying 1/1/1 failed']);
    here.time.advance(1000);
    await here.during(here.inbox.drain());
    await here.receive({ ...order, id: repeat });
    const serials = rowsOf(here.raw, 'select body from tallystick_outbox_body order by rowid').map(
      ({ body }) => JSON.parse(Buffer.from(body as ArrayBuffer).toString()).serial,
    );
    expect([here.effects(), serials, here.alarms]).toEqual([['order-7'], [first, repeat], []]);
  });

  test('is told, and counted, when a sender wants a confirmation and has given no id to confirm by', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    await here.receive({ id: 'order-7', headers: new Map([['tallystick-reply-to', 'orders.confirmations']]) });
    expect([here.effects(), count(here.raw, 'tallystick_outbox'), here.inbox.counters.unconfirmed]).toEqual([['order-7'], 0, 1]);
    expect(here.alarms).toMatchObject([{ kind: 'unconfirmed', id: 'order-7', reason: expect.stringContaining('"order-7"') }]);
  });

  test('a sender with an address is confirmed by a call; one with a topic is reported when there is no outbox', async () => {
    const here = await inboxWorld(backend, { outbox: undefined });
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    const id = '018F0000000070008000000000000001';
    await here.receive({ id, headers: new Map([['tallystick-reply-to', 'https://orders.example/confirm']]) });
    expect(rowsOf(here.raw, 'select topic from tallystick_call')).toEqual([{ topic: 'https://orders.example' }]);
    const other = id.replace(/1$/, '2');
    await here.receive({ id: other, headers: new Map([['tallystick-reply-to', 'orders']]) });
    expect(here.alarms).toMatchObject([{ kind: 'unconfirmed', id: other }]);
    expect(here.effects()).toEqual([id, other]);
  });

  test('nobody’s message is kept, retried when a handler is there, and dead when none comes', async () => {
    const here = await inboxWorld(backend, { attemptsMax: 2, retryFirstMs: 1000 });
    await here.receive({ type: 'unknown' });
    expect(here.rows()).toEqual(['retrying 1/1/1 unhandled']);
    here.time.advance(1000);
    await here.during(here.inbox.drain());
    expect(here.rows()).toEqual(['dead 2/2/2 unhandled']);
    expect(here.alarms).toMatchObject([{ kind: 'dead', row: { attempts: 2, outcome: 'unhandled' } }]);
    const { inbox, connection } = here.another();
    inbox.handle('unknown', ({ id }) => here.effect(id, connection));
    expect(await here.during(inbox.retry('M1'))).toEqual({ changed: true, warning: undefined });
    // The first process holds the leases until they expire.
    here.time.advance(15_000);
    await here.during(inbox.drain());
    expect([here.effects(), here.rows()]).toEqual([['M1'], ['done 0/0/1 -']]);
  });

  test('a message without an id is kept for a person, not handled: repeats could not be told apart', async () => {
    const here = await inboxWorld(backend);
    here.inbox
      .handle('debit', ({ id }) => here.effect(id))
      .handle('foreign', ({ id }) => here.effect(id), {
        idOf: ({ body }) => `order-${JSON.parse(Buffer.from(body).toString()).order}`,
      });
    expect(await here.receive({ id: '' })).toBe('done');
    expect(await here.receive({ id: 'x'.repeat(129) })).toBe('done');
    expect(await here.receive({ id: '', type: 'foreign', body: Buffer.from('{"order":7}') })).toBe('done');
    expect(await here.receive({ id: '', type: 'foreign', body: Buffer.from('{"order":7}') })).toBe('done');
    expect([here.effects(), here.rows()]).toEqual([
      ['order-7'],
      ['dead 0/0/0 unreadable', 'dead 0/0/0 unreadable', 'done 0/0/0 -'],
    ]);
    expect(here.alarms.map(({ kind }) => kind)).toEqual(['dead', 'dead']);
  });

  test('that calls once() with the id it is handled under has failed: the work would never run', async () => {
    const here = await inboxWorld(backend, { attemptsMax: 1 });
    here.inbox.handle('debit', ({ id }, { tx }) => here.inbox.once(tx, id, () => here.effect(id)));
    expect(await here.receive({})).toBe('done');
    expect([here.effects(), here.rows()]).toEqual([[], ['dead 1/1/1 failed']]);
    expect(here.inbox.counters.handled).toBe(0);
  });

  test('that failed has not done what once() would confirm', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', () => {
      throw new Error('no');
    });
    expect(await here.receive({})).toBe('done');
    const again = async (): Promise<unknown> =>
      transaction(here.handle, (tx) => here.inbox.once(tx, 'M1', () => here.effect('M1')));
    await expect(here.during(again())).rejects.toThrow(expect.objectContaining({ code: 'INBOX_STATE' }));
    expect(here.effects()).toEqual([]);
  });

  test('a message whose id cannot be made out is kept for a person, and stops nobody', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', ({ id }) => here.effect(id), {
      idOf: ({ body }) => `order-${JSON.parse(Buffer.from(body).toString()).order}`,
    });
    expect(await here.receive({ body: Buffer.from('no JSON') })).toBe('done');
    expect(await here.receive({ body: Buffer.from('{"order":7}') })).toBe('done');
    expect([here.effects(), here.rows()]).toEqual([['order-7'], ['dead 0/0/0 unreadable', 'done 0/0/0 -']]);
    expect(here.alarms.map(({ kind }) => kind)).toEqual(['dead']);
  });

  test('a delivery that fits no column is kept whole and comes back whole', async () => {
    const here = await inboxWorld(backend, { retryFirstMs: 10 });
    const seen: Delivery[] = [];
    here.inbox.handle('*', (delivery) => {
      seen.push(delivery);
      if (seen.length === 1) throw new Error('first with a NUL \0 in it');
    });
    const given = {
      topic: 'long'.repeat(100),
      key: `nul\0${'k'.repeat(300)}`,
      tag: 'a\0b',
      type: 't'.repeat(100),
      headers: new Map([['h', 'ä\0']]),
      body: Buffer.from([0, 1, 255]),
      sentAt: here.time.now() - 5,
    };
    expect(await here.receive(given)).toBe('done');
    here.time.advance(10);
    await here.during(here.inbox.drain());
    expect({ ...seen[1], body: Buffer.from(seen[1]!.body) }).toEqual({ ...given, id: 'M1', redelivered: true });
    expect(here.rows()).toEqual(['done 1/1/2 -']);
  });
});

test('a synchronous database refuses an asynchronous handler when it is registered', async () => {
  const here = await inboxWorld(backends.find(({ kind }) => kind === 'sync')!);
  expect(() => here.inbox.handle('debit', async () => undefined)).toThrow(/synchronous/);
});

describe('an asynchronous handler', () => {
  test('that is too slow has failed, whatever it does when it is told; its effects are rolled back', async () => {
    const here = await inboxWorld(asynchronous, { handlerTimeoutMs: 1000 });
    const reasons: unknown[] = [];
    here.inbox.handle('debit', async (_, { signal }) => {
      here.effect('late');
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve());
      });
      reasons.push((signal.reason as { code?: string }).code);
      return 'success';
    });
    expect(await here.receive({})).toBe('done');
    expect([here.effects(), here.rows(), reasons]).toEqual([[], ['retrying 1/1/1 timeout'], ['HANDLER_TIMEOUT']]);
  });

  test('that never ends is left behind, and may emit nothing any more', async () => {
    const here = await inboxWorld(asynchronous, { handlerTimeoutMs: 1000 });
    let late: Promise<unknown> = Promise.resolve();
    here.inbox.handle('debit', async (_, { emit }) => {
      await new Promise<void>((resolve) => {
        here.time.after(5000, resolve);
      });
      late = (async () => emit({ topic: 't', body: 'b' }))();
      await late;
    });
    expect(await here.receive({})).toBe('done');
    expect(here.rows()).toEqual(['retrying 1/1/1 timeout']);
    await pass(here.time, 5000);
    await expect(late).rejects.toMatchObject({ code: 'HANDLER_OVER' });
    expect(count(here.raw, 'tallystick_outbox')).toBe(0);
  });

  test('whose question after the effect is not answered has failed as well', async () => {
    const here = await inboxWorld(asynchronous, { handlerTimeoutMs: 1_000 });
    here.inbox.handle('debit', ({ id }) => here.effect(id), {
      alreadyDone: () => new Promise<boolean>((resolve) => here.time.after(30_000, () => resolve(true))),
    });
    expect(await here.receive({})).toBe('done');
    expect([here.effects(), here.rows()]).toEqual([[], ['retrying 1/1/1 timeout']]);
  });

  test('that cancels itself has failed', async () => {
    const here = await inboxWorld(asynchronous);
    here.inbox.handle('debit', async () => {
      here.effect('half');
      throw new DOMException('This operation was aborted', 'AbortError');
    });
    await here.receive({});
    expect([here.effects(), here.rows()]).toEqual([[], ['retrying 1/1/1 failed']]);
  });

  test('that forgets to await an emit has failed', async () => {
    const here = await inboxWorld(asynchronous);
    here.inbox.handle('debit', async (_, { emit }) => {
      void (emit({ topic: 't', body: 'b' }) as Promise<string>).catch(() => undefined);
    });
    await here.receive({});
    expect([here.rows(), count(here.raw, 'tallystick_outbox')]).toEqual([['retrying 1/1/1 failed'], 0]);
  });
});

describe.each(both)('a version conflict on $name', (backend) => {
  test('runs the handler again on what is there now, without counting a failure', async () => {
    const here = await inboxWorld(backend);
    here.raw.exec('create table account (id integer, balance integer, version integer); insert into account values (1, 100, 3)');
    let runs = 0;
    here.inbox.handle('debit', (_, { tx }) => {
      runs++;
      const [row] = rowsOf(here.raw, 'select balance, version from account');
      // Another transaction was faster: the version that was read is not the present one.
      const version = Number(row!['version']) - (runs === 1 ? 1 : 0);
      return updateVersion(tx, 'account', {
        where: { id: 1 },
        version,
        set: { balance: Number(row!['balance']) - 10 },
      }) as unknown;
    });
    expect(await here.receive({})).toBe('done');
    expect([runs, rowsOf(here.raw, 'select balance, version from account'), here.rows()]).toEqual([
      2,
      [{ balance: 90, version: 4 }],
      ['done 0/0/0 -'],
    ]);
  });

  test('that never ends is a failure of its own kind', async () => {
    const here = await inboxWorld(backend, { conflictsMax: 3 });
    here.raw.exec('create table account (id integer, version integer); insert into account values (1, 3)');
    let runs = 0;
    here.inbox.handle('debit', (_, { tx }) => {
      runs++;
      return updateVersion(tx, 'account', { where: { id: 1 }, version: 9, set: { id: 1 } }) as unknown;
    });
    await here.receive({});
    expect([runs, here.rows()]).toEqual([4, ['retrying 1/1/1 conflict']]);
  });

  test('answers the new version, and needs a transaction', async () => {
    const here = await inboxWorld(backend);
    here.raw.exec("create table doc (name text, v integer); insert into doc values ('a', 1)");
    const update = { where: { name: 'a' }, version: 1, set: {}, column: 'v' };
    expect(await transaction(here.handle, (tx: Handle) => updateVersion(tx, 'doc', update) as unknown)).toBe(2);
    await expect((async () => updateVersion(here.handle, 'doc', update))()).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
  });
});
