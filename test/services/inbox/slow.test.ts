/**
 * An attempt that takes longer than a lease, while another process holds the range of its message and looks for what is due: who is at work is
 * left alone, keeps nobody waiting, and is no dead process, however it ends.
 */
import { describe, expect, onTestFinished, test } from 'vitest';
import { createLocks, type Inbox } from '@tallystick/reliable';
import type { Pool, PoolClient } from 'pg';
import { bank, delivery, eventually, ROWS, type Bank } from './bank.ts';

const LEASE_MS = 2000;

interface Two {
  readonly here: Bank;
  /** Holds all ranges and looks; takes one message at a time. */
  readonly watcher: Inbox<Pool>;
  readonly tried: string[];
  readonly worker: Inbox<Pool>;
  /** Ends the worker's handlers, which wait. */
  readonly end: (error?: Error) => void;
}

async function two(deathsMax: number, prepare?: (pool: Pool) => void): Promise<Two> {
  const here = await bank();
  const settings = { leaseMs: LEASE_MS, deathsMax, handlerTimeoutMs: 600_000 };
  const watcher = await here.inbox({ ...settings, retriesAtOnce: 1 });
  const tried: string[] = [];
  watcher.handle('debit', ({ id }) => {
    tried.push(id);
    if (id === 'fails once' && tried.filter((one) => one === id).length === 1) throw new Error('not yet');
  });
  watcher.start();
  await eventually(
    () => here.rows("select count(*) from tallystick_lease where owner <> ''"),
    ([held]) => held === '16',
  );
  const worker = await here.inbox(settings, prepare);
  let end: (error?: Error) => void = () => undefined;
  const ended = new Promise<void>((resolve, reject) => {
    end = (error) => (error === undefined ? resolve() : reject(error));
  });
  ended.catch(() => undefined);
  worker.handle('debit', async ({ id }, { tx }) => {
    await tx.query('insert into effect (name) values ($1)', [id]);
    await ended;
  });
  onTestFinished(() => end());
  return { here, watcher, tried, worker, end };
}

/** Until the message has been due for the watcher for a few of its looks. */
async function overdue(here: Bank, id: string): Promise<void> {
  const due = `select count(*) from tallystick_inbox where id = '${id}' and started > 0
    and due_at < extract(epoch from clock_timestamp()) * 1000 - 300`;
  await eventually(
    () => here.rows(due),
    ([n]) => n === '1',
  );
}

/** A message that is due, at which `started` attempts began and none has ended. */
async function retrying(here: Bank, id: string, started: number): Promise<void> {
  await here.pool.query(
    `insert into tallystick_inbox (id, channel, shard, topic, mode, state, attempts, tries, started, due_at, created_at,
      changed_at, body_bytes, message_type) values ($1, 'wallet', 0, 'payments', 'deferred', 'retrying', 0, 0, $2, 1, 1, 1, 2, 'debit')`,
    [id, started],
  );
  await here.pool.query("insert into tallystick_inbox_body (id, channel, body) values ($1, 'wallet', '{}')", [id]);
}

/** An open transaction that has locked the message's row. */
async function holds(here: Bank, id: string): Promise<PoolClient> {
  const holder = await here.pool.connect();
  onTestFinished(() => holder.release(true));
  await holder.query('begin');
  await holder.query('select 1 from tallystick_inbox where id = $1 for update', [id]);
  return holder;
}

describe('a message whose handler is at work for several leases', () => {
  test('is left to it, and keeps neither deliveries nor retries of the process waiting that would try it again', async () => {
    const { here, watcher, tried, worker, end } = await two(1);
    const slow = ['S1', 'S2', 'S3'];
    const received = slow.map((id) => worker.receive(delivery(id, { redelivered: true })));
    for (const id of slow) await overdue(here, id);
    expect(await watcher.receive(delivery('new'))).toBe('done');
    expect(await watcher.receive(delivery('fails once'))).toBe('done');
    await eventually(
      () => tried,
      (ids) => ids.length === 3,
    );
    expect(tried).toEqual(['new', 'fails once', 'fails once']);
    end();
    expect(await Promise.all(received)).toEqual(['done', 'done', 'done']);
    expect(await here.rows('select name from effect order by name')).toEqual(slow);
    expect((await here.rows(ROWS)).slice(0, 3).sort()).toEqual(slow.map((id) => `${id} done 0/0/1 -`));
    expect(here.alarms).toEqual([]);
  });

  test('and then fails, has failed: it has not killed its process', async () => {
    const { here, watcher, tried, worker, end } = await two(1);
    const received = worker.receive(delivery('S', { redelivered: true }));
    await overdue(here, 'S');
    end(new Error('late'));
    expect(await received).toBe('done');
    await eventually(
      () => here.rows(ROWS),
      ([row]) => row === 'S done 1/1/2 -',
    );
    expect([tried, watcher.counters.handled, here.alarms]).toEqual([['S'], 1, []]);
  });

  test('is told of when it does not end long after its time', async () => {
    const here = await bank();
    const settings = { leaseMs: LEASE_MS, handlerTimeoutMs: 500 };
    const watcher = await here.inbox(settings);
    watcher.handle('debit', () => undefined);
    watcher.start();
    await retrying(here, 'S', 1);
    const gone = await holds(here, 'S');
    await eventually(
      () => here.alarms.length,
      (count) => count > 0,
    );
    expect(here.alarms).toEqual([
      { kind: 'hanging', id: 'S', reason: expect.stringMatching(/an open transaction holds it/) as string },
    ]);
    await gone.query('rollback');
    await eventually(
      () => here.rows(ROWS),
      ([row]) => row === 'S done 0/0/2 -',
    );
  });
});

test('a message that waits for its lock for several leases is at work, too', async () => {
  const here = await bank();
  const settings = { leaseMs: LEASE_MS, deathsMax: 1, lockWaitMs: 600_000 };
  const watcher = await here.inbox(settings);
  watcher.handle('debit', () => undefined);
  watcher.start();
  await eventually(
    () => here.rows("select count(*) from tallystick_lease where owner <> ''"),
    ([held]) => held === '16',
  );
  const worker = await here.inbox(settings);
  worker.handle('debit', ({ id }, { tx }) => tx.query('insert into effect (name) values ($1)', [id]), { lock: () => 'a' });
  await createLocks(here.pool).with('a', { lockHoldMs: 600_000 }, async () => {
    void worker.receive(delivery('S', { redelivered: true }));
    await eventually(
      () => here.rows(ROWS),
      ([row]) => row?.endsWith('/1 -') === true,
    );
    await new Promise((resolve) => setTimeout(resolve, 3 * LEASE_MS));
  });
  await eventually(
    () => here.rows(ROWS),
    ([row]) => row === 'S done 0/0/1 -',
  );
  expect([await here.rows('select name from effect'), here.alarms]).toEqual([['S'], []]);
});

/** What is asked on the pool's connections goes through `ask`. */
function through(pool: Pool, ask: (text: string, query: () => Promise<unknown>) => Promise<unknown>): void {
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown>;
    const asked = (...given: unknown[]): Promise<unknown> =>
      ask(typeof given[0] === 'string' ? given[0] : (given[0] as { text: string }).text, () => query(...given));
    Object.assign(client, { query: asked });
  });
}

const SUSPECTS = /^update "tallystick_inbox" set "due_at"/;
const BEGINS = /^update "tallystick_inbox" set "state" = \$1, "started"/;

test('a message that no attempt is at, and whose row somebody holds, is looked at now and then, told of, and tried once it is free', async () => {
  const here = await bank();
  const sweepIntervalMs = 500;
  let looks = 0;
  const settings = { leaseMs: LEASE_MS, handlerTimeoutMs: 500, sweepIntervalMs };
  const inbox = await here.inbox(settings, (pool) =>
    through(pool, async (text, query) => {
      if (BEGINS.test(text)) looks++;
      return query();
    }),
  );
  inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect (name) values ($1)', [id]));
  await retrying(here, 'held', 0);
  await retrying(here, 'free', 0);
  const holder = await holds(here, 'held');
  const sinceMs = performance.now();
  expect(await inbox.drain()).toBe(1);
  inbox.start();
  expect(await inbox.receive(delivery('new', { redelivered: true }))).toBe('done');
  await eventually(
    () => here.alarms.length,
    (count) => count > 0,
  );
  const elapsedMs = performance.now() - sinceMs;
  expect(elapsedMs).toBeGreaterThanOrEqual(LEASE_MS);
  // Two beginnings of the others, and one of its own.
  expect(looks).toBeLessThanOrEqual(3 + elapsedMs / sweepIntervalMs);
  await holder.query('rollback');
  await eventually(
    () => here.rows(ROWS),
    (rows) => rows.every((row) => row.includes(' done ')),
  );
  expect(await here.rows('select name from effect order by name')).toEqual(['free', 'held', 'new']);
  expect(here.alarms).toEqual([
    { kind: 'hanging', id: 'held', reason: expect.stringMatching(/an open transaction holds it/) as string },
  ]);
});

test('an attempt whose beginning was written down without the answer coming back has not killed its process', async () => {
  const here = await bank();
  let lost = 0;
  const inbox = await here.inbox({ leaseMs: LEASE_MS, deathsMax: 1 }, (pool) =>
    through(pool, async (text, query) => {
      const answer = await query();
      if (BEGINS.test(text) && lost++ === 0) throw new Error('the connection was cut');
      return answer;
    }),
  );
  inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect (name) values ($1)', [id]));
  inbox.start();
  expect(await inbox.receive(delivery('M', { redelivered: true }))).toBe('done');
  await eventually(
    () => here.rows(ROWS),
    ([row]) => row?.includes('retrying') === false,
  );
  expect([lost, await here.rows(ROWS)]).toEqual([2, ['M done 0/1/2 -']]);
  expect(here.alarms.map(({ kind }) => kind)).toEqual(['database', 'database-over']);
});

test('an attempt that was overtaken while it waited for a connection is no death once it has ended', async () => {
  const here = await bank();
  let goOn = (): void => undefined;
  const starved = new Promise<void>((resolve) => (goOn = resolve));
  let began = false;
  const inbox = await here.inbox({ leaseMs: LEASE_MS }, (pool) =>
    through(pool, async (text, query) => {
      if (began && text.startsWith('begin')) await starved;
      const answer = await query();
      if (BEGINS.test(text)) began = true;
      return answer;
    }),
  );
  inbox.handle('debit', () => undefined);
  const received = inbox.receive(delivery('M', { redelivered: true }));
  await eventually(() => began, Boolean);
  await here.pool.query("update tallystick_inbox set started = 2, due_at = 4000000000000 where id = 'M'");
  goOn();
  expect(await received).toBe('done');
  expect(await here.rows(ROWS)).toEqual(['M retrying 0/1/2 -']);
});

test('an attempt that waits for a connection for several leases is quarantined by nobody', async () => {
  const here = await bank();
  const settings = { leaseMs: 300, deathsMax: 1, databaseAfterMs: 600_000, stopAfterMs: 600_000 };
  let suspected = false;
  const watcher = await here.inbox(settings, (pool) =>
    through(pool, async (text, query) => {
      const answer = await query();
      if (SUSPECTS.test(text)) suspected = true;
      return answer;
    }),
  );
  watcher.handle('debit', () => undefined);
  let goOn = (): void => undefined;
  const starved = new Promise<void>((resolve) => (goOn = resolve));
  let began = false;
  const worker = await here.inbox(settings, (pool) =>
    through(pool, async (text, query) => {
      if (began && text.startsWith('begin')) await starved;
      const answer = await query();
      if (BEGINS.test(text)) began = true;
      return answer;
    }),
  );
  worker.handle('debit', ({ id }, { tx }) => tx.query('insert into effect (name) values ($1)', [id]));
  const received = worker.receive(delivery('M', { redelivered: true }));
  await eventually(() => began, Boolean);
  watcher.start();
  await eventually(() => suspected, Boolean);
  await new Promise((resolve) => setTimeout(resolve, 5 * settings.leaseMs));
  goOn();
  expect(await received).toBe('done');
  // It does not wait until it would have looked again.
  await watcher.stop();
  expect([await here.rows(ROWS), await here.rows('select name from effect'), here.alarms]).toEqual([
    ['M done 0/0/1 -'],
    ['M'],
    [],
  ]);
});
