/** What PostgreSQL is asked about a transaction whose commit was not answered. */
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import type { LibraryRoot } from '../../../packages/reliable/src/sql/handles/library.ts';
import { askOutcome, currentTransactionId, type TransactionId } from '../../../packages/reliable/src/sql/outcome.ts';
import { postgres } from '../../../packages/reliable/src/sql/postgres.ts';
import type { AsyncSession } from '../../../packages/reliable/src/sql/session.ts';
import { PostgresServer } from '../../crash/reliable/servers/postgres-server.ts';
import { connected } from '../support/live.ts';
import { services } from '../support/services.ts';

function place(client: pg.Client) {
  const execute = async (sql: string, parameters: readonly unknown[] = []) => {
    const { rows } = await client.query<Record<string, unknown>>(sql, [...parameters]);
    return { rows, changes: 0 };
  };
  const session = { dialect: postgres, execute: ({ sql }: { sql: string }) => execute(sql) } as unknown as AsyncSession;
  const root = { borrow: async () => ({ handle: { execute }, giveBack: async () => undefined }) } as unknown as LibraryRoot;
  return {
    async begun(): Promise<TransactionId> {
      await client.query('begin');
      return (await currentTransactionId(session))!;
    },
    async ended(how: 'commit' | 'rollback'): Promise<TransactionId> {
      const id = await this.begun();
      await client.query(how);
      return id;
    },
    outcomeOf: (id: TransactionId) => askOutcome(root, id),
  };
}

test('it tells commit and rollback of its own timeline; of another, whose numbers were given again, nobody knows', async () => {
  const here = place(await connected(services().postgres.url));
  const committed = await here.ended('commit');
  expect(committed).toEqual({
    number: expect.stringMatching(/^\d+$/),
    timeline: expect.stringMatching(/^[\dA-F]{8}$/),
    since: expect.stringMatching(/^\d+\.\d+$/),
  });
  expect(await here.outcomeOf(committed)).toBe('commit');
  expect(await here.outcomeOf(await here.ended('rollback'))).toBe('rollback');
  expect(await here.outcomeOf({ ...committed, timeline: 'FFFFFFFF' })).toBe('unknown');
});

test(
  'a server that crashed gives the number of a lost transaction again, and what is committed under it then is not taken for that one',
  {
    timeout: 60_000,
  },
  async () => {
    const server = await PostgresServer.make('outcome');
    onTestFinished(() => server.stop());
    const connect = async (): Promise<pg.Client> => {
      const client = new pg.Client({ connectionString: server.url('postgres') });
      client.on('error', () => undefined);
      await client.connect();
      return client;
    };
    const first = await connect();
    await first.query('create table work (n int)');
    const before = place(first);
    const rolledBack = await before.ended('rollback');
    const committed = await before.begun();
    // On the disk, and what was before it.
    await first.query('insert into work values (1)');
    await first.query('commit');
    const lost = await before.begun();
    await first.query('insert into work values (2)');
    await server.restartByKill();

    const second = await connect();
    const after = place(second);
    expect(await after.outcomeOf(lost)).toBe('rollback');
    const others: TransactionId[] = [];
    while (others.length < 3) others.push(await after.ended('commit'));
    expect(others.map(({ number }) => number)).toContain(lost.number);
    expect(await after.outcomeOf(lost)).toBe('unknown');
    expect(await after.outcomeOf(rolledBack)).toBe('rollback');
    expect(await after.outcomeOf(committed)).toBe('unknown');
    expect(await after.outcomeOf(others[0]!)).toBe('commit');
    await second.end();
  },
);
