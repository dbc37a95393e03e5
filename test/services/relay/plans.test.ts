/**
 * What background queries cost on large tables. Every statement that the code prepares for the relay, the monitor and the inbox is asked
 * for here by walking over the objects that hold them, so a new one cannot be forgotten: without values for its holes the test fails.
 * Each runs on a million rows, after ANALYZE and before any, and may read along indexes only, and no more rows than a few batches.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from 'pg';
import { inboxStatements } from '../../../packages/reliable/src/inbox/inbox-statements.ts';
import { monitorStatementsOf } from '../../../packages/reliable/src/monitor/monitor-statements.ts';
import { postgresStatements } from '../../../packages/reliable/src/relay/postgres-statements.ts';
import { relayStatements } from '../../../packages/reliable/src/relay/relay-statements.ts';
import { postgres } from '../../../packages/reliable/src/sql/postgres.ts';
import type { SqlValue, Statement } from '../../../packages/reliable/src/sql/statement.ts';
import { freshDatabase, type FreshDatabase } from '../support/services.ts';

const ROWS = 1_000_000;
const LIMIT = 1000;
/** Rows that one statement may touch: heads, bodies and probes of a batch, and as much again. */
const READ_MAX = 8 * LIMIT;
const STATES = ['waiting', 'retrying', 'delayed', 'sent', 'dead', 'buried', 'confirmed'];

let database: FreshDatabase;
let client: Client;
/** Ids and sequences of a batch from the middle of the table. */
let batch: { readonly ids: string[]; readonly sequences: number[] };

/** Tables with so many rows, of which the planner knows nothing yet. */
async function fill(rows: number): Promise<void> {
  database = await freshDatabase();
  client = new Client({ connectionString: database.url });
  await client.connect();
  await client.query('set synchronous_commit = off');
  for (const table of ['outbox', 'outbox_body', 'inbox', 'inbox_body'])
    await client.query(`alter table tallystick_${table} set (autovacuum_enabled = off)`);
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
       from generate_series(1, ${rows}) as g) as made`,
  );
  await client.query(
    `insert into tallystick_outbox_body (id, channel, headers, body) select id, '', null, decode(repeat('00', 100), 'hex') from tallystick_outbox`,
  );
  await client.query(
    `insert into tallystick_inbox (id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
     select upper(md5(g::text)), 'c', g % 256, 'k' || g % 100000, 'orders', 'immediate', case when g % 100 = 0 then 'retrying' when g % 1000 = 1 then 'dead' else 'done' end,
       0, 0, case when g % 100 = 0 then 4000000000000 else g::bigint * 1000 end, 1, 1, 0 from generate_series(1, ${rows}) as g`,
  );
  await client.query(
    `insert into tallystick_inbox_body (id, channel, headers, body) select id, 'c', null, '' from tallystick_inbox where state <> 'done'`,
  );
  await client.query(
    `insert into tallystick_lease (scope, first_shard, last_shard, owner, epoch, expires_at)
     select 's', g * 16, g * 16 + 15, 'o', 1, 5000000000000 from generate_series(0, 15) as g`,
  );
  await client.query('set synchronous_commit = on');
  const found = await client.query<{ id: string; sequence: string }>(
    `select id, sequence from tallystick_outbox where sequence > ${rows / 2} and state = 'waiting' order by sequence limit ${LIMIT}`,
  );
  batch = { ids: found.rows.map(({ id }) => id), sequences: found.rows.map(({ sequence }) => Number(sequence)) };
}

async function drop(): Promise<void> {
  await client.end();
  await database.drop();
}

type Maker = (values: never, list?: readonly string[]) => Statement;

/** Where statements are made, and in which states a statement with a hole for the state is asked for. */
const sources: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  relay: { ...relayStatements(postgres, 'tallystick_outbox', 'hold') },
  'relay on PostgreSQL': { ...postgresStatements(postgres, 'tallystick_outbox') },
  monitor: { ...monitorStatementsOf(postgres)('tallystick_outbox') },
  'monitor of the inbox': { ...monitorStatementsOf(postgres)('tallystick_inbox') },
  inbox: { ...inboxStatements(postgres, 'hold') },
};

const made = Object.entries(sources).flatMap(([source, statements]) =>
  Object.entries(statements)
    .filter(([, make]) => make !== undefined)
    .map(([name, make]) => ({ source, name, make: make as Maker })),
);

describe('on a million rows, after ANALYZE', () => {
  beforeAll(async () => {
    await fill(ROWS);
    await client.query('vacuum analyze');
  }, 600_000);
  afterAll(drop);

  test('there are statements of every source', () => {
    expect(new Set(made.map(({ source }) => source)).size).toBe(Object.keys(sources).length);
    expect(made.length).toBeGreaterThan(30);
  });

  readAlongIndexes(made);

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

  readAlongIndexes(made.filter(({ source, name }) => !(source === 'relay' && ELSEWHERE.includes(name)) && name !== BY_A_PERSON));
});

/** A relay on PostgreSQL settles by statements of its own. */
const ELSEWHERE = ['deleteHeads', 'deleteBodies'];
/** Once per decision over many messages: half a second. */
const BY_A_PERSON = 'byIds';

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
  const list = (values: readonly (string | number)[]): string => `{${values.join(',')}}`;
  const many = (value: string | number): string => list(batch.ids.map(() => value));
  const lists = source === 'relay on PostgreSQL' && (name === 'settle' || name === 'changed');
  return {
    channel: source.endsWith('inbox') ? 'c' : '',
    consumer: 'c',
    scope: 's',
    owner: 'o',
    held: 16,
    epochs: lists ? list(Array.from({ length: 16 }, () => 1)) : 16,
    ranges: list(Array.from({ length: 16 }, (_, n) => n * 16)),
    leases: 16,
    range: 0,
    epoch: 1,
    state,
    now: 2_000_000_000_000,
    before: 2,
    olderThanMs: Date.now() - 500_000,
    skip: LIMIT - 1,
    limit: LIMIT,
    bytes: 4 * 1024 * 1024,
    afterDue: 0,
    afterSequence: ROWS / 2,
    due: 0,
    after: ROWS / 2,
    key: 'k5',
    id: name.startsWith('keep') ? 'new' : batch.ids[0]!,
    ids: list(batch.ids),
    sequences: list(batch.sequences),
    states: many('retrying'),
    attempts: lists ? many(1) : 1,
    tries: lists ? many(1) : 1,
    waits: many(1000),
    wait: 1000,
    waitMs: 1000,
    lockMs: '1000',
    outcomes: many('rejected'),
    reasons: many('why'),
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
  };
}

function statementOf({ source, name, make }: (typeof made)[number], state: string): Statement {
  const values = valuesFor(source, name, state);
  return make((name === 'keep' ? { ...values, bytes: 1 } : values) as never, batch.ids.slice(0, 256));
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
      (node) => /^tallystick_(outbox|inbox)/.test(node['Relation Name'] ?? '') && /Scan/.test(node['Node Type']),
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
