/** The relay on a real PostgreSQL: late commits, relays that race and sleep, outages, poolers, lost connections, and order through all of it. */
import { randomInt } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { createMonitor, createOutbox, type PublishOutcome } from '@tallystick/reliable';
import { connected, until } from '../support/live.ts';
import { drained, faults, keyed, world } from './support.ts';

describe('a transaction that commits late', () => {
  test('is found below the place where the relay looks, within a second, while thousands went by', async () => {
    const here = await world();
    const relay = here.relay();
    relay.start();
    const late = await connected(here.database.url);
    await late.query('begin');
    await createOutbox(here.pool, { durability: 'trust' }).in(late).add({ topic: 't', body: 'late' });
    for (let round = 0; round < 20; round++)
      await here.add(...Array.from({ length: 500 }, (_, n) => ({ body: `${round}.${n}` })));
    await until('the others are through', () => here.broker.stored.length === 10_000);
    await late.query('commit');
    const committed = performance.now();
    await drained(here);
    expect(here.broker.stored).toHaveLength(10_001);
    expect(Buffer.from(here.broker.stored.at(-1)!.body).toString()).toBe('late');
    // Half a second by design; the rest is for a busy machine.
    expect(performance.now() - committed).toBeLessThan(20_000);
  });

  test('a relay that never swept would lose it: with sweeps an hour apart it is not found', async () => {
    const here = await world();
    const relay = here.relay({ sweepIntervalMs: 3_600_000 });
    relay.start();
    const late = await connected(here.database.url);
    await late.query('begin');
    await createOutbox(here.pool, { durability: 'trust' }).in(late).add({ topic: 't', body: 'late' });
    await here.add({ body: '1' }, { body: '2' });
    relay.wake();
    await until('the others are through', () => here.broker.stored.length === 2);
    await late.query('commit');
    for (let look = 0; look < 20; look++) {
      relay.wake();
      await pause(10);
    }
    expect(await here.states()).toEqual({ waiting: 1 });
    await relay.drain();
    expect(here.broker.stored).toHaveLength(3);
  });
});

describe.each([
  ['one message of a key at a time', false],
  ['the transport keeps the order of a batch', true],
])('order per key, %s', (_name, keepsOrder) => {
  test('through failures, unknown ends, a broker that comes and goes, and a relay that is replaced', async () => {
    const here = await world({ keepsOrder });
    const { messages, expected } = keyed(30, 40);
    let pushes = 0;
    const bad: PublishOutcome['outcome'][] = ['rejected', 'unknown', 'unavailable', 'unroutable'];
    here.broker.answer = () => (pushes++ < 2500 && randomInt(10) === 0 ? bad[randomInt(bad.length)]! : 'confirmed');
    const first = here.relay({ attemptsMax: 1000, batchRows: 50 });
    first.start();
    for (let at = 0; at < messages.length; at += 100) await here.add(...messages.slice(at, at + 100));
    await until('half of it is through', () => here.broker.stored.length > messages.length / 2);
    here.relay({ attemptsMax: 1000, batchRows: 50 }).start();
    await first.stop();
    await drained(here);
    expect(faults(here.broker.stored, expected)).toEqual([]);
  });

  test('dead messages hold their keys until they are requeued, and then the order is whole', async () => {
    const here = await world({ keepsOrder });
    const { messages, expected } = keyed(10, 20);
    const poisoned = new Set(['k1 3', 'k4 0', 'k7 19']);
    here.broker.answer = ({ body }) => (poisoned.has(Buffer.from(body).toString()) ? 'rejected' : 'confirmed');
    await here.add(...messages);
    const relay = here.relay({ attemptsMax: 2 });
    relay.start();
    await until('three are dead and the rest is through', async () => {
      const { dead, retrying = 0 } = await here.states();
      return dead === 3 && retrying === 0 && here.broker.stored.length === 200 - 17 - 20 - 1;
    });
    expect(faults(here.broker.stored, new Map()).filter((fault) => fault.includes('was due'))).toEqual([]);
    poisoned.clear();
    const monitor = createMonitor(here.pool);
    for (const { id } of await monitor.list({ state: 'dead' })) await monitor.retryNow(id);
    await drained(here);
    expect(faults(here.broker.stored, expected)).toEqual([]);
  });

  test('several relays share the ranges', async () => {
    const here = await world({ keepsOrder });
    const { messages, expected } = keyed(40, 25);
    const relays = [
      here.relay({ rangesMax: 6, batchRows: 40 }),
      here.relay({ rangesMax: 6, batchRows: 40 }),
      here.relay({ batchRows: 40 }),
    ];
    for (const relay of relays) relay.start();
    for (let at = 0; at < messages.length; at += 100) await here.add(...messages.slice(at, at + 100));
    await drained(here);
    expect(faults(here.broker.stored, expected)).toEqual([]);
    expect(here.alarms.filter(({ kind }) => kind === 'dead')).toEqual([]);
  });
});

describe('the judge of order', () => {
  test.each([
    ['a message is lost', (list: unknown[]) => list.splice(7, 1), /came when|of 10 came/],
    ['two of a key change places', (list: unknown[]) => list.splice(3, 7, ...list.slice(3, 10).toReversed()), /came when/],
    ['the last is lost', (list: unknown[]) => list.pop(), /of 10 came/],
  ])('sees that %s', (_name, damage, fault) => {
    const { messages, expected } = keyed(3, 10);
    const stored = messages.map(({ body }, n) => ({ id: `${n}`, topic: 't', body: Buffer.from(body as string) }));
    expect(faults(stored, expected)).toEqual([]);
    damage(stored);
    expect(faults(stored, expected).join('\n')).toMatch(fault);
  });

  test('and that a message came under another id', () => {
    const one = { topic: 't', body: Buffer.from('k0 0') };
    expect(
      faults(
        [
          { id: 'a', ...one },
          { id: 'b', ...one },
        ],
        new Map([['k0', 1]]),
      ),
    ).toEqual(['k0 0 came under two ids']);
  });
});

describe('two relays and one lease', () => {
  test('a relay that was away while its lease ran out changes nothing of what the other has done', async () => {
    const here = await world();
    await here.add(...keyed(20, 1).messages);
    let release!: () => void;
    const held = new Promise<void>((resolve) => (release = resolve));
    let pushed = 0;
    const sleeper = here.relay({
      leaseMs: 600_000,
      transport: {
        publish: async (batch) => {
          pushed += batch.length;
          await held;
          return batch.map(() => ({ outcome: 'rejected' }));
        },
      },
    });
    void sleeper.drain().catch(() => undefined);
    await until('it has pushed', () => pushed === 20);
    // Its process stands still: nothing renews, nothing looks.
    await here.pool.query('update tallystick_lease set expires_at = 0');
    const other = here.relay();
    other.start();
    await until('the other took over', () => here.broker.stored.length === 20);
    await drained(here);
    await here.add({ body: 'k0 1', key: 'k0' });
    release();
    await until('the sleeper knows', () => sleeper.counters.fenced > 0 || sleeper.counters.failed > 0);
    await drained(here);
    expect(sleeper.counters).toMatchObject({ confirmed: 0, failed: 0, dead: 0, fenced: 20 });
    expect(here.broker.stored).toHaveLength(21);
  });
});

describe('the world around it', () => {
  test('behind pgbouncer in transaction mode it drains, keeps order, and leaves nothing in the session', async () => {
    const here = await world({ pooled: true, keepsOrder: true });
    const { messages, expected } = keyed(50, 40);
    const relays = [here.relay({ rangesMax: 8 }), here.relay()];
    for (const relay of relays) relay.start();
    await here.add(...messages.slice(0, 1000));
    await here.add(...messages.slice(1000));
    await drained(here);
    expect(faults(here.broker.stored, expected)).toEqual([]);
    const { rows } = await here.pool.query<{ n: string }>('select count(*) as n from pg_prepared_statements');
    expect(Number(rows[0]!.n)).toBe(0);
  });

  test('connections that are cut again and again are replaced, and nothing is lost', async () => {
    const here = await world();
    const { messages, expected } = keyed(50, 40);
    const relay = here.relay({ batchRows: 50 });
    relay.start();
    const admin = await connected(here.database.url);
    const killer = { stopped: false };
    const killing = (async () => {
      while (!killer.stopped) {
        await admin.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
             and query ~ '(tallystick_outbox|tallystick_lease)' and query !~ 'count' and state <> 'idle in transaction'`,
        );
        await pause(30);
      }
    })();
    const writer = new pg.Pool({ connectionString: here.database.url, max: 1 });
    writer.on('error', () => undefined);
    const outbox = createOutbox(writer, { durability: 'trust' });
    for (let at = 0; at < messages.length;) {
      const client = await writer.connect();
      try {
        await client.query('begin');
        await outbox.in(client).addMany(messages.slice(at, at + 200).map((message) => ({ topic: 't', body: '', ...message })));
        await client.query('commit');
        at += 200;
        client.release();
      } catch {
        client.release(true);
        // Whether that commit was lost is not this test's question.
        const last = messages[Math.min(at + 199, messages.length - 1)]!;
        const { rows } = await admin.query<{ n: string }>(
          `select count(*) as n from tallystick_outbox_body where body = convert_to($1, 'UTF8')`,
          [last.body as string],
        );
        if (Number(rows[0]!.n) > 0 || here.broker.stored.some(({ body }) => Buffer.from(body).toString() === last.body))
          at += 200;
      }
    }
    await writer.end();
    await pause(500);
    killer.stopped = true;
    await killing;
    await drained(here);
    expect(faults(here.broker.stored, expected)).toEqual([]);
  });

  test('an outage costs no attempts, is told once, and the backlog leaves by growing steps', async () => {
    const here = await world({ keepsOrder: true });
    let up = false;
    const sizes: number[] = [];
    here.broker.answer = () => (up ? 'confirmed' : 'unavailable');
    here.broker.before = (batch) => void (up && sizes.push(batch.length));
    const relay = here.relay({ batchRows: 500 });
    relay.start();
    const { messages, expected } = keyed(100, 50);
    for (let at = 0; at < messages.length; at += 500) await here.add(...messages.slice(at, at + 500));
    await until('the outage is told', () => here.alarms.some(({ kind }) => kind === 'outage'));
    await pause(300);
    const { rows } = await here.pool.query<{ tried: string }>(
      'select count(*) as tried from tallystick_outbox where attempts > 0 or tries > 0',
    );
    expect([Number(rows[0]!.tried), await here.states()]).toEqual([0, { waiting: 5000 }]);
    up = true;
    await drained(here);
    expect(faults(here.broker.stored, expected)).toEqual([]);
    expect(sizes[0]).toBe(1);
    expect(Math.max(...sizes)).toBeGreaterThan(100);
    // The window begins at one message and grows by no more than what has landed.
    const taken = sizes.map((_, at) => sizes.slice(0, at).reduce((sum, size) => sum + size, 0));
    expect(sizes.filter((size, at) => size > 1 + taken[at]!)).toEqual([]);
    expect(here.alarms.map(({ kind }) => kind)).toEqual(['outage', 'outage-over']);
  });

  test('a backlog leaves in batches bounded by rows and bytes, claimed along the index', async () => {
    const here = await world({ keepsOrder: true });
    await here.pool.query(
      `insert into tallystick_outbox (id, channel, shard, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
       select upper(md5(g::text)), '', g % 256, 't', 'deferred', 'waiting', 0, 0, 0, 1, 1, 200 from generate_series(1, 20000) as g`,
    );
    await here.pool.query(
      `insert into tallystick_outbox_body (id, channel, headers, body)
       select id, '', null, decode(repeat('ab', 200), 'hex') from tallystick_outbox`,
    );
    let largest = 0;
    let flying = 0;
    let most = 0;
    here.broker.before = async (batch) => {
      largest = Math.max(largest, batch.length);
      flying += batch.length;
      most = Math.max(most, flying);
      await pause(1);
      flying -= batch.length;
    };
    const relay = here.relay({ batchBytes: 100_000, batchesMax: 3 });
    relay.start();
    await drained(here);
    expect([here.broker.stored.length, new Set(here.broker.stored.map(({ id }) => id)).size]).toEqual([20_000, 20_000]);
    expect(largest).toBe(500);
    expect(most).toBeLessThanOrEqual(1500);
  });
});
