/** A scenario's databases: made with the package's tables and the bank's, and dropped. */
import { migrate, TABLES } from '@tallystick/reliable';
import { openingRows } from './bank.ts';
import { pgHandle } from './child/pg-handle.ts';
import type { PostgresServer } from './servers/postgres-server.ts';

/** `version`: of the package's tables; undefined: the newest. */
export async function layDatabase(
  server: PostgresServer,
  database: string,
  { bank, keys, version }: { readonly bank: string; readonly keys: number; readonly version?: 1 | undefined },
): Promise<void> {
  await dropDatabase(server, database);
  await server.with('postgres', (client) => client.query(`create database ${database}`));
  await server.with(database, async (client) => {
    await migrate(pgHandle(client), version === undefined ? {} : { tables: tablesOfVersion(version) });
    await client.query(bank);
    await client.query(openingRows(keys));
  });
}

function tablesOfVersion(version: number): typeof TABLES {
  return TABLES.filter(({ since }) => since <= version).map((table) => ({
    ...table,
    columns: Object.fromEntries(Object.entries(table.columns).filter(([, { since }]) => (since ?? 1) <= version)),
    indexes: table.indexes.filter(({ since }) => since <= version),
  }));
}

export async function dropDatabase(server: PostgresServer, database: string): Promise<void> {
  await server
    .with('postgres', (client) => client.query(`drop database if exists ${database} with (force)`))
    .catch(() => undefined);
}
