import type { AsyncHandle } from '@tallystick/reliable';
import type { Client, PoolClient } from 'pg';

/** One connection of `pg` as the package's small asynchronous interface, as a user would write it by hand. */
export function pgHandle(client: Client | PoolClient): AsyncHandle {
  return {
    tallystick: 'asynchronous',
    dialect: 'postgres',
    async execute(sql, parameters) {
      const { rows, rowCount } = await client.query<Record<string, unknown>>(sql, [...parameters]);
      return { rows, changes: rowCount ?? 0 };
    },
    async inTransaction() {
      // A transaction has begun before its statement; alone, a statement begins with its transaction.
      const { rows } = await client.query<{ inside: boolean }>('select now() <> statement_timestamp() as inside');
      return rows[0]?.inside === true;
    },
  };
}
