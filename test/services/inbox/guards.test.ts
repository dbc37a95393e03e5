/** What a handler, a holder of a lock or a connection can do wrong, on a real server; and the same judges on what would be wrong. */
import { describe, expect, test } from 'vitest';
import { createLocks, transaction, type HeldLock } from '@tallystick/reliable';
import type { Pool } from 'pg';
import { limitByHand } from '../support/limit-by-hand.ts';
import { bank, delivery, eventually, ROWS, type Bank } from './bank.ts';

const soon = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Two programs read a balance and write it back under a lock that lasts 100 ms; the first is away for longer than that between reading and
 * writing. Returns what the two made of 100 - 10 - 20.
 */
async function pausedHolder(here: Bank, end: (lock: HeldLock, tx: never) => Promise<unknown>): Promise<[number, string]> {
  await here.pool.query("insert into account values ('a', 100)");
  const locks = createLocks(here.pool);
  const debit = (amount: number, lockHoldMs: number, between: () => Promise<unknown>): Promise<unknown> =>
    locks.with('account:a', { lockHoldMs, lockWaitMs: 20_000 }, async (lock) => {
      const { rows } = await here.pool.query<{ balance: number }>("select balance from account where id = 'a'");
      await between();
      await transaction(here.pool, async (tx) => {
        await tx.query("update account set balance = $1 where id = 'a'", [rows[0]!.balance - amount]);
        await end(lock, tx as never);
      });
    });
  let second: Promise<unknown> = Promise.resolve();
  const first = debit(10, 100, async () => {
    second = debit(20, 20_000, async () => undefined);
    // Until the second has the lock, has written, and has given it back.
    await second;
  }).then(
    () => 'committed',
    (error: { code: string }) => error.code,
  );
  const outcome = await first;
  await second;
  const [balance] = await here.rows("select balance from account where id = 'a'");
  return [Number(balance), outcome];
}

/** Connections that cannot be cut from inside. */
function neverCut(pool: Pool): void {
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...given: unknown[]) => unknown;
    const uncut = (text: unknown, ...rest: unknown[]): unknown =>
      typeof text === 'string' && text.includes('pg_terminate_backend')
        ? Promise.resolve({ rows: [], rowCount: 0 })
        : query(text, ...rest);
    Object.assign(client, { query: uncut });
  });
}

describe('a holder of a lock that was paused past its time', () => {
  test('is fenced: what it decided under the lost lock is rolled back', async () => {
    expect(await pausedHolder(await bank(), (lock, tx) => lock.verify(tx))).toEqual([80, 'LOCK_LOST']);
  });

  test('and would undo the other’s work if it did not ask', async () => {
    expect(await pausedHolder(await bank(), async () => undefined)).toEqual([90, 'committed']);
  });

  test('cannot be overtaken between its verify and its commit', async () => {
    const here = await bank();
    const locks = createLocks(here.pool);
    let taken = false;
    let other: Promise<unknown> = Promise.resolve();
    await locks.with('a', { lockHoldMs: 50 }, (lock) =>
      transaction(here.pool, async (tx) => {
        await soon(60);
        await lock.verify(tx);
        other = locks.with('a', { lockWaitMs: 20_000 }, () => (taken = true));
        await soon(200);
        expect(taken).toBe(false);
      }),
    );
    await other;
    expect(taken).toBe(true);
  });
});

describe('waiting for a lock', () => {
  test('sixteen who want the same one get it one after the other', async () => {
    const here = await bank();
    const locks = createLocks(here.pool);
    let inside = 0;
    let together = 0;
    await Promise.all(
      Array.from({ length: 16 }, () =>
        locks.with('a', { lockWaitMs: 60_000 }, async () => {
          together = Math.max(together, ++inside);
          await soon(2);
          inside--;
        }),
      ),
    );
    expect([together, await here.rows("select count(*) from tallystick_lease where scope like 'lock:%'")]).toEqual([1, ['0']]);
  });

  test('a message whose lock stays busy is kept, and handled when the holder is gone; it has not failed', async () => {
    const here = await bank();
    const inbox = await here.inbox({ lockWaitMs: 30, retryMaxMs: 100 });
    inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect values ($1)', [id]), { lock: () => 'one' });
    inbox.start();
    const locks = createLocks(here.pool);
    await locks.with('one', {}, async () => {
      expect(await inbox.receive(delivery('M1'))).toBe('done');
      expect(await here.rows(ROWS)).toEqual([expect.stringMatching(/^M1 retrying 0\/\d+\/\d+ busy$/)]);
    });
    await eventually(
      () => here.rows('select name from effect'),
      (names) => names.length === 1,
    );
    expect((await here.rows(ROWS))[0]).toMatch(/^M1 done 0\//);
  });
});

describe('a handler', () => {
  test('that swallows a failed statement has not succeeded: its commit would be a rollback', async () => {
    const here = await bank();
    const inbox = await here.inbox();
    inbox.handle('debit', async (_, { tx }) => {
      await tx.query('insert into effect values ($1)', ['half']);
      await tx.query('select * from no_such_table').catch(() => undefined);
    });
    expect(await inbox.receive(delivery('M1'))).toBe('done');
    expect([await here.rows('select name from effect'), await here.rows(ROWS)]).toEqual([[], ['M1 retrying 1/1/1 failed']]);
  });

  test('is retried within the database’s patience after a deadlock, without having failed', async () => {
    const here = await bank();
    await here.pool.query("insert into account values ('a', 0), ('b', 0)");
    const inbox = await here.inbox();
    let met = 0;
    let meet = (): void => undefined;
    const both = new Promise<void>((resolve) => (meet = resolve));
    inbox.handle('debit', async ({ key }, { tx }) => {
      const [first, second] = key === 'ab' ? ['a', 'b'] : ['b', 'a'];
      await tx.query('update account set balance = balance + 1 where id = $1', [first]);
      if (++met >= 2) meet();
      await both;
      await tx.query('update account set balance = balance + 1 where id = $1', [second]);
    });
    await Promise.all(['ab', 'ba'].map((key) => inbox.receive(delivery(key, { key }))));
    expect(await here.rows('select balance from account')).toEqual(['2', '2']);
    expect(inbox.counters).toMatchObject({ handled: 2, failed: 0 });
    expect(met).toBe(3);
  });

  /** A handler that outlives its time and writes afterwards; what of it is in the database in the end. */
  async function runaway(here: Bank, prepare?: (pool: Pool) => void): Promise<string[]> {
    const handlerTimeoutMs = 123_456;
    const limit = limitByHand(handlerTimeoutMs);
    const inbox = await here.inbox({ handlerTimeoutMs, timers: limit.timers, attemptsMax: 1 }, prepare);
    let late: Promise<unknown> | undefined;
    let over = (): void => undefined;
    const told = new Promise<void>((resolve) => (over = resolve));
    inbox.handle('debit', async (_, { tx }) => {
      await tx.query("insert into effect values ('in time')");
      limit.strike();
      await told;
      late = tx.query("insert into effect values ('late')").catch(() => undefined);
      await late;
    });
    expect(await inbox.receive(delivery('M1'))).toBe('done');
    over();
    await eventually(() => late !== undefined, Boolean);
    await late;
    return here.rows('select name from effect');
  }

  test('that runs on after its time writes nothing any more: its connection is cut', async () => {
    const here = await bank();
    expect(await runaway(here)).toEqual([]);
    expect(await here.rows(ROWS)).toEqual(['M1 dead 1/1/1 timeout']);
    // The pool has a new connection for whoever comes next.
    const inbox = await here.inbox();
    inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect values ($1)', [id]));
    await inbox.receive(delivery('M2'));
    expect(await here.rows('select name from effect')).toEqual(['M2']);
  });

  test('and would write on its own account if its connection were given to the next one whole', async () => {
    expect(await runaway(await bank(), neverCut)).toEqual(['late']);
  });
});

describe('a connection that is lost', () => {
  test('during the handler leaves nothing, and the message is tried again without having failed', async () => {
    const here = await bank();
    const inbox = await here.inbox();
    let cut = true;
    inbox.handle('debit', async ({ id }, { tx }) => {
      await tx.query('insert into effect values ($1)', [id]);
      if (!cut) return;
      cut = false;
      const { rows } = await tx.query<{ pid: number }>('select pg_backend_pid() as pid');
      await here.pool.query('select pg_terminate_backend($1)', [rows[0]!.pid]);
      await tx.query('select 1');
    });
    inbox.start();
    await inbox.receive(delivery('M1'));
    await eventually(
      () => here.rows('select name from effect'),
      (names) => names.length === 1,
    );
    expect((await here.rows(ROWS))[0]).toMatch(/^M1 done 0\//);
  });
});
