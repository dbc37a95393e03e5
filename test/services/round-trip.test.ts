/** Whatever can be said comes out of PostgreSQL as it went in; what cannot be stored is refused where it was made, or mended. */
import fc from 'fast-check';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createInbox,
  createLocalTransactionTable,
  createMonitor,
  createOutbox,
  createRelay,
  transaction,
  type NewMessage,
  type OutgoingMessage,
  type PublishOutcome,
} from '@tallystick/reliable';
import { freshDatabase, type FreshDatabase } from './support/services.ts';

let database: FreshDatabase;
let pool: Pool;
beforeAll(async () => {
  database = await freshDatabase();
  pool = new Pool({ connectionString: database.url, max: 4 });
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

/** Text of any script: emoji of several parts, right-to-left, combining marks, controls; no NUL and no half pairs, which are refused. */
const text = (maxLength: number) =>
  fc
    .oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: Math.min(40, maxLength) }),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
      fc.constantFrom(
        '👩‍👩‍👧‍👦',
        'نص',
        '\u00e9',
        'e\u0301',
        'İ',
        'ẞ',
        '\u202e',
        '\ufeff',
        '\u0001',
        "';--",
        '\\',
        '%',
        '"',
        ' ',
        '😀'.repeat(Math.floor(maxLength / 2)),
      ),
      fc.constant('x'.repeat(maxLength)),
    )
    .filter((value) => value.length <= maxLength && !value.includes('\0') && !/\p{Surrogate}/u.test(value));

const message = fc.record(
  {
    topic: text(255),
    key: text(255),
    tag: text(255),
    type: text(64),
    module: text(64),
    businessKey: text(255),
    exchange: text(255),
    routingKey: text(255),
    headers: fc.dictionary(text(255), text(255), { maxKeys: 3, noNullPrototype: true }),
    body: fc.uint8Array({ maxLength: 300 }),
  },
  { requiredKeys: ['topic', 'body'] },
);

/** Adds them in one transaction and drains; what reached the broker, in order. */
async function sent(
  messages: readonly NewMessage[],
  publish?: (one: OutgoingMessage) => PublishOutcome,
): Promise<OutgoingMessage[]> {
  const arrived: OutgoingMessage[] = [];
  const outbox = createOutbox(pool);
  const relay = createRelay({
    db: pool,
    attemptsMax: 1,
    transport: {
      publish: (batch) => {
        arrived.push(...batch);
        return Promise.resolve(batch.map((one) => publish?.(one) ?? { outcome: 'confirmed' as const }));
      },
    },
  });
  await transaction(pool, async (tx) => {
    for (const one of messages) await outbox.in(tx).add(one);
  });
  await relay.drain();
  await relay.stop();
  return arrived;
}

describe('messages', () => {
  test('come out as they went in', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 8 }), async (given) => {
        const arrived = await sent(given.map((one) => ({ ...one, mode: 'deferred' as const })));
        const seen = ({ topic, key, tag, type, exchange, routingKey, headers, body }: OutgoingMessage | (typeof given)[number]) =>
          JSON.stringify([
            topic,
            key ?? null,
            tag ?? null,
            type ?? null,
            exchange ?? null,
            routingKey ?? null,
            [...(headers instanceof Map ? (headers as Map<string, string>) : Object.entries(headers ?? {}))],
            Buffer.from(body).toString('hex'),
          ]);
        expect(arrived.map(seen).sort()).toEqual(given.map(seen).sort());
        const keyed = (list: readonly { key?: string | undefined; body: Uint8Array }[], key: string): string[] =>
          list.filter((one) => one.key === key).map(({ body }) => Buffer.from(body).toString('hex'));
        for (const { key } of given) if (key !== undefined) expect(keyed(arrived, key)).toEqual(keyed(given, key));
      }),
      { numRuns: 60 },
    );
  });

  test('are found again by their business key, byte for byte: nothing is folded or trimmed', async () => {
    const keys = ['straße', 'STRASSE', 'strasse', '\u00e9', 'e\u0301', 'a', 'A', 'a ', ' a', '😀', 'ı', 'i'];
    const outbox = createOutbox(pool);
    const ids = await transaction(pool, async (tx) => {
      const made: string[] = [];
      for (const businessKey of keys)
        made.push(await outbox.in(tx).add({ topic: 't', body: 'b', businessKey, notBefore: Date.now() + 1e7 }));
      return made;
    });
    for (const [i, id] of ids.entries()) {
      const { rows } = await pool.query<{ id: string }>('select id from tallystick_outbox where business_key = $1', [keys[i]]);
      expect(rows).toEqual([{ id }]);
    }
    await pool.query('delete from tallystick_outbox');
    await pool.query('delete from tallystick_outbox_body');
  });

  test.each<[string, Partial<NewMessage>]>([
    ['a NUL in a topic', { topic: 'a\0' }],
    ['a NUL in a key', { key: 'a\0' }],
    ['a NUL in a tag', { tag: 'a\0' }],
    ['a NUL in a type', { type: 'a\0' }],
    ['a NUL in a module', { module: 'a\0' }],
    ['a NUL in a business key', { businessKey: 'a\0' }],
    ['a NUL in an exchange', { exchange: 'a\0' }],
    ['a NUL in a routing key', { routingKey: 'a\0' }],
    ['a NUL in a header', { headers: { a: 'a\0' } }],
    ['half a pair in a key', { key: '\ud83d' }],
    ['256 characters in a key', { key: 'x'.repeat(256) }],
    ['256 characters in a business key', { businessKey: 'x'.repeat(256) }],
    ['65 characters in a type', { type: 'x'.repeat(65) }],
    ['65 characters in a module', { module: 'x'.repeat(65) }],
    ['256 characters in a routing key', { routingKey: 'x'.repeat(256) }],
  ])('with %s are refused before the database is asked, so the transaction can go on', async (_name, fault) => {
    await transaction(pool, async (tx) => {
      await expect(
        createOutbox(pool)
          .in(tx)
          .add({ topic: 't', body: 'b', ...fault }),
      ).rejects.toMatchObject({ code: 'BAD_MESSAGE' });
      await tx.query('select 1');
    });
  });
});

describe('what others say of a message', () => {
  const words: readonly (readonly [string, string])[] = [
    ['with a NUL', 'a\0b'],
    ['of NULs', '\0'.repeat(2000)],
    ['of two thousand emoji', '😀'.repeat(2000)],
    ['of half a pair', '\ud83d'],
    ['whose pair would be cut', `${'x'.repeat(498)}😀😀`],
    ['that is SQL', "'; drop table tallystick_outbox; --"],
  ];

  test.each(words)('a broker’s reason %s is kept, and the message settled', async (_name, reason) => {
    await sent([{ topic: 't', body: 'b', mode: 'deferred' }], () => ({ outcome: 'rejected', reason }));
    const monitor = createMonitor(pool);
    const [dead] = await monitor.list({ state: 'dead' });
    expect(dead?.lastError?.length).toBeGreaterThan(0);
    expect(dead?.lastError?.length).toBeLessThanOrEqual(500);
    expect(await monitor.bury(dead!.id, reason)).toBe(true);
    expect(await monitor.forgetBuried(-1000)).toBe(1);
  });

  test.each(words)('a handler’s error %s is kept, and the message with it', async (name, reason) => {
    const inbox = createInbox(pool, { consumer: 'e15' }).handle('x', () => {
      throw new Error(reason);
    });
    const body = Buffer.from('kept');
    const id = `m ${name}`;
    expect(
      await inbox.receive({ id, topic: 't', type: 'x', headers: new Map([['h', '😀\ufeff']]), body, redelivered: false }),
    ).toBe('done');
    const { rows } = await pool.query('select last_error from tallystick_inbox where id = $1', [id]);
    expect(rows).toHaveLength(1);
    const kept = await pool.query<{ body: Buffer }>('select body from tallystick_inbox_body where id = $1', [id]);
    expect(kept.rows[0]?.body.equals(body)).toBe(true);
    await inbox.stop();
  });
});

describe('keys and numbers', () => {
  test('keys of the inbox and of local transactions are told apart byte for byte', async () => {
    const inbox = createInbox(pool, { consumer: 'keys' });
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(text(128), async (key) => {
        const { outcome } = await transaction(pool, (tx) => inbox.once(tx, key, () => 1));
        expect(outcome).toBe(seen.has(key) ? 'duplicate' : 'done');
        seen.add(key);
      }),
      { numRuns: 60 },
    );
    const client = await pool.connect();
    try {
      const table = createLocalTransactionTable(client);
      for (const bizNo of ['\u00e9', 'e\u0301', 'A', 'a', 'a ', '😀'.repeat(64)]) {
        await transaction(client, (tx) => table.record(tx, 'transfer', bizNo));
        expect(await table.check('transfer', bizNo)).toBe('commit');
      }
    } finally {
      client.release();
    }
  });

  test('messages of a key keep their order where their places are the largest numbers a program can count', async () => {
    await pool.query(`alter table tallystick_outbox alter column sequence restart with ${Number.MAX_SAFE_INTEGER - 5}`);
    const bodies = Array.from({ length: 6 }, (_, n) => `${n}`);
    const arrived = await sent(bodies.map((body) => ({ topic: 't', key: 'k', body })));
    expect(arrived.map(({ body }) => Buffer.from(body).toString())).toEqual(bodies);
  });

  test('past them a message is refused, and its transaction with it', async () => {
    await pool.query('select setval(pg_get_serial_sequence($1, $2), $3)', [
      'tallystick_outbox',
      'sequence',
      Number.MAX_SAFE_INTEGER,
    ]);
    await expect(sent([{ topic: 't', body: 'one too many' }])).rejects.toMatchObject({ code: '2200H' });
    expect((await pool.query('select 1 from tallystick_outbox')).rows).toEqual([]);
    await pool.query('alter table tallystick_outbox alter column sequence restart with 1000');
  });

  test('times far away stay where they are', async () => {
    const outbox = createOutbox(pool);
    const notBefore = 8_640_000_000_000_000;
    const id = await transaction(pool, (tx) => outbox.in(tx).add({ topic: 't', body: 'b', notBefore }));
    const { rows } = await pool.query('select due_at, state from tallystick_outbox where id = $1', [id]);
    expect(rows).toEqual([{ due_at: String(notBefore), state: 'delayed' }]);
    await pool.query('delete from tallystick_outbox');
  });
});
