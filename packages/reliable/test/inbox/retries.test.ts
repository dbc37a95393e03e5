import { describe, expect, onTestFinished, test } from 'vitest';
import { seededRandom } from '@tallystick/base/testing';
import { createInbox, createMonitor, transaction, windowWarning, type AsyncHandle, type Handle } from '../../src/index.ts';
import { backends, rowsOf } from '../support/backends.ts';
import { delivery, inboxWorld, pass } from './inbox-world.ts';

const both = backends.filter(({ name }) => name === 'a libsql handle' || name === 'an asynchronous handle');
const DAY_MS = 86_400_000;

describe.each(both)('retries on $name', (backend) => {
  test('come from the consumer’s own table with growing, jittered waits, until the message is dead and a person is told once', async () => {
    const here = await inboxWorld(backend, { attemptsMax: 4, retryFirstMs: 1000, retryMaxMs: 3000 });
    const at: number[] = [];
    here.inbox.handle('debit', () => {
      at.push(here.time.now());
      throw new Error(`attempt ${at.length}`);
    });
    await here.receive({});
    here.inbox.start();
    await pass(here.time, 20_000);
    const waits = at.slice(1).map((time, i) => time - at[i]!);
    expect(waits).toHaveLength(3);
    for (const [i, full] of [1000, 2000, 3000].entries()) {
      // Between half and the whole, and found by the next sweep (a second).
      expect(waits[i]).toBeGreaterThanOrEqual(full / 2);
      expect(waits[i]).toBeLessThanOrEqual(full + 1050);
    }
    expect(here.rows()).toEqual(['dead 4/4/4 failed']);
    expect(here.alarms).toEqual([
      {
        kind: 'dead',
        row: {
          id: 'M1',
          topic: 'payments',
          type: 'debit',
          key: undefined,
          attempts: 4,
          tries: 4,
          outcome: 'failed',
          reason: 'attempt 4',
        },
      },
    ]);
  });

  test('that succeed become the key of the message: a late repeat does nothing, and the body is gone', async () => {
    const here = await inboxWorld(backend, { retryFirstMs: 100 });
    let fail = true;
    here.inbox.handle('debit', ({ id }, { attempts }) => {
      if (fail) throw new Error('not yet');
      here.effect(`${id} after ${attempts}`);
    });
    await here.receive({});
    fail = false;
    here.inbox.start();
    await pass(here.time, 2000);
    await here.receive({});
    await here.receive({ redelivered: true });
    expect([here.effects(), here.rows()]).toEqual([['M1 after 1'], ['done 1/1/2 -']]);
    expect(rowsOf(here.raw, 'select * from tallystick_inbox_body')).toEqual([]);
    expect(rowsOf(here.raw, 'select message_key, last_error from tallystick_inbox')).toEqual([
      { message_key: null, last_error: null },
    ]);
  });

  test('later messages of a key wait behind its failed one, in order; those of other keys do not', async () => {
    const here = await inboxWorld(backend, { retryFirstMs: 1000 });
    let fail = true;
    here.inbox.handle('*', ({ id, key }) => {
      if (fail && key === 'a') throw new Error('not yet');
      here.effect(id);
    });
    for (const [id, key] of [
      ['a1', 'a'],
      ['b1', 'b'],
      ['a2', 'a'],
      ['n1', undefined],
      ['a3', 'a'],
    ] as const)
      await here.receive({ id, key });
    expect(here.effects()).toEqual(['b1', 'n1']);
    fail = false;
    // A repeat of one that waits changes nothing about its place.
    await here.receive({ id: 'a3', key: 'a', redelivered: true });
    here.time.advance(1000);
    await here.during(here.inbox.drain());
    expect(here.effects()).toEqual(['b1', 'n1', 'a1', 'a2', 'a3']);
    await here.receive({ id: 'a4', key: 'a' });
    expect(here.effects().at(-1)).toBe('a4');
  });

  test('where order is not wanted, later messages of a key pass its failed one', async () => {
    const here = await inboxWorld(backend, { retryFirstMs: 1000 });
    here.inbox.handle(
      '*',
      ({ id }) => {
        if (id === 'a1') throw new Error('not yet');
        here.effect(id);
      },
      { order: 'pass' },
    );
    for (const id of ['a1', 'a2', 'a3']) await here.receive({ id, key: 'a' });
    expect(here.effects()).toEqual(['a2', 'a3']);
  });

  test.each([
    ['hold', []],
    ['pass', ['a2']],
  ] as const)('a dead message and its key: deadKeys %s', async (deadKeys, effects) => {
    const here = await inboxWorld(backend, { attemptsMax: 1, deadKeys });
    here.inbox.handle('*', ({ id }) => {
      if (id === 'a1') throw new Error('never');
      here.effect(id);
    });
    await here.receive({ id: 'a1', key: 'a' });
    await here.receive({ id: 'a2', key: 'a' });
    await here.during(here.inbox.drain());
    expect(here.effects()).toEqual(effects);
  });

  test('an attempt is written down, in a transaction of its own, before it begins: redeliveries too', async () => {
    const here = await inboxWorld(backend, { retryFirstMs: 100 });
    const seen: unknown[] = [];
    here.inbox.handle('debit', () => {
      seen.push(here.rows()[0]);
      throw new Error('no');
    });
    await here.receive({ redelivered: true });
    here.time.advance(100);
    await here.during(here.inbox.drain());
    // Inside the handler's transaction the row is the key already; started is what the transaction before wrote.
    expect(seen).toEqual(['done 0/0/1 -', 'done 1/1/2 -']);
    expect(here.rows()).toEqual(['retrying 2/2/2 failed']);
  });

  test('a message whose attempts began and never ended is quarantined at deathsMax, told as poison, and its neighbours are tried', async () => {
    const here = await inboxWorld(backend, { deathsMax: 3 });
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    await here.receive({ id: 'P', redelivered: true });
    await here.receive({ id: 'N', redelivered: true });
    // As three processes that died in an attempt, and one in an attempt at the neighbour, have left it.
    here.raw.exec("delete from effect; update tallystick_inbox set state = 'retrying', due_at = 0, started = 3 where id = 'P'");
    here.raw.exec("update tallystick_inbox set state = 'retrying', due_at = 0, started = 1 where id = 'N'");
    here.raw.exec("insert into tallystick_inbox_body (id, channel, body) values ('P', 'wallet', '{}'), ('N', 'wallet', '{}')");
    await here.during(here.inbox.drain());
    expect([here.effects(), here.rows()]).toEqual([['N'], ['dead 3/3/3 poison', 'done 0/0/2 -']]);
    expect(here.alarms).toMatchObject([{ kind: 'poison', row: { id: 'P' } }]);
    // A person who has mended it gives it a fresh account.
    expect((await here.during(here.inbox.retry('P'))).changed).toBe(true);
    await here.during(here.inbox.drain());
    expect(here.effects()).toEqual(['N', 'P']);
  });

  test('a message without its body is given up, with the reason', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', () => {
      throw new Error('no');
    });
    await here.receive({});
    here.raw.exec('delete from tallystick_inbox_body; update tallystick_inbox set due_at = 0');
    await here.during(here.inbox.drain());
    expect([here.rows(), here.alarms.map(({ kind }) => kind)]).toEqual([['dead 0/0/1 unreadable'], ['dead']]);
  });

  test('what a person has buried stays buried, also when a delivery comes or an attempt ends', async () => {
    const here = await inboxWorld(backend, { retryFirstMs: 10 });
    here.inbox.handle('debit', () => {
      throw new Error('no');
    });
    await here.receive({});
    here.raw.exec("update tallystick_inbox set state = 'buried'");
    await here.receive({ redelivered: true });
    await here.receive({});
    here.time.advance(1000);
    await here.during(here.inbox.drain());
    expect(here.rows()).toEqual(['buried 1/1/1 failed']);
  });

  test('two processes share the ranges and no message is tried twice for one failure', async () => {
    const here = await inboxWorld(backend, { retryFirstMs: 500, rangesMax: 8, attemptsMax: 2 });
    const { inbox, connection } = here.another();
    const tried: string[] = [];
    here.inbox.handle('debit', ({ id }) => {
      tried.push(id);
      throw new Error('first');
    });
    inbox.handle('debit', ({ id }) => {
      tried.push(id);
      here.effect(id, connection);
    });
    const ids = Array.from({ length: 30 }, (_, i) => `M${i}`);
    for (const id of ids) await here.receive({ id });
    here.inbox.start();
    inbox.start();
    await pass(here.time, 3000);
    expect(tried.sort()).toEqual([...ids, ...ids].sort());
    expect(here.effects().length).toBeGreaterThan(0);
    expect(here.effects().length).toBeLessThan(30);
  });

  test('a process that is gone is replaced after its leases, and the message it was at is found again', async () => {
    const here = await inboxWorld(backend, { leaseMs: 5000 });
    const { inbox, connection } = here.another();
    inbox.handle('debit', ({ id }) => here.effect(id, connection));
    here.inbox.handle('debit', () => {
      throw new Error('no');
    });
    await here.receive({});
    here.raw.exec('update tallystick_inbox set due_at = 0');
    await here.during(here.inbox.drain());
    // As a death in the second attempt would leave it.
    here.raw.exec(`update tallystick_inbox set started = 3, due_at = ${here.time.now() + 5000}`);
    inbox.start();
    await pass(here.time, 4000);
    expect(here.effects()).toEqual([]);
    await pass(here.time, 4000);
    expect([here.effects(), here.rows()]).toEqual([['M1'], ['done 2/2/4 -']]);
  });

  test('stop() waits for the handlers at work, gives the leases back, and what comes then goes back to the broker', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    here.inbox.start();
    await pass(here.time, 100);
    expect(rowsOf(here.raw, "select count(*) as n from tallystick_lease where owner <> ''")).toEqual([{ n: 16 }]);
    const received = here.inbox.receive(delivery({}));
    await here.during(here.inbox.stop());
    expect(await received).toBe('done');
    expect(here.effects()).toEqual(['M1']);
    expect(rowsOf(here.raw, "select count(*) as n from tallystick_lease where owner <> ''")).toEqual([{ n: 0 }]);
    expect(await here.receive({ id: 'M2' })).toBe('again');
  });

  test('while the database refuses, messages go back to the broker, and that is told once and its end too', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    here.raw.exec('alter table tallystick_inbox rename to away');
    expect(await here.receive({})).toBe('again');
    expect(await here.receive({})).toBe('again');
    here.raw.exec('alter table away rename to tallystick_inbox');
    expect(await here.receive({})).toBe('done');
    expect([here.effects(), here.alarms.map(({ kind }) => kind)]).toEqual([['M1'], ['database', 'database-over']]);
  });
});

const asynchronous = both.filter(({ kind }) => kind === 'async');

describe.each(asynchronous)('an attempt that takes several leases, on $name', (backend) => {
  test('and fails while another process looks for what is due, has failed: it has not killed its process', async () => {
    const here = await inboxWorld(backend, { leaseMs: 5000, deathsMax: 1, handlerTimeoutMs: 600_000, retryFirstMs: 100 });
    const tried: string[] = [];
    here.inbox.handle('debit', ({ id }) => void tried.push(id));
    here.inbox.start();
    await pass(here.time, 1000);
    const { inbox } = here.another();
    let fail = (): void => undefined;
    inbox.handle('debit', () => new Promise((_, reject) => (fail = () => reject(new Error('late')))));
    const received = inbox.receive(delivery({ redelivered: true }));
    await pass(here.time, 30_000);
    expect(tried).toEqual([]);
    fail();
    expect(await here.during(received)).toBe('done');
    await pass(here.time, 30_000);
    expect([tried, here.rows()]).toEqual([['M1'], ['done 1/1/2 -']]);
    // SQLite has one writer.
    expect(here.alarms.map(({ kind }) => kind)).toEqual(['database', 'database-over']);
  });

  test('whose beginning was written down without the answer coming back is no death', async () => {
    const here = await inboxWorld(backend);
    const handle = here.handle as AsyncHandle;
    let lost = 0;
    const execute: AsyncHandle['execute'] = async (sql, parameters) => {
      const answer = await handle.execute(sql, parameters);
      if (begun && sql === 'commit' && lost++ === 0) throw new Error('the connection was cut');
      begun = sql.startsWith('update "tallystick_inbox" set "state" = ?, "started"');
      return answer;
    };
    let begun = false;
    const inbox = createInbox({ ...handle, execute } as Handle, {
      ...{ clock: here.time, timers: here.time, turn: here.time, random: seededRandom(1) },
      consumer: 'wallet',
      deathsMax: 1,
      onAlarm: (alarm) => here.alarms.push(alarm),
    });
    onTestFinished(() => here.during(inbox.stop()));
    inbox.handle('debit', ({ id }) => here.effect(id));
    expect(await here.receive({ redelivered: true }, inbox)).toBe('done');
    expect([lost, here.rows()]).toEqual([1, ['retrying 0/1/1 unavailable']]);
    here.time.advance(60_000);
    await here.during(inbox.drain());
    expect([here.effects(), here.rows()]).toEqual([['M1'], ['done 0/1/2 -']]);
  });
});

describe.each(both)('the window of keys on $name', (backend) => {
  test('is 30 days; old keys go by schedule in bounded steps, the oldest first', async () => {
    const here = await inboxWorld(backend, { forgetRows: 2, forgetIntervalMs: 60_000 });
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    for (let i = 0; i < 5; i++) await here.receive({ id: `old${i}` });
    here.time.advance(DAY_MS);
    await here.receive({ id: 'young' });
    here.inbox.start();
    await pass(here.time, 29 * DAY_MS - 120_000, DAY_MS);
    expect(here.rows()).toHaveLength(6);
    await pass(here.time, 240_000, 1000);
    expect([here.rows().length, here.inbox.counters.forgotten]).toEqual([1, 5]);
    await here.receive({ id: 'young' });
    await here.receive({ id: 'old0' });
    expect(here.effects().slice(-2)).toEqual(['young', 'old0']);
  });

  test.each(['once', 'receive'] as const)('keys of an inbox that is never started go, too: %s() alone', async (by) => {
    const here = await inboxWorld(backend, { forgetRows: 2, forgetIntervalMs: 60_000 });
    here.inbox.handle('debit', () => undefined);
    const add = async (key: string): Promise<unknown> =>
      by === 'receive'
        ? here.receive({ id: key })
        : here.during((async () => transaction(here.handle, (tx) => here.inbox.once(tx, key, () => undefined)))());
    for (let i = 0; i < 5; i++) await add(`old${i}`);
    await pass(here.time, 5_000, 100);
    expect(here.rows()).toHaveLength(5);
    here.time.advance(31 * DAY_MS);
    await add('young');
    await pass(here.time, 2_000, 20);
    expect(rowsOf(here.raw, 'select id from tallystick_inbox')).toEqual([{ id: 'young' }]);
    expect(here.inbox.counters.forgotten).toBe(5);
    await here.during(here.inbox.stop());
    expect(here.time.timersWaiting).toBe(0);
  });

  test('what a person has buried is kept for as long as keys are, however short keepBuriedMs is: it is the key of its message', async () => {
    const here = await inboxWorld(backend, { attemptsMax: 1, keepBuriedMs: DAY_MS });
    here.inbox.handle('debit', () => {
      throw new Error('no');
    });
    await here.receive({});
    await createMonitor(here.handle, { table: 'tallystick_inbox', channel: 'wallet', clock: here.time }).bury('M1', 'of no use');
    here.inbox.start();
    await pass(here.time, 29 * DAY_MS, DAY_MS);
    expect(here.rows()).toEqual(['buried 1/1/1 failed']);
    await pass(here.time, 2 * DAY_MS, DAY_MS);
    expect(here.rows()).toEqual([]);
  });

  test.each([false, true])(
    'what a person has buried is kept while it comes again (redelivered: %s), and forgotten after that',
    async (redelivered) => {
      const here = await inboxWorld(backend, { attemptsMax: 1, keepBuriedMs: DAY_MS });
      const tried: string[] = [];
      here.inbox.handle('debit', ({ id }) => {
        tried.push(id);
        throw new Error('no');
      });
      const monitor = createMonitor(here.handle, { table: 'tallystick_inbox', channel: 'wallet', clock: here.time });
      for (const id of ['M1', 'never again', 'undated']) {
        await here.receive({ id });
        await monitor.bury(id, 'of no use');
      }
      // As older versions buried it: it stays for ever.
      here.raw.exec("update tallystick_inbox set due_at = 0 where id = 'undated'");
      here.inbox.start();
      for (let day = 0; day < 100; day += 20) {
        await pass(here.time, 20 * DAY_MS, DAY_MS);
        for (const id of ['M1', 'undated']) await here.receive({ id, redelivered });
      }
      const ids = (): unknown[] => rowsOf(here.raw, 'select id from tallystick_inbox').map(({ id }) => id);
      expect([ids(), tried]).toEqual([
        ['M1', 'undated'],
        ['M1', 'never again', 'undated'],
      ]);
      await pass(here.time, 31 * DAY_MS, DAY_MS);
      expect(ids()).toEqual(['undated']);
    },
  );

  test('what a person has buried is kept for 90 days, and then forgotten with its body', async () => {
    const here = await inboxWorld(backend, { attemptsMax: 1 });
    here.inbox.handle('debit', () => {
      throw new Error('no');
    });
    for (const id of ['M1', 'M2']) await here.receive({ id });
    const monitor = createMonitor(here.handle, { table: 'tallystick_inbox', channel: 'wallet', clock: here.time });
    await monitor.bury('M1', 'of no use');
    here.inbox.start();
    await pass(here.time, 90 * DAY_MS, DAY_MS);
    expect(here.rows()).toEqual(['buried 1/1/1 failed', 'dead 1/1/1 failed']);
    await pass(here.time, DAY_MS, DAY_MS);
    expect([here.rows(), rowsOf(here.raw, 'select id from tallystick_inbox_body')]).toEqual([
      ['dead 1/1/1 failed'],
      [{ id: 'M2' }],
    ]);
  });

  test('a message that is older than the keys is reported, and held for a person where that is wanted', async () => {
    for (const oldMessages of ['handle', 'hold'] as const) {
      const here = await inboxWorld(backend, { oldMessages });
      here.inbox.handle('debit', ({ id }) => here.effect(id));
      await here.receive({ sentAt: here.time.now() - 29 * DAY_MS });
      expect(here.alarms).toEqual([]);
      await here.receive({ id: 'M2', sentAt: here.time.now() - 31 * DAY_MS });
      expect(here.alarms[0]).toMatchObject({ kind: 'old', id: 'M2' });
      expect(here.effects()).toEqual(oldMessages === 'handle' ? ['M1', 'M2'] : ['M1']);
      expect(here.rows()[1]).toBe(oldMessages === 'handle' ? 'done 0/0/0 -' : 'dead 0/0/0 old');
    }
  });

  test.each(['handle', 'hold'] as const)(
    'begins anew for what comes again and again: one effect (oldMessages: %s)',
    async (oldMessages) => {
      const here = await inboxWorld(backend, { oldMessages });
      here.inbox.handle('debit', ({ id }) => here.effect(id));
      here.inbox.start();
      const sentAt = here.time.now();
      await here.receive({ id: 'never again', sentAt });
      for (let day = 0; day <= 100; day += 10) {
        for (const redelivered of [false, true]) expect(await here.receive({ sentAt, redelivered })).toBe('done');
        here.time.advance(10 * DAY_MS);
        await pass(here.time, 2000);
      }
      expect([here.effects(), here.rows()]).toEqual([['never again', 'M1'], ['done 0/0/0 -']]);
      expect(here.inbox.counters).toMatchObject({ handled: 2, duplicates: 21, forgotten: 1, dead: 0 });
      // Its key is there: nobody need ask whether it was handled before.
      expect(here.alarms).toEqual([]);
    },
  );

  test('is left as it is by what comes again within its first half, and by what has failed', async () => {
    const here = await inboxWorld(backend, { attemptsMax: 1 });
    here.inbox.handle('debit', ({ id }) => {
      if (id === 'bad') throw new Error('no');
    });
    const dueAt = (): unknown[] =>
      rowsOf(here.raw, 'select due_at from tallystick_inbox order by id').map((row) => row['due_at']);
    for (const id of ['M1', 'bad']) await here.receive({ id });
    const first = dueAt();
    here.time.advance(14 * DAY_MS);
    for (const id of ['M1', 'bad']) await here.receive({ id });
    expect(dueAt()).toEqual(first);
    here.time.advance(2 * DAY_MS);
    for (const id of ['M1', 'bad']) await here.receive({ id });
    expect(dueAt()[1]).toBe(first[1]);
    expect(Number(dueAt()[0]) - Number(first[0])).toBeGreaterThanOrEqual(16 * DAY_MS);
  });

  test('a message that is held as too old and comes again is held once, and told once', async () => {
    const here = await inboxWorld(backend, { oldMessages: 'hold' });
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    const sentAt = here.time.now() - 31 * DAY_MS;
    for (const redelivered of [false, true]) await here.receive({ sentAt, redelivered });
    expect([here.effects(), here.rows()]).toEqual([[], ['dead 0/0/0 old']]);
    expect(here.alarms.map(({ kind }) => kind)).toEqual(['old', 'dead']);
  });

  test('a manual retry of a message that is older by its own id is warned of, though it came yesterday', async () => {
    const here = await inboxWorld(backend, { oldMessages: 'hold' });
    here.time.advance(0x018f00000000 - here.time.now());
    const made = here.time.now() - 40 * DAY_MS;
    const id = `${made.toString(16).padStart(12, '0').toUpperCase()}70008000000000000001`;
    await here.receive({ id });
    here.time.advance(DAY_MS);
    const { changed, warning } = await here.during(here.inbox.retry(id));
    expect([changed, warning]).toEqual([true, expect.stringMatching(/41 days old.*30 days \(keepKeysMs\)/)]);
  });

  test('a manual retry of a message that is older by what its sender says is warned of, though it came yesterday', async () => {
    const here = await inboxWorld(backend, { attemptsMax: 1 });
    here.inbox.handle('debit', () => {
      throw new Error('no');
    });
    await here.receive({ sentAt: here.time.now() - 40 * DAY_MS });
    await here.receive({ id: 'young', sentAt: here.time.now() + DAY_MS });
    here.time.advance(DAY_MS);
    await pass(here.time, 2000);
    const monitor = createMonitor(here.handle, { table: 'tallystick_inbox', channel: 'wallet', clock: here.time });
    const told = expect.stringMatching(/41 days old.*30 days \(keepKeysMs\)/) as unknown;
    for (const execute of [false, true]) {
      const { items } = await monitor.act('retry', { ids: ['M1', 'young'] }, { execute });
      expect(items.map(({ note }) => note)).toEqual([told, undefined]);
    }
    for (const [id, warning] of [
      ['M1', told],
      ['young', undefined],
    ])
      expect(await here.during(here.inbox.retry(id as string))).toEqual({ changed: true, warning });
  });

  test('a manual retry of a message that is older is warned of', async () => {
    const here = await inboxWorld(backend, { attemptsMax: 1 });
    here.inbox.handle('debit', () => {
      throw new Error('no');
    });
    await here.receive({});
    here.time.advance(31 * DAY_MS);
    const { changed, warning } = await here.during(here.inbox.retry('M1'));
    expect([changed, warning]).toEqual([true, expect.stringMatching(/31 days old.*30 days \(keepKeysMs\)/)]);
    expect(await here.during(here.inbox.retry('none'))).toEqual({ changed: false, warning: undefined });
  });

  test('must not be shorter than the time in which messages may come again', async () => {
    await expect(inboxWorld(backend, { keepKeysMs: 7 * DAY_MS })).rejects.toThrow(/keepKeysMs must be at least redeliveryMs/);
    await expect(inboxWorld(backend, { keepKeysMs: 7 * DAY_MS, redeliveryMs: 7 * DAY_MS })).resolves.toBeDefined();
  });

  test('is warned of where it is made, when it is shorter than the 30 days', async () => {
    const heard: string[] = [];
    const hear = (warning: Error): void => void (warning.name === 'TallystickInbox' && heard.push(warning.message));
    process.on('warning', hear);
    onTestFinished(() => void process.off('warning', hear));
    await inboxWorld(backend);
    const { inbox, time } = await inboxWorld(backend, { keepKeysMs: 1, redeliveryMs: 0 });
    await inbox.receive(delivery({}));
    await pass(time, 100);
    expect(heard).toEqual([expect.stringMatching(/"wallet".* 1 ms \(keepKeysMs\).* twice.*redeliveryMs \(0\)/)]);
  });

  test('a repeat after its key was forgotten has a second effect: that is what the window is for', async () => {
    const here = await inboxWorld(backend);
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    await here.receive({});
    here.time.advance(1000);
    expect(await here.inbox.forget(500)).toBe(1);
    await here.receive({});
    expect(here.effects()).toEqual(['M1', 'M1']);
  });
});

test('the age of a message is what its sender says, else what its id says, else nobody knows', () => {
  const now = 1_700_000_000_000;
  const old = now - 40 * DAY_MS;
  const id = `${old.toString(16).padStart(12, '0').toUpperCase()}7000${'8'.padEnd(16, '0')}`;
  const warned = (message: { id: string; sentAt?: number }): boolean => windowWarning(message, 30 * DAY_MS, now) !== undefined;
  expect([warned({ id }), warned({ id, sentAt: now }), warned({ id: 'x' }), warned({ id: 'x', sentAt: old })]).toEqual([
    true,
    false,
    false,
    true,
  ]);
});
