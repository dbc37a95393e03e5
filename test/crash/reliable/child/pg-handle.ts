/** A connection of pg in the package's small asynchronous interface, and one that connects again when it was lost. */
import type { AsyncHandle } from '@tallystick/reliable';
import pg from 'pg';

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

/** A lost transaction answers errors until somebody rolls it back; only then is there a new connection. */
export function lastingHandle(connect: () => Promise<pg.Client>): AsyncHandle {
  let client: pg.Client | undefined;
  let broken = false;
  const lose = (lost: pg.Client): void => {
    if (client !== lost) return;
    broken = inTransaction();
    client = undefined;
  };
  const inTransaction = (): boolean => ['T', 'E'].includes(client?.getTransactionStatus() ?? '');
  return {
    tallystick: 'asynchronous',
    dialect: 'postgres',
    async execute(sql, parameters) {
      if (broken && !/^\s*rollback/i.test(sql)) throw new Error('the connection was lost inside a transaction');
      if (broken) {
        broken = false;
        return { rows: [], changes: 0 };
      }
      const used = (client ??= await connect());
      used.once('error', () => lose(used));
      used.once('end', () => lose(used));
      try {
        const { rows, rowCount } = await used.query(sql, [...parameters]);
        return { rows, changes: rowCount ?? 0 };
      } finally {
        used.removeAllListeners('end');
        used.removeAllListeners('error');
        used.on('error', () => lose(used));
        used.on('end', () => lose(used));
      }
    },
    inTransaction: () => broken || inTransaction(),
  };
}
