/** Handlers in the transactions of every library: its own handle, its own begin and commit, the same promises. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { createInbox, type Database, type Inbox, type InboxSettings } from '@tallystick/reliable';
import { LIBRARIES } from '../handles/libraries/index.ts';
import { worldOf, type World } from '../handles/world.ts';
import { limitByHand } from '../support/limit-by-hand.ts';
import { delivery, eventually, ROWS } from './bank.ts';

const EFFECTS = 'select id from effect order by id';

describe.each(LIBRARIES)('a handler in a transaction of $name', (library) => {
  const consume = async (settings: InboxSettings = {}): Promise<{ world: World; inbox: Inbox<Database> }> => {
    const world = await worldOf(library);
    const inbox = createInbox<Database>(world.root, {
      consumer: 'wallet',
      outbox: world.outbox,
      sweepIntervalMs: 50,
      retryFirstMs: 20,
      ...settings,
    });
    onTestFinished(() => inbox.stop());
    return { world, inbox };
  };

  test('has its effect and what it emits and calls once, under its lock', async () => {
    const { world, inbox } = await consume();
    inbox.handle(
      'debit',
      async ({ id }, { tx, emit, call }) => {
        await world.run(tx as Database, `insert into effect values ('${id}')`);
        await emit({ topic: 'debited', body: id });
        await call({ url: 'https://bank.example/' });
      },
      { lock: () => 'account:a' },
    );
    for (const redelivered of [false, false, true]) expect(await inbox.receive(delivery('M1', { redelivered }))).toBe('done');
    expect(await world.rows(EFFECTS)).toEqual(['M1']);
    expect(await world.rows('select topic from tallystick_outbox')).toEqual(['debited']);
    expect(await world.rows(ROWS)).toEqual(['M1 done 0/0/0 -']);
    expect(inbox.counters).toMatchObject({ handled: 1, duplicates: 2 });
  });

  test('that fails leaves nothing and is tried again from the table', async () => {
    const { world, inbox } = await consume();
    let fail = true;
    inbox.handle('debit', async ({ id }, { tx, emit }) => {
      await world.run(tx as Database, `insert into effect values ('${id}')`);
      await emit({ topic: 'debited', body: id });
      if (fail) throw new Error('not yet');
    });
    await inbox.receive(delivery('M1'));
    expect([await world.rows(EFFECTS), await world.rows('select topic from tallystick_outbox'), await world.rows(ROWS)]).toEqual([
      [],
      [],
      ['M1 retrying 1/1/1 failed'],
    ]);
    fail = false;
    inbox.start();
    await eventually(
      () => world.rows(EFFECTS),
      (ids) => ids.length === 1,
    );
    expect(await world.rows(ROWS)).toEqual(['M1 done 1/1/2 -']);
  });

  test('that swallows a failed statement has failed', async () => {
    const { world, inbox } = await consume();
    inbox.handle('debit', async (_, { tx }) => {
      await world.run(tx as Database, "insert into effect values ('half')");
      await world.run(tx as Database, 'select * from no_such_table').catch(() => undefined);
    });
    await inbox.receive(delivery('M1'));
    expect(await world.rows(EFFECTS)).toEqual([]);
    expect((await world.rows(ROWS))[0]).toMatch(/^M1 retrying /);
  });

  test('that outlives its time writes nothing any more, and the next message finds a connection', async () => {
    const handlerTimeoutMs = 123_456;
    const limit = limitByHand(handlerTimeoutMs);
    const { world, inbox } = await consume({ attemptsMax: 1, handlerTimeoutMs, timers: limit.timers });
    let over = (): void => undefined;
    const told = new Promise<void>((resolve) => (over = resolve));
    let late: Promise<unknown> | undefined;
    const write = (tx: unknown, id: string): Promise<unknown> =>
      Promise.resolve(world.run(tx as Database, `insert into effect values ('${id}')`));
    inbox.handle('debit', async (_, { tx }) => {
      await write(tx, 'slow');
      limit.strike();
      await told;
      late = write(tx, 'late').catch(() => undefined);
      await late;
    });
    inbox.handle('credit', ({ id }, { tx }) => write(tx, id));
    expect(await inbox.receive(delivery('slow'))).toBe('done');
    over();
    await eventually(() => late !== undefined, Boolean);
    await late;
    expect(await world.rows(EFFECTS)).toEqual([]);
    expect(await world.rows(ROWS)).toEqual(['slow dead 1/1/1 timeout']);
    expect(await inbox.receive(delivery('next', { type: 'credit' }))).toBe('done');
    expect(await world.rows(EFFECTS)).toEqual(['next']);
  });
});
