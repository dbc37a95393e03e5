/** What PostgreSQL is asked about a transaction whose commit was not answered. */
import { expect, test } from 'vitest';
import type { LibraryRoot } from '../../../packages/reliable/src/sql/handles/library.ts';
import { askOutcome, currentTransactionId, type TransactionId } from '../../../packages/reliable/src/sql/outcome.ts';
import { postgres } from '../../../packages/reliable/src/sql/postgres.ts';
import type { AsyncSession } from '../../../packages/reliable/src/sql/session.ts';
import { connected } from '../support/live.ts';
import { services } from '../support/services.ts';

test('it tells commit and rollback of its own timeline; of another, whose numbers were given again, nobody knows', async () => {
  const client = await connected(services().postgres.url);
  const execute = async (sql: string, parameters: readonly unknown[] = []) => {
    const { rows } = await client.query<Record<string, unknown>>(sql, [...parameters]);
    return { rows, changes: 0 };
  };
  const session = { dialect: postgres, execute: ({ sql }: { sql: string }) => execute(sql) } as unknown as AsyncSession;
  const root = { borrow: async () => ({ handle: { execute }, giveBack: async () => undefined }) } as unknown as LibraryRoot;
  const ended = async (how: 'commit' | 'rollback'): Promise<TransactionId> => {
    await client.query('begin');
    const id = await currentTransactionId(session);
    await client.query(how);
    return id!;
  };

  const committed = await ended('commit');
  expect(committed).toEqual({ number: expect.stringMatching(/^\d+$/), timeline: expect.stringMatching(/^[\dA-F]{8}$/) });
  expect(await askOutcome(root, committed)).toBe('commit');
  expect(await askOutcome(root, await ended('rollback'))).toBe('rollback');
  expect(await askOutcome(root, { ...committed, timeline: 'FFFFFFFF' })).toBe('unknown');
});
