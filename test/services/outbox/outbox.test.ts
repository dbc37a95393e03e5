/** The outbox on a real PostgreSQL, through pg itself. */
import { ManualTime } from '@tallystick/base/testing';
import {
  createMonitor,
  createOutbox,
  memoryBroker,
  migrate,
  transaction,
  type NewMessage,
  type Outbox,
  type OutboxSettings,
} from '@tallystick/reliable';
import fc from 'fast-check';
import pg from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WAITING_FOR_LOCK } from '../support/live.ts';
import { emptyDatabase, freshDatabase } from '../support/services.ts';

async function failure(call: () => unknown): Promise<{ code?: string; message?: string }> {
  try {
    await call();
  } catch (error) {
    return error as { code?: string };
  }
  return {};
}

async function poolOf(url: string, max = 4): Promise<pg.Pool> {
  const pool = new pg.Pool({ connectionString: url, max });
  // The database may go before the server has heard that its connections do.
  pool.on('connect', (client) => void client.on('error', () => undefined));
  onTestFinished(() => pool.end());
  return pool;
}

async function place({ max = 4, ...settings }: OutboxSettings & { max?: number } = {}) {
  const database = await freshDatabase();
  onTestFinished(() => database.drop());
  const pool = await poolOf(database.url, max);
  const outbox = createOutbox(pool, settings);
  return { database, pool, outbox };
}

type Row = Readonly<Record<string, string | number | Buffer | null>>;

async function rowsOf(pool: pg.Pool, sql: string, values: unknown[] = []): Promise<Row[]> {
  return (await pool.query<Row>(sql, values)).rows;
}

const counted = async (pool: pg.Pool): Promise<unknown> =>
  (
    await rowsOf(
      pool,
      'select (select count(*)::int from tallystick_outbox) as heads, (select count(*)::int from tallystick_outbox_body) as bodies',
    )
  )[0];

/** The texts of what a client asks the server between two moments. */
function asked(client: pg.PoolClient): string[] {
  const texts: string[] = [];
  const query = client.query.bind(client) as (...given: unknown[]) => unknown;
  (client as { query: unknown }).query = (...given: unknown[]) => {
    const [first] = given;
    texts.push(typeof first === 'string' ? first : String((first as { text?: string } | undefined)?.text));
    return query(...given);
  };
  onTestFinished(() => void ((client as { query: unknown }).query = query));
  return texts;
}

async function inTransaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    const value = await work(client);
    await client.query('commit');
    return value;
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

describe('a message is added in the user’s own transaction', () => {
  test('by one statement, so one round trip: head and body together', async () => {
    const { pool, outbox } = await place();
    await outbox.ready();
    const texts = await inTransaction(pool, async (client) => {
      const seen = asked(client);
      await outbox.in(client).add({ topic: 't', key: 'k', body: { a: 1 }, headers: { b: 'c' } });
      return [...seen];
    });
    expect(texts).toHaveLength(1);
    expect(texts[0]).toMatch(/insert into "tallystick_outbox" .*insert into "tallystick_outbox_body"/s);
    expect(await counted(pool)).toEqual({ heads: 1, bodies: 1 });
  });

  test('by one statement too, when there are a thousand of them, in the order of the list', async () => {
    const { pool, outbox } = await place();
    await outbox.ready();
    const messages = Array.from({ length: 1_000 }, (_, i) => ({
      topic: 't',
      key: `k${i % 7}`,
      body: Buffer.from([i & 255, i >> 8, 0]),
    }));
    const { texts, ids } = await inTransaction(pool, async (client) => {
      const seen = asked(client);
      const added = await outbox.in(client).addMany(messages);
      return { texts: [...seen], ids: added };
    });
    expect(texts).toHaveLength(1);
    const rows = await rowsOf(
      pool,
      'select id, message_key, body from tallystick_outbox natural join tallystick_outbox_body order by sequence',
    );
    expect(rows.map(({ id }) => id)).toEqual(ids);
    expect(rows.map(({ body }) => [...(body as Buffer)])).toEqual(messages.map(({ body }) => [...body]));
  });

  test('the first message asks once more, on another connection, whether the database is the right one and fit', async () => {
    const { pool, outbox } = await place();
    const before = pool.totalCount;
    const texts = await inTransaction(pool, async (client) => {
      const seen = asked(client);
      await outbox.in(client).add({ topic: 't', body: 'b' });
      await outbox.in(client).add({ topic: 't', body: 'b' });
      return [...seen];
    });
    // The second time, whether this connection may keep the statement.
    expect([before, texts.length]).toEqual([0, 3]);
  });

  test('a pool whose only connection is in that transaction does not wait for itself', async () => {
    const { pool, outbox } = await place({ max: 1 });
    await inTransaction(pool, (client) => outbox.in(client).add({ topic: 't', body: 'b' }));
    await outbox.ready();
    expect(await counted(pool)).toEqual({ heads: 1, bodies: 1 });
  });

  test('a server that could lose what it commits is refused, by name of the setting, and nothing is written', async () => {
    const { database, pool } = await place();
    await pool.query(`alter database "${database.name}" set synchronous_commit = off`);
    for (const max of [1, 4]) {
      const careless = await poolOf(database.url, max);
      const outbox = createOutbox(careless);
      const error = await failure(() => inTransaction(careless, (client) => outbox.in(client).add({ topic: 't', body: 'b' })));
      expect(error).toMatchObject({ code: 'NOT_DURABLE', message: expect.stringContaining('synchronous_commit') as string });
      expect((await failure(() => outbox.ready())).code).toBe('NOT_DURABLE');
      const trusting = createOutbox(careless, { durability: 'trust' });
      await inTransaction(careless, (client) => trusting.in(client).add({ topic: 't', body: 'b' }));
    }
    expect(await counted(pool)).toEqual({ heads: 2, bodies: 2 });
  });

  test('any text and any bytes come out as they went in, alone and among others', async () => {
    const { pool, outbox } = await place();
    const text = fc
      .string({ unit: 'binary', minLength: 1, maxLength: 40 })
      .filter((s) => !s.includes('\0') && !/\p{Surrogate}/u.test(s));
    const message = fc.record({
      topic: text,
      key: text,
      tag: text,
      businessKey: text,
      exchange: text,
      routingKey: text,
      module: text,
      headers: fc.dictionary(text, text, { maxKeys: 3 }),
      body: fc.uint8Array({ maxLength: 200 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 4 }), async (messages) => {
        const ids = await inTransaction(pool, async (client) => [
          ...(await outbox.in(client).addMany(messages)),
          await outbox.in(client).add(messages[0]!),
        ]);
        const rows = await rowsOf(
          pool,
          'select * from tallystick_outbox natural join tallystick_outbox_body where id = any($1) order by sequence',
          [ids],
        );
        expect(rows.map(said)).toEqual(
          [...messages, messages[0]!].map(({ body, headers, ...rest }) => ({
            ...rest,
            headers: Object.entries(headers),
            body: [...body],
          })),
        );
      }),
      { numRuns: 30 },
    );
  });

  test('the same id twice is refused by name; nothing of the transaction can be committed any more', async () => {
    const { pool, outbox } = await place();
    const id = 'AB'.repeat(16);
    await inTransaction(pool, (client) => outbox.in(client).add({ topic: 't', body: 'b', id }));
    const error = await failure(() =>
      inTransaction(pool, (client) =>
        outbox.in(client).addMany([
          { topic: 't', body: 'b' },
          { topic: 't', body: 'b', id },
        ]),
      ),
    );
    expect(error).toMatchObject({ code: 'DUPLICATE_ID', message: expect.stringContaining(id) as string });
    expect(await counted(pool)).toEqual({ heads: 1, bodies: 1 });
  });
});

function said(row: Row): unknown {
  return {
    topic: row['topic'],
    key: row['message_key'],
    tag: row['tag'],
    businessKey: row['business_key'],
    exchange: row['exchange'],
    routingKey: row['routing_key'],
    module: row['module'],
    headers: JSON.parse((row['headers'] as string | null) ?? '[]') as unknown,
    body: [...(row['body'] as Buffer)],
  };
}

describe('the wrong database', () => {
  test('is told from the right one by its id: the message is refused, and nothing is written to either', async () => {
    const right = await place();
    const wrong = await place();
    await right.outbox.ready();
    for (const count of [1, 2]) {
      const messages = Array.from({ length: count }, () => ({ topic: 't', body: 'b' }));
      const error = await failure(() => inTransaction(wrong.pool, (client) => right.outbox.in(client).addMany(messages)));
      expect(error.code).toBe('WRONG_DATABASE');
    }
    expect([await counted(right.pool), await counted(wrong.pool)]).toEqual([
      { heads: 0, bodies: 0 },
      { heads: 0, bodies: 0 },
    ]);
  });

  test('another pool of the right database is the right one', async () => {
    const { database, outbox } = await place();
    const other = await poolOf(database.url);
    await inTransaction(other, (client) => outbox.in(client).add({ topic: 't', body: 'b' }));
    expect(await counted(other)).toEqual({ heads: 1, bodies: 1 });
  });

  test('one without the tables is named by what has to be done, and works once that is done', async () => {
    const database = await emptyDatabase();
    onTestFinished(() => database.drop());
    const pool = await poolOf(database.url);
    const outbox = createOutbox(pool);
    expect(await failure(() => outbox.ready())).toMatchObject({
      code: 'NOT_MIGRATED',
      message: expect.stringContaining('npx tallystick') as string,
    });
    expect((await failure(() => inTransaction(pool, (client) => outbox.in(client).add({ topic: 't', body: 'b' })))).code).toBe(
      'NOT_MIGRATED',
    );
    const client = await pool.connect();
    await migrate(client);
    client.release();
    await outbox.ready();
    await inTransaction(pool, (tx) => outbox.in(tx).add({ topic: 't', body: 'b' }));
    expect(await counted(pool)).toEqual({ heads: 1, bodies: 1 });
  });
});

describe('a delayed message', () => {
  test.each<[string, Partial<NewMessage>, string]>([
    ['waits so many ms from now', { delayMs: 60_000 }, 'delayed'],
    ['waits until a time', { notBefore: Date.now() + 3_600_000 }, 'delayed'],
    ['whose time is over leaves at once', { notBefore: 1 }, 'waiting'],
  ])('%s, by the clock of the database and not of the process', async (_name, given, state) => {
    // This process believes to live in 2001.
    const { pool, outbox } = await place({ clock: new ManualTime(1_000_000_000_000) });
    await inTransaction(pool, (client) =>
      outbox.in(client).addMany([
        { topic: 't', body: 'b', ...given },
        { topic: 't', body: 'b', ...given },
      ]),
    );
    await inTransaction(pool, (client) => outbox.in(client).add({ topic: 't', body: 'b', ...given }));
    const rows = await rowsOf(pool, 'select state, due_at::float8 as due, created_at::float8 as created from tallystick_outbox');
    for (const row of rows) {
      expect(row['state']).toBe(state);
      expect(Math.abs(Number(row['created']) - Date.now())).toBeLessThan(600_000);
      if (given.delayMs !== undefined) expect(Number(row['due']) - Number(row['created'])).toBe(given.delayMs);
      else expect(row['due']).toBe(state === 'delayed' ? given.notBefore : 0);
    }
    expect(rows).toHaveLength(3);
  });
});

describe('a volatile message', () => {
  const bodiesOf = (broker: ReturnType<typeof memoryBroker>): string[] =>
    broker.stored.map(({ body }) => Buffer.from(body).toString());

  test('leaves after the COMMIT that the user sends, and never after a ROLLBACK', async () => {
    const broker = memoryBroker();
    const { pool, outbox } = await place({ transport: broker, mode: 'volatile' });
    await inTransaction(pool, async (client) => {
      await outbox.in(client).add({ topic: 't', body: 'committed' });
      await client.query('select pg_sleep(0.05)');
      expect(bodiesOf(broker)).toEqual([]);
    });
    await failure(() =>
      inTransaction(pool, async (client) => {
        await outbox.in(client).add({ topic: 't', body: 'rolled back' });
        throw new Error('no');
      }),
    );
    await outbox.flush();
    await transaction(pool, (client) => outbox.in(client).add({ topic: 't', body: 'wrapped' }));
    await outbox.flush();
    expect(bodiesOf(broker)).toEqual(['committed', 'wrapped']);
    expect(await counted(pool)).toEqual({ heads: 0, bodies: 0 });
  });

  test('of a transaction that the server rolls back instead of committing never leaves', async () => {
    const broker = memoryBroker();
    const { pool, outbox } = await place({ transport: broker, mode: 'volatile' });
    const client = await pool.connect();
    await client.query('begin');
    await outbox.in(client).add({ topic: 't', body: 'v' });
    await failure(() => client.query('select 1/0'));
    expect((await client.query('commit')).command).toBe('ROLLBACK');
    client.release();
    await outbox.flush();
    expect(bodiesOf(broker)).toEqual([]);
  });

  test('whose connection goes before the COMMIT is answered is told lost: nobody knows', async () => {
    const broker = memoryBroker();
    const lines: string[] = [];
    const { pool, outbox } = await place({ transport: broker, mode: 'volatile', log: (line) => lines.push(line) });
    const client = await pool.connect();
    client.on('error', () => undefined);
    await client.query('begin');
    await outbox.in(client).add({ topic: 't', body: 'v' });
    await failure(() => client.query('select pg_terminate_backend(pg_backend_pid())'));
    await expect.poll(() => lines.length, { timeout: 10_000 }).toBe(1);
    client.release(true);
    expect(JSON.parse(lines[0]!)).toMatchObject({ body: 'v', tries: 0, reason: expect.stringContaining('unknown') as string });
    expect(bodiesOf(broker)).toEqual([]);
  });
});

describe('a consumer’s confirmation', () => {
  const wanted = { topic: 't', body: 'b', confirm: { by: 'consumer', withinMs: 1_000 }, replyTo: 'replies' } as const;

  test('arriving many times at once settles once', async () => {
    const { pool, outbox } = await place();
    const id = await inTransaction(pool, (client) => outbox.in(client).add({ ...wanted, keepMs: 1_000 }));
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => outbox.confirm(id)));
    expect(outcomes.filter((outcome) => outcome === 'confirmed')).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'repeated')).toHaveLength(7);
    expect(await counted(pool)).toEqual({ heads: 1, bodies: 0 });
  });

  test('that meets the relay’s own bookkeeping waits for it and settles what it left', async () => {
    const { pool, outbox } = await place();
    const id = await inTransaction(pool, (client) => outbox.in(client).add(wanted));
    const relay = await pool.connect();
    await relay.query('begin');
    await relay.query(`update tallystick_outbox set state = 'sent', due_at = 1 where id = $1`, [id]);
    const confirmed = outbox.confirm(id);
    await expect.poll(async () => (await rowsOf(pool, WAITING_FOR_LOCK)).length, { timeout: 10_000 }).toBeGreaterThan(0);
    await relay.query('commit');
    relay.release();
    expect(await confirmed).toBe('confirmed');
    expect(await counted(pool)).toEqual({ heads: 0, bodies: 0 });
  });

  test('costs one round trip when it settles, and can be part of a transaction', async () => {
    const { pool, outbox } = await place();
    const id = await inTransaction(pool, (client) => outbox.in(client).add(wanted));
    await inTransaction(pool, async (client) => {
      const texts = asked(client);
      expect(await outbox.confirm(id, client)).toBe('confirmed');
      expect(texts).toHaveLength(1);
    });
    expect(await outbox.status({ id })).toEqual({ status: 'unknown', messages: [] });
  });
});

describe('the ticket', () => {
  test('is found by an index among many rows, by serial number and by business key', async () => {
    const { pool, outbox } = await place();
    await pool.query(`
      insert into tallystick_outbox (id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes, business_key)
      select upper(md5(n::text)), '', n % 256, null, 't', 'immediate', 'waiting', 0, 0, 0, n, n, 1, case when n % 2 = 0 then 'order ' || n / 4 end
      from generate_series(1, 200000) as n`);
    await pool.query('analyze tallystick_outbox');
    expect((await outbox.status({ businessKey: 'order 77' })).messages).toHaveLength(2);
    for (const [question, index] of [
      [`business_key = 'order 77' order by sequence desc limit 100`, 'tallystick_outbox_business_key'],
      [`id = upper(md5('77'))`, 'tallystick_outbox_id'],
    ]) {
      const plan = await rowsOf(pool, `explain select id from tallystick_outbox where channel = '' and ${question}`);
      expect(plan.map((row) => row['QUERY PLAN']).join('\n')).toContain(index);
    }
  });
});

test('an outbox made for pg is any outbox to those who take one', async () => {
  const { pool, outbox } = await place();
  const wants = (any: Outbox): boolean => any.counters.added === 0;
  expect(wants(outbox)).toBe(true);
  expect(Object.keys(await createMonitor(pool).counts())).toContain('waiting');
});
