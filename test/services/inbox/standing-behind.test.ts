/** A great many messages stand behind earlier ones of their keys that fail: what that costs everybody else, counted and not timed. */
import { describe, expect, test } from 'vitest';
import { createMonitor } from '@tallystick/reliable';
import type { Pool } from 'pg';
import { bank, delivery, eventually, type Bank } from './bank.ts';

const BEHIND = 20_000;
const effects = 'select name from effect order by ctid';

/** Due rows of a hundred keys whose first is dead, a day old, and after them one of a free key. */
async function fill(pool: Pool): Promise<void> {
  const ago = '(extract(epoch from now()) * 1000)::bigint - 86400000';
  const columns = `id, channel, shard, message_key, business_key, topic, mode, message_type, attempts, tries, created_at, changed_at, body_bytes, state, due_at`;
  await pool.query(`insert into tallystick_inbox (${columns})
    select 'D' || g, 'wallet', g % 256, 'k' || g % 100, 'k' || g % 100, 't', 'deferred', 'debit', 0, 0, ${ago}, ${ago}, 2,
      case when g < 100 then 'dead' else 'waiting' end, ${ago} + g from generate_series(0, ${BEHIND + 99}) as g`);
  await pool.query(`insert into tallystick_inbox (${columns})
    values ('free', 'wallet', 7, 'free', 'free', 't', 'deferred', 'debit', 0, 0, 0, 0, 2, 'waiting', ${ago} + 1000000)`);
  await pool.query("insert into tallystick_inbox_body (id, channel, body) select id, channel, '{}' from tallystick_inbox");
}

/** How many rows were found there by the index of due rows, on connections that have ended. */
async function dueRead(here: Bank): Promise<number> {
  const [read] = await here.rows("select idx_tup_fetch from pg_stat_all_indexes where indexrelname = 'tallystick_inbox_due'");
  return Number(read);
}

describe(`beside ${BEHIND} due messages that stand behind dead ones`, () => {
  test('the message of a free key leaves, and looks do not read them again and again', async () => {
    const here = await bank();
    await fill(here.pool);
    let own: Pool | undefined;
    const inbox = await here.inbox({ sweepIntervalMs: 3_600_000 }, (pool) => (own = pool));
    inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect values ($1)', [id]));
    for (let looks = 0; looks < 10; looks++) await inbox.drain();
    expect(await here.rows(effects)).toEqual(['free']);
    await inbox.stop();
    // What a connection has read is told when it ends.
    const clients = await Promise.all(Array.from({ length: own!.totalCount }, () => own!.connect()));
    const pids: number[] = [];
    for (const client of clients) pids.push((await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]!.pid);
    for (const client of clients) client.release(true);
    await eventually(
      () => here.rows(`select count(*) from pg_stat_activity where pid in (${pids.join(', ')})`),
      ([count]) => count === '0',
    );
    const read = await eventually(
      () => dueRead(here),
      (count) => count >= BEHIND,
    );
    // Each once, and a few more.
    expect(read).toBeLessThan(2 * BEHIND);
  });
});

describe('messages that were put off for an hour', () => {
  /** The first of key a has failed, `count` stand behind it; all were put off, and two processes share the work. */
  async function heldUp(count: number, settings: { attemptsMax?: number } = {}) {
    const here = await bank();
    const failing = new Set(['a0']);
    const inboxes = await Promise.all([0, 1].map(() => here.inbox({ rangesMax: 8, retryMaxMs: 100, ...settings })));
    for (const inbox of inboxes)
      inbox.handle('debit', async ({ id }, { tx }) => {
        if (failing.has(id)) throw new Error('not yet');
        await tx.query('insert into effect values ($1)', [id]);
      });
    for (let n = 0; n <= count; n++) await inboxes[n % 2]!.receive(delivery(`a${n}`, { key: 'a' }));
    for (const inbox of inboxes) await inbox.drain();
    await here.pool.query("update tallystick_inbox set due_at = due_at + 3600000 where state = 'waiting'");
    for (const inbox of inboxes) inbox.start();
    return { here, failing, inboxes, all: Array.from({ length: count + 1 }, (_, n) => `a${n}`) };
  }

  const settled = (here: Bank, count: number): Promise<string[]> =>
    eventually(
      () => here.rows(effects),
      (names) => names.length >= count,
    );

  test('go in order when the first has had its effect', async () => {
    const { here, failing, all } = await heldUp(300);
    failing.clear();
    expect(await settled(here, all.length)).toEqual(all);
  });

  test('go in order when a dead first one is queued anew, and when one of them dies and is buried', async () => {
    const { here, failing, all } = await heldUp(20, { attemptsMax: 1 });
    const monitor = createMonitor(here.pool, { table: 'tallystick_inbox', channel: 'wallet' });
    failing.clear();
    failing.add('a10');
    expect(await monitor.retryNow('a0')).toBe(true);
    await eventually(
      () => here.rows("select id from tallystick_inbox where state = 'dead'"),
      ([id]) => id === 'a10',
    );
    expect(await here.rows(effects)).toEqual(all.slice(0, 10));
    const report = await monitor.act('bury', { ids: ['a10'] }, { execute: true });
    expect(report.changed).toBeLessThan(2 * BEHIND);
    expect(await settled(here, all.length - 1)).toEqual(all.filter((id) => id !== 'a10'));
  });

  test('go when they were put off while the attempt at the first was under way', async () => {
    const here = await bank();
    const [first, other] = await Promise.all([here.inbox(), here.inbox({ sweepIntervalMs: 3_600_000 })]);
    let go = (): void => undefined;
    const may = new Promise<void>((resolve) => (go = resolve));
    let fails = true;
    first!.handle('debit', async ({ id }, { tx }) => {
      if (fails) throw new Error('not yet');
      if (id === 'a0') await may;
      await tx.query('insert into effect values ($1)', [id]);
    });
    await first!.receive(delivery('a0', { key: 'a' }));
    fails = false;
    await other!.receive(delivery('a1', { key: 'a' }));
    await here.pool.query('update tallystick_inbox set due_at = 0, created_at = created_at - 3600000');
    first!.start();
    await eventually(
      () => here.rows("select started from tallystick_inbox where id = 'a0'"),
      ([started]) => started === '2',
    );
    // Its effect is there and not committed; a look meets what stands behind it.
    first!.wake();
    await eventually(
      () => here.rows("select due_at > 0 from tallystick_inbox where id = 'a1'"),
      ([isPutOff]) => isPutOff === 'true',
    );
    go();
    expect(await settled(here, 2)).toEqual(['a0', 'a1']);
  });
});
