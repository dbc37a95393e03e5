/** From a failure to its end, on the consumer's side alone: retried, dead, told, mended by a person; and the window in which repeats are known. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { createInbox, createMonitor, createRelay, type Inbox, type InboxAlarm, type OutgoingMessage } from '@tallystick/reliable';
import { Pool } from 'pg';
import { limitByHand } from '../support/limit-by-hand.ts';
import { silencer } from '../support/silencer.ts';
import { bank, delivery, eventually, ROWS, type Bank } from './bank.ts';

const effects = 'select name from effect order by name';

describe('a message that fails', () => {
  test('is retried by whoever has its range, dies at the cap, is told once, and a person’s requeue mends it', async () => {
    const here = await bank();
    const inboxes = await Promise.all([
      here.inbox({ attemptsMax: 3, rangesMax: 8 }),
      here.inbox({ attemptsMax: 3, rangesMax: 8 }),
    ]);
    let mended = false;
    for (const inbox of inboxes) {
      inbox.handle('debit', async ({ id }, { tx, emit }) => {
        await tx.query('insert into effect values ($1)', [id]);
        await emit({ topic: 'debited', body: id });
        if (!mended && id.startsWith('bad')) throw new Error(`account of ${id} is closed`);
      });
      inbox.start();
    }
    const ids = Array.from({ length: 12 }, (_, i) => (i % 3 === 0 ? `bad${i}` : `ok${i}`));
    const bad = ids.filter((id) => id.startsWith('bad'));
    const receipts = await Promise.all(ids.map((id, i) => inboxes[i % 2]!.receive(delivery(id))));
    expect(new Set(receipts)).toEqual(new Set(['done']));
    await eventually(
      () => here.alarms.length,
      (count) => count === bad.length,
    );
    expect(await here.rows(effects)).toEqual(ids.filter((id) => id.startsWith('ok')).sort());
    expect(here.alarms.map((alarm) => alarm.kind)).toEqual(bad.map(() => 'dead'));
    expect((await here.rows(ROWS)).filter((row) => row.includes('dead')).sort()).toEqual(
      bad.map((id) => `${id} dead 3/3/3 failed`).sort(),
    );
    mended = true;
    const monitor = createMonitor(here.pool, { table: 'tallystick_inbox', channel: 'wallet' });
    for (const id of bad) expect(await monitor.retryNow(id)).toBe(true);
    await eventually(
      () => here.rows(effects),
      (names) => names.length === ids.length,
    );
    expect(await here.rows(effects)).toEqual([...ids].sort());
    // What the failed attempts emitted never left.
    expect(await here.rows('select count(*) from tallystick_outbox')).toEqual([String(ids.length)]);
  });

  test('is not forgotten with a server that is gone without a word: that is told, and retries and deliveries go on', async () => {
    const here = await bank();
    const wire = await silencer(here.url);
    const pool = new Pool({ connectionString: wire.url, max: 2 });
    pool.on('error', () => undefined);
    const alarms: InboxAlarm[] = [];
    const databaseAfterMs = 123_456;
    const limit = limitByHand(databaseAfterMs);
    wire.onSwallowed = () => limit.strike();
    const inbox = createInbox(pool, {
      consumer: 'wallet',
      durability: 'trust',
      databaseAfterMs,
      timers: limit.timers,
      sweepIntervalMs: 50,
      retryFirstMs: 50,
      leaseMs: 3_000,
      onAlarm: (alarm) => alarms.push(alarm),
    });
    onTestFinished(async () => {
      await inbox.stop();
      // A connection that was being made when the wire fell silent ends with the wire.
      void pool.end();
    });
    let fails = true;
    inbox.handle('debit', async ({ id }, { tx }) => {
      if (fails) throw new Error('not yet');
      await tx.query('insert into effect values ($1)', [id]);
    });
    inbox.start();
    expect(await inbox.receive(delivery('M1'))).toBe('done');
    fails = false;
    wire.silence();
    const receipts: string[] = [];
    while (!receipts.includes('done')) receipts.push(await inbox.receive(delivery('M2')));
    await eventually(
      () => here.rows(effects),
      (names) => names.length === 2,
    );
    expect(await here.rows(effects)).toEqual(['M1', 'M2']);
    await eventually(
      () => alarms.map(({ kind }) => kind),
      (kinds) => kinds.includes('database-over'),
    );
    // Whoever was on a connection that somebody else gave up is told so by the driver.
    expect(alarms[0]).toMatchObject({ kind: 'database' });
    expect(String((alarms[0] as { error?: unknown }).error)).toMatch(/has not answered|NO_ANSWER|Connection terminated/);
  });

  test('keeps no connection of a pool of two from the others when the server of both is gone without a word', async () => {
    const here = await bank();
    const wire = await silencer(here.url);
    const pool = new Pool({ connectionString: wire.url, max: 2 });
    pool.on('error', () => undefined);
    const inbox = createInbox(pool, {
      consumer: 'wallet',
      durability: 'trust',
      databaseAfterMs: 200,
      onAlarm: () => undefined,
    });
    inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect values ($1)', [id]));
    for (const client of await Promise.all([pool.connect(), pool.connect()])) client.release();
    wire.silence();
    const receipts: string[] = [];
    for (const id of ['M1', 'M2']) void inbox.receive(delivery(id)).then((receipt) => receipts.push(receipt));
    // What waits behind the two gets a connection of the server that answers, and nothing is left lent.
    await eventually(
      () => [receipts.length, pool.idleCount === pool.totalCount, pool.waitingCount],
      ([received, idle, waiting]) => received === 2 && idle === true && waiting === 0,
    );
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await inbox.stop();
    await pool.end();
  });

  test('is no outage, and holds no connection, while another delivery of it is at work for longer than databaseAfterMs', async () => {
    const here = await bank();
    const first = await here.inbox();
    let end = (): void => undefined;
    const begun = new Promise<void>((begins) => {
      first.handle('debit', async ({ id }, { tx }) => {
        await tx.query('insert into effect values ($1)', [id]);
        const ended = new Promise<void>((ends) => (end = ends));
        begins();
        await ended;
      });
    });
    const received = first.receive(delivery('M1'));
    await begun;
    let pool: Pool | undefined;
    // The limit never strikes: what is refused is refused by the server, before it would.
    const limit = { databaseAfterMs: 400, timers: limitByHand(400).timers };
    let patience: string[] = [];
    const second = await here.inbox({ retriesAtOnce: 2, ...limit }, (own) => {
      pool = own;
      patience = lockLimits(own);
    });
    const limits: string[] = [];
    second.handle('debit', async ({ id }, { tx }) => {
      const { rows } = await tx.query<{ lock_timeout: string }>('show lock_timeout');
      limits.push(rows[0]!.lock_timeout);
      await tx.query('insert into effect values ($1)', [id]);
    });
    for (const redelivered of [false, true, false, true])
      expect(await second.receive(delivery('M1', { redelivered }))).toBe('again');
    expect([pool!.idleCount, here.alarms]).toEqual([pool!.totalCount, []]);
    expect(new Set(patience)).toEqual(new Set(['200']));
    // What the key may wait is not what a handler's own statements may.
    expect(await second.receive(delivery('M2'))).toBe('done');
    expect(limits).toEqual(['0']);
    end();
    expect([await received, await second.receive(delivery('M1'))]).toEqual(['done', 'done']);
    expect(await here.rows(effects)).toEqual(['M1', 'M2']);
  });

  /** Ten messages of key a fail until they are mended, while their process changes; the order of their effects. */
  async function ordered(here: Bank, order: 'wait' | 'pass'): Promise<string[]> {
    let fail = true;
    const consume = async (name: string): Promise<Inbox<Pool>> => {
      const inbox = await here.inbox({ leaseMs: 500, order, retryMaxMs: 200 });
      inbox.handle('debit', async ({ id, key }, { tx }) => {
        if (fail && key === 'a') throw new Error('not yet');
        await tx.query('insert into effect values ($1)', [id]);
      });
      inbox.start();
      for (let i = 0; i < 5; i++) for (const key of ['a', 'b']) await inbox.receive(delivery(`${key}${name}${i}`, { key }));
      return inbox;
    };
    await (await consume('1')).stop();
    await consume('2');
    expect(await here.rows("select count(*) from effect where name like 'b%'")).toEqual(['10']);
    // The first of the key has been tried a few times, and where they do not wait all have.
    const least = order === 'wait' ? 'max' : 'min';
    await eventually(
      () => here.rows(`select ${least}(tries) from tallystick_inbox where state <> 'done'`),
      ([tries]) => Number(tries) >= 5,
    );
    fail = false;
    await eventually(
      () => here.rows('select count(*) from effect'),
      ([count]) => count === '20',
    );
    return here.rows("select name from effect where name like 'a%' order by ctid");
  }

  const inOrder = ['10', '11', '12', '13', '14', '20', '21', '22', '23', '24'].map((name) => `a${name}`);

  test('holds back the later ones of its key and nobody else; order is kept over retries and a change of hands', async () => {
    expect(await ordered(await bank(), 'wait')).toEqual(inOrder);
  });

  test('and where later ones pass it their effects come in whatever order', async () => {
    const effects = await ordered(await bank(), 'pass');
    expect(effects).not.toEqual(inOrder);
    expect(effects.sort()).toEqual(inOrder);
  });
});

describe('a call that a handler makes', () => {
  test('is there if the handler commits, and leaves through a relay over the call table, in order per key', async () => {
    const here = await bank();
    const inbox = await here.inbox();
    inbox.handle('debit', async ({ id }, { call }) => {
      await call({ url: `https://bank.example/${id}`, body: { id }, key: 'k' });
      if (id === 'bad') throw new Error('no');
    });
    for (const id of ['1', 'bad', '2']) await inbox.receive(delivery(id));
    const calls: OutgoingMessage[] = [];
    const relay = createRelay({
      db: here.pool,
      table: 'tallystick_call',
      transport: {
        publish: (batch) => {
          calls.push(...batch);
          return Promise.resolve(batch.map(() => ({ outcome: 'confirmed' as const })));
        },
      },
    });
    await relay.drain();
    await relay.stop();
    expect(calls.map(({ headers, body }) => [headers?.get('tallystick-url'), Buffer.from(body).toString()])).toEqual([
      ['https://bank.example/1', '{"id":"1"}'],
      ['https://bank.example/2', '{"id":"2"}'],
    ]);
  });
});

describe('keys', () => {
  /** A message comes again when the schedule has forgotten what is older than a minute; both are `ageMs` older by then. Their effects. */
  async function repeated(here: Bank, ageMs: { readonly M1: number; readonly other: number }): Promise<string[]> {
    const inbox = await here.inbox({ keepKeysMs: 60_000, redeliveryMs: 0, forgetIntervalMs: 20, oldMessages: 'handle' });
    inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect values ($1)', [id]));
    for (const [id, ms] of Object.entries(ageMs)) {
      await inbox.receive(delivery(id));
      await here.pool.query('update tallystick_inbox set due_at = due_at - $1 where id = $2', [ms, id]);
    }
    inbox.start();
    await eventually(
      () => here.rows('select id from tallystick_inbox'),
      (ids) => !ids.includes('other'),
    );
    await inbox.receive(delivery('M1'));
    return here.rows(effects);
  }

  test('outlive the time in which messages come again: a repeat inside it has no effect', async () => {
    expect(await repeated(await bank(), { M1: 0, other: 61_000 })).toEqual(['M1', 'other']);
  });

  test('and a window that is shorter lets the effect happen twice, which is why it is refused', async () => {
    expect(await repeated(await bank(), { M1: 62_000, other: 61_000 })).toEqual(['M1', 'M1', 'other']);
    const here = await bank();
    await expect(here.inbox({ keepKeysMs: 100 })).rejects.toThrow(/keepKeysMs must be at least redeliveryMs/);
  });

  test('are young again when their message comes again, by the server’s clock: whatever repeats for ever has one effect', async () => {
    const here = await bank();
    const inbox = await here.inbox();
    inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect values ($1)', [id]));
    const once = async (): Promise<string> => {
      const client = await here.pool.connect();
      try {
        await client.query('begin');
        const { outcome } = await inbox.once(client, 'O1', () => client.query("insert into effect values ('O1')"));
        await client.query('commit');
        return outcome;
      } finally {
        client.release();
      }
    };
    const dayMs = 86_400_000;
    await inbox.receive(delivery('never again'));
    for (let day = 0; day <= 100; day += 10) {
      expect(await inbox.receive(delivery('M1', { redelivered: day % 20 === 10 }))).toBe('done');
      expect(await once()).toBe(day === 0 ? 'done' : 'duplicate');
      await here.pool.query('update tallystick_inbox set due_at = due_at - $1', [10 * dayMs]);
      await inbox.forget(30 * dayMs);
    }
    expect(await here.rows(effects)).toEqual(['M1', 'O1', 'never again']);
    expect(await here.rows('select id from tallystick_inbox order by id')).toEqual(['M1', 'O1']);
  });

  test('are no outage to other deliveries while an open transaction makes them young', async () => {
    const here = await bank();
    // As above.
    const limit = { databaseAfterMs: 400, timers: limitByHand(400).timers };
    let patience: string[] = [];
    const inbox = await here.inbox(limit, (own) => (patience = lockLimits(own)));
    inbox.handle('debit', ({ id }, { tx }) => tx.query('insert into effect values ($1)', [id]));
    for (const id of ['M1', 'M2']) await inbox.receive(delivery(id));
    await here.pool.query('update tallystick_inbox set due_at = due_at - $1', [20 * 86_400_000]);
    const client = await here.pool.connect();
    await client.query('begin');
    const { outcome } = await inbox.once(client, 'M1', () => Promise.resolve());
    const meanwhile = await Promise.all([
      inbox.receive(delivery('M1')),
      inbox.receive(delivery('M1', { redelivered: true })),
      inbox.receive(delivery('M2')),
      inbox.receive(delivery('M2')),
    ]);
    await client.query('rollback');
    client.release();
    expect([outcome, meanwhile, await inbox.receive(delivery('M1'))]).toEqual([
      'duplicate',
      ['again', 'again', 'done', 'done'],
      'done',
    ]);
    expect(here.alarms).toEqual([]);
    expect(new Set(patience)).toEqual(new Set(['200']));
    const young = 'select id from tallystick_inbox where due_at > extract(epoch from now()) * 1000 - 60000 order by id';
    expect([await here.rows(young), await here.rows(effects)]).toEqual([
      ['M1', 'M2'],
      ['M1', 'M2'],
    ]);
  });
});

/** How long the statements of a pool let the server wait for locks, ms, as they come. */
function lockLimits(pool: Pool): string[] {
  const limits: string[] = [];
  pool.on('connect', (client) => {
    const query = client.query.bind(client) as (...given: unknown[]) => unknown;
    const noted = (...given: unknown[]): unknown => {
      const [text, values] = given as [unknown, unknown[] | undefined];
      const hole = typeof text === 'string' ? /set_config\('lock_timeout', \$(\d+)/.exec(text) : null;
      if (hole !== null) limits.push(String(values![Number(hole[1]) - 1]));
      return query(...given);
    };
    Object.assign(client, { query: noted });
  });
  return limits;
}

test('behind pgbouncer in transaction mode everything is the same', async () => {
  const here = await bank();
  const inbox = await here.inbox({ pooled: true });
  let fail = true;
  inbox.handle(
    'debit',
    async ({ id }, { tx, emit }) => {
      await tx.query('insert into effect values ($1)', [id]);
      await emit({ topic: 'debited', body: id });
      if (fail) throw new Error('not yet');
    },
    { lock: ({ id }) => id },
  );
  inbox.start();
  await Promise.all(['M1', 'M2', 'M3'].map((id) => inbox.receive(delivery(id))));
  fail = false;
  await eventually(
    () => here.rows(effects),
    (names) => names.length === 3,
  );
  await Promise.all(['M1', 'M2', 'M3'].map((id) => inbox.receive(delivery(id))));
  expect([await here.rows(effects), await here.rows('select count(*) from tallystick_outbox')]).toEqual([
    ['M1', 'M2', 'M3'],
    ['3'],
  ]);
});
