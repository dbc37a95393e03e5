/** A connection of pg in the package's small asynchronous interface. */
import type { AsyncHandle } from '@tallystick/reliable';
import type pg from 'pg';

export function pgHandle(client: pg.ClientBase): AsyncHandle {
  return {
    tallystick: 'asynchronous',
    dialect: 'postgres',
    async execute(sql, parameters) {
      const { rows, rowCount } = await client.query(sql, [...parameters]);
      return { rows, changes: rowCount ?? 0 };
    },
    inTransaction: () => ['T', 'E'].includes(client.getTransactionStatus() ?? ''),
  };
}
