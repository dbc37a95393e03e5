import { crc32 } from 'node:zlib';
import { seededRandom } from '@tallystick/base/testing';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createOutbox, transaction, type Handle, type NewMessage, type OutboxSettings } from '../../src/index.ts';
import { backends, onlySqlite, openRaw, rowsOf, type Backend } from '../support/backends.ts';
import { pass, settle, world, type World } from '../support/world.ts';

/** The outbox of a world with other settings than the world's own. */
function outboxOf({ app, time }: World, settings: OutboxSettings = {}) {
  return createOutbox(app.handle, { clock: time, turn: time, timers: time, random: seededRandom(7), ...settings });
}

/** The call, whichever way it fails. */
async function failure(call: () => unknown): Promise<{ code?: string; message?: string }> {
  try {
    await call();
  } catch (error) {
    return error as { code?: string };
  }
  return {};
}

const rowCount = ({ app }: World): unknown[] => [
  rowsOf(app.raw, 'select count(*) as n from tallystick_outbox')[0]!['n'],
  rowsOf(app.raw, 'select count(*) as n from tallystick_outbox_body')[0]!['n'],
];

/** No body can be written. */
const NO_BODY = {
  sqlite: "create trigger no_body before insert on tallystick_outbox_body begin select raise(abort, 'no body today'); end",
  postgres: `
    create function no_body() returns trigger language plpgsql as $$ begin raise exception 'no body today'; end $$;
    create trigger no_body before insert on tallystick_outbox_body for each row execute function no_body()`,
};

describe.each(backends)('the outbox on $name', (backend: Backend) => {
  test('stores head and body apart, under an id it returns and in the shard of the key', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    here.app.raw.exec('begin');
    const added = outbox
      .in(here.app.handle)
      .add({ topic: 'transfers', key: 'ann', tag: 'debit', headers: { who: 'ann' }, body: 'äöü' });
    expect(added instanceof Promise).toBe(backend.kind === 'async');
    const id = await added;
    here.app.raw.exec('commit');
    expect(id).toMatch(/^[0-9A-F]{12}7[0-9A-F]{3}[89AB][0-9A-F]{15}$/);
    expect(rowsOf(here.app.raw, 'select * from tallystick_outbox')).toMatchObject([
      {
        id,
        topic: 'transfers',
        message_key: 'ann',
        tag: 'debit',
        state: 'waiting',
        mode: 'immediate',
        attempts: 0,
        tries: 0,
        due_at: 0,
        body_bytes: 6,
        shard: crc32('ann') % 256,
      },
    ]);
    const [body] = rowsOf(here.app.raw, 'select id, headers, hex(body) as body from tallystick_outbox_body');
    expect(body).toEqual({ id, headers: '[["who","ann"]]', body: Buffer.from('äöü').toString('hex').toUpperCase() });
  });

  test('a message without a key is in the shard of its id', async () => {
    const here = await world(backend);
    const [id] = await here.add({});
    expect(rowsOf(here.app.raw, 'select shard from tallystick_outbox')[0]!['shard']).toBe(crc32(id!) % 256);
  });

  test('throws outside a transaction, and writes nothing', async () => {
    const here = await world(backend);
    const error = await failure(() => outboxOf(here).in(here.app.handle).add({ topic: 't', body: 'b' }));
    expect(error.code).toBe('NOT_IN_TRANSACTION');
    expect(rowCount(here)).toEqual([0, 0]);
    expect(here.app.raw.inTransaction).toBe(false);
  });

  test('throws when the transaction it was given has ended, and writes nothing', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    here.app.raw.exec('begin');
    const tx = outbox.in(here.app.handle);
    here.app.raw.exec('commit');
    expect((await failure(() => tx.add({ topic: 't', body: 'b' }))).code).toBe('NOT_IN_TRANSACTION');
    expect(rowCount(here)).toEqual([0, 0]);
  });

  test('a rolled-back transaction leaves nothing, and nothing is sent', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    const error = await failure(() =>
      transaction(here.app.handle, (tx: Handle) => {
        const added = outbox.in(tx).add({ topic: 't', body: 'b' });
        const refuse = (): never => {
          throw new Error('no money');
        };
        return added instanceof Promise ? added.then(refuse) : refuse();
      }),
    );
    expect(error.message).toBe('no money');
    expect(rowCount(here)).toEqual([0, 0]);
    expect(await here.relay().drain()).toBe(0);
    expect(here.broker.pushed).toEqual([]);
  });

  test('a body that cannot be written takes its head with it, even if the application commits', async () => {
    const here = await world(backend);
    here.app.raw.exec(NO_BODY[backend.can.dialect]);
    here.app.raw.exec('create table business (n integer)');
    here.app.raw.exec('begin; insert into business values (1)');
    const error = await failure(() => outboxOf(here).in(here.app.handle).add({ topic: 't', body: 'b' }));
    expect(error.message).toContain('no body today');
    here.app.raw.exec('commit');
    expect(rowCount(here)).toEqual([0, 0]);
    expect(rowsOf(here.app.raw, 'select n from business')).toEqual(backend.can.commitAfterFailure ? [{ n: 1 }] : []);
  });

  test('the same id twice is refused; the first message and the transaction stay as they were', async () => {
    const here = await world(backend);
    const id = 'AB'.repeat(16);
    const outbox = outboxOf(here);
    here.app.raw.exec('begin');
    await outbox.in(here.app.handle).add({ topic: 't', body: 'first', id });
    expect((await failure(() => outbox.in(here.app.handle).add({ topic: 't', body: 'second', id }))).code).toBe('DUPLICATE_ID');
    here.app.raw.exec('commit');
    await here.relay().drain();
    expect(here.broker.storedTexts).toEqual(backend.can.commitAfterFailure ? ['first'] : []);
  });

  test.each<[string, Partial<NewMessage>, string]>([
    ['an empty topic', { topic: '' }, 'topic'],
    ['a topic that is too long', { topic: 'x'.repeat(256) }, 'topic'],
    ['an empty key', { key: '' }, 'key'],
    ['a key with a NUL character', { key: 'a\0b' }, 'NUL'],
    ['half a surrogate pair in a tag', { tag: 'a\ud800' }, 'surrogate'],
    ['a body that is neither bytes nor text', { body: 5 as never }, 'body'],
    ['a body above the limit', { body: Buffer.alloc(101) }, 'bodyBytesMax'],
    ['an id that is not 32 hex digits', { id: 'abc' }, 'id'],
    ['a time that is none', { notBefore: Number.NaN }, 'notBefore'],
    ['a header that is no text', { headers: { a: 1 as never } }, 'header a'],
    ['a misspelt field', { bussinessKey: 'o-1' } as never, 'a message has no field "bussinessKey"; is businessKey meant?'],
    ['a field in other letters', { KEEPMS: 1 } as never, 'is keepMs meant?'],
    ['a field that resembles none', { priority: undefined } as never, 'no field "priority"; there are type, topic, key, '],
  ])('%s is refused inside the transaction, before anything is written', async (_name, fault, word) => {
    const here = await world(backend);
    here.app.raw.exec('begin');
    const error = await failure(() =>
      outboxOf(here, { bodyBytesMax: 100 })
        .in(here.app.handle)
        .add({ topic: 't', body: 'b', ...fault }),
    );
    expect(error).toMatchObject({ code: 'BAD_MESSAGE', message: expect.stringContaining(word) as string });
    here.app.raw.exec('commit');
    expect(rowCount(here)).toEqual([0, 0]);
  });

  test('wakes the relay after a commit it was not told of, and only then', async () => {
    const here = await world(backend);
    const wakes: boolean[] = [];
    const outbox = outboxOf(here, { wake: () => wakes.push(here.app.raw.inTransaction) });
    here.app.raw.exec('begin');
    await outbox.in(here.app.handle).add({ topic: 't', body: 'b' });
    await settle(here.time, 3);
    here.time.advance(1);
    await settle(here.time, 3);
    expect(wakes).toEqual([]);
    here.app.raw.exec('commit');
    here.time.advance(100);
    await settle(here.time);
    expect(wakes).toEqual([false]);
  });

  test('gives up watching a transaction that stays open, and leaves it to the sweep', async () => {
    const here = await world(backend);
    let wakes = 0;
    const outbox = outboxOf(here, { wake: () => wakes++ });
    here.app.raw.exec('begin');
    await outbox.in(here.app.handle).add({ topic: 't', body: 'b' });
    for (let turn = 0; turn < 10; turn++) {
      here.time.advance(1000);
      await settle(here.time, 3);
    }
    expect([wakes, here.time.timersWaiting]).toEqual([0, 0]);
    here.app.raw.exec('commit');
    expect(await here.relay().drain()).toBe(1);
  });

  test('a deferred message wakes nobody and leaves with the sweep', async () => {
    const here = await world(backend);
    let wakes = 0;
    const outbox = outboxOf(here, { wake: () => wakes++ });
    here.app.raw.exec('begin');
    await outbox.in(here.app.handle).add({ topic: 't', body: 'b', mode: 'deferred' });
    here.app.raw.exec('commit');
    await settle(here.time);
    here.time.advance(1000);
    expect(wakes).toBe(0);
    expect(await here.relay().drain()).toBe(1);
  });

  test('inside transaction(db, fn) the relay is woken once per commit, however many messages', async () => {
    const here = await world(backend);
    let wakes = 0;
    const outbox = outboxOf(here, { wake: () => wakes++ });
    await transaction(here.app.handle, (tx: Handle) => {
      const added = [1, 2, 3].map(() => outbox.in(tx).add({ topic: 't', body: 'b' }));
      return backend.kind === 'sync' ? added.length : Promise.all(added as unknown as Promise<string>[]);
    });
    expect(wakes).toBe(1);
  });

  test('a volatile message has no row and leaves after the commit; what five pushes do not bring there is lost, and told whole', async () => {
    const here = await world(backend);
    const told: string[] = [];
    const lines: string[] = [];
    const outbox = outboxOf(here, {
      transport: here.broker,
      log: (line) => lines.push(line),
      onLost: (message, { outcome }, tries) => told.push(`${message.id} ${outcome} ${tries}`),
    });
    const add = (tx: Handle) => outbox.in(tx).add({ topic: 't', body: 'v', mode: 'volatile' });
    const kept = await transaction(here.app.handle, add);
    await settle(here.time);
    here.broker.answer = () => 'unavailable';
    const gone = await transaction(here.app.handle, add);
    await pass(here.time, 20_000, 500);
    expect(rowCount(here)).toEqual([0, 0]);
    expect(here.broker.pushed).toEqual([kept, gone, gone, gone, gone, gone]);
    expect(told).toEqual([`${gone} unavailable 5`]);
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      expect.objectContaining({ event: 'tallystick.lost', id: gone, topic: 't', body: 'v', tries: 5, outcome: 'unavailable' }),
    ]);
    expect(outbox.counters.volatile).toEqual({ confirmed: 1, failed: 5, lost: 1 });
  });

  test('a volatile message of a rolled-back transaction never leaves', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here, { transport: here.broker });
    await failure(() =>
      transaction(here.app.handle, (tx: Handle) => {
        const added = outbox.in(tx).add({ topic: 't', body: 'v', mode: 'volatile' });
        const refuse = (): never => {
          throw new Error('no');
        };
        return added instanceof Promise ? added.then(refuse) : refuse();
      }),
    );
    await settle(here.time);
    expect(here.broker.pushed).toEqual([]);
  });

  test('a volatile message is refused where its commit cannot be seen', async () => {
    const here = await world(backend);
    here.app.raw.exec('begin');
    const error = await failure(() =>
      outboxOf(here, { transport: here.broker }).in(here.app.handle).add({ topic: 't', body: 'v', mode: 'volatile' }),
    );
    here.app.raw.exec('rollback');
    expect(error).toMatchObject({ code: 'COMMIT_UNSEEN', message: expect.stringContaining('transaction(db, fn)') as string });
  });

  test('a volatile message that is refused leaves nothing of those added with it, even if the error is swallowed', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here, { transport: here.broker });
    here.app.raw.exec('begin');
    const { code } = await failure(() =>
      outbox.in(here.app.handle).addMany([
        { topic: 't', body: 'stored' },
        { topic: 't', body: 'v', mode: 'volatile' },
      ]),
    );
    here.app.raw.exec('commit');
    expect(code).toBe('COMMIT_UNSEEN');
    expect(rowCount(here).map(Number)).toEqual([0, 0]);
  });

  test('a volatile message does not leave when those added with it could not be stored', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here, { transport: here.broker });
    const id = '0'.repeat(32);
    await here.add({ id });
    const codes: unknown[] = [];
    const adding = (): unknown =>
      outbox.in(here.app.handle).addMany([
        { topic: 't', id, body: 'taken' },
        { topic: 't', body: 'v', mode: 'volatile' },
      ]);
    const swallowed = (error: unknown): void => void codes.push((error as { code: unknown }).code);
    await failure(() =>
      outbox.transaction(() => {
        try {
          const added = adding();
          return added instanceof Promise ? added.catch(swallowed) : added;
        } catch (error) {
          return swallowed(error);
        }
      }),
    );
    await pass(here.time, 1_000);
    expect(codes).toEqual(['DUPLICATE_ID']);
    expect(here.broker.pushed).toEqual([]);
  });

  test('what is wrong with telemetry is no failure of a message that is written', async () => {
    const here = await world(backend);
    const telemetry = {
      adding: ({ headers }: { headers: unknown }) => ({ headers, end: () => undefined }),
      count: () => {
        throw new Error('broken telemetry');
      },
    };
    const outbox = outboxOf(here, { telemetry: telemetry as never });
    await outbox.transaction((tx) => outbox.in(tx).add({ topic: 't', body: 'x' }));
    expect(rowCount(here).map(Number)).toEqual([1, 1]);
  });

  test.each([new Error('x'), /x/])('%o is no body: JSON would make nothing of it', async (body) => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    const error = await failure(() => outbox.transaction((tx) => outbox.in(tx).add({ topic: 't', body })));
    expect(error.code).toBe('BAD_MESSAGE');
  });

  test('what is wrong with waking the relay is no failure of the commit', async () => {
    const here = await world(backend);
    const warned: string[] = [];
    const warning = (one: Error): void => void warned.push(one.message);
    process.on('warning', warning);
    const outbox = outboxOf(here, {
      wake: () => {
        throw new Error('broken wake');
      },
    });
    await outbox.transaction((tx) => outbox.in(tx).add({ topic: 't', body: 'x' }));
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.off('warning', warning);
    expect(warned.filter((text) => text.includes('broken wake'))).toHaveLength(1);
    expect(rowCount(here).map(Number)).toEqual([1, 1]);
  });

  test('a transaction does not begin inside another', async () => {
    const here = await world(backend);
    here.app.raw.exec('begin');
    expect((await failure(() => transaction(here.app.handle, () => 1))).code).toBe('ALREADY_IN_TRANSACTION');
    expect(here.app.raw.inTransaction).toBe(true);
    here.app.raw.exec('rollback');
  });
});

describe.each(backends.filter(({ kind }) => kind === 'sync'))('an asynchronous function on $name', (backend) => {
  test('is refused before anything runs', async () => {
    const here = await world(backend);
    let ran = false;
    const error = await failure(() =>
      transaction(here.app.handle, async () => {
        ran = true;
      }),
    );
    expect([error.code, ran, here.app.raw.inTransaction]).toEqual(['ASYNC_IN_SYNC', false, false]);
  });

  test('is rolled back when only its promise shows it', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    const error = await failure(() =>
      transaction(here.app.handle, (tx: Handle) => {
        void outbox.in(tx).add({ topic: 't', body: 'b' });
        return Promise.reject(new Error('nobody listens to this one'));
      }),
    );
    expect(error.code).toBe('ASYNC_IN_SYNC');
    expect(rowCount(here)).toEqual([0, 0]);
  });
});

describe('an asynchronous handle', () => {
  const backend = backends.find(({ kind }) => kind === 'async')!;

  test('a write still open when the transaction would commit is reported, and all is rolled back', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    const error = await failure(() =>
      transaction(here.app.handle, async (tx: Handle) => {
        await Promise.resolve();
        void outbox.in(tx).add({ topic: 't', body: 'forgotten await' });
      }),
    );
    expect(error.code).toBe('ADD_STILL_OPEN');
    expect(rowCount(here)).toEqual([0, 0]);
    expect(here.app.raw.inTransaction).toBe(false);
  });

  // A server's transaction has failed after the first refusal, and nothing of it will be there.
  test.each(onlySqlite)('messages added at once do not undo one another: one is refused, the others are there', async () => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    const id = 'AB'.repeat(16);
    await here.add({ id });
    const told = await transaction(here.app.handle, (tx: Handle) =>
      Promise.allSettled(
        [undefined, id, undefined, id, undefined].map(async (given) => outbox.in(tx).add({ topic: 't', body: 'b', id: given })),
      ),
    );
    expect(told.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled']);
    const stored = rowsOf(here.app.raw, 'select id from tallystick_outbox order by sequence').map((row) => row['id']);
    expect(stored).toEqual([id, ...told.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))]);
  });
});

test.each(onlySqlite)(
  '$name that is closed is refused before it is asked anything: asking would end the process',
  async (backend) => {
    const here = await world(backend);
    const outbox = outboxOf(here);
    const writer = outbox.in(here.app.handle);
    here.app.raw.close();
    expect((await failure(() => writer.add({ topic: 't', body: 'b' }))).code).toBe('CLOSED');
  },
);

test.each(onlySqlite)('a database that would lose commits is refused when the outbox is made', async () => {
  const raw = openRaw(':memory:');
  expect(() => createOutbox(raw)).toThrow(/would lose committed work.*journal_mode is memory/);
  expect(createOutbox(raw, { durability: 'trust' })).toBeDefined();
});

test('any text and any bytes come out as they went in', async () => {
  const here = await world(backends[0]!);
  const outbox = outboxOf(here);
  const relay = here.relay();
  const text = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 40 })
    .filter((s) => !s.includes('\0') && !/\p{Surrogate}/u.test(s));
  await fc.assert(
    fc.asyncProperty(
      text,
      text,
      fc.uint8Array({ maxLength: 300 }),
      fc.dictionary(text, text, { maxKeys: 3 }),
      async (key, tag, body, headers) => {
        here.broker.stored.length = 0;
        await transaction(here.app.handle, (tx: Handle) => outbox.in(tx).add({ topic: 't', key, tag, body, headers }));
        await relay.drain();
        expect(here.broker.stored).toHaveLength(1);
        const [message] = here.broker.stored;
        expect([message!.key, message!.tag, [...(message!.headers ?? [])]]).toEqual([key, tag, Object.entries(headers)]);
        expect(Buffer.compare(message!.body, body)).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
});
