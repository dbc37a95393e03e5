import { describe, expect, expectTypeOf, test } from 'vitest';
import {
  CONFIRMATION_TYPE,
  createOutbox,
  GUARANTEES,
  msg,
  transaction,
  type MessageId,
  type Outbox,
  type OutboxWriter,
} from '../../src/index.ts';
import { backends, connect, databasePath, rowsOf, type RawDatabase } from '../support/backends.ts';
import { MemoryTransport } from '../support/memory-transport.ts';
import { failure, migrated } from '../support/outbox.ts';

interface OrderCreated {
  readonly orderId: string;
  readonly amountCents: number;
}

const messages = {
  'order.created': msg<OrderCreated>({
    topic: 'orders',
    key: (order) => order.orderId,
    businessKey: (order) => order.orderId,
    module: 'shop',
    exchange: 'events',
    exchangeType: 'topic',
    routingKey: 'order.created',
    headers: { version: '1', from: 'type' },
    keepMs: 60_000,
  }),
  'report.due': msg<string>({ topic: 'reports', mode: 'deferred' }),
  'price.shown': msg<Uint8Array>({ topic: 'prices', mode: 'volatile' }),
  plain: { topic: 'plain' },
  'plain.late': { topic: 'plain', mode: 'deferred' as const },
};

function shop() {
  const { raw } = migrated();
  const outbox = createOutbox(raw, { durability: 'trust', messages, transport: new MemoryTransport(), log: () => undefined });
  return { raw, outbox };
}

describe('a message type', () => {
  test('gives its settings to messages that do not say them, and its key and business key from the payload', () => {
    const { raw, outbox } = shop();
    const id = outbox.transaction((tx) => outbox.in(tx).add({ type: 'order.created', body: { orderId: 'o-1', amountCents: 5 } }));
    expect(rowsOf(raw, 'select * from tallystick_outbox')).toMatchObject([
      {
        id,
        topic: 'orders',
        message_key: 'o-1',
        business_key: 'o-1',
        module: 'shop',
        message_type: 'order.created',
        exchange: 'events',
        exchange_type: 'topic',
        routing_key: 'order.created',
        mode: 'immediate',
        keep_for: 60_000,
        confirm_within: 0,
      },
    ]);
    const [body] = rowsOf(raw, 'select headers, body from tallystick_outbox_body');
    expect(JSON.parse(String(body!['headers']))).toEqual([
      ['version', '1'],
      ['from', 'type'],
      ['content-type', 'application/json'],
    ]);
    expect(JSON.parse(Buffer.from(body!['body'] as Uint8Array).toString())).toEqual({ orderId: 'o-1', amountCents: 5 });
  });

  test('is a default: what the call says wins', () => {
    const { raw, outbox } = shop();
    outbox.transaction((tx) =>
      outbox.in(tx).add({
        type: 'order.created',
        body: { orderId: 'o-1', amountCents: 5 },
        topic: 'elsewhere',
        key: 'k',
        businessKey: 'b',
        module: 'm',
        headers: { from: 'call' },
        contentType: 'application/vnd.shop+json',
        keepMs: 1,
      }),
    );
    expect(rowsOf(raw, 'select * from tallystick_outbox')).toMatchObject([
      { topic: 'elsewhere', message_key: 'k', business_key: 'b', module: 'm', keep_for: 1 },
    ]);
    expect(JSON.parse(String(rowsOf(raw, 'select headers from tallystick_outbox_body')[0]!['headers']))).toEqual([
      ['version', '1'],
      ['from', 'call'],
      ['content-type', 'application/vnd.shop+json'],
    ]);
  });

  test('that is not declared is refused, with the names that are', async () => {
    const { raw, outbox } = shop();
    // @ts-expect-error -- no such type
    const error = await failure(() => outbox.transaction((tx) => outbox.in(tx).add({ type: 'order.craeted', body: {} })));
    expect(error).toMatchObject({
      code: 'UNKNOWN_TYPE',
      message: expect.stringContaining('"order.craeted"; declared are order.created, report.due, price.shown') as string,
    });
    expect(rowsOf(raw, 'select id from tallystick_outbox')).toEqual([]);
  });

  test('named like a member of every object is refused like any other', async () => {
    const { outbox } = shop();
    const error = await failure(() =>
      outbox.transaction((tx) => outbox.in(tx).add({ type: 'constructor', topic: 't', body: 'b' } as never)),
    );
    expect(error.code).toBe('UNKNOWN_TYPE');
  });

  test('may be any text where none are declared, and a confirmation needs no declaration', () => {
    const { raw, outbox } = shop();
    const free = createOutbox(raw, { durability: 'trust' });
    free.transaction((tx) => free.in(tx).add({ type: 'whatever', topic: 't', body: 'b' }));
    outbox.transaction((tx) => outbox.in(tx).add({ type: CONFIRMATION_TYPE, topic: 't', body: 'b' } as never));
    expect(rowsOf(raw, 'select message_type from tallystick_outbox order by sequence')).toEqual([
      { message_type: 'whatever' },
      { message_type: CONFIRMATION_TYPE },
    ]);
  });

  test.each([
    ['volatile', 'order.created', 'immediate'],
    ['immediate', 'price.shown', 'volatile'],
    ['immediate', 'report.due', 'deferred'],
  ] as const)('cannot be made %s by a call when it is another: %s', async (mode, type, is) => {
    const { outbox } = shop();
    const error = await failure(() =>
      outbox.transaction((tx) => outbox.in(tx).add({ type, mode, topic: 't', body: { orderId: 'o' } } as never)),
    );
    expect(error).toMatchObject({
      code: 'BAD_MESSAGE',
      message: expect.stringContaining(`type ${type} is ${is}; a call cannot make it ${mode}`) as string,
    });
  });

  test('that is volatile needs a transport, and says so when the outbox is made', () => {
    const { raw } = migrated();
    expect(() => createOutbox(raw, { durability: 'trust', messages })).toThrow(/transport.*price\.shown/);
  });
});

describe('the compiler', () => {
  type Shop = ReturnType<typeof shop>['outbox'];
  type Writer = OutboxWriter<RawDatabase, typeof messages>;

  test('knows which guarantee holds for a message by its type', () => {
    const check = (writer: Writer): void => {
      expectTypeOf(writer.add({ type: 'order.created', body: { orderId: 'o', amountCents: 1 } })).toEqualTypeOf<
        MessageId<'not lost, at once'>
      >();
      expectTypeOf(writer.add({ type: 'report.due', body: 'r' })).toEqualTypeOf<MessageId<'not lost, may wait'>>();
      expectTypeOf(writer.add({ type: 'price.shown', body: Buffer.of(1) })).toEqualTypeOf<MessageId<'may be lost'>>();
      expectTypeOf(writer.add({ topic: 't', body: 'b', mode: 'volatile' })).toEqualTypeOf<MessageId<'may be lost'>>();
      expectTypeOf(writer.add({ topic: 't', body: 'b' })).toEqualTypeOf<MessageId>();
      // @ts-expect-error -- a promise that must hold is not given for one that may be lost
      const kept: MessageId<'not lost, at once'> = writer.add({ type: 'price.shown', body: Buffer.of(1) });
      void kept;
    };
    void check;
    expect(GUARANTEES.volatile).toBe('may be lost');
  });

  test('refuses a payload that is not the type’s, a mode that is not, and what a volatile type cannot have', () => {
    const check = (writer: Writer): void => {
      // @ts-expect-error -- amountCents is missing
      writer.add({ type: 'order.created', body: { orderId: 'o' } });
      // @ts-expect-error -- a report is a text
      writer.add({ type: 'report.due', body: { text: 'r' } });
      // @ts-expect-error -- its mode is its promise
      writer.add({ type: 'order.created', body: { orderId: 'o', amountCents: 1 }, mode: 'volatile' });
      // @ts-expect-error -- what may be lost is not kept
      msg<string>({ mode: 'volatile', keepMs: 5 });
      // @ts-expect-error -- nor confirmed by its consumer
      msg<string>({ mode: 'volatile', confirm: { by: 'consumer', withinMs: 5 } });
    };
    void check;
    expect(msg<string>().mode).toBe('immediate');
  });

  test('takes an outbox with types where any outbox is wanted', () => {
    const wants = (any: Outbox): void => void any;
    const check = (outbox: Shop): void => wants(outbox);
    void check;
    expect(wants).toBeDefined();
  });
});

test('an asynchronous handle answers with promises of the same ids', async () => {
  const backend = backends.find(({ kind }) => kind === 'async')!;
  const path = databasePath();
  migrated(path);
  const { handle } = connect(backend, path);
  const outbox = createOutbox(handle, { durability: 'trust', messages, transport: new MemoryTransport() });
  const id = await transaction(handle, (tx) => outbox.in(tx).add({ type: 'report.due', body: 'r' }));
  expect(await outbox.status({ id: String(id) })).toMatchObject({ status: 'waiting', messages: [{ type: 'report.due' }] });
});
