/**
 * Many messages behind a dead one, on PostgreSQL: what a claimer reads to find the few that may leave. It is driven statement by statement, so
 * what it costs is counted, not timed.
 */
import type pg from 'pg';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { Claimer, type ClaimOrder } from '../../../packages/reliable/src/relay/claim.ts';
import type { SweepKind } from '../../../packages/reliable/src/relay/low-water.ts';
import { earliestOfKeys } from '../../../packages/reliable/src/relay/overtaken.ts';
import { postgresStatements } from '../../../packages/reliable/src/relay/postgres-statements.ts';
import { relayStatements } from '../../../packages/reliable/src/relay/relay-statements.ts';
import { postgres } from '../../../packages/reliable/src/sql/postgres.ts';
import type { Statement, Steps } from '../../../packages/reliable/src/sql/statement.ts';
import { connected, until } from '../support/live.ts';
import { freshDatabase, type FreshDatabase } from '../support/services.ts';

const HELD = 60_000;
/** Keys that a claimer keeps in memory when they are held up. */
const KEPT = 1_000;

let database: FreshDatabase;
let client: pg.Client;

beforeEach(async () => {
  database = await freshDatabase();
  client = await connected(database.url);
  onTestFinished(() => database.drop());
  await client.query(
    `insert into tallystick_lease (scope, first_shard, last_shard, owner, epoch, expires_at)
     select 's', g * 16, g * 16 + 15, 'o', 1, 5000000000000 from generate_series(0, 15) as g`,
  );
});

/** So many dead messages of as many keys, and the rest waiting behind them. */
async function fill(keys: number): Promise<void> {
  await client.query(
    `insert into tallystick_outbox (id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
     select upper(md5(g::text)), '', 5, 'k' || g % ${keys}, 't', 'immediate', case when g <= ${keys} then 'dead' else 'waiting' end, 0, 0, 0, 1, 1, 1
     from generate_series(1, ${HELD}) as g`,
  );
}

/** `sequence`: a number that was given out long ago. */
async function add(on: pg.Client, key: string, sequence?: number): Promise<void> {
  await on.query(
    `insert into tallystick_outbox
       (sequence, id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
     overriding system value
     values (coalesce($2, nextval(pg_get_serial_sequence('tallystick_outbox', 'sequence'))), upper(md5(random()::text)), '', 5, $1, 't',
       'immediate', 'waiting', 0, 0, 0, 1, 1, 1)`,
    [key, sequence],
  );
}

interface Claimed {
  readonly keys: (string | null)[];
  readonly statements: number;
}

function claimer(): { readonly it: Claimer; readonly claim: (...sweeps: SweepKind[]) => Promise<Claimed> } {
  const it = new Claimer(
    relayStatements(postgres, 'tallystick_outbox', 'hold'),
    postgresStatements(postgres, 'tallystick_outbox', 'hold'),
    { channel: '', scope: 's', owner: 'o' },
    { earliest: earliestOfKeys(postgres, 'tallystick_outbox'), growing: true },
  );
  let nowMs = 0;
  const claim = async (...sweeps: SweepKind[]): Promise<Claimed> => {
    // What is missing at the end of the table is waited for a moment: not here.
    nowMs += 10_000;
    const order: ClaimOrder = {
      nowMs,
      monotonicMs: nowMs,
      rowsMax: 2_000,
      bytesMax: 1_000_000,
      pagesMax: 16,
      flying: { ids: new Set(), keys: new Set() },
      held: new Map(Array.from({ length: 16 }, (_, n) => [n * 16, 1])),
      all: true,
      sweeps,
    };
    const { result, statements } = await driven(it.claim(order));
    for (const { id } of result.rows) await client.query('delete from tallystick_outbox where id = $1', [id]);
    return { keys: result.rows.map(({ key }) => key), statements };
  };
  return { it, claim };
}

async function driven<T>(steps: Steps<T>): Promise<{ result: T; statements: number }> {
  let statements = 0;
  for (let step = steps.next(); ;) {
    if (step.done === true) return { result: step.value, statements };
    const { sql, parameters } = step.value as Statement;
    statements++;
    const { rows, rowCount } = await client.query<Record<string, unknown>>(sql, parameters as unknown[]);
    step = steps.next({ rows, changes: rowCount ?? 0 });
  }
}

/** Whole sweeps, page by page; answers how many pages. */
async function swept({ it, claim }: ReturnType<typeof claimer>): Promise<number> {
  for (let pages = 1; ; pages++) {
    const { keys } = await claim('whole');
    expect(keys).toEqual([]);
    if (!it.sweeping('whole')) return pages;
  }
}

/** Until the transactions of other tests on the same server have ended, too. */
function sweptUntilKnown(relay: ReturnType<typeof claimer>): Promise<void> {
  return until('it is known where late rows may be', async () => (await swept(relay)) > 0 && relay.it.knowsLate);
}

test.each([
  { keys: 1, many: 'one key' },
  { keys: KEPT + 1, many: 'more keys than are kept in memory' },
])('a message after $keys keys’ backlog is found in one claim, and a late one by the next sweep', async ({ keys }) => {
  await fill(keys);
  await add(client, 'healthy');
  const relay = claimer();
  expect((await relay.claim()).keys).toEqual(['healthy']);
  // Held up rows are passed over by the thousands.
  expect(await swept(relay)).toBeLessThan(keys === 1 ? 8 : 30);
  expect(relay.it.knowsLate).toBe(false);
  await sweptUntilKnown(relay);

  const late = await connected(database.url);
  await late.query('begin');
  await add(late, 'late');
  await add(client, 'other');
  expect((await relay.claim()).keys).toEqual(['other']);
  expect((await relay.claim('late')).keys).toEqual([]);
  await late.query('commit');
  expect((await relay.claim()).keys).toEqual([]);
  const found = await relay.claim('late');
  expect(found.keys).toEqual(['late']);
  // What is held up, which transactions are open, where late ones may be, whether an earlier one of the key is left, and a page per state.
  expect(found.statements).toBeLessThan(10);
});

test('without knowing where late rows may be, one page of a sweep does not come so far', async () => {
  await fill(1);
  await add(client, 'healthy');
  const relay = claimer();
  await relay.claim();
  const late = await connected(database.url);
  await late.query('begin');
  await add(late, 'late');
  await add(client, 'other');
  await relay.claim();
  await late.query('commit');
  expect((await relay.claim('late')).keys).toEqual([]);
  for (let pages = 1; ; pages++) {
    const { keys } = await relay.claim('whole');
    if (keys.length === 0) continue;
    expect([keys, pages > 3]).toEqual([['late'], true]);
    return;
  }
});

test('while an older transaction is open, late rows are looked for from where it may have left some', async () => {
  await fill(1);
  await add(client, 'healthy');
  const relay = claimer();
  await relay.claim();
  const old = await connected(database.url);
  await old.query('begin');
  await add(old, 'old');
  for (let round = 0; round < 3; round++) {
    await add(client, `other ${round}`);
    await relay.claim();
    await swept(relay);
  }
  await old.query('commit');
  expect((await relay.claim('late')).keys).toEqual(relay.it.knowsLate ? ['old'] : []);
  for (let pages = 0; pages < 10 && (await here()) === 1; pages++) await relay.claim('whole', 'late');
  expect(await here()).toBe(0);

  async function here(): Promise<number> {
    const { rows } = await client.query<{ count: string }>("select count(*) from tallystick_outbox where message_key = 'old'");
    return Number(rows[0]!.count);
  }
});

test('what a key held up follows as soon as a sweep has begun after a person buried its dead one', async () => {
  await fill(2);
  const relay = claimer();
  await add(client, 'healthy');
  await relay.claim();
  await sweptUntilKnown(relay);
  await client.query("update tallystick_outbox set state = 'buried' where sequence = 1");
  expect((await relay.claim()).keys).toEqual([]);
  const { keys } = await relay.claim('late');
  expect(keys.length).toBeGreaterThan(100);
  expect(new Set(keys)).toEqual(new Set(['k1']));
});

test('what a sweep finds comes alone: something of its keys may lie unseen between it and the fresh ones', async () => {
  await fill(1);
  await client.query('delete from tallystick_outbox where sequence = 1000');
  await add(client, 'healthy');
  const relay = claimer();
  await relay.claim();
  await add(client, 'late', 1000);
  await add(client, 'fresh');
  expect((await relay.claim('whole')).keys).toEqual(['late']);
  expect((await relay.claim()).keys).toEqual(['fresh']);
});

test('of a late pair of one key the earlier leaves first, also when a sweep has passed its place', async () => {
  await fill(1);
  await client.query('delete from tallystick_outbox where sequence = 1000');
  await add(client, 'healthy');
  const relay = claimer();
  await relay.claim();
  const late = await connected(database.url);
  await late.query('begin');
  await add(late, 'pair', 1000);
  await add(late, 'pair');
  await add(client, 'other');
  expect((await relay.claim()).keys).toEqual(['other']);
  expect((await relay.claim('whole')).keys).toEqual([]);
  await late.query('commit');
  const order: number[] = [];
  for (let pages = 0; pages < 20 && order.length < 2; pages++) {
    const before = await sequences();
    const { keys } = await relay.claim('whole');
    expect(keys.filter((key) => key !== 'pair')).toEqual([]);
    const after = await sequences();
    order.push(...before.filter((one) => !after.includes(one)));
    if (keys.length > 0) expect(order[0]).toBe(1000);
  }
  expect(order).toHaveLength(2);

  async function sequences(): Promise<number[]> {
    const { rows } = await client.query<{ sequence: string }>(
      "select sequence from tallystick_outbox where message_key = 'pair' order by sequence",
    );
    return rows.map(({ sequence }) => Number(sequence));
  }
});
