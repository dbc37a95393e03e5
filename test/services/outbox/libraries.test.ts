/** What the outbox does on top of writing a message, through each library's own code. */
import { createOutbox, memoryBroker, type Handle, type NewMessage } from '@tallystick/reliable';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { LIBRARIES } from '../handles/libraries/index.ts';
import { capabilitiesOf, IDS, leave, until, worldOf } from '../handles/world.ts';
import { emptyDatabase } from '../support/services.ts';

const message = {
  topic: 'orders',
  body: { ä: ['"', "'", '\\', '?', '$1', ':x', '\u2028'] },
  headers: { "a'b": 'c"d?' },
} satisfies NewMessage;

describe.each(LIBRARIES)('$name', (library) => {
  const seen = capabilitiesOf(library).commitSeen === 'driver';
  afterAll(() => leave(library));

  test('a serial number that is taken is refused by name, however the library wraps the driver’s error', async () => {
    const world = await worldOf(library);
    const id = 'AB'.repeat(16);
    await world.begin(async (tx) => world.outbox.in(tx).add({ ...message, id }));
    await expect(world.begin(async (tx) => world.outbox.in(tx).add({ ...message, id }))).rejects.toMatchObject({
      code: 'DUPLICATE_ID',
    });
    expect(await world.rows(IDS)).toEqual([id]);
  });

  test('missing tables are named by what has to be done', async () => {
    const database = await emptyDatabase();
    onTestFinished(() => database.drop());
    const opened = await library.open(database.url);
    onTestFinished(() => opened.close());
    const outbox = createOutbox(opened.root, { durability: 'trust' });
    await expect(outbox.ready()).rejects.toMatchObject({ code: 'NOT_MIGRATED' });
    await expect(opened.begin(async (tx) => outbox.in(tx).add(message))).rejects.toMatchObject({ code: 'NOT_MIGRATED' });
  });

  test('all that a message says arrives as it is, alone and among others', async () => {
    const world = await worldOf(library);
    const given: NewMessage = {
      ...message,
      key: "k'?",
      tag: 't$1',
      type: 'x:y',
      module: 'm?',
      businessKey: 'b"',
      exchange: 'e',
      exchangeType: 'topic',
      routingKey: 'r.#',
      keepMs: 60_000,
      delayMs: 3_600_000,
      confirm: { by: 'consumer', withinMs: 5_000 },
      replyTo: 'https://shop.example/?a=1&b=2',
    };
    const ids = await world.begin(async (tx) => [
      await world.outbox.in(tx).add(given),
      ...(await world.outbox.in(tx).addMany([given, given])),
    ]);
    expect(await world.rows(IDS)).toEqual(ids);
    const rows = await world.rows(`
      select distinct concat_ws('|', message_key, tag, message_type, module, business_key, exchange, exchange_type, routing_key, keep_for,
        due_at - created_at, confirm_within, headers, convert_from(body, 'utf8'))
      from tallystick_outbox natural join tallystick_outbox_body`);
    const headers = [
      ["a'b", 'c"d?'],
      ['content-type', 'application/json'],
      ['tallystick-reply-to', 'https://shop.example/?a=1&b=2'],
    ];
    expect(rows).toEqual([
      [
        "k'?",
        't$1',
        'x:y',
        'm?',
        'b"',
        'e',
        'topic',
        'r.#',
        60_000,
        3_600_000,
        5_000,
        JSON.stringify(headers),
        JSON.stringify(message.body),
      ].join('|'),
    ]);
  });

  test('the ticket and a consumer’s confirmation, alone and inside a transaction', async () => {
    const world = await worldOf(library);
    const add = (): Promise<string> =>
      world.begin(async (tx) => world.outbox.in(tx).add({ ...message, businessKey: 'o-1', keepMs: 60_000 }));
    const [first, second] = [await add(), await add()];
    expect(await world.outbox.status({ id: first })).toMatchObject({
      status: 'waiting',
      messages: [{ businessKey: 'o-1', dueAt: 0 }],
    });
    expect([await world.outbox.confirm(first), await world.outbox.confirm(first)]).toEqual(['confirmed', 'repeated']);
    expect(await world.begin((tx) => world.outbox.confirm(second, tx) as Promise<unknown>)).toBe('confirmed');
    expect(await world.outbox.status({ businessKey: 'o-1' })).toMatchObject({
      status: 'confirmed',
      messages: [
        { id: second, status: 'confirmed' },
        { id: first, status: 'confirmed' },
      ],
    });
    expect(await world.outbox.confirm('AB'.repeat(16))).toBe('unknown');
  });

  const volatile = seen ? 'leaves after the commit and never after a rollback' : 'is refused, and the error names the wrapper';
  test(`a volatile message ${volatile}`, async () => {
    const world = await worldOf(library);
    const broker = memoryBroker();
    const outbox = createOutbox(world.root, { transport: broker, mode: 'volatile' });
    const add = (text: string) => async (tx: Handle) => outbox.in(tx).add({ topic: 't', body: text });
    if (seen) {
      await world.begin(add('committed'));
      await expect(
        world.begin(async (tx) => {
          await add('rolled back')(tx);
          throw new Error('no');
        }),
      ).rejects.toThrow('no');
    } else {
      await expect(world.begin(add('unseen'))).rejects.toMatchObject({
        code: 'COMMIT_UNSEEN',
        message: expect.stringContaining('transaction(db, fn)') as string,
      });
    }
    await (outbox.transaction as (work: (tx: Handle) => unknown) => Promise<unknown>)(add('wrapped'));
    const wanted = [...(seen ? ['committed'] : []), 'wrapped'];
    await until(() => broker.stored.length >= wanted.length, 'volatile messages leave');
    await outbox.close();
    expect(broker.stored.map(({ body }) => Buffer.from(body).toString())).toEqual(wanted);
  });
});
