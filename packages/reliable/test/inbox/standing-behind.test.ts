import { describe, expect, test } from 'vitest';
import { letNextGo, putOff } from '../../src/inbox/standing-behind.ts';
import { createMonitor } from '../../src/index.ts';
import { perform, sessionOf } from '../../src/sql/session.ts';
import { sqlite } from '../../src/sql/sqlite.ts';
import { backends, rowsOf } from '../support/backends.ts';
import { inboxWorld, type InboxWorld } from './inbox-world.ts';

const both = backends.filter(({ name }) => name === 'a libsql handle' || name === 'an asynchronous handle');
const DAY_MS = 86_400_000;

/** How long it is until a row is due. */
function dueIn(here: InboxWorld, id: string): number {
  return Number(rowsOf(here.raw, `select due_at from tallystick_inbox where id = '${id}'`)[0]!['due_at']) - here.time.now();
}

/** Rows that are due, each with a body. */
function dueRows(here: InboxWorld, rows: readonly { id: string; key: string | null; state?: string; shard?: number }[]): void {
  const now = here.time.now();
  here.raw.exec('begin');
  for (const { id, key, state = 'waiting', shard = 0 } of rows) {
    const quoted = key === null ? 'null' : `'${key}'`;
    here.raw.exec(
      `insert into tallystick_inbox (id, channel, shard, message_key, business_key, topic, mode, state, message_type, attempts, tries, due_at,
       created_at, changed_at, body_bytes)
       values ('${id}', 'wallet', ${shard}, ${quoted}, ${quoted}, 't', 'deferred', '${state}', 'debit', 0, 0, ${now}, ${now}, ${now}, 2)`,
    );
    here.raw.exec(`insert into tallystick_inbox_body (id, channel, body) values ('${id}', 'wallet', '{}')`);
  }
  here.raw.exec('commit');
}

describe.each(both)('what stands behind an earlier message of its key, on $name,', (backend) => {
  /** The first of key a fails while `fails`; two stand behind it, and were met by a look. */
  async function heldUp(settings: { attemptsMax?: number; deadKeys?: 'hold' | 'pass' } = {}) {
    const here = await inboxWorld(backend, { retryFirstMs: 1000, ...settings });
    const failing = new Set(['a1']);
    here.inbox.handle('*', ({ id }) => {
      if (failing.has(id)) throw new Error('not yet');
      here.effect(id);
    });
    for (const id of ['a1', 'a2', 'a3']) await here.receive({ id, key: 'a' });
    await here.during(here.inbox.drain());
    return { ...here, failing };
  }

  test('is put off when a look meets it: no other look reads or writes it', async () => {
    const here = await heldUp();
    const due = ['a2', 'a3'].map((id) => dueIn(here, id));
    for (const ms of due) {
      expect(ms).toBeGreaterThanOrEqual(2500);
      expect(ms).toBeLessThanOrEqual(5000);
    }
    here.time.advance(900);
    await here.during(here.inbox.drain());
    expect(['a2', 'a3'].map((id) => dueIn(here, id))).toEqual(due.map((ms) => ms - 900));
  });

  test('is put off for longer the longer it has waited, an hour at most', async () => {
    const here = await heldUp({ attemptsMax: 1 });
    here.time.advance(60_000);
    await here.during(here.inbox.drain());
    expect(dueIn(here, 'a2')).toBeGreaterThanOrEqual(30_000);
    expect(dueIn(here, 'a2')).toBeLessThanOrEqual(60_000);
    here.time.advance(DAY_MS);
    await here.during(here.inbox.drain());
    expect(dueIn(here, 'a2')).toBeGreaterThanOrEqual(1_800_000);
    expect(dueIn(here, 'a2')).toBeLessThanOrEqual(3_600_000);
  });

  test('goes one by one, in order, as soon as the one before has had its effect, however long it was put off', async () => {
    const here = await heldUp();
    here.raw.exec(`update tallystick_inbox set due_at = due_at + ${DAY_MS} where state = 'waiting'`);
    here.failing.clear();
    here.time.advance(1000);
    await here.during(here.inbox.drain());
    expect(here.effects()).toEqual(['a1', 'a2', 'a3']);
  });

  test('goes when a person buries the one before, one by one or many at once', async () => {
    const here = await heldUp({ attemptsMax: 1 });
    here.failing.add('a2');
    const monitor = createMonitor(here.handle, { table: 'tallystick_inbox', channel: 'wallet', clock: here.time });
    expect(await monitor.bury('a1', 'of no use')).toBe(true);
    await here.during(here.inbox.drain());
    expect(here.rows()).toEqual(['buried 1/1/1 failed', 'dead 1/1/1 failed', 'waiting 0/0/0 -']);
    await monitor.act('bury', { states: ['dead'] }, { execute: true });
    await here.during(here.inbox.drain());
    expect([here.effects(), here.rows().slice(0, 2)]).toEqual([['a3'], ['buried 1/1/1 failed', 'buried 1/1/1 failed']]);
  });

  test('goes when the one before dies, where the dead hold nobody', async () => {
    const here = await heldUp({ attemptsMax: 2, deadKeys: 'pass' });
    expect(here.rows()[0]).toBe('retrying 1/1/1 failed');
    here.time.advance(1000);
    await here.during(here.inbox.drain());
    expect([here.effects(), here.rows()[0]]).toEqual([['a2', 'a3'], 'dead 2/2/2 failed']);
  });

  test('does not go before a dead one that stands earlier still', async () => {
    const here = await heldUp({ attemptsMax: 1 });
    here.failing.clear();
    // As a person may have it: the second is tried while the first is dead.
    here.raw.exec("update tallystick_inbox set state = 'done', message_key = null where id = 'a2'");
    here.raw.exec("update tallystick_inbox set due_at = 0 where id = 'a3'");
    await here.during(here.inbox.drain());
    expect(here.effects()).toEqual([]);
    await here.during(here.inbox.retry('a1'));
    await here.during(here.inbox.drain());
    expect(here.effects()).toEqual(['a1', 'a3']);
  });

  test('goes by itself after a few seconds where nobody has let it go: somebody else’s SQL, a moment between two processes', async () => {
    const here = await heldUp();
    here.raw.exec("update tallystick_inbox set state = 'buried' where id = 'a1'");
    here.time.advance(5000);
    await here.during(here.inbox.drain());
    expect(here.effects()).toEqual(['a2', 'a3']);
  });
});

test('a row that was let go after a look had read it stays let go, also within the same millisecond', async () => {
  const here = await inboxWorld(backends[0]!);
  dueRows(here, [
    { id: 'a1', key: 'a', state: 'dead' },
    { id: 'a2', key: 'a' },
  ]);
  const read = { sequence: 2, dueAt: here.time.now() };
  const session = sessionOf(here.handle);
  const now = here.time.now();
  await perform(session, letNextGo(sqlite, { channel: 'wallet', key: 'a', sequence: 1 }, now));
  expect(dueIn(here, 'a2')).toBe(-1);
  await perform(session, putOff(sqlite, [read], now));
  expect(dueIn(here, 'a2')).toBe(-1);
  await perform(session, putOff(sqlite, [{ ...read, dueAt: now - 1 }], now));
  expect(dueIn(here, 'a2')).toBeGreaterThan(0);
  await perform(session, letNextGo(sqlite, { channel: 'wallet', key: 'a', sequence: 1 }, now));
  expect(dueIn(here, 'a2')).toBe(0);
});

describe.each(both)('a look for due rows, on $name,', (backend) => {
  test('finds the message of a free key behind thousands that stand behind others', async () => {
    const here = await inboxWorld(backend);
    const behind = Array.from({ length: 3000 }, (_, n) => ({ id: `b${n}`, key: `held${n % 3}` }));
    const dead = ['held0', 'held1', 'held2'].map((key) => ({ id: key, key, state: 'dead' }));
    dueRows(here, [...dead, ...behind, { id: 'free', key: 'free' }]);
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    await here.during(here.inbox.drain());
    expect(here.effects()).toEqual(['free']);
    expect(
      rowsOf(here.raw, `select count(*) as due from tallystick_inbox where state = 'waiting' and due_at <= ${here.time.now()}`),
    ).toEqual([{ due: 0 }]);
  });

  test('finds its own behind thousands that another process has not come to, and those when it has their ranges', async () => {
    const here = await inboxWorld(backend, { rangesMax: 8, leaseMs: 5000, stopAfterMs: 0 });
    const { inbox } = here.another();
    await here.during(here.inbox.drain());
    await here.during(inbox.drain());
    const held = rowsOf(
      here.raw,
      `select first_shard from tallystick_lease where owner in
      (select owner from tallystick_lease where first_shard = 0)`,
    ).map((row) => Number(row['first_shard']));
    const others = Array.from({ length: 16 }, (_, n) => n * 16).filter((shard) => !held.includes(shard));
    dueRows(here, [
      ...Array.from({ length: 3000 }, (_, n) => ({ id: `o${n}`, key: null, shard: others[n % 8]! })),
      { id: 'mine', key: null, shard: held[0]! },
    ]);
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    await here.during(here.inbox.drain());
    expect(here.effects()).toEqual(['mine']);
  });

  test('begins with another state each time: many that are retried do not keep one that waits from its turn', async () => {
    const here = await inboxWorld(backend, { retriesAtOnce: 1, attemptsMax: 1 });
    dueRows(here, [
      ...Array.from({ length: 30 }, (_, n) => ({ id: `r${n}`, key: null, state: 'retrying' })),
      { id: 'w', key: null },
    ]);
    const tried: string[] = [];
    here.inbox.handle('debit', ({ id }) => void tried.push(id));
    await here.during(here.inbox.drain());
    expect(tried).toHaveLength(31);
    expect(tried.indexOf('w')).toBeLessThan(3);
  });

  test('comes back to a row that could not be begun', async () => {
    const here = await inboxWorld(backend, { retriesAtOnce: 1 });
    dueRows(
      here,
      ['m1', 'm2', 'm3'].map((id) => ({ id, key: null })),
    );
    here.inbox.handle('debit', ({ id }) => here.effect(id));
    here.raw.exec(
      `create trigger away before update on tallystick_inbox when old.id = 'm1' begin select raise(abort, 'away'); end`,
    );
    await here.during(here.inbox.drain());
    here.raw.exec('drop trigger away');
    here.time.advance(60_000);
    await here.during(here.inbox.drain());
    expect(here.effects().sort()).toEqual(['m1', 'm2', 'm3']);
  });
});
