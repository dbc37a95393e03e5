/** What the relay does when its database is read and takes no writes, is replaced, is emptied, or is gone without a word. */
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { until } from '../support/live.ts';
import { silencer } from '../support/silencer.ts';
import { drained, world, type World } from './support.ts';

const REFUSES = `create function tallystick_refuses() returns trigger language plpgsql as
  $$ begin raise exception 'no deletes today' using errcode = '42501'; end $$;
  create trigger refuses before delete on tallystick_outbox for each row execute function tallystick_refuses()`;

test('what cannot be written down is not pushed again and again: one message probes, ever more seldom, and it is told once', async () => {
  const here = await world();
  await here.add(...Array.from({ length: 200 }, (_, n) => ({ body: `${n}` })));
  await here.pool.query(REFUSES);
  here.relay({ batchRows: 50, leaseMs: 15_000 }).start();
  await until('six pushes could not be written down', () => pushes(here.broker.stored) >= 6);
  // The batches that were in the air together, and then single messages. Unbraked it is tens of thousands by now.
  expect(here.broker.stored.length).toBeLessThan(4 * 50 + 20);
  expect(here.alarms.map(({ kind }) => kind)).toEqual(['database']);
  await here.pool.query('drop trigger refuses on tallystick_outbox');
  await drained(here);
  await until('its end is told', () => here.alarms.length === 2);
  expect(here.alarms[1]!.kind).toBe('database-over');
});

/** How often the message that was pushed most often was. */
function pushes(stored: readonly { readonly id: string }[]): number {
  const times = new Map<string, number>();
  for (const { id } of stored) times.set(id, (times.get(id) ?? 0) + 1);
  return Math.max(0, ...times.values());
}

test('a settling that runs into statement_timeout again and again is told once, and its end', async () => {
  const here = await world();
  await here.add({ body: '1' });
  const { pool, unlock } = await lockedFromFirstPush(here);
  const relay = here.relay({ db: pool, leaseMs: 600_000 });
  relay.start();
  await until('it is told', () => here.alarms.length > 0);
  expect([here.alarms.map(({ kind }) => kind), here.alarms[0]]).toEqual([
    ['database'],
    { kind: 'database', error: expect.objectContaining({ code: '57014' }) as unknown },
  ]);
  await unlock();
  await until('its end is told', () => here.alarms.length > 1);
  expect(here.alarms.map(({ kind }) => kind)).toEqual(['database', 'database-over']);
  expect([await here.left(), here.broker.stored.length]).toEqual([0, 1]);
  await relay.stop();
});

test('what was pushed and cannot be written down for longer than a lease is not pushed again: its leases are renewed meanwhile', async () => {
  const here = await world();
  await here.add({ body: '1' });
  const { pool, unlock } = await lockedFromFirstPush(here);
  // Two thirds of it are the longest pause of this process that costs no lease.
  const leaseMs = 6000;
  const relay = here.relay({ db: pool, leaseMs });
  relay.start();
  await until('it is told', () => here.alarms.length > 0);
  const leasedUntil = async (): Promise<number> =>
    Number((await here.pool.query<{ at: string }>('select min(expires_at) as at from tallystick_lease')).rows[0]!.at);
  const first = await leasedUntil();
  await until('a lease has passed', async () => (await leasedUntil()) > first + leaseMs);
  await unlock();
  await until('it is written down', async () => (await here.left()) === 0);
  expect([here.broker.stored.length, here.alarms.map(({ kind }) => kind)]).toEqual([1, ['database', 'database-over']]);
  await relay.stop();
});

/** From the first push on nothing can be written to the outbox until `unlock()`; only meanwhile have the pool's statements a time limit. */
async function lockedFromFirstPush(here: World): Promise<{ readonly pool: pg.Pool; readonly unlock: () => Promise<void> }> {
  const other = await here.pool.connect();
  let state: 'before' | 'locked' | 'after' = 'before';
  here.broker.before = async () => {
    if (state !== 'before') return;
    await other.query('begin; lock table tallystick_outbox in exclusive mode');
    state = 'locked';
  };
  const pool = poolTo(here.database.url);
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...given: unknown[]) => unknown;
    const limited = (...given: unknown[]): unknown => {
      void (query(`set statement_timeout = ${state === 'locked' ? 50 : 0}`) as Promise<unknown>).catch(() => undefined);
      return query(...given);
    };
    Object.assign(client, { query: limited });
  });
  return {
    pool,
    unlock: async () => {
      state = 'after';
      await other.query('commit');
      other.release();
    },
  };
}

test('connections to a server that has become read-only are left', async () => {
  const here = await world();
  const pool = poolTo(here.database.url);
  let replaced = false;
  pool.on('connect', (client) => {
    if (!replaced) void client.query('set default_transaction_read_only = on').catch(() => undefined);
  });
  await here.add({ body: '1' });
  const relay = here.relay({ db: pool });
  relay.start();
  await until('the relay has been refused', () => here.alarms.some(({ kind }) => kind === 'database'));
  expect(await here.left()).toBe(1);
  replaced = true;
  await drained(here);
  await relay.stop();
});

test('leases that somebody has deleted are made again', async () => {
  const here = await world();
  here.relay().start();
  await here.add({ body: '1' });
  await drained(here);
  await here.pool.query('delete from tallystick_lease');
  await here.add({ body: '2' });
  await drained(here);
});

test('a server that is gone without a word is waited for no longer than databaseAfterMs', async () => {
  const here = await world();
  const wire = await silencer(here.database.url);
  const pool = poolTo(wire.url);
  const relay = here.relay({ db: pool, databaseAfterMs: 500 });
  relay.start();
  await here.add({ body: '1' });
  await drained(here);
  wire.silence();
  await here.add({ body: '2' });
  await drained(here);
  expect(here.alarms.map(({ kind }) => kind)).toContain('database');
  await relay.stop();
});

function poolTo(connectionString: string): pg.Pool {
  const pool = new pg.Pool({ connectionString, max: 4 });
  pool.on('error', () => undefined);
  onTestFinished(() => pool.end());
  return pool;
}

test('leases that were taken without the answer coming back are taken again, not waited for', async () => {
  const here = await world();
  const pool = poolTo(here.database.url);
  let takes = 0;
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown>;
    const cut = async (...given: unknown[]): Promise<unknown> => {
      const answer = await query(...given);
      if (String(given[0]).startsWith('update "tallystick_lease"') && ++takes === 5) throw new Error('the connection was cut');
      return answer;
    };
    (client as { query: unknown }).query = cut;
  });
  await here.add({ body: '1' });
  // An hour: whoever waits for a lease to expire waits too long.
  const relay = here.relay({ db: pool, leaseMs: 3_600_000 });
  relay.start();
  await drained(here);
  expect(takes).toBeGreaterThan(5);
  await relay.stop();
});

test('a failed message that another failed one of its key held back follows it at once, not at the next sweep', async () => {
  const here = await world();
  await here.add({ key: 'k', body: 'k 0' }, { key: 'k', body: 'k 1' });
  // The earlier one is due later.
  await here.pool.query(`update tallystick_outbox set state = 'retrying', tries = 1,
    due_at = floor(extract(epoch from clock_timestamp()) * 1000)
      + case sequence when (select min(sequence) from tallystick_outbox) then 1200 else 300 end`);
  here.relay({ leaseMs: 3_600_000, sweepIntervalMs: 3_600_000 }).start();
  await drained(here);
  expect(here.broker.stored.map(({ body }) => Buffer.from(body).toString())).toEqual(['k 0', 'k 1']);
});

/** A pool on which the answer to the first settlement that changes rows is lost; `meanwhile` happens before it is ordered again. */
function losingAnswer(
  url: string,
  meanwhile?: () => Promise<unknown>,
): { readonly pool: pg.Pool; readonly settlements: () => number } {
  const pool = poolTo(url);
  let settlements = 0;
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown>;
    const losing = async (...given: unknown[]): Promise<unknown> => {
      const answer = await query(...given);
      const text = typeof given[0] === 'string' ? given[0] : (given[0] as { text: string }).text;
      if (!text.includes('update "tallystick_outbox" as h') || settlements++ > 0) return answer;
      await meanwhile?.();
      throw new Error('the connection was cut');
    };
    (client as { query: unknown }).query = losing;
  });
  return { pool, settlements: () => settlements };
}

test('a confirmation that was written down without the answer coming back is counted once', async () => {
  const here = await world();
  const { pool, settlements } = losingAnswer(here.database.url);
  await here.add({ body: '1' });
  await here.pool.query('update tallystick_outbox set confirm_within = 60000');
  const relay = here.relay({ db: pool });
  await relay.drain();
  const { rows } = await here.pool.query('select state, started from tallystick_outbox');
  expect([settlements(), rows]).toEqual([2, [{ state: 'sent', started: 1 }]]);
  await relay.stop();
});

test.each([
  ['is told of as dead', undefined, 1, 'dead'],
  ['and that a person wanted tried again before it was written once more, is not', 'retrying', 0, 'retrying'],
])('a message that was given up without the answer coming back %s', async (_, wanted, dead, state) => {
  const here = await world();
  const again = `update tallystick_outbox set state = $1, started = 0, due_at = 4000000000000`;
  const meanwhile = wanted === undefined ? undefined : () => here.pool.query(again, [wanted]);
  const { pool, settlements } = losingAnswer(here.database.url, meanwhile);
  await here.add({ body: '1' });
  await here.pool.query("update tallystick_outbox set state = 'sent', started = 3, confirm_within = 60000");
  const relay = here.relay({ db: pool, confirmAttemptsMax: 3 });
  await relay.drain();
  const { rows } = await here.pool.query('select state from tallystick_outbox');
  expect([settlements(), rows]).toEqual([2, [{ state }]]);
  expect([relay.counters.dead, here.alarms.filter(({ kind }) => kind === 'dead').length]).toEqual([dead, dead]);
  await relay.stop();
});
