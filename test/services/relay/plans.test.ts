/**
 * What queries cost on large tables. Every statement that the package prepares is asked for here by walking over the objects that hold
 * them, and the files that prepare any are looked for in the sources, so a new one cannot be forgotten: a file that is not listed fails
 * the test, and so does a statement without values for its holes. Each runs on tables that were analysed, never analysed, and analysed
 * while they were small, and may read along indexes only, and no more rows than a few batches.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from 'pg';
import { alarmStatements } from '../../../packages/reliable/src/alarms/alarm-rows.ts';
import { buriedStatements } from '../../../packages/reliable/src/buried.ts';
import { inboxStatements } from '../../../packages/reliable/src/inbox/inbox-statements.ts';
import { lockStatements } from '../../../packages/reliable/src/inbox/locks.ts';
import { standingStatements } from '../../../packages/reliable/src/inbox/standing-behind.ts';
import { localTransactionStatements } from '../../../packages/reliable/src/local-transaction/local-transaction-table.ts';
import { monitorStatementsOf } from '../../../packages/reliable/src/monitor/monitor-statements.ts';
import { confirmApart, confirmTogether } from '../../../packages/reliable/src/outbox/confirm.ts';
import { statusStatements } from '../../../packages/reliable/src/outbox/status.ts';
import { leaseStatements } from '../../../packages/reliable/src/relay/leases.ts';
import { earliestOfKeys } from '../../../packages/reliable/src/relay/overtaken.ts';
import { postgresStatements } from '../../../packages/reliable/src/relay/postgres-statements.ts';
import { relayStatements } from '../../../packages/reliable/src/relay/relay-statements.ts';
import { postgres } from '../../../packages/reliable/src/sql/postgres.ts';
import type { SqlValue, Statement } from '../../../packages/reliable/src/sql/statement.ts';
import { freshDatabase, type FreshDatabase } from '../support/services.ts';

const ROWS = 1_000_000;
const LIMIT = 1000;
/** Rows that one statement may touch: heads, bodies and probes of a batch, and as much again. */
const READ_MAX = 8 * LIMIT;
const TABLES = ['outbox', 'outbox_body', 'inbox', 'inbox_body', 'lease', 'local_transaction'];
/** Rows of a table when it was analysed. */
const FEW = 1_000;
/** A plan that compares each row with each of a list takes minutes. */
const TIME_OUT = "set statement_timeout = '5s'";
const STATES = ['waiting', 'retrying', 'delayed', 'sent', 'dead', 'buried', 'confirmed'];

let database: FreshDatabase;
let client: Client;
/** Ids and sequences of a batch from the middle of the table. */
let batch: { readonly ids: string[]; readonly sequences: number[] };
/** Rows of the inbox that stand behind others: sequence → due_at. */
let standing: Readonly<Record<string, number>>;

/** Tables with so many rows, of which the planner knows nothing yet; or what they were like with the first few of them, or when these had left. */
async function fill(rows: number, analysed: 'never' | 'small' | 'emptied' = 'never'): Promise<void> {
  database = await freshDatabase();
  client = new Client({ connectionString: database.url });
  await client.connect();
  await client.query('set synchronous_commit = off');
  for (const table of TABLES) await client.query(`alter table tallystick_${table} set (autovacuum_enabled = off)`);
  if (analysed !== 'never') {
    await add(1, FEW);
    if (analysed === 'emptied') for (const table of TABLES) await client.query(`delete from tallystick_${table}`);
    await client.query('analyze');
  }
  await add(analysed === 'small' ? FEW + 1 : 1, rows);
  await client.query(
    `insert into tallystick_lease (scope, first_shard, last_shard, owner, epoch, expires_at)
     select 's', g * 16, g * 16 + 15, 'o', 1, 5000000000000 from generate_series(0, 15) as g`,
  );
  await client.query('set synchronous_commit = on');
  await client.query(TIME_OUT);
  const found = await client.query<{ id: string; sequence: string }>(
    `select id, sequence from tallystick_outbox where sequence > ${rows / 2} and state = 'waiting' order by sequence limit ${LIMIT}`,
  );
  batch = { ids: found.rows.map(({ id }) => id), sequences: found.rows.map(({ sequence }) => Number(sequence)) };
  const behind = await client.query<{ sequence: string; due_at: string }>(
    `select sequence, due_at from tallystick_inbox where sequence > ${rows / 2} and state = 'waiting' order by sequence limit ${LIMIT}`,
  );
  standing = Object.fromEntries(behind.rows.map(({ sequence, due_at }) => [sequence, Number(due_at)]));
}

async function add(from: number, to: number): Promise<void> {
  const series = `generate_series(${from}, ${to}) as g`;
  // Of 1,000 messages 940 wait, 20 are retried, 10 each are delayed, sent, dead, 9 kept, 1 buried; a hundred thousand keys.
  await client.query(
    `insert into tallystick_outbox (id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at,
       body_bytes, business_key, keep_for, confirm_within)
     select upper(md5(g::text)), '', g % 256, 'k' || g % 100000, 'orders', 'deferred', state, 0, 0,
       case state when 'waiting' then 0 when 'dead' then 0 when 'buried' then 0 when 'delayed' then 4000000000000
         when 'sent' then 4000000000000 when 'confirmed' then case when g % 7 = 0 then 1 else 4000000000000 end else 1000 + g end,
       1, 1, 100, 'b' || g, 0, 0
     from (select g, case when g % 1000 < 940 then 'waiting' when g % 1000 < 960 then 'retrying' when g % 1000 < 970 then 'delayed'
       when g % 1000 < 980 then 'sent' when g % 1000 < 990 then 'dead' when g % 1000 < 999 then 'confirmed' else 'buried' end as state
       from ${series}) as made`,
  );
  await client.query(
    `insert into tallystick_outbox_body (id, channel, headers, body) select upper(md5(g::text)), '', null, decode(repeat('00', 100), 'hex') from ${series}`,
  );
  // Of 1,000 messages 10 are retried, 1 is dead, 100 are due and stand behind it; the others are keys.
  await client.query(
    `insert into tallystick_inbox (id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
     select upper(md5(g::text)), 'c', g % 256, 'k' || case state when 'waiting' then (g - g % 1000 + 1) % 100000 else g % 100000 end, 'orders',
       'immediate', state, 0, 0, case state when 'retrying' then 4000000000000 else g::bigint * 1000 end, 1, 1, 0
     from (select g, case when g % 100 = 0 then 'retrying' when g % 1000 = 1 then 'dead' when g % 10 = 3 then 'waiting' else 'done' end as state
       from ${series}) as made`,
  );
  await client.query(
    `insert into tallystick_inbox_body (id, channel, headers, body)
     select upper(md5(g::text)), 'c', null, '' from ${series} where g % 100 = 0 or g % 1000 = 1 or g % 10 = 3`,
  );
  // A lock per key in use, and what check-backs may ask for.
  await client.query(
    `insert into tallystick_lease (scope, first_shard, last_shard, owner, epoch, expires_at)
     select 'lock:c:k' || g, 0, 0, '', 1, 4000000000000 from ${series} where g % 10 = 0`,
  );
  await client.query(
    `insert into tallystick_local_transaction (biz_type, biz_no, outcome, checks, at)
     select 'order', 'b' || g, 'commit', 0, g from ${series} where g % 10 = 0`,
  );
}

async function drop(): Promise<void> {
  await client.end();
  await database.drop();
}

type Maker = (values: never, list?: readonly string[]) => Statement;

/** Where statements are made, and in which states a statement with a hole for the state is asked for. */
const sources: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  relay: { ...relayStatements(postgres, 'tallystick_outbox', 'hold') },
  'relay on PostgreSQL': { ...postgresStatements(postgres, 'tallystick_outbox', 'hold') },
  'order of a key': { earliest: earliestOfKeys(postgres, 'tallystick_outbox') },
  leases: leaseStatements(postgres),
  monitor: { ...monitorStatementsOf(postgres)('tallystick_outbox') },
  'monitor of the inbox': { ...monitorStatementsOf(postgres)('tallystick_inbox') },
  inbox: { ...inboxStatements(postgres, 'hold') },
  'standing behind in the inbox': { ...standingStatements(postgres) },
  locks: lockStatements(postgres),
  confirmation: { ...confirmApart(postgres), together: confirmTogether(postgres) },
  status: statusStatements(postgres),
  'local transactions': localTransactionStatements(postgres),
  alarms: alarmStatements(postgres),
  buried: { ...buriedStatements(postgres).tallystick_outbox },
};

/** Files of the package that prepare statements, and why the last ones are in no source above. */
const PREPARE = [
  'alarms/alarm-rows.ts',
  'buried.ts',
  'inbox/inbox-statements.ts',
  'inbox/locks.ts',
  'inbox/standing-behind.ts',
  'local-transaction/local-transaction-table.ts',
  'monitor/monitor-statements.ts',
  'outbox/confirm.ts',
  'outbox/status.ts',
  'relay/leases.ts',
  'relay/overtaken.ts',
  'relay/postgres-statements.ts',
  'relay/relay-statements.ts',
  // Inserts by key, which read nothing.
  'outbox/outbox-statements.ts',
  // A table of the business, by its key.
  'inbox/update-version.ts',
  // One row of the table of versions.
  'outbox/readiness.ts',
];

test('every file that prepares statements is known here', () => {
  const root = new URL('../../../packages/reliable/src/', import.meta.url);
  const found = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && file !== 'sql/statement.ts')
    .filter((file) => /\bprepared(List|Among)?[<(]/.test(readFileSync(new URL(file, root), 'utf8')));
  expect(found.sort()).toEqual([...PREPARE].sort());
});

const made = Object.entries(sources).flatMap(([source, statements]) =>
  Object.entries(statements)
    .filter(([, make]) => make !== undefined)
    .map(([name, make]) => ({ source, name, make: make as Maker })),
);

/** A relay on PostgreSQL settles by statements of its own. */
const ELSEWHERE = ['deleteHeads', 'deleteBodies'];
/** By one process, every few minutes; of the small rows of leases and locks. */
const SELDOM = ['locks: forget', 'alarms: see'];
/** Once per decision over many messages: half a second. */
const BY_A_PERSON = 'byIds';

/** One page after another, or sorted as a whole; a table that is analysed again has them along its indexes. */
const MANY_AT_ONCE = ['relay: holding', 'relay: changed', 'status: byBusinessKey'];

const often = made.filter(({ source, name }) => !SELDOM.includes(`${source}: ${name}`));
/** What a program says by itself, while the planner knows the tables badly. */
const inUse = often.filter(({ source, name }) => !(source === 'relay' && ELSEWHERE.includes(name)) && name !== BY_A_PERSON);

describe('on a million rows, after ANALYZE', () => {
  beforeAll(async () => {
    await fill(ROWS);
    await client.query('set statement_timeout = 0');
    await client.query('vacuum analyze');
    await client.query(TIME_OUT);
  }, 600_000);
  afterAll(drop);

  test('there are statements of every source', () => {
    expect(new Set(made.map(({ source }) => source)).size).toBe(Object.keys(sources).length);
    expect(made.length).toBeGreaterThan(30);
  });

  readAlongIndexes(often);

  test('and the judge sees a query that is not so', async () => {
    const unindexed = await explained(plainly(`select * from tallystick_outbox where topic = 'none'`));
    expect(unindexed.scanned).toEqual(['Seq Scan on tallystick_outbox']);
    const sorted = await explained(
      plainly(`select * from tallystick_outbox where channel = '' and state = 'waiting' order by topic, id limit 10`),
    );
    expect(sorted.rowsRead).toBeGreaterThan(READ_MAX);
  });
});

/** A backlog that came by itself, a restored database: the planner guesses. Whatever it believes, the indexes are there. */
describe.each([50_000, ROWS])('on %i rows that nobody has analysed', (rows) => {
  beforeAll(() => fill(rows), 600_000);
  afterAll(drop);

  readAlongIndexes(inUse);
});

/** A backlog that came faster than the planner's statistics: it takes the tables for what they were. */
describe.each([
  { analysed: 'small', statements: inUse },
  // Few are said of many rows at once, or by nobody on PostgreSQL.
  { analysed: 'emptied', statements: inUse.filter(({ source, name }) => !MANY_AT_ONCE.includes(`${source}: ${name}`)) },
] as const)('on 50,000 rows, analysed while the tables were $analysed', ({ analysed, statements }) => {
  beforeAll(() => fill(50_000, analysed), 600_000);
  afterAll(drop);

  readAlongIndexes(statements);
});

function readAlongIndexes(statements: typeof made): void {
  test.each(statements)('$source: $name reads along indexes, and a bounded number of rows', async (one) => {
    expect(typeof one.make).toBe('function');
    for (const state of asksForState(one) ? STATES : ['waiting']) {
      const plan = await explained(statementOf(one, state));
      const label = `${one.name} of ${state}: ${plan.text}`;
      expect(plan.scanned, label).toEqual([]);
      expect(plan.rowsRead, label).toBeLessThan(READ_MAX);
    }
  });
}

/** A value for every hole; a statement with a name that is not here fails: nobody has thought of it. */
function valuesFor(source: string, name: string, state: string): Record<string, SqlValue> {
  const inOrderOfKeys = source.startsWith('standing behind');
  const list = (values: readonly (string | number)[]): string => `{${values.join(',')}}`;
  return {
    channel: source.endsWith('inbox') ? 'c' : '',
    dues: JSON.stringify(standing),
    consumer: 'c',
    scope: 's',
    owner: 'o',
    held: 16,
    epochs:
      source === 'relay on PostgreSQL' && (name === 'settle' || name === 'changed')
        ? list(Array.from({ length: 16 }, () => 1))
        : 16,
    ranges: list(Array.from({ length: 16 }, (_, n) => n * 16)),
    leases: 16,
    range: 0,
    epoch: 1,
    state,
    now: 2_000_000_000_000,
    before: 2,
    from: 0,
    counted: null,
    olderThanMs: Date.now() - 500_000,
    skip: LIMIT - 1,
    limit: LIMIT,
    window: 2 * LIMIT,
    holding: JSON.stringify({ k5: 5, k6: 600_000 }),
    bytes: 4 * 1024 * 1024,
    share: 4 * 1024,
    afterDue: 0,
    afterSequence: ROWS / 2,
    due: 0,
    after: inOrderOfKeys ? 1 : ROWS / 2,
    key: inOrderOfKeys ? 'k1' : 'k5',
    id: name.startsWith('keep') ? 'new' : batch.ids[0]!,
    ids: list(batch.ids),
    sequences: list(inOrderOfKeys ? Object.keys(standing) : batch.sequences),
    changes: JSON.stringify(
      Object.fromEntries(
        batch.sequences.map((one, n) => [one, ['retrying', 1, 1, 1000, 'rejected', 'why', null, batch.ids[n]!]]),
      ),
    ),
    attempts: 1,
    tries: 1,
    wait: 1000,
    waitMs: 1000,
    lockMs: '1000',
    outcome: 'rejected',
    reason: 'why',
    dueAt: 0,
    started: 0,
    shard: 1,
    topic: 'orders',
    type: '',
    tag: null,
    businessKey: 'b5',
    headers: null,
    body: Buffer.from('x'),
    bytesMax: 4 * 1024 * 1024,
    sequence: 5,
    first: 16,
    last: 31,
    next: 2,
    lostTrack: '',
    leaseMs: 1000,
    holdMs: 1000,
    ahead: 3_600_000,
    farAhead: 4_500_000_000_000,
    until: 1,
    seenEpoch: 1,
    seenUntil: 1,
    upTo: ROWS / 2,
    bizType: 'order',
    bizNo: 'b10',
    at: 1,
    checks: 0,
  };
}

function statementOf({ source, name, make }: (typeof made)[number], state: string): Statement {
  const values = valuesFor(source, name, state);
  const list = source === 'order of a key' ? Array.from({ length: 256 }, (_, n) => `k${n}`) : batch.ids.slice(0, 256);
  return make((name === 'keep' ? { ...values, bytes: 1 } : values) as never, list);
}

function asksForState(one: (typeof made)[number]): boolean {
  return !one.name.startsWith('keep') && statementOf(one, 'SOME STATE').parameters.includes('SOME STATE');
}

function plainly(sql: string): Statement {
  return { sql, parameters: [], reads: true };
}

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Index Recheck'?: number;
  readonly Plans?: readonly PlanNode[];
}

/** Runs it, takes it back, and tells what it read of the large tables. */
async function explained({ sql, parameters }: Statement): Promise<{ scanned: string[]; rowsRead: number; text: string }> {
  await client.query('begin');
  try {
    const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
      `explain (analyze, timing off, format json) ${sql}`,
      parameters as unknown[],
    );
    const nodes = nodesOf(rows[0]!['QUERY PLAN'][0].Plan);
    const reading = nodes.filter(
      (node) =>
        /^tallystick_(outbox|inbox|lease|local_transaction)/.test(node['Relation Name'] ?? '') && /Scan/.test(node['Node Type']),
    );
    return {
      // A table of a few hundred rows is read as it lies.
      scanned: reading
        .filter((node) => node['Node Type'] === 'Seq Scan' && rowsOfNode(node) > LIMIT)
        .map((node) => `Seq Scan on ${node['Relation Name']}`),
      rowsRead: reading.reduce((sum, node) => sum + rowsOfNode(node), 0),
      text: nodes.map((node) => `${node['Node Type']} ${node['Relation Name'] ?? ''} ${rowsOfNode(node)}`).join(' | '),
    };
  } finally {
    await client.query('rollback');
  }
}

function nodesOf(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)];
}

function rowsOfNode(node: PlanNode): number {
  const perLoop = node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0);
  return Math.round(perLoop * node['Actual Loops']);
}
